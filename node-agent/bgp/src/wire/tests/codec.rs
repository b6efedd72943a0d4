//! Updates to bytes, End-of-RIB, and what another implementation makes of it.

use std::net::IpAddr;
use std::sync::Arc;

use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::{AddPathAddressFamily, AddPathCapability, BgpCapability};
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_iana::address_family::AddressType;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::route::{Aggregator, Attributes, Family, Nlri, Segment, Update};
use crate::wire::samples;

fn attributes(next_hop: &str) -> Attributes {
    Attributes::plain(next_hop.parse().unwrap(), &[65001])
}

/// What a list of attributes means from a BGP peer that knows AS numbers of two octets only.
fn heard_without_as4(list: &[u8]) -> Arc<Attributes> {
    let body = [&[0, 0, 0, list.len() as u8][..], list, &[8, 10]].concat();
    let receive = Receive {
        as4: false,
        ..INTERNAL
    };
    let decoded = decode(&body, &receive).unwrap();
    decoded.updates[0].announced.clone().unwrap().0
}

fn nlri(prefix: &str) -> Nlri {
    Nlri {
        prefix: prefix.parse().unwrap(),
        path_id: 0,
    }
}

fn announce(attributes: Attributes, prefixes: &[&str]) -> Update {
    let nlri: Vec<_> = prefixes.iter().map(|prefix| nlri(prefix)).collect();
    Update {
        family: Family::of(&nlri[0].prefix),
        withdrawn: vec![],
        announced: Some((Arc::new(attributes), nlri)),
    }
}

#[test]
fn a_withdrawal_and_an_announcement_are_two_messages() {
    let update = Update {
        withdrawn: vec![nlri("10.1.0.0/16")],
        ..announce(attributes("192.0.2.1"), &["10.2.0.0/16"])
    };
    let mut bytes = Vec::new();
    encode(&[update], &PLAIN, &mut bytes);
    let bodies: Vec<_> = messages(&bytes).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies[0], [0, 3, 16, 10, 1, 0, 0]);
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 192, 0, 2, 1,
    ];
    assert_eq!(
        bodies[1],
        [&[0, 0, 0, 20][..], &attributes, &[16, 10, 2]].concat()
    );
    assert_eq!(bodies.len(), 2);
}

#[test]
fn ipv6_goes_first_in_the_list() {
    let mut bytes = Vec::new();
    encode(
        &[announce(attributes("2001:db8::1"), &["2001:db8:1::/48"])],
        &PLAIN,
        &mut bytes,
    );
    let (_, body) = &messages(&bytes)[0];
    assert_eq!(body[4..12], [0x90, 14, 0, 28, 0, 2, 1, 16]);
    assert!(
        !body.windows(3).any(|window| window == [0x40, 3, 4]),
        "no NEXT_HOP"
    );
}

#[rstest]
#[case::same(vec![attributes("192.0.2.1"), attributes("192.0.2.1")], 1)]
#[case::different(vec![attributes("192.0.2.1"), attributes("192.0.2.2")], 2)]
#[case::order_kept(vec![attributes("192.0.2.1"), attributes("192.0.2.2"), attributes("192.0.2.1")], 3)]
fn updates_share_messages(#[case] all: Vec<Attributes>, #[case] count: usize) {
    let updates: Vec<_> = all
        .into_iter()
        .map(|attributes| announce(attributes, &["10.0.0.0/8"]))
        .collect();
    let mut bytes = Vec::new();
    encode(&updates, &PLAIN, &mut bytes);
    assert_eq!(messages(&bytes).len(), count);
}

#[rstest]
#[case::announcements(false, 4096 - 23 - 20, 1)]
#[case::withdrawals(true, 4096 - 23, 1)]
#[case::announcements_over(false, 4096 - 23 - 20 + 1, 2)]
#[case::withdrawals_over(true, 4096 - 23 + 1, 2)]
fn messages_are_filled(#[case] withdraw: bool, #[case] octets: usize, #[case] count: usize) {
    // Hosts take five octets each, the default route one.
    let hosts = (0..octets as u32 / 5).map(|host| Nlri {
        prefix: IpAddr::from(host.to_be_bytes()).into(),
        path_id: 0,
    });
    let all: Vec<_> = hosts
        .chain(std::iter::repeat_n(nlri("0.0.0.0/0"), octets % 5))
        .collect();
    let update = if withdraw {
        Update {
            family: Family::Ipv4,
            withdrawn: all,
            announced: None,
        }
    } else {
        let announced = Some((Arc::new(attributes("192.0.2.1")), all));
        Update {
            family: Family::Ipv4,
            withdrawn: vec![],
            announced,
        }
    };
    let mut bytes = Vec::new();
    encode(&[update], &PLAIN, &mut bytes);
    assert_eq!(messages(&bytes).len(), count);
    assert_eq!(bytes.len() > 4096, count > 1);
}

#[rstest]
#[case::too_long(announce(Attributes { communities: (0..1100).collect(), ..attributes("192.0.2.1") }, &["10.0.0.0/8"]))]
#[case::beyond_any_length(announce(Attributes { communities: (0..17_000).collect(), ..attributes("192.0.2.1") }, &["10.0.0.0/8"]))]
#[case::next_hop_not_agreed_on(announce(attributes("2001:db8::1"), &["10.0.0.0/8"]))]
#[case::next_hop_of_ipv4(announce(attributes("192.0.2.1"), &["2001:db8::/32"]))]
fn what_cannot_be_said_is_withdrawn(#[case] update: Update) {
    let mut bytes = Vec::new();
    assert_eq!(encode(std::slice::from_ref(&update), &PLAIN, &mut bytes), 1);
    let decoded = decode(&messages(&bytes)[0].1, &INTERNAL).unwrap();
    let withdrawn = update.announced.unwrap().1;
    assert_eq!(
        decoded.updates,
        [Update {
            family: update.family,
            withdrawn,
            announced: None
        }]
    );
}

/// Attributes that leave room for no prefix, and for the longest one.
#[rstest]
#[case::one_octet_left(1012, 1)]
#[case::seventeen_octets_left(1008, 1)]
#[case::just_enough(1007, 0)]
fn room_for_a_prefix(#[case] communities: u32, #[case] unsendable: usize) {
    let communities = (0..communities).collect();
    let update = announce(
        Attributes {
            communities,
            ..attributes("192.0.2.1")
        },
        &["10.0.0.0/8"],
    );
    let mut bytes = Vec::new();
    assert_eq!(encode(&[update], &PLAIN, &mut bytes), unsendable);
    assert_eq!(messages(&bytes).len(), 1);
}

#[test]
fn a_withdrawal_stays_after_the_announcement_before_it() {
    let first = announce(attributes("192.0.2.1"), &["10.1.0.0/16"]);
    let second = Update {
        withdrawn: vec![nlri("10.1.0.0/16")],
        ..announce(attributes("192.0.2.1"), &["10.2.0.0/16"])
    };
    let mut bytes = Vec::new();
    encode(&[first, second], &PLAIN, &mut bytes);
    let decoded: Vec<_> = messages(&bytes)
        .into_iter()
        .flat_map(|(_, body)| decode(&body, &INTERNAL).unwrap().updates)
        .map(|update| update.withdrawn.len())
        .collect();
    assert_eq!(decoded, [0, 1, 0]);
}

#[test]
fn nothing_is_no_message() {
    let mut bytes = Vec::new();
    encode(
        &[Update {
            family: Family::Ipv4,
            withdrawn: vec![],
            announced: None,
        }],
        &PLAIN,
        &mut bytes,
    );
    assert_eq!(bytes, []);
}

#[test]
fn families_not_agreed_on_are_left_out() {
    let families = PerFamily {
        ipv4: false,
        ipv6: true,
    };
    let mut bytes = Vec::new();
    let update = announce(attributes("192.0.2.1"), &["10.0.0.0/8"]);
    assert_eq!(
        encode(&[update], &Transmit { families, ..PLAIN }, &mut bytes),
        0
    );
    assert_eq!(bytes, []);
}

#[rstest]
#[case(Family::Ipv4, 4)]
#[case(Family::Ipv6, 10)]
fn end_of_rib_and_back(#[case] family: Family, #[case] length: usize) {
    let mut bytes = Vec::new();
    end_of_rib(family, &mut bytes);
    let (_, body) = &messages(&bytes)[0];
    assert_eq!(body.len(), length);
    assert_eq!(
        decode(body, &INTERNAL),
        Ok(Decoded {
            end_of_rib: Some(family),
            ..Default::default()
        })
    );
}

#[rstest]
#[case::ipv4_as_multiprotocol(vec![0, 0, 0, 6, 0x80, 15, 3, 0, 1, 1], Some(Family::Ipv4))]
#[case::unknown_family(vec![0, 0, 0, 6, 0x80, 15, 3, 0, 25, 70], None)]
#[case::attributes_beside_it(vec![0, 0, 0, 10, 0x40, 1, 1, 0, 0x80, 15, 3, 0, 2, 1], None)]
#[case::attributes_without_prefixes(vec![0, 0, 0, 4, 0x40, 1, 1, 0], None)]
fn other_empty_updates(#[case] body: Vec<u8>, #[case] end_of_rib: Option<Family>) {
    assert_eq!(
        decode(&body, &INTERNAL),
        Ok(Decoded {
            end_of_rib,
            ..Default::default()
        })
    );
}

/// AS_PATH of two octets, AS4_PATH, and what they mean together (RFC 6793, section 4.2.3).
#[rstest]
#[case::equal(&[2, 2, 0x5b, 0xa0, 0, 7], &[2, 2, 0, 1, 0, 1, 0, 0, 0, 7], &[65537, 7])]
#[case::front_added(&[2, 2, 0, 9, 0x5b, 0xa0], &[2, 1, 0, 1, 0, 1], &[9, 65537])]
#[case::longer_is_ignored(&[2, 1, 0x5b, 0xa0], &[2, 2, 0, 1, 0, 1, 0, 0, 0, 7], &[23456])]
#[case::confederation_is_passed_over(&[2, 1, 0x5b, 0xa0], &[3, 1, 0, 0, 0, 9, 2, 1, 0, 1, 0, 1], &[65537])]
#[case::malformed_is_ignored(&[2, 1, 0x5b, 0xa0], &[2, 2, 0, 1, 0, 1], &[23456])]
fn as4_path(#[case] path: &[u8], #[case] as4: &[u8], #[case] merged: &[u32]) {
    let list = [
        &[0x40, 1, 1, 0, 0x40, 2, path.len() as u8][..],
        path,
        &[0x40, 3, 4, 192, 0, 2, 1, 0xc0, 17, as4.len() as u8],
        as4,
    ]
    .concat();
    let attributes = heard_without_as4(&list);
    assert_eq!(attributes.as_path, [Segment::Sequence(merged.to_vec())]);
}

/// AGGREGATOR of two octets beside AS4_AGGREGATOR: AS4_PATH counts only if the former is AS_TRANS.
#[rstest]
#[case::as_trans([0x5b, 0xa0], 65538, 65537)]
#[case::another([0, 9], 9, 23456)]
fn as4_aggregator(#[case] old: [u8; 2], #[case] asn: u32, #[case] first: u32) {
    let list = [
        &[
            0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0x5b, 0xa0, 0x40, 3, 4, 192, 0, 2, 1, 0xc0, 7, 6,
        ][..],
        &old,
        &[
            1, 1, 1, 1, 0xc0, 17, 6, 2, 1, 0, 1, 0, 1, 0xc0, 18, 8, 0, 1, 0, 2, 1, 1, 1, 1,
        ],
    ]
    .concat();
    let attributes = heard_without_as4(&list);
    assert_eq!(
        attributes.aggregator,
        Some(Aggregator {
            asn,
            id: [1, 1, 1, 1].into()
        })
    );
    assert_eq!(attributes.as_path, [Segment::Sequence(vec![first])]);
}

/// The least AS that two octets don't hold.
#[test]
fn as_65536_to_two_octets_and_back() {
    let asn = 0x10000;
    let aggregator = Some(Aggregator {
        asn,
        id: [1, 1, 1, 1].into(),
    });
    let as_path = vec![Segment::Set(vec![asn])];
    let update = announce(
        Attributes {
            as_path,
            aggregator,
            ..attributes("192.0.2.1")
        },
        &["10.0.0.0/8"],
    );
    let mut bytes = Vec::new();
    encode(
        std::slice::from_ref(&update),
        &Transmit {
            as4: false,
            ..PLAIN
        },
        &mut bytes,
    );
    let decoded = decode(
        &messages(&bytes)[0].1,
        &Receive {
            as4: false,
            ..INTERNAL
        },
    )
    .unwrap();
    assert_eq!(decoded.updates, [update]);
}

#[test]
fn a_long_segment_becomes_two() {
    let path: Vec<u32> = (1..=300).collect();
    let update = announce(
        Attributes {
            as_path: vec![Segment::Sequence(path.clone())],
            ..attributes("192.0.2.1")
        },
        &["10.0.0.0/8"],
    );
    let mut bytes = Vec::new();
    encode(&[update], &PLAIN, &mut bytes);
    let decoded = decode(&messages(&bytes)[0].1, &INTERNAL).unwrap();
    let expected = [
        Segment::Sequence(path[..255].to_vec()),
        Segment::Sequence(path[255..].to_vec()),
    ];
    assert_eq!(
        decoded.updates[0].announced.as_ref().unwrap().0.as_path,
        expected
    );
}

/// Next hops of MP_REACH_NLRI.
#[rstest]
#[case::global("20010db8000000000000000000000001", "2001:db8::1", None)]
#[case::both(
    "20010db8000000000000000000000001fe800000000000000000000000000001",
    "2001:db8::1",
    Some("fe80::1")
)]
#[case::only_link_local(
    "00000000000000000000000000000000fe800000000000000000000000000001",
    "fe80::1",
    None
)]
#[case::twice_link_local(
    "fe800000000000000000000000000001fe800000000000000000000000000001",
    "fe80::1",
    None
)]
#[case::second_is_no_link_local(
    "20010db800000000000000000000000120010db8000000000000000000000002",
    "2001:db8::1",
    None
)]
fn ipv6_next_hops(#[case] hex: &str, #[case] next_hop: &str, #[case] link_local: Option<&str>) {
    let octets: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let reach = [
        &[0, 2, 1, octets.len() as u8][..],
        &octets,
        &[0, 16, 0x20, 1],
    ]
    .concat();
    let list = [
        &[0x40, 1, 1, 0, 0x40, 2, 0, 0x80, 14, reach.len() as u8][..],
        &reach,
    ]
    .concat();
    let body = [&[0, 0, 0, list.len() as u8][..], &list].concat();
    let decoded = decode(&body, &INTERNAL).unwrap();
    let (attributes, _) = decoded.updates[0].announced.clone().unwrap();
    assert_eq!(attributes.next_hop, next_hop.parse::<IpAddr>().unwrap());
    assert_eq!(
        attributes.link_local,
        link_local.map(|address| address.parse().unwrap())
    );
}

/// Parses and writes with netgauze, which is strict.
fn through_netgauze(stream: &[u8], transmit: &Transmit) -> Vec<u8> {
    let families = [
        (AddressType::Ipv4Unicast, Family::Ipv4),
        (AddressType::Ipv6Unicast, Family::Ipv6),
    ]
    .map(|(kind, family)| {
        let add_path = *transmit.add_path.get(family);
        AddPathAddressFamily::new(kind, add_path, add_path)
    });
    let mut context = BgpParsingContext::default();
    context.set_asn4(transmit.as4);
    context.update_capabilities(
        &BgpCapability::AddPath(AddPathCapability::new(families)),
        true,
    );
    let mut reader = SliceReader::new(stream);
    let mut out = Vec::new();
    while !reader.is_empty() {
        BgpMessage::parse(&mut reader, &mut context)
            .unwrap()
            .write(&mut out)
            .unwrap();
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Another implementation reads our updates, and we read what it makes of them.
    #[test]
    fn netgauze_agrees_on_updates(
        (transmit, receive, update) in samples::agreement().prop_flat_map(|(transmit, receive)| {
            (Just(transmit), Just(receive), samples::update(transmit))
        }),
    ) {
        let mut ours = Vec::new();
        encode(&[update], &transmit, &mut ours);
        let theirs = through_netgauze(&ours, &transmit);
        let decoded = |stream: &[u8]| -> Vec<_> {
            messages(stream).into_iter().map(|(_, body)| decode(&body, &receive)).collect()
        };
        prop_assert_eq!(decoded(&theirs), decoded(&ours));
    }

    #[test]
    fn netgauze_agrees_on_opens(open in samples::open()) {
        // It refuses what the session refuses a layer above.
        prop_assume!(open.hold_time >= 3 && !open.id.is_unspecified() && !open.id.is_multicast() && !open.id.is_broadcast());
        let mut ours = Vec::new();
        open.encode(&mut ours);
        let theirs = through_netgauze(&ours, &PLAIN);
        prop_assert_eq!(Open::decode(&messages(&theirs)[0].1), Ok(open));
    }
}
