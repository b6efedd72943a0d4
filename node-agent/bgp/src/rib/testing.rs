//! Routes and BGP peers for tests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;

use super::{Kind, Peer, PeerId, Speaker, Table};
use crate::policy::Policy;
use crate::route::{Attributes, Family, Nlri, Opaque, Origin, Segment, Update, community};

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(super) fn nlri(text: &str, path_id: u32) -> Nlri {
    let prefix = net(text);
    Nlri { prefix, path_id }
}

pub(super) fn id(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

/// A route with this path, as one sequence, by way of 192.0.2.1.
pub(super) fn attributes(as_path: &[u32]) -> Attributes {
    Attributes::plain(id(1).into(), as_path)
}

/// AS 64512, 192.0.2.100, reflector of cluster 192.0.2.200.
pub(super) fn us(multipath: u16) -> Speaker {
    Speaker {
        asn: 64512,
        router_id: id(100),
        cluster_id: id(200),
        multipath: NonZeroU16::new(multipath).unwrap(),
    }
}

/// An eBGP peer of which everything is accepted.
pub(super) fn external(last: u8) -> Peer {
    Peer {
        kind: Kind::External,
        import: Some(Arc::new(Policy::accept_all())),
        ..internal(last)
    }
}

/// An iBGP peer, no client.
pub(super) fn internal(last: u8) -> Peer {
    Peer {
        kind: Kind::Internal { client: false },
        address: id(last).into(),
        router_id: id(last),
        import: None,
        own_as_allowed: 0,
        limit_ipv4: None,
        limit_ipv6: None,
    }
}

/// A table that knows these BGP peers by the last byte of their address.
pub(super) fn table(multipath: u16, peers: &[Peer]) -> Table {
    let mut table = Table::new(us(multipath), 1);
    for peer in peers {
        table.set_peer(peer_id(peer), peer.clone());
    }
    table
}

pub(super) fn peer_id(peer: &Peer) -> PeerId {
    PeerId(peer.router_id.octets()[3].into())
}

pub(super) fn announce(attributes: &Attributes, prefixes: &[&str]) -> Update {
    let announced = prefixes.iter().map(|text| nlri(text, 0)).collect();
    Update {
        family: Family::of(&net(prefixes[0])),
        withdrawn: Vec::new(),
        announced: Some((Arc::new(attributes.clone()), announced)),
    }
}

pub(super) fn withdraw(prefixes: &[&str]) -> Update {
    Update {
        family: Family::of(&net(prefixes[0])),
        withdrawn: prefixes.iter().map(|text| nlri(text, 0)).collect(),
        announced: None,
    }
}

/// Attributes of all kinds, with values that mean something here more often than by chance.
pub(super) fn any_attributes() -> impl Strategy<Value = Attributes> {
    let asn = || prop_oneof![Just(0), Just(64512), 64600u32..64603, any::<u32>()];
    let segment = || {
        let ases = prop::collection::vec(asn(), 0..4);
        (ases, any::<bool>()).prop_map(|(ases, set)| match set {
            true => Segment::Set(ases),
            false => Segment::Sequence(ases),
        })
    };
    let origin = prop_oneof![
        Just(Origin::Igp),
        Just(Origin::Egp),
        Just(Origin::Incomplete)
    ];
    let known = prop::sample::select(vec![
        community::NO_EXPORT,
        community::NO_ADVERTISE,
        community::NO_EXPORT_SUBCONFED,
        community::LLGR_STALE,
        community::NO_LLGR,
    ]);
    let communities = prop::collection::btree_set(prop_oneof![known, any::<u32>()], 0..3);
    let some_id = || prop_oneof![Just(id(100)), Just(id(200)), any::<Ipv4Addr>()];
    let next_hop = prop_oneof![Just(IpAddr::V4(id(1))), any::<IpAddr>()];
    let path = (prop::collection::vec(segment(), 0..3), origin, communities);
    let choice = (next_hop, any::<Option<u32>>(), any::<Option<u32>>());
    let reflected = (
        prop::option::of(some_id()),
        prop::collection::vec(some_id(), 0..3),
    );
    let others = (any::<Option<Ipv6Addr>>(), any::<[u8; 8]>(), any::<u8>());
    (path, choice, reflected, others).prop_map(
        |((as_path, origin, communities), (next_hop, med, local_pref), reflected, others)| {
            let (originator_id, cluster_list) = reflected;
            let (link_local, extended, flags) = others;
            let (code, value) = (99, vec![1]);
            Attributes {
                origin,
                as_path,
                next_hop,
                link_local,
                med,
                local_pref,
                communities: communities.into_iter().collect(),
                extended_communities: vec![extended],
                originator_id,
                cluster_list,
                opaque: vec![Opaque { flags, code, value }],
                ..attributes(&[])
            }
        },
    )
}

/// Every next hop is one hop away.
pub(super) fn near(_: PeerId, _: IpAddr) -> Option<u32> {
    Some(1)
}
