use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;

use super::super::Limit;
use super::super::testing::*;
use super::*;
use crate::policy::{Edit, Match, Policy, PrefixRange, Rule, Then};

const P: &str = "10.244.0.0/24";
const Q: &str = "10.244.1.0/24";

/// Who the selected paths to a prefix are from.
fn best(table: &Table, prefix: &str) -> Vec<u32> {
    let paths = table.best(&net(prefix)).iter();
    paths.map(|path| path.from().0).collect()
}

/// What a decision lists: prefixes, and whether the selected paths changed.
fn changes(table: &mut Table) -> Vec<(String, bool)> {
    let changes = table.decide(near).into_iter();
    changes
        .map(|change| (change.prefix.to_string(), change.best))
        .collect()
}

fn changed(prefix: &str) -> (String, bool) {
    (prefix.into(), true)
}

fn beside(prefix: &str) -> (String, bool) {
    (prefix.into(), false)
}

#[test]
fn the_best_path_of_several() {
    let mut table = table(1, &[external(1), external(2)]);
    table.update(PeerId(1), &announce(&attributes(&[1, 2]), &[P, Q]));
    assert_eq!(best(&table, P), [] as [u32; 0]);
    assert_eq!(changes(&mut table), [changed(P), changed(Q)]);
    assert_eq!(best(&table, P), [1]);

    table.update(PeerId(2), &announce(&attributes(&[2]), &[P]));
    assert_eq!(changes(&mut table), [changed(P)]);
    assert_eq!(best(&table, P), [2]);
    assert_eq!(table.eligible(&net(P)).len(), 2);

    table.update(PeerId(1), &announce(&attributes(&[1, 3]), &[P]));
    assert_eq!(changes(&mut table), [beside(P)]);

    table.update(PeerId(2), &withdraw(&[P, Q]));
    assert_eq!(changes(&mut table), [changed(P)]);
    assert_eq!(best(&table, P), [1]);

    table.update(PeerId(1), &withdraw(&[P, Q]));
    assert_eq!(changes(&mut table), [changed(P), changed(Q)]);
    assert_eq!(table.routes().count(), 0);
    assert_eq!((table.routes.len(), table.shared.len()), (0, 0));
}

#[test]
fn what_is_said_again_changes_nothing() {
    let mut table = table(1, &[external(1)]);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    changes(&mut table);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    assert_eq!(changes(&mut table), []);
}

#[test]
fn a_route_that_is_replaced_is_never_gone() {
    let mut table = table(1, &[external(1)]);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    changes(&mut table);
    let mut update = announce(&attributes(&[1, 2]), &[P]);
    update.withdrawn = vec![nlri(P, 0)];
    table.update(PeerId(1), &update);
    assert_eq!(changes(&mut table), [changed(P)]);
    assert_eq!(table.best(&net(P))[0].received().path_length(), 2);
}

#[test]
fn what_is_gone_is_no_longer_selected_and_nothing_else_is_yet() {
    let mut table = table(1, &[external(1), external(2)]);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    table.update(PeerId(2), &announce(&attributes(&[2, 3]), &[P]));
    table.decide(near);
    table.update(PeerId(1), &withdraw(&[P]));
    assert_eq!(best(&table, P), [] as [u32; 0]);
    let eligible = table.eligible(&net(P)).iter();
    assert_eq!(eligible.map(|path| path.from().0).collect::<Vec<_>>(), [2]);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    assert_eq!(table.eligible(&net(P)).len(), 1);
    assert_eq!(changes(&mut table), [changed(P)]);
}

#[test]
fn what_comes_and_goes_at_once_leaves_nothing() {
    let mut table = table(1, &[external(1)]);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    table.update(PeerId(1), &withdraw(&[P]));
    assert_eq!(changes(&mut table), [beside(P)]);
    assert_eq!((table.routes.len(), table.shared.len()), (0, 0));
}

#[rstest]
#[case::one(1, &[1])]
#[case::two(2, &[1, 2])]
#[case::all_that_are_equal(9, &[1, 2, 3])]
fn multipath(#[case] most: u16, #[case] expected: &[u32]) {
    let mut table = table(most, &[external(1), external(2), external(3), external(4)]);
    for (peer, path) in [(4, &[4, 9][..]), (3, &[3]), (2, &[2]), (1, &[1])] {
        table.update(PeerId(peer), &announce(&attributes(path), &[P]));
    }
    table.decide(near);
    assert_eq!(best(&table, P), expected);
    table.update(PeerId(2), &withdraw(&[P]));
    let best_changed = expected.contains(&2);
    assert_eq!(changes(&mut table), [(P.into(), best_changed)]);
}

#[test]
fn next_hops_that_are_unreachable() {
    let mut table = table(1, &[external(1), external(2)]);
    let by = |last: u8| Attributes {
        next_hop: id(last).into(),
        ..attributes(&[u32::from(last)])
    };
    table.update(PeerId(1), &announce(&by(1), &[P]));
    table.update(PeerId(2), &announce(&by(2), &[P]));
    table.decide(near);
    assert_eq!(best(&table, P), [1]);

    let without_1 = |_, next_hop| (next_hop != IpAddr::from(id(1))).then_some(1);
    assert_eq!(table.decide(without_1), []);
    table.next_hops_changed(|next_hop| next_hop == id(1));
    assert_eq!(table.decide(without_1).len(), 1);
    assert_eq!(best(&table, P), [2]);
    assert_eq!(table.eligible(&net(P)).len(), 1);

    table.next_hops_changed(|_| true);
    table.decide(|_, _| None);
    assert_eq!(best(&table, P), [] as [u32; 0]);
    assert_eq!(table.received(PeerId(1)).count(), 1);
}

#[rstest]
#[case::fine(external(1), |_: &mut Attributes| {}, None)]
#[case::own_as(external(1), |route: &mut Attributes| route.prepend(64512), Some(Refusal::AsLoop))]
#[case::own_as_over_ibgp(internal(1), |route: &mut Attributes| route.prepend(64512), Some(Refusal::AsLoop))]
#[case::own_as_allowed(
    Peer { own_as_allowed: 1, ..external(1) },
    |route: &mut Attributes| route.prepend(64512),
    None,
)]
#[case::own_as_allowed_once(
    Peer { own_as_allowed: 1, ..external(1) },
    |route: &mut Attributes| { route.prepend(64512); route.prepend(64512) },
    Some(Refusal::AsLoop),
)]
#[case::own_originator_id(
    internal(1),
    |route: &mut Attributes| route.originator_id = Some(id(100)),
    Some(Refusal::OriginatedHere),
)]
#[case::originator_id_means_nothing_from_outside(
    external(1),
    |route: &mut Attributes| route.originator_id = Some(id(100)),
    None,
)]
#[case::own_cluster(
    internal(1),
    |route: &mut Attributes| route.cluster_list = vec![id(7), id(200)],
    Some(Refusal::ClusterLoop),
)]
#[case::no_policy(Peer { import: None, ..external(1) }, |_: &mut Attributes| {}, Some(Refusal::NoPolicy))]
#[case::no_policy_over_ibgp(internal(1), |_: &mut Attributes| {}, None)]
#[case::rejected(
    Peer { import: Some(Arc::default()), ..internal(1) },
    |_: &mut Attributes| {},
    Some(Refusal::Policy),
)]
fn refusals(
    #[case] peer: Peer,
    #[case] change: fn(&mut Attributes),
    #[case] refusal: Option<Refusal>,
) {
    let mut table = table(1, &[peer]);
    let mut route = attributes(&[1]);
    change(&mut route);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    table.update(PeerId(1), &announce(&route, &[P]));
    table.decide(near);
    assert_eq!(table.best(&net(P)).is_empty(), refusal.is_some());
    let (_, path) = table.received(PeerId(1)).next().unwrap();
    assert_eq!(table.refusal(path), refusal);
    assert_eq!(table.count(PeerId(1), Family::Ipv4), (1, 0));
}

#[test]
fn an_ebgp_peer_has_no_say_in_local_preference() {
    let mut table = table(1, &[external(1)]);
    let mut route = attributes(&[1]);
    route.local_pref = Some(1000);
    route.cluster_list = vec![id(200)];
    table.update(PeerId(1), &announce(&route, &[P]));
    table.decide(near);
    assert_eq!(**table.best(&net(P))[0].received(), attributes(&[1]));
}

#[test]
fn the_import_policy_changes_what_is_accepted() {
    let prefer = |prefix| Rule {
        when: vec![Match::Within(vec![PrefixRange::only(net(prefix))])],
        edits: vec![Edit::LocalPref(200)],
        then: Then::Accept,
    };
    let policy = |prefix| Some(Arc::new(Policy::new(vec![prefer(prefix)])));
    let peer = |prefix| Peer {
        import: policy(prefix),
        ..external(1)
    };
    let mut table = table(1, &[peer(P), external(2)]);
    table.update(PeerId(2), &announce(&attributes(&[2]), &[P, Q]));
    table.update(PeerId(1), &announce(&attributes(&[1, 2]), &[P, Q]));
    table.decide(near);
    assert_eq!((best(&table, P), best(&table, Q)), (vec![1], vec![2]));
    let path = &table.best(&net(P))[0];
    assert_eq!(path.accepted().unwrap().local_pref, Some(200));
    assert_eq!(path.received().local_pref, None);

    table.set_peer(PeerId(1), peer(Q));
    let mut listed = changes(&mut table);
    listed.sort_unstable();
    assert_eq!(listed, [changed(P), changed(Q)]);
    assert_eq!((best(&table, P), best(&table, Q)), (vec![2], vec![1]));
    table.set_peer(PeerId(1), peer(Q));
    assert_eq!(changes(&mut table), []);
}

#[test]
fn what_a_bgp_peer_is_counts_only_where_it_matters() {
    let mut table = table(1, &[external(1), external(2)]);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    table.update(PeerId(2), &announce(&attributes(&[2]), &[P]));
    table.decide(near);
    let max = 9;
    let limit_ipv4 = Some(Limit { max, warn: 9 });
    let limited = Peer {
        limit_ipv4,
        ..external(1)
    };
    table.set_peer(PeerId(1), limited.clone());
    assert_eq!(changes(&mut table), []);
    table.set_peer(
        PeerId(1),
        Peer {
            router_id: id(9),
            ..limited
        },
    );
    assert_eq!(changes(&mut table), [changed(P)]);
    assert_eq!(best(&table, P), [2]);
    table.set_peer(PeerId::LOCAL, external(3));
    assert_eq!(table.peer(PeerId::LOCAL), None);
}

#[test]
fn equal_attributes_are_one() {
    let mut table = table(1, &[external(1), external(2)]);
    for peer in [1, 2] {
        table.update(PeerId(peer), &announce(&attributes(&[1]), &[P, Q]));
    }
    table.decide(near);
    assert_eq!(table.shared.len(), 1);
    let paths = table
        .eligible(&net(P))
        .iter()
        .chain(table.eligible(&net(Q)));
    let mut shared = paths.map(|path| path.accepted().unwrap());
    let first = shared.next().unwrap();
    assert!(shared.all(|other| Arc::ptr_eq(first, other)));
}

#[test]
fn memory_goes_with_the_last_user() {
    let mut table = table(1, &[external(1)]);
    for med in 0..1000 {
        let route = Attributes {
            med: Some(med),
            ..attributes(&[1])
        };
        table.update(PeerId(1), &announce(&route, &[P]));
        table.decide(near);
        assert!(table.shared.len() < 80);
    }
    table.forget_peer(PeerId(1));
    table.decide(near);
    assert_eq!((table.routes.len(), table.peer(PeerId(1))), (0, None));
}

#[test]
fn a_path_is_no_more_than_a_few_words() {
    assert!(size_of::<(IpNet, Entry)>() <= 72);
}

#[test]
fn one_that_is_not_known_says_nothing() {
    let mut table = table(1, &[]);
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    table.restarting(PeerId(1), Family::Ipv4);
    table.forget_peer(PeerId(1));
    assert_eq!(changes(&mut table), []);
    assert_eq!(table.count(PeerId(1), Family::Ipv4), (0, 0));
}

#[test]
fn originated_here() {
    let mut table = table(1, &[external(1), internal(2)]);
    let preferred = Attributes {
        local_pref: Some(200),
        ..attributes(&[])
    };
    table.update(PeerId(1), &announce(&attributes(&[1]), &[P]));
    table.originate(net(P), attributes(&[7, 8]));
    table.decide(|_, _| Some(0));
    assert_eq!(best(&table, P), [PeerId::LOCAL.0]);
    table.update(PeerId(2), &announce(&preferred, &[P]));
    table.decide(near);
    assert_eq!(best(&table, P), [2]);
    table.retract(net(P));
    table.update(PeerId(2), &withdraw(&[P]));
    table.decide(near);
    assert_eq!(best(&table, P), [1]);
}

#[test]
fn limits() {
    let limit = Some(Limit { max: 3, warn: 1 });
    let mut table = table(
        1,
        &[Peer {
            limit_ipv4: limit,
            ..external(1)
        }],
    );
    let family = Family::Ipv4;
    let warning = |routes| Some(LimitEvent::Warning { family, routes });
    let exceeded = Some(LimitEvent::Exceeded { family, max: 3 });
    let route = attributes(&[1]);
    let from = PeerId(1);
    let prefixes = [
        "10.0.0.0/24",
        "10.0.1.0/24",
        "10.0.2.0/24",
        "10.0.3.0/24",
        "10.0.4.0/24",
    ];
    assert_eq!(table.update(from, &announce(&route, &prefixes[..1])), None);
    assert_eq!(
        table.update(from, &announce(&route, &prefixes[..2])),
        warning(2)
    );
    assert_eq!(table.update(from, &announce(&route, &prefixes[..3])), None);
    assert_eq!(
        table.update(from, &announce(&route, &["2001:db8::/32"])),
        None
    );
    assert_eq!(
        table.update(from, &announce(&attributes(&[1, 2]), &prefixes)),
        exceeded
    );
    table.decide(near);
    assert_eq!(table.count(from, family), (3, 0));
    assert_eq!(table.routes.len(), 4);
    assert_eq!(table.best(&net(prefixes[2]))[0].received().path_length(), 2);

    assert_eq!(table.update(from, &withdraw(&prefixes[..2])), None);
    assert_eq!(
        table.update(from, &announce(&route, &prefixes[3..])),
        warning(3)
    );
}

#[test]
fn paths_of_one_bgp_peer() {
    let mut table = table(4, &[external(1)]);
    let mut update = announce(&attributes(&[1]), &[P]);
    for path_id in [7, 3] {
        update.announced.as_mut().unwrap().1 = vec![nlri(P, path_id)];
        table.update(PeerId(1), &update);
    }
    table.decide(near);
    let paths = table.best(&net(P)).iter();
    let ids: Vec<_> = paths.map(|path| (path.path_id(), path.send_id())).collect();
    assert_eq!(ids, [(3, 2), (7, 1)]);
    update.announced = None;
    update.withdrawn = vec![nlri(P, 3), nlri(P, 4)];
    table.update(PeerId(1), &update);
    table.decide(near);
    assert_eq!(table.best(&net(P))[0].path_id(), 7);
    assert_eq!(table.count(PeerId(1), Family::Ipv4), (1, 0));
}

/// Something that happens to a table of three BGP peers and four prefixes.
#[derive(Clone, Debug)]
enum Event {
    Announce(u32, usize, u32),
    Withdraw(u32, usize),
    Flush(u32),
    Decide,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1u32..4, 0usize..4, 0u32..3).prop_map(|(from, prefix, med)| Event::Announce(from, prefix, med)),
        2 => (1u32..4, 0usize..4).prop_map(|(from, prefix)| Event::Withdraw(from, prefix)),
        1 => (1u32..4).prop_map(Event::Flush),
        2 => Just(Event::Decide),
    ]
}

const PREFIXES: [&str; 4] = [P, Q, "10.244.2.0/24", "10.244.3.0/24"];

proptest! {
    /// Whatever was listed or not, the table is the one that hears only what is true in the end; and what was not
    /// listed has not changed.
    #[test]
    fn history_does_not_matter(events in prop::collection::vec(any_event(), 0..60), multipath in 1u16..3) {
        let peers = [external(1), external(2), internal(3)];
        let mut one = table(multipath, &peers);
        let mut told = BTreeMap::new();
        let chosen = |table: &Table| {
            let paths = |prefix: &&'static str| {
                let paths = table.best(&net(prefix)).iter();
                let paths: Vec<_> = paths.map(|path| (path.from(), Attributes::clone(path.received()))).collect();
                (*prefix, paths)
            };
            PREFIXES.iter().map(paths).collect::<BTreeMap<_, _>>()
        };
        for event in events.iter().chain([&Event::Decide]) {
            let before = chosen(&one);
            match *event {
                Event::Announce(from, prefix, med) => {
                    let route = Attributes { med: Some(med), ..attributes(&[64601]) };
                    one.update(PeerId(from), &announce(&route, &[PREFIXES[prefix]]));
                    told.insert((from, prefix), route);
                }
                Event::Withdraw(from, prefix) => {
                    one.update(PeerId(from), &withdraw(&[PREFIXES[prefix]]));
                    told.remove(&(from, prefix));
                }
                Event::Flush(from) => {
                    one.flush(PeerId(from), Family::Ipv4);
                    told.retain(|(peer, _), _| *peer != from);
                }
                Event::Decide => {
                    let dirty: Vec<IpNet> = one.dirty.iter().map(|place| place.prefix).collect();
                    let listed = one.decide(near);
                    let after = chosen(&one);
                    for prefix in PREFIXES {
                        if !dirty.contains(&net(prefix)) {
                            prop_assert_eq!(&before[prefix], &after[prefix]);
                        }
                    }
                    prop_assert_eq!(listed.len(), dirty.len());
                }
            }
        }
        let mut other = table(multipath, &peers);
        for ((from, prefix), route) in &told {
            other.update(PeerId(*from), &announce(route, &[PREFIXES[*prefix]]));
        }
        other.decide(near);
        prop_assert_eq!(chosen(&one), chosen(&other));
        let values: std::collections::BTreeSet<_> = told.values().cloned().collect();
        prop_assert_eq!(one.shared.len(), values.len());
        for peer in 1..4 {
            let count = told.keys().filter(|(from, _)| *from == peer).count();
            prop_assert_eq!(one.count(PeerId(peer), Family::Ipv4), (count, 0));
        }
    }
}
