//! Arbitrary values for the properties of this module and of the session.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::route::{Aggregator, Attributes, Family, Nlri, Opaque, Origin, Segment, Update};

pub(crate) fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
}

fn per_family<T: std::fmt::Debug>(
    one: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = PerFamily<T>> {
    (one.clone(), one).prop_map(|(ipv4, ipv6)| PerFamily { ipv4, ipv6 })
}

/// Unicast prefixes only.
fn prefix(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::Ipv4 => (0..0xdfff_ffff_u32, 0..=32_u8)
            .prop_map(|(address, length)| {
                Ipv4Net::new_assert(Ipv4Addr::from(address), length)
                    .trunc()
                    .into()
            })
            .boxed(),
        Family::Ipv6 => (any::<u128>(), 0..=128_u8)
            .prop_map(|(address, length)| {
                Ipv6Net::new_assert(Ipv6Addr::from(address >> 1), length)
                    .trunc()
                    .into()
            })
            .boxed(),
    }
}

fn nlri(
    family: Family,
    add_path: bool,
    count: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Nlri>> {
    let path_id = if add_path {
        any::<u32>().boxed()
    } else {
        Just(0).boxed()
    };
    vec(
        (prefix(family), path_id).prop_map(|(prefix, path_id)| Nlri { prefix, path_id }),
        count,
    )
}

fn asn() -> impl Strategy<Value = u32> {
    prop_oneof![1..=0xffff_u32, 1..=u32::MAX]
}

fn segment() -> impl Strategy<Value = Segment> {
    prop_oneof![
        vec(asn(), 1..6).prop_map(Segment::Sequence),
        vec(asn(), 1..4).prop_map(Segment::Set),
        vec(asn(), 255).prop_map(Segment::Sequence),
    ]
}

fn ipv4_host() -> impl Strategy<Value = Ipv4Addr> {
    (0x0100_0000..0x7f00_0000_u32).prop_map(Ipv4Addr::from)
}

fn ipv6_next_hop() -> impl Strategy<Value = (IpAddr, Option<Ipv6Addr>)> {
    let global = (2..u128::MAX >> 1).prop_map(|address| IpAddr::V6(Ipv6Addr::from(address)));
    let link_local = any::<u64>().prop_map(|low| Ipv6Addr::from(0xfe80 << 112 | u128::from(low)));
    (global, option::of(link_local))
}

fn next_hop(family: Family, extended: bool) -> BoxedStrategy<(IpAddr, Option<Ipv6Addr>)> {
    let ipv4 = ipv4_host().prop_map(|address| (IpAddr::V4(address), None));
    match family {
        Family::Ipv4 if extended => prop_oneof![ipv4, ipv6_next_hop()].boxed(),
        Family::Ipv4 => ipv4.boxed(),
        Family::Ipv6 => ipv6_next_hop().boxed(),
    }
}

fn opaque() -> impl Strategy<Value = Vec<Opaque>> {
    let flags = attribute::OPTIONAL | attribute::TRANSITIVE | attribute::PARTIAL;
    let one = vec(any::<u8>(), 0..300).prop_map(move |value| (flags, value));
    proptest::collection::btree_map(200..=239_u8, one, 0..2).prop_map(|all| {
        all.into_iter()
            .map(|(code, (flags, value))| Opaque { flags, code, value })
            .collect()
    })
}

/// Attributes that fit into a message of 4096 octets, whatever is agreed on.
fn attributes(family: Family, extended_next_hop: bool) -> impl Strategy<Value = Attributes> {
    let origin = prop_oneof![
        Just(Origin::Igp),
        Just(Origin::Egp),
        Just(Origin::Incomplete)
    ];
    let path = vec(segment(), 0..3);
    let numbers = (
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        any::<bool>(),
    );
    let aggregator = option::of((asn(), ipv4_host()).prop_map(|(asn, id)| Aggregator { asn, id }));
    let communities = (
        btree_set(any::<u32>(), 0..80),
        btree_set(any::<(u32, u32, u32)>(), 0..10),
        vec(any::<[u8; 8]>(), 0..5),
    );
    let reflection = (option::of(ipv4_host()), vec(ipv4_host(), 0..4));
    let next_hop = next_hop(family, extended_next_hop);
    (
        origin,
        path,
        next_hop,
        numbers,
        aggregator,
        communities,
        reflection,
        opaque(),
    )
        .prop_map(
            |(
                origin,
                as_path,
                (next_hop, link_local),
                numbers,
                aggregator,
                communities,
                reflection,
                opaque,
            )| Attributes {
                origin,
                as_path,
                next_hop,
                link_local,
                med: numbers.0,
                local_pref: numbers.1,
                atomic_aggregate: numbers.2,
                aggregator,
                communities: communities.0.into_iter().collect(),
                large_communities: communities.1.into_iter().collect(),
                extended_communities: communities.2,
                originator_id: reflection.0,
                cluster_list: reflection.1,
                opaque,
            },
        )
}

/// What two iBGP peers can have agreed on, as the sender and as the receiver sees it.
pub(super) fn agreement() -> impl Strategy<Value = (Transmit, Receive)> {
    let max = prop_oneof![Just(MAX), Just(MAX_EXTENDED)];
    (any::<bool>(), per_family(any::<bool>()), any::<bool>(), max).prop_map(
        |(as4, add_path, extended_next_hop, max)| {
            let families = PerFamily {
                ipv4: true,
                ipv6: true,
            };
            let receive = Receive {
                external: false,
                first_as: None,
                as4,
                families,
                add_path,
                extended_next_hop,
            };
            (
                Transmit {
                    as4,
                    families,
                    add_path,
                    extended_next_hop,
                    max,
                },
                receive,
            )
        },
    )
}

/// An update that can be said under an agreement.
pub(super) fn update(transmit: Transmit) -> impl Strategy<Value = Update> {
    family().prop_flat_map(move |family| {
        let add_path = *transmit.add_path.get(family);
        let announced = (
            attributes(family, transmit.extended_next_hop),
            nlri(family, add_path, 1..1500),
        );
        let announced =
            option::of(announced.prop_map(|(attributes, nlri)| (Arc::new(attributes), nlri)));
        (nlri(family, add_path, 0..1500), announced).prop_map(move |(withdrawn, announced)| {
            Update {
                family,
                withdrawn,
                announced,
            }
        })
    })
}

fn graceful_restart() -> impl Strategy<Value = GracefulRestart> {
    (
        any::<bool>(),
        any::<bool>(),
        0..4096_u16,
        per_family(option::of(any::<bool>())),
    )
        .prop_map(
            |(restarting, notification, restart_time, families)| GracefulRestart {
                restarting,
                notification,
                restart_time,
                families,
            },
        )
}

pub(super) fn capabilities() -> impl Strategy<Value = Capabilities> {
    let some_family = |families: &PerFamily<bool>| families.ipv4 || families.ipv6;
    let families = option::of(per_family(any::<bool>()).prop_filter("no family", some_family));
    let add_path =
        (any::<bool>(), any::<bool>()).prop_map(|(send, receive)| AddPath { send, receive });
    let long_lived =
        (any::<bool>(), 0..1_u32 << 24).prop_map(|(forwarding, stale_time)| LongLived {
            forwarding,
            stale_time,
        });
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let more = (
        option::of(graceful_restart()),
        per_family(option::of(long_lived)),
    );
    (
        families,
        option::of(asn()),
        flags,
        per_family(add_path),
        more,
    )
        .prop_map(
            |(families, as4, flags, add_path, (graceful_restart, long_lived))| Capabilities {
                families,
                as4,
                route_refresh: flags.0,
                enhanced_route_refresh: flags.1,
                extended_message: flags.2,
                extended_next_hop: flags.3,
                add_path,
                graceful_restart,
                long_lived,
            },
        )
}

pub(super) fn open() -> impl Strategy<Value = Open> {
    (asn(), any::<u16>(), any::<u32>(), capabilities()).prop_map(
        |(asn, hold_time, id, capabilities)| {
            let asn = capabilities.as4.unwrap_or(asn.min(0xffff));
            Open {
                asn,
                hold_time,
                id: id.into(),
                capabilities,
            }
        },
    )
}
