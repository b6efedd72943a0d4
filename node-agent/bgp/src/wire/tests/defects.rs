//! RFC 7606: each way in which an UPDATE can be wrong, and what comes of it.

use rstest::rstest;

use super::*;
use crate::route::{Attributes, Family, Update};

/// Flags, code and value.
type Attribute<'a> = (u8, u8, &'a [u8]);

const ORIGIN: Attribute = (0x40, 1, &[0]);
const AS_PATH: Attribute = (0x40, 2, &[2, 1, 0, 0, 0xfd, 0xe9]);
const NEXT_HOP: Attribute = (0x40, 3, &[192, 0, 2, 1]);
const GOOD: [Attribute; 3] = [ORIGIN, AS_PATH, NEXT_HOP];
/// 2001:db8::/32 by 2001:db8::1.
const REACH: &[u8] = &[
    0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 32, 0x20, 1, 0xd, 0xb8,
];
const NLRI: &[u8] = &[8, 10];

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// With this code and subcode.
    Reset(u8, u8),
    Withdrawn,
    /// Announced without the attribute.
    Discarded,
    /// Announced, and no defect.
    Fine,
}
use Outcome::{Discarded, Fine, Reset, Withdrawn};

fn list(attributes: &[Attribute]) -> Vec<u8> {
    let mut list = Vec::new();
    for (flags, code, value) in attributes {
        list.extend([*flags, *code]);
        if flags & 0x10 != 0 {
            list.push(0);
        }
        list.push(value.len() as u8);
        list.extend(*value);
    }
    list
}

fn body(withdrawn: &[u8], list: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in [withdrawn, list] {
        body.extend((part.len() as u16).to_be_bytes());
        body.extend(part);
    }
    body.extend(nlri);
    body
}

fn outcome(body: &[u8], receive: &Receive) -> (Outcome, Option<Attributes>) {
    let decoded = match decode(body, receive) {
        Err(notification) => return (Reset(notification.code, notification.subcode), None),
        Ok(decoded) => decoded,
    };
    let announced = decoded
        .updates
        .iter()
        .find_map(|update| update.announced.as_ref());
    let attributes = announced.map(|(attributes, _)| Attributes::clone(attributes));
    let outcome = match (decoded.defect.map(|defect| defect.remedy), &attributes) {
        (None, Some(_)) => Fine,
        (Some(Remedy::Discard), Some(_)) => Discarded,
        (Some(Remedy::Withdraw), None) => {
            assert!(
                decoded
                    .updates
                    .iter()
                    .any(|update| !update.withdrawn.is_empty())
            );
            Withdrawn
        }
        other => panic!("a defect and what was done don't fit: {other:?}"),
    };
    (outcome, attributes)
}

/// A good UPDATE where one attribute takes the place of the good one, or is added.
fn with(attribute: Attribute) -> Vec<u8> {
    let mut all: Vec<_> = GOOD
        .into_iter()
        .filter(|(_, code, _)| *code != attribute.1)
        .collect();
    all.push(attribute);
    body(&[], &list(&all), NLRI)
}

#[rstest]
// 7.1 ORIGIN
#[case::origin_empty(0x40, 1, &[], Withdrawn)]
#[case::origin_long(0x40, 1, &[0, 0], Withdrawn)]
#[case::origin_3(0x40, 1, &[3], Withdrawn)]
#[case::origin_optional(0xc0, 1, &[0], Withdrawn)]
#[case::origin_not_transitive(0x00, 1, &[0], Withdrawn)]
#[case::origin_partial_bit_is_no_matter(0x60, 1, &[0], Fine)]
#[case::origin_extended_length(0x50, 1, &[0], Fine)]
// 7.2 AS_PATH
#[case::path_empty(0x40, 2, &[], Fine)]
#[case::path_unknown_segment(0x40, 2, &[5, 1, 0, 0, 0, 1], Withdrawn)]
#[case::path_segment_overrun(0x40, 2, &[2, 2, 0, 0, 0, 1], Withdrawn)]
#[case::path_segment_underrun(0x40, 2, &[2, 1, 0, 0, 0, 1, 2], Withdrawn)]
#[case::path_empty_segment(0x40, 2, &[2, 0], Withdrawn)]
#[case::path_confederation(0x40, 2, &[3, 1, 0, 0, 0, 1], Withdrawn)]
#[case::path_as_0(0x40, 2, &[2, 1, 0, 0, 0, 0], Withdrawn)]
#[case::path_flags(0x80, 2, &[], Withdrawn)]
// 7.3 NEXT_HOP
#[case::next_hop_short(0x40, 3, &[192, 0, 2], Withdrawn)]
#[case::next_hop_long(0x40, 3, &[192, 0, 2, 1, 0], Withdrawn)]
#[case::next_hop_empty(0x40, 3, &[], Withdrawn)]
#[case::next_hop_unspecified(0x40, 3, &[0, 0, 0, 0], Withdrawn)]
#[case::next_hop_multicast(0x40, 3, &[224, 0, 0, 1], Withdrawn)]
#[case::next_hop_loopback(0x40, 3, &[127, 0, 0, 1], Withdrawn)]
#[case::next_hop_broadcast(0x40, 3, &[255, 255, 255, 255], Withdrawn)]
#[case::next_hop_flags(0xc0, 3, &[192, 0, 2, 1], Withdrawn)]
// 7.4 MULTI_EXIT_DISC
#[case::med(0x80, 4, &[0, 0, 0, 1], Fine)]
#[case::med_short(0x80, 4, &[0, 0, 1], Withdrawn)]
#[case::med_flags(0x40, 4, &[0, 0, 0, 1], Withdrawn)]
// 7.5 LOCAL_PREF
#[case::local_pref(0x40, 5, &[0, 0, 0, 1], Fine)]
#[case::local_pref_short(0x40, 5, &[1], Withdrawn)]
#[case::local_pref_flags(0x80, 5, &[0, 0, 0, 1], Withdrawn)]
// 7.6 ATOMIC_AGGREGATE
#[case::atomic(0x40, 6, &[], Fine)]
#[case::atomic_long(0x40, 6, &[0], Discarded)]
#[case::atomic_flags(0xc0, 6, &[], Withdrawn)]
// 7.7 AGGREGATOR
#[case::aggregator(0xc0, 7, &[0, 0, 0, 1, 1, 1, 1, 1], Fine)]
#[case::aggregator_of_two_octets(0xc0, 7, &[0, 1, 1, 1, 1, 1], Discarded)]
#[case::aggregator_long(0xc0, 7, &[0, 0, 0, 1, 1, 1, 1, 1, 0], Discarded)]
#[case::aggregator_as_0(0xc0, 7, &[0, 0, 0, 0, 1, 1, 1, 1], Discarded)]
#[case::aggregator_flags(0x40, 7, &[0, 0, 0, 1, 1, 1, 1, 1], Withdrawn)]
// 7.8 COMMUNITIES
#[case::communities(0xc0, 8, &[0, 1, 0, 2], Fine)]
#[case::communities_empty(0xc0, 8, &[], Withdrawn)]
#[case::communities_uneven(0xc0, 8, &[0, 1, 0, 2, 3], Withdrawn)]
#[case::communities_flags(0x80, 8, &[0, 1, 0, 2], Withdrawn)]
// 7.9 ORIGINATOR_ID
#[case::originator(0x80, 9, &[1, 1, 1, 1], Fine)]
#[case::originator_short(0x80, 9, &[1, 1, 1], Withdrawn)]
#[case::originator_flags(0xc0, 9, &[1, 1, 1, 1], Withdrawn)]
// 7.10 CLUSTER_LIST
#[case::clusters(0x80, 10, &[1, 1, 1, 1, 2, 2, 2, 2], Fine)]
#[case::clusters_empty(0x80, 10, &[], Withdrawn)]
#[case::clusters_uneven(0x80, 10, &[1, 1, 1, 1, 2], Withdrawn)]
// 7.11 MP_REACH_NLRI, and 5.3
#[case::reach(0x80, 14, REACH, Fine)]
#[case::reach_flags(0xc0, 14, REACH, Reset(3, 4))]
#[case::reach_below_minimum(0x80, 14, &[0, 2, 1, 0], Reset(3, 9))]
#[case::reach_empty(0x80, 14, &[], Reset(3, 9))]
#[case::reach_next_hop_of_4(0x80, 14, &[0, 2, 1, 4, 1, 1, 1, 1, 0, 8, 32], Reset(3, 9))]
#[case::reach_next_hop_of_15(0x80, 14, &[0, 2, 1, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 32], Reset(3, 9))]
#[case::reach_next_hop_overrun(0x80, 14, &[0, 2, 1, 16, 0, 0, 0, 1, 0], Reset(3, 9))]
#[case::reach_next_hop_unspecified(0x80, 14, &[0, 2, 1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 32], Withdrawn)]
#[case::reach_next_hop_multicast(0x80, 14, &[0, 2, 1, 16, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 32], Withdrawn)]
#[case::reach_prefix_of_129(0x80, 14, &[0, 1, 1, 4, 192, 0, 2, 1, 0, 129, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], Reset(3, 9))]
#[case::reach_prefix_overrun(0x80, 14, &[0, 1, 1, 4, 192, 0, 2, 1, 0, 24, 10], Reset(3, 9))]
#[case::reach_other_family(0x80, 14, &[0, 25, 70, 0, 0, 1, 2, 3], Fine)]
// 7.12 MP_UNREACH_NLRI, and 5.3
#[case::unreach(0x80, 15, &[0, 2, 1, 8, 32], Fine)]
#[case::unreach_flags(0x40, 15, &[0, 2, 1, 8, 32], Reset(3, 4))]
#[case::unreach_below_minimum(0x80, 15, &[0, 2], Reset(3, 9))]
#[case::unreach_prefix_of_129(0x80, 15, &[0, 2, 1, 129], Reset(3, 9))]
#[case::unreach_prefix_overrun(0x80, 15, &[0, 2, 1, 24, 32], Reset(3, 9))]
// 7.13 Traffic Engineering: not known here, optional and not transitive
#[case::traffic_engineering(0x80, 24, &[1], Fine)]
// 7.14 EXTENDED COMMUNITIES
#[case::extended(0xc0, 16, &[0, 2, 0, 0, 0, 0, 0, 1], Fine)]
#[case::extended_unknown_type(0xc0, 16, &[0x7f, 2, 0, 0, 0, 0, 0, 1], Fine)]
#[case::extended_empty(0xc0, 16, &[], Withdrawn)]
#[case::extended_uneven(0xc0, 16, &[0, 2, 0, 0, 0, 0, 0], Withdrawn)]
// 7.15 IPv6 Address Specific EXTENDED COMMUNITIES
#[case::ipv6_extended(0xc0, 25, &[0; 20], Fine)]
#[case::ipv6_extended_empty(0xc0, 25, &[], Withdrawn)]
#[case::ipv6_extended_uneven(0xc0, 25, &[0; 21], Withdrawn)]
// 7.16 ATTR_SET: not known here, passed on
#[case::attribute_set(0xc0, 128, &[1], Fine)]
// RFC 6793: between speakers of four octets these are discarded
#[case::as4_path(0xc0, 17, &[2, 1, 0, 0, 0, 1], Discarded)]
#[case::as4_aggregator(0xc0, 18, &[0, 0, 0, 1, 1, 1, 1, 1], Discarded)]
// RFC 8092
#[case::large(0xc0, 32, &[0; 12], Fine)]
#[case::large_empty(0xc0, 32, &[], Withdrawn)]
#[case::large_uneven(0xc0, 32, &[0; 13], Withdrawn)]
#[case::large_flags(0x40, 32, &[0; 12], Withdrawn)]
// RFC 4271, section 6.3
#[case::unknown_well_known(0x40, 200, &[1], Reset(3, 2))]
#[case::unknown_optional(0x80, 200, &[1], Fine)]
#[case::unknown_transitive(0xc0, 200, &[], Fine)]
fn one_bad_attribute(
    #[case] flags: u8,
    #[case] code: u8,
    #[case] value: &[u8],
    #[case] expected: Outcome,
) {
    assert_eq!(outcome(&with((flags, code, value)), &INTERNAL).0, expected);
}

/// From an eBGP peer these are discarded, whatever is in them (RFC 7606, sections 7.5, 7.9 and 7.10).
#[rstest]
#[case::local_pref(0x40, 5, &[0, 0, 0, 1])]
#[case::local_pref_short(0x40, 5, &[1])]
#[case::originator(0x80, 9, &[1, 1, 1, 1])]
#[case::originator_short(0x80, 9, &[1])]
#[case::clusters(0x80, 10, &[1, 1, 1, 1])]
#[case::clusters_empty(0x80, 10, &[])]
fn not_for_external_peers(#[case] flags: u8, #[case] code: u8, #[case] value: &[u8]) {
    let (outcome, attributes) = outcome(&with((flags, code, value)), &EXTERNAL);
    let attributes = attributes.unwrap();
    assert_eq!(outcome, Discarded);
    assert_eq!(
        (
            attributes.local_pref,
            attributes.originator_id,
            attributes.cluster_list
        ),
        (None, None, vec![])
    );
}

/// RFC 6793, section 6: from a speaker of two octets, defects of the new attributes discard them.
#[rstest]
#[case::path_overrun(0xc0, 17, &[2, 2, 0, 0, 0, 1], Discarded)]
#[case::path_empty_segment(0xc0, 17, &[2, 0], Discarded)]
#[case::path_unknown_segment(0xc0, 17, &[9, 1, 0, 0, 0, 1], Discarded)]
#[case::path_as_0(0xc0, 17, &[2, 1, 0, 0, 0, 0], Discarded)]
#[case::aggregator_short(0xc0, 18, &[0, 1, 1, 1, 1, 1], Discarded)]
#[case::aggregator_of_four_octets(0xc0, 7, &[0, 0, 0, 1, 1, 1, 1, 1], Discarded)]
#[case::aggregator(0xc0, 7, &[0, 1, 1, 1, 1, 1], Fine)]
fn from_two_octets(
    #[case] flags: u8,
    #[case] code: u8,
    #[case] value: &[u8],
    #[case] expected: Outcome,
) {
    let path: Attribute = (0x40, 2, &[2, 1, 0xfd, 0xe9]);
    let body = body(
        &[],
        &list(&[ORIGIN, path, NEXT_HOP, (flags, code, value)]),
        NLRI,
    );
    assert_eq!(
        outcome(
            &body,
            &Receive {
                as4: false,
                ..INTERNAL
            }
        )
        .0,
        expected
    );
}

/// The first AS of a path, where it is checked (RFC 4271, section 6.3).
#[rstest]
#[case::right(&[2, 1, 0, 0, 0xfd, 0xe9], Fine)]
#[case::wrong(&[2, 1, 0, 0, 0xfd, 0xea], Withdrawn)]
#[case::set(&[1, 1, 0, 0, 0xfd, 0xe9], Withdrawn)]
#[case::none(&[], Withdrawn)]
fn first_as(#[case] path: &[u8], #[case] expected: Outcome) {
    let receive = Receive {
        first_as: Some(65001),
        ..EXTERNAL
    };
    assert_eq!(outcome(&with((0x40, 2, path)), &receive).0, expected);
}

#[rstest]
// 3 (d): mandatory attributes
#[case::no_origin(body(&[], &list(&[AS_PATH, NEXT_HOP]), NLRI), Withdrawn)]
#[case::no_path(body(&[], &list(&[ORIGIN, NEXT_HOP]), NLRI), Withdrawn)]
#[case::no_next_hop(body(&[], &list(&[ORIGIN, AS_PATH]), NLRI), Withdrawn)]
#[case::none(body(&[], &[], NLRI), Withdrawn)]
#[case::no_next_hop_beside_reach(body(&[], &list(&[(0x80, 14, REACH), ORIGIN, AS_PATH]), &[]), Fine)]
#[case::no_origin_beside_reach(body(&[], &list(&[(0x80, 14, REACH), AS_PATH]), &[]), Withdrawn)]
#[case::useless_next_hop_beside_reach(body(&[], &list(&[(0x80, 14, REACH), ORIGIN, AS_PATH, (0x40, 3, &[0; 4])]), &[]), Fine)]
// 3 (g): duplicates
#[case::twice(body(&[], &list(&[ORIGIN, AS_PATH, NEXT_HOP, (0x40, 1, &[9])]), NLRI), Discarded)]
#[case::unknown_twice(body(&[], &list(&[ORIGIN, AS_PATH, NEXT_HOP, (0xc0, 200, &[]), (0xc0, 200, &[])]), NLRI), Discarded)]
#[case::reach_twice(body(&[], &list(&[(0x80, 14, REACH), ORIGIN, AS_PATH, (0x80, 14, REACH)]), &[]), Reset(3, 1))]
#[case::unreach_twice(body(&[], &list(&[(0x80, 15, &[0, 2, 1]), (0x80, 15, &[0, 2, 1])]), &[]), Reset(3, 1))]
// 3 (h): the strongest remedy
#[case::discard_then_withdraw(body(&[], &list(&[(0x40, 6, &[0]), (0x40, 1, &[9]), AS_PATH, NEXT_HOP]), NLRI), Withdrawn)]
#[case::withdraw_then_discard(body(&[], &list(&[(0x40, 1, &[9]), AS_PATH, NEXT_HOP, (0x40, 6, &[0])]), NLRI), Withdrawn)]
#[case::withdraw_then_reset(body(&[], &list(&[(0x40, 1, &[9]), AS_PATH, NEXT_HOP, (0x80, 14, &[])]), NLRI), Reset(3, 9))]
// 3 (j), 5.3: prefixes that can't be read
#[case::withdrawn_of_33(body(&[33, 1, 1, 1, 1, 1], &[], &[]), Reset(3, 10))]
#[case::withdrawn_overrun(body(&[24, 1], &[], &[]), Reset(3, 10))]
#[case::announced_of_33(body(&[], &list(&GOOD), &[33, 1, 1, 1, 1, 1]), Reset(3, 10))]
#[case::announced_overrun(body(&[], &list(&GOOD), &[24, 1]), Reset(3, 10))]
// 4: lengths within the list
#[case::attribute_overrun(body(&[], &[&list(&GOOD)[..], &[0x80, 4, 5, 0, 0]].concat(), NLRI), Withdrawn)]
#[case::header_cut(body(&[], &[&list(&GOOD)[..], &[0x80, 4]].concat(), NLRI), Withdrawn)]
#[case::extended_header_cut(body(&[], &[&list(&GOOD)[..], &[0x90, 4, 0]].concat(), NLRI), Withdrawn)]
#[case::one_octet(body(&[], &[&list(&GOOD)[..], &[0x80]].concat(), NLRI), Withdrawn)]
// 4271, 6.3: lengths of the lists
#[case::withdrawn_too_long(vec![0, 3, 8, 10], Reset(3, 1))]
#[case::attributes_too_long(vec![0, 0, 0, 1], Reset(3, 1))]
#[case::no_attribute_length(vec![0, 0, 0], Reset(3, 1))]
// 5.2: no prefixes that could be withdrawn
#[case::bad_and_no_prefixes(body(&[], &list(&[(0x40, 1, &[9])]), &[]), Reset(3, 6))]
#[case::bad_beside_withdrawals(body(NLRI, &list(&[(0x40, 1, &[9])]), &[]), Reset(3, 6))]
#[case::overrun_and_no_prefixes(body(&[], &[0x80], &[]), Reset(3, 1))]
fn bad_as_a_whole(#[case] body: Vec<u8>, #[case] expected: Outcome) {
    assert_eq!(outcome(&body, &INTERNAL).0, expected);
}

#[test]
fn discarding_beside_withdrawals_is_no_reset() {
    let body = body(NLRI, &list(&[(0x40, 6, &[0])]), &[]);
    let decoded = decode(&body, &INTERNAL).unwrap();
    assert_eq!(decoded.defect.unwrap().remedy, Remedy::Discard);
    assert_eq!(decoded.updates.len(), 1);
}

/// Withdrawals hold whatever is wrong beside them, and both families are withdrawn.
#[test]
fn a_withdrawal_of_everything() {
    let list = list(&[
        (0x80, 14, REACH),
        (0x80, 15, &[0, 2, 1, 16, 0xfd, 0]),
        (0x40, 1, &[9]),
        AS_PATH,
        NEXT_HOP,
    ]);
    let decoded = decode(&body(&[16, 10, 9], &list, NLRI), &INTERNAL).unwrap();
    let withdrawn = |family, prefixes: &[&str]| Update {
        family,
        withdrawn: prefixes
            .iter()
            .map(|prefix| crate::route::Nlri {
                prefix: prefix.parse().unwrap(),
                path_id: 0,
            })
            .collect(),
        announced: None,
    };
    let expected = [
        withdrawn(Family::Ipv4, &["10.9.0.0/16", "10.0.0.0/8"]),
        withdrawn(Family::Ipv6, &["fd00::/16", "2001:db8::/32"]),
    ];
    assert_eq!(decoded.updates, expected);
    assert_eq!(decoded.defect.unwrap().what, "ORIGIN: unknown value");
}

/// What wasn't agreed on is ignored, and ends nothing (RFC 4760, section 7, leaves the choice).
#[rstest]
#[case::ipv6(PerFamily { ipv4: true, ipv6: false }, Family::Ipv4)]
#[case::ipv4(PerFamily { ipv4: false, ipv6: true }, Family::Ipv6)]
fn families_not_agreed_on(#[case] families: PerFamily<bool>, #[case] left: Family) {
    let body = body(
        NLRI,
        &list(&[(0x80, 14, REACH), ORIGIN, AS_PATH, NEXT_HOP]),
        NLRI,
    );
    let decoded = decode(
        &body,
        &Receive {
            families,
            ..INTERNAL
        },
    )
    .unwrap();
    assert_eq!(
        decoded
            .updates
            .iter()
            .map(|update| update.family)
            .collect::<Vec<_>>(),
        [left]
    );
}

/// An IPv6 next hop of an IPv4 prefix must have been agreed on (RFC 8950, section 4).
#[rstest]
#[case::agreed(true, Fine)]
#[case::not_agreed(false, Reset(3, 9))]
fn next_hops_of_the_other_family(#[case] extended_next_hop: bool, #[case] expected: Outcome) {
    let reach = [&[0, 1, 1][..], &REACH[3..21], &[8, 10]].concat();
    let body = body(&[], &list(&[(0x80, 14, &reach), ORIGIN, AS_PATH]), &[]);
    assert_eq!(
        outcome(
            &body,
            &Receive {
                extended_next_hop,
                ..INTERNAL
            }
        )
        .0,
        expected
    );
}

#[test]
fn unknown_transitive_attributes_are_kept() {
    let (_, attributes) = outcome(&with((0xc0, 200, &[1, 2])), &INTERNAL);
    let opaque = crate::route::Opaque {
        flags: 0xc0,
        code: 200,
        value: vec![1, 2],
    };
    assert_eq!(attributes.unwrap().opaque, [opaque]);
    let (_, attributes) = outcome(&with((0x80, 200, &[1, 2])), &INTERNAL);
    assert_eq!(attributes.unwrap().opaque, []);
}

/// What can be written in several ways comes out in one.
#[test]
fn one_form_of_the_same() {
    let list = list(&[
        ORIGIN,
        AS_PATH,
        NEXT_HOP,
        (0xdf, 201, &[]),
        (0xef, 200, &[]),
        (0xc0, 8, &[0, 2, 0, 2, 0, 1, 0, 1, 0, 2, 0, 2]),
    ]);
    let (_, attributes) = outcome(&body(&[], &list, &[8, 10]), &INTERNAL);
    let attributes = attributes.unwrap();
    let opaque: Vec<_> = attributes
        .opaque
        .iter()
        .map(|opaque| (opaque.code, opaque.flags))
        .collect();
    assert_eq!(opaque, [(200, 0xe0), (201, 0xc0)]);
    assert_eq!(attributes.communities, [0x0001_0001, 0x0002_0002]);

    let decoded = decode(&body(&[12, 10, 0x1f], &[], &[]), &INTERNAL).unwrap();
    assert_eq!(
        decoded.updates[0].withdrawn[0].prefix.to_string(),
        "10.16.0.0/12"
    );
}

#[test]
fn withdrawals_beside_an_empty_attribute_are_no_end_of_rib() {
    let decoded = decode(
        &body(NLRI, &list(&[(0x80, 15, &[0, 2, 1])]), &[]),
        &INTERNAL,
    )
    .unwrap();
    assert_eq!((decoded.updates.len(), decoded.end_of_rib), (1, None));
}
