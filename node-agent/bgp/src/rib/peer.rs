//! Who this speaker is, and what the table knows of its BGP peers.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::decision::Source;
use crate::policy::Policy;
use crate::route::Family;

/// This speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Its AS.
    pub asn: u32,
    /// Its BGP Identifier.
    pub router_id: Ipv4Addr,
    /// The cluster whose reflector it is (RFC 4456, section 7); its router ID by default.
    pub cluster_id: Ipv4Addr,
    /// How many paths of equal cost share the traffic.
    pub multipath: NonZeroU16,
}

/// A BGP peer, by a number of the caller's choice that stays its own while any route of it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

impl PeerId {
    /// This speaker itself: where locally originated routes come from. No BGP peer has it.
    pub const LOCAL: Self = Self(u32::MAX);
}

/// What a BGP peer is to this speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Of the same AS.
    Internal {
        /// Whether this speaker reflects routes to and from it (RFC 4456).
        client: bool,
    },
    /// Of another AS.
    External,
}

impl Kind {
    pub(super) fn source(self) -> Source {
        match self {
            Self::Internal { .. } => Source::Internal,
            Self::External => Source::External,
        }
    }
}

/// A BGP peer of which the table has, or may get, routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is to this speaker.
    pub kind: Kind,
    /// Its address.
    pub address: IpAddr,
    /// Its BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Which of its routes are eligible. Without one: all over iBGP, none over eBGP (RFC 8212).
    pub import: Option<Arc<Policy>>,
    /// How many times this speaker's AS may be in the path of its routes before they count as looped.
    pub own_as_allowed: u8,
    /// Of IPv4 prefixes.
    pub limit_ipv4: Option<Limit>,
    /// Of IPv6 prefixes.
    pub limit_ipv6: Option<Limit>,
}

impl Peer {
    /// What the place of its routes among others depends on, besides themselves.
    pub(super) fn rank(&self) -> (Kind, IpAddr, Ipv4Addr) {
        (self.kind, self.address, self.router_id)
    }

    fn limit(&self, family: Family) -> Option<Limit> {
        match family {
            Family::Ipv4 => self.limit_ipv4,
            Family::Ipv6 => self.limit_ipv6,
        }
    }
}

/// How many NLRIs of one family a BGP peer may have announced at a time, accepted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most; those beyond are not kept.
    pub max: usize,
    /// The number whose excess is worth a warning.
    pub warn: usize,
}

/// What an UPDATE has done to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitEvent {
    /// The number is above that of the warning, and was not before.
    Warning {
        /// Of which family.
        family: Family,
        /// The number.
        routes: usize,
    },
    /// There were more than the most. What was too much is lost: the session has to end, or all has to be asked for
    /// again when there is room (RFC 4271, section 6.7).
    Exceeded {
        /// Of which family.
        family: Family,
        /// The most.
        max: usize,
    },
}

/// A BGP peer and how many routes of it there are.
#[derive(Debug)]
pub(super) struct Known {
    pub peer: Peer,
    counts: [Count; 2],
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub routes: usize,
    pub stale: usize,
    /// Those that can't be used, whatever else is known.
    pub refused: usize,
    warned: bool,
}

impl Known {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            counts: Default::default(),
        }
    }

    pub(super) fn count(&mut self, family: Family) -> &mut Count {
        match family {
            Family::Ipv4 => &mut self.counts[0],
            Family::Ipv6 => &mut self.counts[1],
        }
    }

    pub(super) fn counted(&self, family: Family) -> &Count {
        let [ipv4, ipv6] = &self.counts;
        match family {
            Family::Ipv4 => ipv4,
            Family::Ipv6 => ipv6,
        }
    }

    /// Whether one more fits.
    pub(super) fn has_room(&mut self, family: Family) -> Result<(), LimitEvent> {
        match self.peer.limit(family) {
            Some(Limit { max, .. }) if self.count(family).routes >= max => {
                Err(LimitEvent::Exceeded { family, max })
            }
            _ => Ok(()),
        }
    }

    /// The warning, once for each time that the number goes above it.
    pub(super) fn warning(&mut self, family: Family) -> Option<LimitEvent> {
        let limit = self.peer.limit(family)?;
        let count = self.count(family);
        let routes = count.routes;
        let was = std::mem::replace(&mut count.warned, routes > limit.warn);
        (count.warned && !was).then_some(LimitEvent::Warning { family, routes })
    }
}
