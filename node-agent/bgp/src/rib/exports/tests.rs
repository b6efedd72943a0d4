use std::net::IpAddr;
use std::num::NonZeroU16;

use proptest::prelude::*;
use rstest::rstest;

use super::super::testing::*;
use super::super::{Kind, NextHop, Peer};
use super::*;
use crate::policy::{Match, Policy, PrefixRange, Rule, Then};

const P: &str = "10.244.0.0/24";
const Q: &str = "10.244.1.0/24";

/// To clients of this reflector.
fn to_clients() -> Export {
    Export {
        family: Family::Ipv4,
        to: Kind::Internal { client: true },
        policy: None,
        next_hop: NextHop::Kept,
        own_address: IpAddr::V4(id(100)),
        own_link_local: None,
        ipv6_next_hops: false,
        llgr: true,
        add_path: None,
    }
}

fn client(last: u8) -> Peer {
    Peer {
        kind: Kind::Internal { client: true },
        ..internal(last)
    }
}

/// What BGP peers know from what they were told.
#[derive(Debug, Default, PartialEq)]
struct Told(BTreeMap<(PeerId, Nlri), Arc<Attributes>>);

impl Told {
    /// Takes in an UPDATE; complains about what says nothing new.
    fn hear(&mut self, peer: PeerId, update: &Update) {
        for nlri in &update.withdrawn {
            let known = self.0.remove(&(peer, *nlri));
            assert!(known.is_some(), "{peer:?} never had {nlri:?}");
        }
        let Some((attributes, announced)) = &update.announced else {
            return;
        };
        for nlri in announced {
            let known = self.0.insert((peer, *nlri), Arc::clone(attributes));
            assert_ne!(known.as_ref(), Some(attributes), "{peer:?} knew {nlri:?}");
        }
    }

    fn hear_all(&mut self, emissions: &[Emission]) {
        let mut heard = std::collections::BTreeSet::new();
        for Emission { update, to } in emissions {
            let announced = update.announced.iter().flat_map(|(_, nlris)| nlris);
            for nlri in update.withdrawn.iter().chain(announced) {
                for peer in to.iter() {
                    assert!(heard.insert((peer, *nlri)), "{peer:?} hears {nlri:?} twice");
                }
            }
            to.iter().for_each(|peer| self.hear(peer, update));
        }
    }

    /// Prefixes that a BGP peer knows.
    fn of(&self, peer: u32) -> Vec<String> {
        let known = self.0.keys().filter(|(of, _)| *of == PeerId(peer));
        known.map(|(_, nlri)| nlri.prefix.to_string()).collect()
    }
}

/// A reflector with three clients that have heard all.
struct Reflector {
    table: Table,
    exports: Exports,
    told: Told,
}

impl Reflector {
    fn new(export: &Export) -> Self {
        let mut this = Self {
            table: table(1, &[client(1), client(2), client(3)]),
            exports: Exports::new(1),
            told: Told::default(),
        };
        for peer in 1..4 {
            this.join(peer, export);
        }
        this
    }

    fn join(&mut self, peer: u32, export: &Export) {
        let updates = self.exports.join(&self.table, PeerId(peer), export.clone());
        updates
            .iter()
            .for_each(|update| self.told.hear(PeerId(peer), update));
    }

    fn leave(&mut self, peer: u32) {
        self.exports.leave(PeerId(peer), Family::Ipv4);
        self.told.0.retain(|(of, _), _| *of != PeerId(peer));
    }

    fn settle(&mut self) -> Vec<Emission> {
        let changes = self.table.decide(near);
        let emissions = self.exports.apply(&self.table, &changes);
        self.told.hear_all(&emissions);
        emissions
    }

    fn hear(&mut self, from: u32, update: &Update) -> Vec<Emission> {
        self.table.update(PeerId(from), update);
        self.settle()
    }
}

fn told_to(emissions: &[Emission]) -> Vec<Vec<u32>> {
    let to = emissions.iter().map(|emission| emission.to.iter());
    to.map(|peers| peers.map(|peer| peer.0).collect()).collect()
}

#[test]
fn nobody_hears_its_own() {
    let mut reflector = Reflector::new(&to_clients());
    let emissions = reflector.hear(1, &announce(&attributes(&[]), &[P, Q]));
    assert_eq!(told_to(&emissions), [[2, 3]]);
    let (sent, nlris) = emissions[0].update.announced.as_ref().unwrap();
    assert_eq!(nlris, &[nlri(P, 0), nlri(Q, 0)]);
    assert_eq!(sent.originator_id, Some(id(1)));
    let emissions = reflector.hear(1, &withdraw(&[P]));
    assert_eq!(told_to(&emissions), [[2, 3]]);
    assert_eq!(emissions[0].update.withdrawn, [nlri(P, 0)]);
    assert_eq!(reflector.told.of(2), [Q]);
}

#[test]
fn the_best_path_goes_from_one_to_another() {
    let mut reflector = Reflector::new(&to_clients());
    reflector.hear(2, &announce(&attributes(&[7, 8]), &[P]));
    assert_eq!(
        told_to(&reflector.hear(1, &announce(&attributes(&[7]), &[P]))),
        [vec![3], vec![2], vec![1]]
    );
    assert_eq!(reflector.told.of(1), [] as [String; 0]);
    assert_eq!(reflector.told.of(2), [P]);
    assert_eq!(reflector.told.of(3), [P]);
    reflector.hear(1, &withdraw(&[P]));
    assert_eq!(reflector.told.of(1), [P]);
    assert_eq!(reflector.told.of(2), [] as [String; 0]);
}

#[test]
fn what_looks_the_same_is_not_said_again() {
    let mut reflector = Reflector::new(&Export {
        policy: None,
        ..to_clients()
    });
    let originated = Attributes {
        originator_id: Some(id(50)),
        ..attributes(&[])
    };
    let longer = Attributes {
        cluster_list: vec![id(51)],
        ..originated.clone()
    };
    reflector.hear(1, &announce(&originated, &[P]));
    assert_eq!(reflector.hear(2, &announce(&longer, &[P])), []);
    assert_eq!(reflector.hear(1, &announce(&originated, &[P])), []);
    // The same from another: only the two of them hear of it.
    reflector.hear(2, &announce(&originated, &[P]));
    let emissions = reflector.hear(1, &withdraw(&[P]));
    assert_eq!(told_to(&emissions), [[1], [2]]);
}

#[test]
fn a_late_member_hears_all_at_once() {
    let mut reflector = Reflector::new(&to_clients());
    reflector.leave(3);
    reflector.hear(1, &announce(&attributes(&[]), &[P]));
    reflector.hear(2, &announce(&attributes(&[]), &[Q]));
    reflector.hear(3, &announce(&attributes(&[]), &["10.244.3.0/24"]));
    assert_eq!(reflector.told.of(3), [] as [String; 0]);
    reflector.join(3, &to_clients());
    assert_eq!(reflector.told.of(3), [P, Q]);
    reflector.join(3, &to_clients());
    let again = reflector.exports.refresh(PeerId(3), Family::Ipv4);
    assert_eq!(again.len(), 2);
    assert_eq!(reflector.exports.refresh(PeerId(3), Family::Ipv6), []);
}

#[test]
fn another_policy_is_a_difference() {
    let mut reflector = Reflector::new(&to_clients());
    reflector.hear(1, &announce(&attributes(&[]), &[P, Q]));
    let only = |prefix| {
        let here = Match::Within(vec![PrefixRange::only(net(prefix))]);
        let policy = Policy::new(vec![Rule::new(vec![here], Then::Accept)]);
        Export {
            policy: Some(Arc::new(policy)),
            ..to_clients()
        }
    };
    reflector.join(2, &only(P));
    assert_eq!(reflector.told.of(2), [P]);
    reflector.join(2, &only(Q));
    assert_eq!(reflector.told.of(2), [Q]);
    assert_eq!(reflector.told.of(3), [P, Q]);
    reflector.hear(1, &withdraw(&[P, Q]));
    assert_eq!(reflector.told, Told::default());
}

#[test]
fn several_paths() {
    let most = NonZeroU16::new(2);
    let mut reflector = Reflector::new(&Export {
        add_path: most,
        ..to_clients()
    });
    reflector.hear(1, &announce(&attributes(&[7]), &[P]));
    reflector.hear(2, &announce(&attributes(&[7, 8]), &[P]));
    let known = |reflector: &Reflector, peer| {
        let known = reflector
            .told
            .0
            .iter()
            .filter(|((of, _), _)| *of == PeerId(peer));
        let known = known.map(|((_, nlri), sent)| (nlri.path_id, sent.path_length()));
        known.collect::<Vec<_>>()
    };
    assert_eq!(known(&reflector, 1), [(2, 2)]);
    assert_eq!(known(&reflector, 2), [(1, 1)]);
    assert_eq!(known(&reflector, 3), [(1, 1), (2, 2)]);
    reflector.hear(3, &announce(&attributes(&[]), &[P]));
    assert_eq!(known(&reflector, 3), [(1, 1)]);
    assert_eq!(known(&reflector, 2), [(1, 1), (3, 0)]);
    reflector.hear(1, &withdraw(&[P]));
    assert_eq!(known(&reflector, 1), [(2, 2), (3, 0)]);
}

#[rstest]
#[case(None)]
#[case(NonZeroU16::new(3))]
fn views_go_with_their_last_member(#[case] add_path: Option<NonZeroU16>) {
    let mut reflector = Reflector::new(&Export {
        add_path,
        ..to_clients()
    });
    assert_eq!(reflector.exports.views.len(), 1);
    for peer in [3, 1, 2, 2] {
        reflector.leave(peer);
    }
    assert!(reflector.exports.views.is_empty());
    assert_eq!(reflector.hear(1, &announce(&attributes(&[]), &[P])), []);
}

#[rstest]
#[case(None)]
#[case(NonZeroU16::new(3))]
fn what_is_withdrawn_leaves_nothing(#[case] add_path: Option<NonZeroU16>) {
    let mut reflector = Reflector::new(&Export {
        add_path,
        ..to_clients()
    });
    let size = |reflector: &Reflector| {
        let views = reflector.exports.views.values();
        views.map(View::len).collect::<Vec<_>>()
    };
    reflector.hear(1, &announce(&attributes(&[7]), &[P, Q]));
    assert_eq!(size(&reflector), [2]);
    reflector.hear(1, &withdraw(&[P, Q]));
    assert_eq!(size(&reflector), [0]);
}

#[derive(Clone, Debug)]
enum Event {
    Announce(u32, usize, u32, usize),
    Withdraw(u32, usize, u32),
    Flush(u32),
    Settle,
    Leave(u32),
    Join(u32, usize),
}

fn any_event() -> impl Strategy<Value = Event> {
    let peer = || 1u32..4;
    prop_oneof![
        6 => (peer(), 0usize..3, 0u32..2, 0usize..3)
            .prop_map(|(from, prefix, path_id, length)| Event::Announce(from, prefix, path_id, length)),
        3 => (peer(), 0usize..3, 0u32..2)
            .prop_map(|(from, prefix, path_id)| Event::Withdraw(from, prefix, path_id)),
        1 => peer().prop_map(Event::Flush),
        3 => Just(Event::Settle),
        1 => peer().prop_map(Event::Leave),
        2 => (peer(), 0usize..4).prop_map(|(peer, export)| Event::Join(peer, export)),
    ]
}

/// Exports of which each has something that the others don't.
fn exports_of_all_kinds() -> [Export; 4] {
    let one = Match::Within(vec![PrefixRange::only(net(P))]);
    let policy = Policy::new(vec![Rule::new(vec![one], Then::Accept)]);
    [
        to_clients(),
        Export {
            add_path: NonZeroU16::new(2),
            ..to_clients()
        },
        Export {
            add_path: NonZeroU16::new(9),
            ..to_clients()
        },
        Export {
            policy: Some(Arc::new(policy)),
            ..to_clients()
        },
    ]
}

proptest! {
    /// What members have heard, change by change and each change once, is what they would hear if they came now.
    #[test]
    fn what_was_said_is_what_is_so(events in prop::collection::vec(any_event(), 0..80)) {
        let prefixes = [P, Q, "10.244.2.0/24"];
        let kinds = exports_of_all_kinds();
        let mut reflector = Reflector::new(&to_clients());
        let mut joined = BTreeMap::from([(1, 0), (2, 0), (3, 0)]);
        for event in events {
            match event {
                Event::Announce(from, prefix, path_id, length) => {
                    let route = attributes(&[7, 8, 9][..length]);
                    let mut update = announce(&route, &[prefixes[prefix]]);
                    update.announced.as_mut().unwrap().1[0].path_id = path_id;
                    reflector.table.update(PeerId(from), &update);
                }
                Event::Withdraw(from, prefix, path_id) => {
                    let mut update = withdraw(&[prefixes[prefix]]);
                    update.withdrawn[0].path_id = path_id;
                    reflector.table.update(PeerId(from), &update);
                }
                Event::Flush(from) => reflector.table.flush(PeerId(from), Family::Ipv4),
                Event::Settle => drop(reflector.settle()),
                Event::Leave(peer) => {
                    reflector.leave(peer);
                    joined.remove(&peer);
                }
                Event::Join(peer, kind) => {
                    reflector.join(peer, &kinds[kind]);
                    joined.insert(peer, kind);
                }
            }
        }
        reflector.settle();
        let mut fresh = Told::default();
        let mut exports = Exports::new(2);
        for (peer, kind) in joined {
            let updates = exports.join(&reflector.table, PeerId(peer), kinds[kind].clone());
            updates.iter().for_each(|update| fresh.hear(PeerId(peer), update));
        }
        prop_assert_eq!(&reflector.told, &fresh);
        for peer in 1..4 {
            let sent = reflector.exports.sent(PeerId(peer), Family::Ipv4);
            let sent: BTreeMap<_, _> = sent.map(|(nlri, sent)| ((PeerId(peer), nlri), Arc::clone(sent))).collect();
            let told: BTreeMap<_, _> = fresh.0.range((PeerId(peer), nlri("0.0.0.0/0", 0))..(PeerId(peer + 1), nlri("0.0.0.0/0", 0)))
                .map(|(key, sent)| (*key, Arc::clone(sent))).collect();
            prop_assert_eq!(sent, told);
        }
    }
}
