//! Changes to the attributes of a route.

use std::net::IpAddr;

use crate::route::{Attributes, LargeCommunity, community};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Sets LOCAL_PREF.
    LocalPref(u32),
    /// Sets MULTI_EXIT_DISC.
    Med(u32),
    /// Prepends this AS so many times to the path.
    Prepend(u32, u8),
    /// Adds a community.
    AddCommunity(u32),
    /// Removes a community. LLGR_STALE stays (RFC 9494, section 4.3).
    RemoveCommunity(u32),
    /// Adds a large community.
    AddLargeCommunity(LargeCommunity),
    /// Removes a large community.
    RemoveLargeCommunity(LargeCommunity),
    /// Sets the next hop.
    NextHop(IpAddr),
}

/// Changes in their order, out of the rules of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Edits<'a>(Vec<&'a Edit>);

impl<'a> Edits<'a> {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes the changes, the first one first.
    pub fn apply(&self, attributes: &mut Attributes) {
        for edit in &self.0 {
            edit.apply(attributes);
        }
    }

    pub(super) fn extend(&mut self, edits: &'a [Edit]) {
        self.0.extend(edits);
    }
}

impl Edit {
    fn apply(&self, attributes: &mut Attributes) {
        match self {
            Self::LocalPref(value) => attributes.local_pref = Some(*value),
            Self::Med(value) => attributes.med = Some(*value),
            Self::Prepend(asn, times) => {
                for _ in 0..*times {
                    attributes.prepend(*asn);
                }
            }
            Self::AddCommunity(value) => insert(&mut attributes.communities, *value),
            Self::RemoveCommunity(community::LLGR_STALE) => {}
            Self::RemoveCommunity(value) => remove(&mut attributes.communities, value),
            Self::AddLargeCommunity(value) => insert(&mut attributes.large_communities, *value),
            Self::RemoveLargeCommunity(value) => remove(&mut attributes.large_communities, value),
            Self::NextHop(address) => {
                attributes.next_hop = *address;
                attributes.link_local = None;
            }
        }
    }
}

fn insert<T: Ord>(sorted: &mut Vec<T>, value: T) {
    if let Err(at) = sorted.binary_search(&value) {
        sorted.insert(at, value);
    }
}

fn remove<T: Ord>(sorted: &mut Vec<T>, value: &T) {
    if let Ok(at) = sorted.binary_search(value) {
        sorted.remove(at);
    }
}
