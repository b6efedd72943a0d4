//! A part of a state: what has to be compared when it is known where two states can differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::{FdbKey, NeighbourKey, RouteKey, State};

/// Keys of those things of which there are many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Of neighbours.
    pub neighbours: BTreeSet<NeighbourKey>,
    /// Of FDB entries.
    pub fdb: BTreeSet<FdbKey>,
    /// Numbers of nexthop objects.
    pub nexthops: BTreeSet<u32>,
    /// Of routes.
    pub routes: BTreeSet<RouteKey>,
}

impl Part {
    /// All keys of a state.
    pub fn of(state: &State) -> Self {
        Self {
            neighbours: state.neighbours.keys().copied().collect(),
            fdb: state.fdb.keys().copied().collect(),
            nexthops: state.nexthops.keys().copied().collect(),
            routes: state.routes.keys().copied().collect(),
        }
    }

    /// The keys of another part too.
    pub fn add(&mut self, other: &Self) {
        self.neighbours.extend(&other.neighbours);
        self.fdb.extend(&other.fdb);
        self.nexthops.extend(&other.nexthops);
        self.routes.extend(&other.routes);
    }
}

impl State {
    /// Everything of which there is little, and of the rest what `part` names.
    ///
    /// Where two states differ in nothing else, the plan between their parts is the plan between them: what
    /// [`plan`](crate::plan()) does about one key depends on no other key of these, unless a device
    /// is made anew or gets another MAC address.
    #[must_use]
    pub(crate) fn only(&self, part: &Part) -> Self {
        Self {
            vxlans: self.vxlans.clone(),
            addresses: self.addresses.clone(),
            neighbours: among(&self.neighbours, &part.neighbours),
            fdb: among(&self.fdb, &part.fdb),
            nexthops: among(&self.nexthops, &part.nexthops),
            groups: self.groups.clone(),
            routes: among(&self.routes, &part.routes),
            settings: self.settings.clone(),
            nft: self.nft.clone(),
        }
    }
}

fn among<K: Ord + Copy, V: Clone>(map: &BTreeMap<K, V>, keys: &BTreeSet<K>) -> BTreeMap<K, V> {
    let entries = keys
        .iter()
        .filter_map(|key| Some((*key, map.get(key)?.clone())));
    entries.collect()
}
