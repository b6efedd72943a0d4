//! Which of several paths to a prefix is the best (RFC 4271, section 9.1).
//!
//! The tie-breaks are a lexicographic order but for MULTI_EXIT_DISC, which compares only paths by way of the same
//! neighbouring AS. So each path first gets its rank by MED among the paths that it is compared with: those of the same
//! AS that are equal up to there. With the rank in its place the whole is a total order, independent of the order of
//! arrival, and its least element is what the RFC's elimination leaves.

use std::cmp::{Ordering, Reverse};
use std::net::{IpAddr, Ipv4Addr};

use crate::route::{Attributes, Origin, community};

/// LOCAL_PREF of a route that came without (RFC 4271, section 9.1.1: a matter of configuration; everybody's default).
pub(super) const LOCAL_PREF: u32 = 100;

/// Where a path comes from; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Local,
    External,
    Internal,
}

/// A path that may be used: its next hop is reachable, and it was not refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub attributes: &'a Attributes,
    pub source: Source,
    /// IGP cost to the next hop.
    pub cost: u32,
    /// The BGP peer's.
    pub router_id: Ipv4Addr,
    /// The BGP peer's.
    pub address: IpAddr,
    /// As received.
    pub path_id: u32,
}

/// Candidates by index, the best one first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ranking {
    pub order: Vec<usize>,
    /// How many of the first are equal up to and including the IGP cost.
    pub equal: usize,
}

/// Ranks all candidates.
pub(super) fn rank(candidates: &[Candidate]) -> Ranking {
    let mut ranked: Vec<_> = candidates.iter().enumerate().map(Ranked::new).collect();
    ranked.sort_by(|a, b| {
        a.med_group()
            .cmp(&b.med_group())
            .then(a.med().cmp(&b.med()))
    });
    let mut last = None;
    for one in &mut ranked {
        let this = (one.med_group(), one.med());
        one.med_rank = match last {
            Some((group, _, _)) if group != this.0 => 0,
            Some((_, med, rank)) if med == this.1 => rank,
            Some((_, _, rank)) => rank + 1,
            None => 0,
        };
        last = Some((this.0, this.1, one.med_rank));
    }
    ranked.sort_by(Ranked::compare);
    let equal = match ranked.first() {
        Some(best) => ranked
            .iter()
            .take_while(|one| one.compare_cost(best).is_eq())
            .count(),
        None => 0,
    };
    Ranking {
        order: ranked.iter().map(|one| one.index).collect(),
        equal,
    }
}

struct Ranked<'a> {
    index: usize,
    path: &'a Candidate<'a>,
    before_med: BeforeMed,
    med_rank: usize,
}

/// LLGR_STALE (RFC 9494, section 4.3), LOCAL_PREF, locally originated, AS path length, ORIGIN.
type BeforeMed = (bool, Reverse<u32>, bool, usize, Origin);

impl<'a> Ranked<'a> {
    fn new((index, path): (usize, &'a Candidate<'a>)) -> Self {
        let attributes = path.attributes;
        Self {
            index,
            path,
            before_med: (
                attributes
                    .communities
                    .binary_search(&community::LLGR_STALE)
                    .is_ok(),
                Reverse(attributes.local_pref.unwrap_or(LOCAL_PREF)),
                path.source != Source::Local,
                attributes.path_length(),
                attributes.origin,
            ),
            med_rank: 0,
        }
    }

    /// Paths whose MEDs are compared: without a neighbouring AS it is this AS, for all of them.
    fn med_group(&self) -> (BeforeMed, Option<u32>) {
        (self.before_med, self.path.attributes.neighbour())
    }

    /// None is the lowest (RFC 4271, section 9.1.2.2 c).
    fn med(&self) -> u32 {
        self.path.attributes.med.unwrap_or(0)
    }

    /// As far as paths that are equal may share the traffic.
    fn compare_cost(&self, other: &Self) -> Ordering {
        let key = |one: &Self| {
            let path = one.path;
            (one.before_med, one.med_rank, path.source, path.cost)
        };
        key(self).cmp(&key(other))
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |one: &Self| {
            let path = one.path;
            let id = path.attributes.originator_id.unwrap_or(path.router_id);
            let clusters = path.attributes.cluster_list.len();
            (id, clusters, path.address, path.path_id)
        };
        self.compare_cost(other).then(key(self).cmp(&key(other)))
    }
}

#[cfg(test)]
mod tests;
