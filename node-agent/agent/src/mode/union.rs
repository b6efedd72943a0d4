//! The paths of a node that is in several modes: all are open, and to each peer packets go by one of them.

use std::collections::BTreeMap;

use weft_crds::Mode;
use weft_kernel::Family;
use weft_migration::Orders;

use super::{Paths, PeerPaths, Proof};

/// The union of the paths of all modes that the node accepts. Packets go by a path of the mode that the orders name;
/// where that mode has none to a peer (yet), by one of another mode, which the peer accepts as well.
pub(super) fn union(orders: &Orders<Mode>, all: impl Iterator<Item = (Mode, Paths)>) -> Paths {
    let mut whole = Paths::default();
    let mut peers: BTreeMap<(String, Family), PeerPaths> = BTreeMap::new();
    for (mode, paths) in all {
        whole.vxlans.extend(paths.vxlans);
        whole.neighbours.extend(paths.neighbours);
        whole.fdb.extend(paths.fdb);
        whole.held |= paths.held;
        whole.problems.extend(paths.problems);
        if mode == orders.send {
            whole.routes = paths.routes;
        }
        for found in paths.peers {
            let proven = (orders.prove == Some(mode)).then_some(found.send);
            let key = (found.peer.clone(), found.family);
            match peers.get_mut(&key) {
                Some(present) => merge(present, found, mode == orders.send_to(&key.0)),
                None => drop(peers.insert(key.clone(), found)),
            }
            if let (Some(path), Some(present)) = (proven, peers.get_mut(&key)) {
                present.proof = Proof::Of(path);
            }
        }
    }
    whole.peers = peers.into_values().collect();
    if orders.prove.is_some() {
        let unproven = whole
            .peers
            .iter_mut()
            .filter(|peer| peer.proof == Proof::None);
        unproven.for_each(|peer| peer.proof = Proof::Missing);
    }
    whole
}

fn merge(present: &mut PeerPaths, found: PeerPaths, used: bool) {
    if used {
        present.send = found.send;
        present.mode = found.mode;
    }
    // Two modes that have the same path have it by the same next hops.
    for (path, nexthops) in found.open {
        present.open.entry(path).or_insert(nexthops);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mode::Path;
    use crate::testing::migrating;
    use weft_migration::Phase;

    fn paths(phase: Phase, left_out: &[&str]) -> Paths {
        migrating(phase, left_out).2
    }

    fn of<'a>(paths: &'a Paths, peer: &str, family: Family) -> &'a PeerPaths {
        let mut peers = paths.peers.iter();
        peers
            .find(|paths| paths.peer == peer && paths.family == family)
            .unwrap()
    }

    #[test]
    fn both_modes_are_open_long_before_the_new_one_is_used() {
        let prepared = paths(Phase::Prepare, &[]);
        let b = of(&prepared, "b", Family::V4);
        let open: BTreeSet<Path> = b.open.keys().copied().collect();
        assert_eq!(open, BTreeSet::from([Path::Vxlan, Path::Direct]));
        assert_eq!(
            (b.send, b.mode, b.proof),
            (Path::Vxlan, Mode::Overlay, Proof::Of(Path::Direct))
        );
        assert!(!prepared.vxlans.is_empty());
    }

    #[test]
    fn packets_go_in_the_new_mode_only_where_it_leads() {
        let shifted = paths(Phase::Shift, &[]);
        let b = of(&shifted, "b", Family::V4);
        assert_eq!((b.send, b.mode), (Path::Direct, Mode::BGP));
        // Nobody announces the blocks of c: it is sent to as before, and known not to be proven.
        let c = of(&shifted, "c", Family::V4);
        assert_eq!(
            (c.send, c.mode, c.proof),
            (Path::Vxlan, Mode::Overlay, Proof::Missing)
        );
    }

    #[test]
    fn a_node_that_is_left_out_is_sent_to_as_before() {
        let shifted = paths(Phase::Confirm, &["b"]);
        assert_eq!(of(&shifted, "b", Family::V4).mode, Mode::Overlay);
    }

    #[test]
    fn nothing_of_the_old_mode_is_left_once_it_is_retired() {
        let retired = paths(Phase::Retire, &[]);
        assert!(
            retired.vxlans.is_empty() && retired.fdb.is_empty() && retired.neighbours.is_empty()
        );
        let b = of(&retired, "b", Family::V4);
        assert_eq!(b.open.keys().collect::<Vec<_>>(), [&Path::Direct]);
    }
}
