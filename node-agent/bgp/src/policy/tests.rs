use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use rstest::rstest;

use super::ranges::{Reserved, from_mesh, from_router};
use super::{Edit, Match, Policy, PrefixRange, Rule, Then};
use crate::route::{Attributes, Family, Origin, Segment, community};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn route() -> Attributes {
    Attributes {
        origin: Origin::Igp,
        as_path: vec![
            Segment::Sequence(vec![64501, 64502]),
            Segment::Set(vec![64503, 64504]),
            Segment::Sequence(vec![64505]),
        ],
        next_hop: Ipv4Addr::new(192, 0, 2, 1).into(),
        link_local: None,
        med: None,
        local_pref: None,
        atomic_aggregate: false,
        aggregator: None,
        communities: vec![10, 20, community::LLGR_STALE],
        large_communities: vec![(1, 2, 3)],
        extended_communities: Vec::new(),
        originator_id: None,
        cluster_list: Vec::new(),
        opaque: Vec::new(),
    }
}

fn within(net_: &str, min: u8, max: u8) -> Match {
    let net = net(net_);
    Match::Within(vec![PrefixRange { net, min, max }])
}

#[rstest]
#[case::family(Match::Family(Family::Ipv4), true)]
#[case::other_family(Match::Family(Family::Ipv6), false)]
#[case::same_prefix(Match::Within(vec![PrefixRange::only(net("10.1.2.0/24"))]), true)]
#[case::all_inside(Match::Within(vec![PrefixRange::all_of(net("10.0.0.0/8"))]), true)]
#[case::not_inside(Match::Within(vec![PrefixRange::all_of(net("10.1.2.0/25"))]), false)]
#[case::length_in_range(within("10.0.0.0/8", 16, 24), true)]
#[case::too_long(within("10.0.0.0/8", 16, 23), false)]
#[case::too_short(within("10.0.0.0/8", 25, 32), false)]
#[case::empty_range(within("10.0.0.0/8", 25, 16), false)]
#[case::elsewhere(within("11.0.0.0/8", 8, 32), false)]
#[case::of_the_other_family(within("::/0", 0, 128), false)]
#[case::one_of_none(Match::Within(vec![]), false)]
#[case::overlaps_outer(Match::Overlaps(vec![net("10.0.0.0/8")]), true)]
#[case::overlaps_inner(Match::Overlaps(vec![net("10.1.2.128/32")]), true)]
#[case::beside(Match::Overlaps(vec![net("10.1.3.0/24")]), false)]
#[case::path_contains(Match::PathContains(64502), true)]
#[case::path_contains_in_a_set(Match::PathContains(64504), true)]
#[case::path_lacks(Match::PathContains(64506), false)]
#[case::originates(Match::Originates(64505), true)]
#[case::does_not_originate(Match::Originates(64501), false)]
#[case::neighbour(Match::Neighbour(64501), true)]
#[case::not_neighbour(Match::Neighbour(64505), false)]
#[case::community(Match::Community(20), true)]
#[case::no_community(Match::Community(15), false)]
#[case::large_community(Match::LargeCommunity((1, 2, 3)), true)]
#[case::no_large_community(Match::LargeCommunity((1, 2, 4)), false)]
fn matches(#[case] one: Match, #[case] holds: bool) {
    let policy = Policy::new(vec![Rule::new(vec![one], Then::Accept)]);
    let verdict = policy.judge(&net("10.1.2.0/24"), &route());
    assert_eq!(verdict.is_some(), holds);
}

#[rstest]
#[case::empty(vec![])]
#[case::a_set_first(vec![Segment::Set(vec![1])])]
#[case::an_empty_sequence(vec![Segment::Sequence(vec![])])]
fn a_path_that_does_not_say(#[case] as_path: Vec<Segment>) {
    let route = Attributes { as_path, ..route() };
    for one in [Match::Neighbour(1), Match::Originates(1)] {
        let policy = Policy::new(vec![Rule::new(vec![one], Then::Accept)]);
        assert_eq!(policy.judge(&net("10.1.2.0/24"), &route), None);
    }
}

#[rstest]
#[case::local_pref(Edit::LocalPref(7), Attributes { local_pref: Some(7), ..route() })]
#[case::med(Edit::Med(7), Attributes { med: Some(7), ..route() })]
#[case::community(Edit::AddCommunity(15), Attributes { communities: vec![10, 15, 20, community::LLGR_STALE], ..route() })]
#[case::community_there(Edit::AddCommunity(10), route())]
#[case::no_community(Edit::RemoveCommunity(10), Attributes { communities: vec![20, community::LLGR_STALE], ..route() })]
#[case::community_not_there(Edit::RemoveCommunity(15), route())]
#[case::stale_stays(Edit::RemoveCommunity(community::LLGR_STALE), route())]
#[case::large(Edit::AddLargeCommunity((1, 2, 2)), Attributes { large_communities: vec![(1, 2, 2), (1, 2, 3)], ..route() })]
#[case::no_large(Edit::RemoveLargeCommunity((1, 2, 3)), Attributes { large_communities: vec![], ..route() })]
#[case::next_hop(Edit::NextHop(IpAddr::from([192, 0, 2, 9])), Attributes { next_hop: IpAddr::from([192, 0, 2, 9]), ..route() })]
#[case::prepend(Edit::Prepend(9, 2), Attributes {
    as_path: vec![
        Segment::Sequence(vec![9, 9, 64501, 64502]),
        Segment::Set(vec![64503, 64504]),
        Segment::Sequence(vec![64505]),
    ],
    ..route()
})]
fn edits(#[case] edit: Edit, #[case] expected: Attributes) {
    let mut changed = route();
    let rule = Rule {
        when: vec![],
        edits: vec![edit],
        then: Then::Accept,
    };
    let policy = Policy::new(vec![rule]);
    let verdict = policy.judge(&net("10.1.2.0/24"), &changed.clone());
    verdict.unwrap().apply(&mut changed);
    assert_eq!(changed, expected);
}

#[test]
fn a_full_segment_is_followed_by_another() {
    let mut route = route();
    for _ in 0..300 {
        route.prepend(9);
    }
    assert_eq!(route.path_length(), 304);
    assert_eq!(route.path_count(9), 300);
    let lengths = route.as_path.iter().map(|segment| match segment {
        Segment::Sequence(ases) | Segment::Set(ases) => ases.len(),
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [47, 255, 2, 1]);
}

/// Rules that all match; each sets the next value of LOCAL_PREF, from 1.
#[rstest]
#[case::none(&[], None)]
#[case::nothing_terminal(&[Then::Continue], None)]
#[case::first_terminal(&[Then::Accept, Then::Reject], Some(1))]
#[case::rejected(&[Then::Continue, Then::Reject, Then::Accept], None)]
#[case::edits_on_the_way(&[Then::Continue, Then::Continue, Then::Accept], Some(3))]
fn order(#[case] thens: &[Then], #[case] local_pref: Option<u32>) {
    let rule = |(at, then): (usize, &Then)| Rule {
        when: vec![],
        edits: vec![Edit::LocalPref(at as u32 + 1)],
        then: *then,
    };
    let policy = Policy::new(thens.iter().enumerate().map(rule).collect());
    let mut route = route();
    let edits = policy.judge(&net("10.1.2.0/24"), &route.clone());
    let accepted = edits.map(|edits| edits.apply(&mut route));
    assert_eq!(accepted.and(route.local_pref), local_pref);
}

#[test]
fn rules_see_the_route_as_it_came() {
    let add = Rule {
        when: vec![],
        edits: vec![Edit::AddCommunity(15)],
        then: Then::Continue,
    };
    let seen = Rule::new(vec![Match::Community(15)], Then::Accept);
    let policy = Policy::new(vec![add, seen]);
    assert_eq!(policy.judge(&net("10.1.2.0/24"), &route()), None);
}

#[rstest]
#[case("10.244.0.0/16", true)]
#[case("10.244.3.0/26", true)]
#[case("10.244.3.7/32", true)]
#[case("10.240.0.0/12", false)]
#[case("10.245.0.0/24", false)]
#[case("0.0.0.0/0", false)]
#[case("fd00:244::/122", true)]
#[case("::/0", false)]
fn mesh(#[case] prefix: &str, #[case] accepted: bool) {
    let policy = from_mesh(&[net("10.244.0.0/16"), net("fd00:244::/48")]);
    assert_eq!(policy.judge(&net(prefix), &route()).is_some(), accepted);
}

#[rstest]
#[case::elsewhere("198.51.100.0/24", true)]
#[case::pool("10.244.0.0/16", false)]
#[case::in_a_pool("10.244.1.0/24", false)]
#[case::covers_a_pool("10.0.0.0/8", false)]
#[case::half_of_everything("0.0.0.0/1", false)]
#[case::service("10.96.0.10/32", false)]
#[case::node("192.0.2.7/32", false)]
#[case::beside_the_nodes("192.0.3.0/24", true)]
#[case::link_local("169.254.169.254/32", false)]
#[case::loopback("127.0.0.0/8", false)]
#[case::multicast("239.0.0.0/8", false)]
#[case::elsewhere6("2001:db8:9::/48", true)]
#[case::pool6("fd00:244::/64", false)]
#[case::link_local6("fe80::/64", false)]
#[case::loopback6("::1/128", false)]
#[case::multicast6("ff02::/16", false)]
fn router(#[case] prefix: &str, #[case] accepted: bool) {
    for default_route in [false, true] {
        let policy = from_router(vec![], &reserved(), default_route, accept());
        assert_eq!(policy.judge(&net(prefix), &route()).is_some(), accepted);
    }
}

#[rstest]
#[case("0.0.0.0/0")]
#[case("::/0")]
fn default_route_only_when_asked_for(#[case] prefix: &str) {
    for asked in [false, true] {
        let policy = from_router(vec![], &reserved(), asked, accept());
        assert_eq!(policy.judge(&net(prefix), &route()).is_some(), asked);
    }
}

fn accept() -> Vec<Rule> {
    vec![Rule::new(vec![], Then::Accept)]
}

fn reserved() -> Reserved {
    Reserved {
        pools: vec![net("10.244.0.0/16"), net("fd00:244::/48")],
        services: vec![net("10.96.0.0/12")],
        nodes: vec![net("192.0.2.0/24")],
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), 0u8..=128).prop_map(|(address, length)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new_assert(address, length.min(longest)).trunc()
    })
}

/// Prefixes that a guard might confuse: near the reserved ones, at every length.
fn near_net() -> impl Strategy<Value = IpNet> {
    let known = reserved();
    let nets = [known.pools, known.services, known.nodes].concat();
    (prop::sample::select(nets), 0u8..=128).prop_map(|(near, length)| {
        let length = length.min(near.max_prefix_len());
        IpNet::new_assert(near.addr(), length).trunc()
    })
}

proptest! {
    #[test]
    fn mesh_accepts_exactly_what_is_inside(prefix in prop_oneof![any_net(), near_net()]) {
        let pools = reserved().pools;
        let accepted = from_mesh(&pools).judge(&prefix, &route()).is_some();
        prop_assert_eq!(accepted, pools.iter().any(|pool| pool.contains(&prefix)));
    }

    #[test]
    fn router_never_overlaps(prefix in prop_oneof![any_net(), near_net()], default_route: bool) {
        let known = reserved();
        let accepted = from_router(vec![], &known, default_route, accept()).judge(&prefix, &route()).is_some();
        let ours = [known.pools, known.services, known.nodes].concat();
        let overlaps = |net: &IpNet| net.contains(&prefix) || prefix.contains(net);
        if prefix.prefix_len() == 0 {
            prop_assert_eq!(accepted, default_route);
        } else if ours.iter().any(overlaps) {
            prop_assert!(!accepted);
        }
    }

    #[test]
    fn a_filter_cannot_widen_the_guard(prefix in near_net(), default_route: bool) {
        let guard = from_router(vec![], &reserved(), default_route, accept());
        let none = from_router(vec![], &reserved(), default_route, vec![]);
        prop_assert_eq!(none.judge(&prefix, &route()), None);
        let edits = guard.judge(&prefix, &route());
        prop_assert!(edits.is_none_or(|edits| edits.is_empty()));
    }
}
