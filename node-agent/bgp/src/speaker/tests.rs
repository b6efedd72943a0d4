//! Speakers among themselves.

mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::policy::{Match, Policy, Rule, Then};
use crate::rib::{Limit, NextHop};
use crate::session::State;
use network::{Network, address, config, id, originated, prefix};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn in_a_mesh_each_knows_the_way_to_each() {
    let mut network = Network::new(5, &Network::mesh(5), |_, _, _| {});
    for n in 0..5 {
        network.knows_all(n, 5);
        let status = network.speaker(n).status(id((n + 1) % 5)).unwrap();
        assert_eq!(status.prefixes.ipv4, (1, 1));
        assert_eq!(status.last_error, None);
    }
    network.run(24 * HOUR);
    assert!(
        network
            .notes
            .iter()
            .all(|(_, _, text)| text == "established"),
        "{:?}",
        network.notes
    );
}

#[test]
fn a_reflector_passes_routes_on_and_next_hops_with_them() {
    let pairs = [(0, 1), (0, 2), (0, 3)];
    let mut network = Network::new(4, &pairs, |here, _, peer| peer.client = here == 0);
    for n in 0..4 {
        network.knows_all(n, 4);
    }
}

/// A dead agent is no dead node: its node still forwards.
#[test]
fn what_a_silent_peer_has_said_stays_true() {
    let mut network = Network::new(3, &Network::mesh(3), |_, _, _| {});
    network.kill(2);
    network.run(24 * HOUR);
    for n in 0..2 {
        network.knows_all(n, 3);
    }
    assert!(network.selected.iter().all(|(_, _, any)| *any));
    let notes = network.notes.len();
    network.run(24 * HOUR);
    assert_eq!(
        network.notes.len(),
        notes,
        "the same is not said again and again"
    );
}

#[test]
fn routes_go_when_what_was_agreed_on_is_over() {
    let mut network = Network::new(2, &[(0, 1)], |_, _, peer| peer.keep = Keep::AsAgreed);
    network.kill(1);
    network.run(Duration::from_secs(120 + 3600 - 1));
    assert!(network.route(0, &prefix(1)).is_some());
    network.run(Duration::from_secs(2));
    assert_eq!(network.route(0, &prefix(1)), None);
}

/// Neither the others nor the one that restarts is ever without a route.
#[test]
fn a_restart_is_seen_by_nobody() {
    let pairs = Network::mesh(4);
    for wait in [0, 1, 30, 119, 121, 7200] {
        let mut network = Network::new(4, &pairs, |_, _, _| {});
        network.selected.clear();
        network.kill(3);
        network.run(Duration::from_secs(wait));
        network.restart(3, &pairs);
        network.run(Duration::from_secs(120));
        for n in 0..4 {
            network.knows_all(n, 4);
        }
        let lost = network.selected.iter().find(|(_, _, any)| !any);
        assert_eq!(lost, None, "after {wait} s");
        // The one that restarts speaks once, when it knows everything.
        let first: BTreeSet<IpNet> = network
            .selected
            .iter()
            .filter(|(n, _, _)| *n == 3)
            .map(|(_, prefix, _)| *prefix)
            .take(4)
            .collect();
        assert_eq!(first.len(), 4, "after {wait} s");
    }
}

#[test]
fn a_cut_link_heals() {
    let mut network = Network::new(2, &[(0, 1)], |_, _, _| {});
    network.cut(0, 1);
    assert_ne!(network.state(0, 1), State::Established);
    network.run(HOUR);
    network
        .speaker(1)
        .originate([(prefix(7), originated())].into());
    network.cut.clear();
    network.run(Duration::from_secs(120));
    assert_eq!(network.state(0, 1), State::Established);
    assert!(network.route(0, &prefix(7)).is_some());
    assert_eq!(
        network.route(0, &prefix(1)),
        None,
        "what it no longer says is gone"
    );
}

#[test]
fn of_a_peer_that_announces_too_much_the_rest_is_asked_for_when_there_is_room() {
    let limit = Limit { max: 2, warn: 1 };
    let mut network = Network::new(2, &[(0, 1)], |here, _, peer| {
        peer.limit.ipv4 = (here == 0).then_some(limit);
    });
    let some = |all: &[usize]| {
        all.iter()
            .map(|n| (prefix(*n), originated()))
            .collect::<BTreeMap<_, _>>()
    };
    network.speaker(1).originate(some(&[1, 2]));
    network.run(Duration::from_secs(1));
    network.speaker(1).originate(some(&[1, 2, 3]));
    network.run(Duration::from_secs(60));
    // The session and what was believed stay: packets go by it.
    assert_eq!(network.state(0, 1), State::Established);
    assert_eq!(
        network.speaker(0).table().count(id(1), Family::Ipv4),
        (2, 0)
    );
    assert_eq!(network.route(0, &prefix(3)), None);
    let complaint = |network: &mut Network| network.speaker(0).status(id(1)).unwrap().last_error;
    assert!(
        complaint(&mut network)
            .unwrap()
            .contains("more than 2 IPv4 prefixes")
    );
    let notes = network.notes.iter().filter(|(n, _, _)| *n == 0);
    let notes: Vec<&str> = notes.map(|(_, _, text)| &**text).collect();
    for said in ["near the most", "more than 2 IPv4 prefixes"] {
        let times = notes.iter().filter(|text| text.contains(said)).count();
        assert_eq!(times, 1, "{said}: {notes:?}");
    }

    network.speaker(1).originate(some(&[3]));
    network.run(Duration::from_secs(60));
    assert!(network.route(0, &prefix(3)).is_some());
    assert_eq!(complaint(&mut network), None);
}

#[test]
fn a_policy_changes_without_a_new_session() {
    let mut network = Network::new(2, &[(0, 1)], |_, _, _| {});
    let notes = network.notes.len();
    let none = Policy::new(vec![Rule::new(
        vec![Match::Family(Family::Ipv6)],
        Then::Accept,
    )]);
    for (export, import, known) in [
        (Some(none.clone()), None, false),
        (None, None, true),
        (None, Some(none), false),
        (None, None, true),
    ] {
        let now = network.now;
        let teller = PeerConfig {
            export: export.map(Arc::new),
            ..config(1, 0)
        };
        network.speaker(1).set_peer(id(0), teller, now);
        let hearer = PeerConfig {
            import: import.map(Arc::new),
            ..config(0, 1)
        };
        network.speaker(0).set_peer(id(1), hearer, now);
        network.run(Duration::from_secs(1));
        assert_eq!(network.route(0, &prefix(1)).is_some(), known);
    }
    assert_eq!(network.notes.len(), notes);
}

#[test]
fn a_peer_that_is_no_longer_configured_is_forgotten() {
    let mut network = Network::new(3, &Network::mesh(3), |_, _, _| {});
    let now = network.now;
    network.speaker(0).remove_peer(id(1), now);
    network.run(Duration::from_secs(1));
    assert_eq!(network.route(0, &prefix(1)), None);
    assert_eq!(network.speaker(0).status(id(1)), None);
    // Not so seen from the other end, which is still told to speak with it.
    assert!(network.route(1, &prefix(0)).is_some());
}

#[test]
fn unreachable_next_hops_are_not_selected() {
    let mut network = Network::new(3, &Network::mesh(3), |_, _, _| {});
    network.speaker(0).set_reach(Reach {
        costs: [(address(2).into(), 1)].into(),
        ..Reach::default()
    });
    network.run(Duration::from_secs(1));
    assert_eq!(network.route(0, &prefix(1)), None);
    assert!(network.route(0, &prefix(2)).is_some());
}

#[test]
fn nobody_is_told_to_send_packets_to_itself() {
    let mut network = Network::new(3, &[(0, 1), (0, 2)], |here, _, peer| {
        peer.client = here == 0;
        peer.next_hop = NextHop::Kept;
    });
    for (next_hop, heard) in [(2, false), (1, true), (2, false), (1, true)] {
        let next_hop = address(next_hop).into();
        let route = Attributes::plain(next_hop, &[]);
        network.speaker(1).originate([(prefix(7), route)].into());
        network.run(Duration::from_secs(1));
        assert_eq!(network.route(0, &prefix(7)), Some(next_hop));
        let mut received = network.speaker(2).table().received(id(0));
        assert_eq!(received.any(|(of, _)| *of == prefix(7)), heard);
    }
}

#[test]
fn what_would_come_back_is_not_used() {
    let own = Ipv4Addr::new(192, 0, 2, 100);
    let mut network = Network::new(2, &[(0, 1)], |here, _, peer| {
        peer.next_hop = NextHop::Kept;
        if here == 0 {
            peer.own_address.ipv4 = Some(own.into());
        }
    });
    let costs = [own, address(1)].map(|next_hop| (next_hop.into(), 1));
    network.speaker(0).set_reach(Reach {
        costs: costs.into(),
        ..Reach::default()
    });
    for (next_hop, used) in [(address(1), true), (own, false)] {
        let route = Attributes::plain(next_hop.into(), &[]);
        network.speaker(1).originate([(prefix(7), route)].into());
        network.run(Duration::from_secs(1));
        assert_eq!(network.route(0, &prefix(7)).is_some(), used);
    }
}

/// What may happen to a mesh.
#[derive(Clone, Debug)]
enum Fate {
    Kill(usize),
    Restart(usize),
    Cut(usize, usize),
    Heal,
    Originate(usize, usize),
    Wait(u64),
}

fn fate(count: usize) -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0..count).prop_map(Fate::Kill),
        (0..count).prop_map(Fate::Restart),
        (0..count, 0..count).prop_map(|(a, b)| Fate::Cut(a, b)),
        Just(Fate::Heal),
        (0..count, 4..12_usize).prop_map(|(n, prefix)| Fate::Originate(n, prefix)),
        (0..400_u64).prop_map(Fate::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happened: when all are there again, each knows what the others say, and nothing else.
    #[test]
    fn a_mesh_comes_to_rest(fates in prop::collection::vec(fate(4), 1..30)) {
        let pairs = Network::mesh(4);
        let mut network = Network::new(4, &pairs, |_, _, _| {});
        let mut owners: BTreeMap<usize, IpNet> = (0..4).map(|n| (n, prefix(n))).collect();
        for fate in fates {
            match fate {
                Fate::Kill(n) => network.kill(n),
                Fate::Restart(n) => {
                    network.kill(n);
                    network.restart(n, &pairs);
                    owners.insert(n, prefix(n));
                }
                Fate::Cut(a, b) if a != b => network.cut(a, b),
                Fate::Cut(..) => {}
                Fate::Heal => network.cut.clear(),
                Fate::Originate(n, number) => {
                    let free = owners.values().all(|owned| *owned != prefix(number));
                    if let Some(speaker) = network.speakers[n].as_mut().filter(|_| free) {
                        speaker.originate([(prefix(number), originated())].into());
                        owners.insert(n, prefix(number));
                    }
                }
                Fate::Wait(seconds) => network.run(Duration::from_secs(seconds)),
            }
        }
        network.cut.clear();
        for n in 0..4 {
            if network.speakers[n].is_none() {
                network.restart(n, &pairs);
                owners.insert(n, prefix(n));
            }
        }
        network.run(Duration::from_secs(700));
        for n in 0..4 {
            for number in 0..12 {
                let owner = owners.iter().find(|(_, owned)| **owned == prefix(number)).map(|(owner, _)| *owner);
                let expected = owner.map(|owner| if owner == n {
                    IpAddr::from(Ipv4Addr::UNSPECIFIED)
                } else {
                    address(owner).into()
                });
                prop_assert_eq!(network.route(n, &prefix(number)), expected, "{} to {}", n, number);
            }
        }
    }
}
