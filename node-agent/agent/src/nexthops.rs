//! The nexthop objects under routes, and their numbers.
//!
//! What leads to a peer has a number that follows from the name of the peer, so that one replacement moves all its
//! blocks, and one peer's coming or going leaves the numbers of the others alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use weft_kernel::{Family, GROUP_IDS, NEXTHOP_IDS, Nexthop};

/// Nexthop objects and groups, while they are gathered.
#[derive(Debug, Default)]
pub struct Nexthops {
    /// Nexthop objects by number.
    pub singles: BTreeMap<u32, Nexthop>,
    /// Groups by number: the numbers of their members.
    pub groups: BTreeMap<u32, BTreeSet<u32>>,
    /// The numbers of what several may use, by what it is.
    shared: BTreeMap<String, u32>,
}

impl Nexthops {
    /// What leads to a peer by these, which share its packets. None: there are none.
    pub fn to_peer(&mut self, peer: &str, family: Family, nexthops: &[Nexthop]) -> Option<u32> {
        // No name of a node has a space.
        let key = format!("{peer} {family}");
        match nexthops {
            [] => None,
            [nexthop] => {
                let id = free(&NEXTHOP_IDS, &key, |id| self.singles.contains_key(&id));
                self.singles.insert(id, *nexthop);
                Some(id)
            }
            several => Some(self.group(&key, several)),
        }
    }

    /// What leads to elsewhere by these. None: there are none.
    pub fn elsewhere(&mut self, nexthops: &[Nexthop]) -> Option<u32> {
        match nexthops {
            [] => None,
            [nexthop] => Some(self.member(nexthop)),
            several => {
                let key: Vec<String> = several.iter().map(name).collect();
                let key = key.join(" and ");
                if let Some(id) = self.shared.get(&key) {
                    return Some(*id);
                }
                let id = self.group(&key, several);
                self.shared.insert(key, id);
                Some(id)
            }
        }
    }

    fn group(&mut self, key: &str, nexthops: &[Nexthop]) -> u32 {
        let members = nexthops.iter().map(|nexthop| self.member(nexthop));
        let members = members.collect();
        let id = free(&GROUP_IDS, key, |id| self.groups.contains_key(&id));
        self.groups.insert(id, members);
        id
    }

    fn member(&mut self, nexthop: &Nexthop) -> u32 {
        let key = name(nexthop);
        if let Some(id) = self.shared.get(&key) {
            return *id;
        }
        let id = free(&NEXTHOP_IDS, &key, |id| self.singles.contains_key(&id));
        self.singles.insert(id, *nexthop);
        self.shared.insert(key, id);
        id
    }
}

fn name(nexthop: &Nexthop) -> String {
    let gateway = nexthop.gateway.map(|gateway| gateway.to_string());
    format!("{} {}", gateway.unwrap_or_default(), nexthop.device)
}

/// The first number that isn't taken, from that on which follows from the key.
fn free(ids: &RangeInclusive<u32>, key: &str, taken: impl Fn(u32) -> bool) -> u32 {
    // FNV-1a.
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let count = ids.end() - ids.start() + 1;
    let mut offset = hash % count;
    while taken(ids.start() + offset) {
        offset = (offset + 1) % count;
    }
    ids.start() + offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(gateway: &str) -> Nexthop {
        Nexthop::onlink(gateway.parse().unwrap(), "eth0".parse().unwrap())
    }

    #[test]
    fn a_number_follows_from_the_name_and_is_nobody_elses() {
        let mut all = Nexthops::default();
        let first = all.to_peer("a", Family::V4, &[via("192.0.2.1")]).unwrap();
        let again = all.to_peer("a", Family::V4, &[via("192.0.2.1")]).unwrap();
        assert_ne!(first, again);
        let mut other = Nexthops::default();
        let moved = other.to_peer("a", Family::V4, &[via("192.0.2.9")]);
        assert_eq!(moved, Some(first));
        assert!(NEXTHOP_IDS.contains(&first));
        assert_eq!(all.to_peer("b", Family::V4, &[]), None);
    }

    #[test]
    fn groups_share_their_members_and_routes_to_elsewhere_their_groups() {
        let mut all = Nexthops::default();
        let both = [via("192.0.2.253"), via("192.0.2.254")];
        let a = all.to_peer("a", Family::V4, &both).unwrap();
        let b = all.to_peer("b", Family::V4, &both).unwrap();
        let elsewhere = all.elsewhere(&both);
        assert_eq!(elsewhere, all.elsewhere(&both));
        assert!(a != b && elsewhere != Some(a));
        assert_eq!((all.singles.len(), all.groups.len()), (2, 3));
        assert_eq!(all.groups[&a], all.groups[&b]);
        assert!(all.groups.keys().all(|id| GROUP_IDS.contains(id)));
        let one = all.elsewhere(&both[..1]).unwrap();
        assert!(all.groups[&a].contains(&one));
    }
}
