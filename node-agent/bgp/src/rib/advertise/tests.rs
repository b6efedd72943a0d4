use std::net::Ipv4Addr;

use proptest::prelude::*;
use rstest::rstest;

use super::super::admission::{Refusal, refusal};
use super::super::testing::*;
use super::*;
use crate::policy::{Edit, Match, PrefixRange, Rule, Then};
use crate::route::{Opaque, Segment};

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

fn client(last: u8) -> Peer {
    Peer {
        kind: Kind::Internal { client: true },
        ..internal(last)
    }
}

/// To a BGP peer of this kind, as RFC 4271 has it, with a policy that accepts all.
fn export(to: Kind) -> Export {
    Export {
        family: Family::Ipv4,
        to,
        policy: Some(Arc::new(Policy::accept_all())),
        next_hop: match to {
            Kind::External => NextHop::Own,
            Kind::Internal { .. } => NextHop::Kept,
        },
        own_address: OWN,
        own_link_local: None,
        ipv6_next_hops: false,
        llgr: true,
        add_path: None,
    }
}

const EXTERNAL: Kind = Kind::External;
const INTERNAL: Kind = Kind::Internal { client: false };
const CLIENT: Kind = Kind::Internal { client: true };

fn is_permitted(export: &Export, source: Option<&Peer>, attributes: &Attributes) -> bool {
    permitted(export, source, &net("10.244.0.0/24"), attributes).is_some()
}

fn sent(export: &Export, source: Option<&Peer>, attributes: &Attributes) -> Option<Attributes> {
    let edits = permitted(export, source, &net("10.244.0.0/24"), attributes)?;
    rewritten(&us(1), export, source, attributes, &edits)
}

/// RFC 4456, section 6, and RFC 4271, section 9.2.
#[rstest]
#[case::local(None, [true, true, true])]
#[case::external(Some(external(1)), [true, true, true])]
#[case::internal(Some(internal(1)), [true, false, true])]
#[case::client(Some(client(1)), [true, true, true])]
fn who_is_told(#[case] source: Option<Peer>, #[case] told: [bool; 3]) {
    let to = [EXTERNAL, INTERNAL, CLIENT];
    let is_told = |to| is_permitted(&export(to), source.as_ref(), &attributes(&[1]));
    assert_eq!(to.map(is_told), told);
}

#[rstest]
#[case::none(0x00fa_0001, [true, true, true])]
#[case::no_export(community::NO_EXPORT, [false, true, true])]
#[case::no_export_subconfed(community::NO_EXPORT_SUBCONFED, [false, true, true])]
#[case::no_advertise(community::NO_ADVERTISE, [false, false, false])]
#[case::no_llgr(community::NO_LLGR, [true, true, true])]
#[case::stale(community::LLGR_STALE, [true, true, true])]
fn communities(#[case] community: u32, #[case] told: [bool; 3]) {
    let mut route = attributes(&[1]);
    route.communities = vec![community];
    for source in [None, Some(&external(1))] {
        let is_told = |to| is_permitted(&export(to), source, &route);
        assert_eq!([EXTERNAL, INTERNAL, CLIENT].map(is_told), told);
    }
}

#[test]
fn stale_routes_only_to_those_who_know_what_they_are() {
    let mut route = attributes(&[1]);
    route.communities = vec![community::LLGR_STALE];
    for to in [EXTERNAL, INTERNAL, CLIENT] {
        let export = Export {
            llgr: false,
            ..export(to)
        };
        assert!(!is_permitted(&export, Some(&external(1)), &route));
        assert!(is_permitted(&export, Some(&external(1)), &attributes(&[1])));
    }
}

/// RFC 8212.
#[rstest]
#[case::external_to_external(Some(external(1)), EXTERNAL, false)]
#[case::internal_to_external(Some(internal(1)), EXTERNAL, false)]
#[case::own_to_external(None, EXTERNAL, true)]
#[case::external_to_internal(Some(external(1)), INTERNAL, true)]
#[case::own_to_internal(None, INTERNAL, true)]
fn without_a_policy(#[case] source: Option<Peer>, #[case] to: Kind, #[case] told: bool) {
    let export = Export {
        policy: None,
        ..export(to)
    };
    assert_eq!(
        is_permitted(&export, source.as_ref(), &attributes(&[1])),
        told
    );
}

#[test]
fn the_policy_decides() {
    let here = Match::Within(vec![PrefixRange::only(net("10.244.0.0/24"))]);
    let policy = Policy::new(vec![Rule::new(vec![here], Then::Reject)]);
    let export = Export {
        policy: Some(Arc::new(policy)),
        ..export(EXTERNAL)
    };
    assert!(!is_permitted(&export, None, &attributes(&[])));
}

/// A route with everything that is not for everybody.
fn route() -> Attributes {
    Attributes {
        next_hop: FAR,
        link_local: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        med: Some(5),
        local_pref: Some(300),
        originator_id: Some(id(7)),
        cluster_list: vec![id(8)],
        extended_communities: vec![[0; 8], [0x40, 0, 0, 0, 0, 0, 0, 0]],
        opaque: vec![Opaque {
            flags: 0xc0,
            code: 99,
            value: vec![1],
        }],
        ..attributes(&[64601])
    }
}

/// `route()` to an eBGP peer.
fn outside() -> Attributes {
    Attributes {
        next_hop: OWN,
        extended_communities: vec![[0; 8]],
        opaque: vec![Opaque {
            flags: 0xe0,
            code: 99,
            value: vec![1],
        }],
        ..attributes(&[64512, 64601])
    }
}

/// `route()` to an iBGP peer that got it from an eBGP peer.
fn inside() -> Attributes {
    Attributes {
        link_local: None,
        opaque: outside().opaque,
        ..route()
    }
}

#[rstest]
#[case::external_to_external(Some(external(1)), EXTERNAL, outside())]
#[case::internal_to_external(Some(internal(1)), EXTERNAL, outside())]
#[case::own_to_external(None, EXTERNAL, Attributes { med: Some(5), ..outside() })]
#[case::external_to_internal(Some(external(1)), INTERNAL, inside())]
#[case::own_to_internal(None, INTERNAL, inside())]
#[case::reflected(
    Some(client(1)),
    INTERNAL,
    Attributes { cluster_list: vec![id(200), id(8)], ..inside() },
)]
fn rewriting(#[case] source: Option<Peer>, #[case] to: Kind, #[case] expected: Attributes) {
    let sent = sent(&export(to), source.as_ref(), &route());
    assert_eq!(sent, Some(expected));
}

#[test]
fn the_first_reflector_names_the_originator() {
    let sent = sent(&export(CLIENT), Some(&internal(9)), &attributes(&[])).unwrap();
    assert_eq!(sent.originator_id, Some(id(9)));
    assert_eq!(sent.cluster_list, [id(200)]);
}

#[test]
fn what_has_no_local_preference_gets_the_default() {
    let inside = sent(&export(INTERNAL), Some(&external(1)), &attributes(&[1])).unwrap();
    assert_eq!(inside.local_pref, Some(100));
}

#[test]
fn the_policy_has_the_last_word_but_on_what_is_not_for_the_peer() {
    let rule = Rule {
        when: vec![],
        edits: vec![
            Edit::Med(9),
            Edit::LocalPref(9),
            Edit::NextHop(FAR),
            Edit::Prepend(64512, 2),
        ],
        then: Then::Accept,
    };
    let policy = Some(Arc::new(Policy::new(vec![rule])));
    let to = |to| Export {
        policy: policy.clone(),
        ..export(to)
    };
    let outside = sent(&to(EXTERNAL), Some(&external(1)), &attributes(&[1])).unwrap();
    let told = (outside.med, outside.local_pref, outside.next_hop);
    assert_eq!(told, (Some(9), None, FAR));
    assert_eq!(
        outside.as_path,
        [Segment::Sequence(vec![64512, 64512, 64512, 1])]
    );
    let inside = sent(&to(INTERNAL), Some(&external(1)), &attributes(&[1])).unwrap();
    assert_eq!((inside.med, inside.local_pref), (Some(9), Some(9)));
}

#[rstest]
#[case::own(NextHop::Own, Some(external(1)), FAR, OWN)]
#[case::own_reflected(NextHop::Own, Some(client(1)), FAR, OWN)]
#[case::from_outside(NextHop::OwnUnlessReflected, Some(external(1)), FAR, OWN)]
#[case::from_here(NextHop::OwnUnlessReflected, None, FAR, OWN)]
#[case::reflected(NextHop::OwnUnlessReflected, Some(client(1)), FAR, FAR)]
#[case::kept(NextHop::Kept, Some(external(1)), FAR, FAR)]
#[case::none_to_keep(NextHop::Kept, None, Ipv4Addr::UNSPECIFIED.into(), OWN)]
#[case::not_off_its_link(NextHop::Kept, Some(external(1)), "fe80::1".parse().unwrap(), OWN)]
fn next_hops(
    #[case] next_hop: NextHop,
    #[case] source: Option<Peer>,
    #[case] from: IpAddr,
    #[case] told: IpAddr,
) {
    let export = Export {
        next_hop,
        ..export(INTERNAL)
    };
    let route = Attributes {
        next_hop: from,
        ..attributes(&[1])
    };
    let sent = sent(&export, source.as_ref(), &route).unwrap();
    assert_eq!(sent.next_hop, told);
}

#[test]
fn the_link_local_next_hop_goes_with_the_own() {
    let link_local = Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9));
    let export = Export {
        family: Family::Ipv6,
        own_address: "2001:db8::1".parse().unwrap(),
        own_link_local: link_local,
        ..export(EXTERNAL)
    };
    assert_eq!(
        sent(&export, None, &route()).unwrap().link_local,
        link_local
    );
}

#[rstest]
#[case(Family::Ipv4, "192.0.2.9", false, true)]
#[case::rfc_8950(Family::Ipv4, "2001:db8::9", true, true)]
#[case::not_negotiated(Family::Ipv4, "2001:db8::9", false, false)]
#[case(Family::Ipv6, "2001:db8::9", false, true)]
#[case::no_such_thing(Family::Ipv6, "192.0.2.9", true, false)]
fn next_hops_of_the_other_family(
    #[case] family: Family,
    #[case] next_hop: &str,
    #[case] ipv6_next_hops: bool,
    #[case] told: bool,
) {
    let own_address = next_hop.parse().unwrap();
    let export = Export {
        family,
        own_address,
        ipv6_next_hops,
        ..export(EXTERNAL)
    };
    assert_eq!(sent(&export, None, &attributes(&[])).is_some(), told);
}

/// Where a route comes from: here, or one of these.
fn any_source() -> impl Strategy<Value = Option<Peer>> {
    prop::sample::select(vec![
        None,
        Some(external(1)),
        Some(internal(1)),
        Some(client(1)),
    ])
}

fn any_export() -> impl Strategy<Value = Export> {
    let to = prop::sample::select(vec![EXTERNAL, INTERNAL, CLIENT]);
    let next_hop = prop::sample::select(vec![
        NextHop::Own,
        NextHop::OwnUnlessReflected,
        NextHop::Kept,
    ]);
    let family = prop::sample::select(vec![Family::Ipv4, Family::Ipv6]);
    (to, next_hop, family, any::<IpAddr>(), any::<[bool; 3]>()).prop_map(
        |(to, next_hop, family, own_address, [ipv6_next_hops, llgr, policy])| Export {
            family,
            next_hop,
            own_address,
            ipv6_next_hops,
            llgr,
            policy: policy.then(|| Arc::new(Policy::accept_all())),
            ..export(to)
        },
    )
}

proptest! {
    #[test]
    fn nobody_hears_what_is_not_for_it(source in any_source(), export in any_export(), route in any_attributes()) {
        let Some(sent) = sent(&export, source.as_ref(), &route) else {
            return Ok(());
        };
        let has = |community| route.communities.contains(&community);
        prop_assert!(!has(community::NO_ADVERTISE));
        prop_assert!(export.llgr || !has(community::LLGR_STALE));
        prop_assert!(sent.next_hop.is_ipv4() == (export.family == Family::Ipv4) || export.ipv6_next_hops);
        prop_assert_eq!(&sent.communities, &route.communities);
        let internal = source.as_ref().filter(|peer| peer.kind != EXTERNAL);
        if export.to == EXTERNAL {
            prop_assert!(!has(community::NO_EXPORT) && !has(community::NO_EXPORT_SUBCONFED));
            prop_assert!(export.policy.is_some() || source.is_none());
            prop_assert_eq!((sent.local_pref, sent.originator_id), (None, None));
            prop_assert!(sent.cluster_list.is_empty());
            prop_assert!(sent.med.is_none() || source.is_none());
            prop_assert_eq!(sent.neighbour(), Some(64512));
            prop_assert_eq!(sent.path_length(), route.path_length() + 1);
            prop_assert_eq!(refusal(&us(1), &external(1), &sent), Some(Refusal::AsLoop));
            return Ok(());
        }
        prop_assert_eq!(&sent.as_path, &route.as_path);
        prop_assert_eq!(sent.local_pref, Some(route.local_pref.unwrap_or(100)));
        prop_assert_eq!(sent.med, route.med);
        if internal.is_some() {
            prop_assert!(sent.originator_id.is_some());
            prop_assert_eq!(sent.cluster_list.len(), route.cluster_list.len() + 1);
            prop_assert!(refusal(&us(1), &client(1), &sent).is_some());
        }
    }
}
