//! Mode Overlay: VXLAN between nodes (RFC 7348), without learning and without flooding.
//!
//! Each peer is one permanent neighbour for each address family and one FDB entry. Packets to peers
//! on the same subnet go directly if the config says so; they are accepted in VXLAN all the same.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_crds::{Encapsulation, Mode};
use weft_kernel::capability::Capability;
use weft_kernel::{DeviceName, Family, FdbKey, NeighbourKey, Nexthop, Vxlan};

use super::{Here, Path, Paths, PeerPaths, Proof};
use crate::cluster::{Config, Endpoint, Peer};

/// Ethernet, VXLAN, UDP and the outer IP header, in bytes.
const fn vxlan_overhead(underlay: Family) -> u32 {
    match underlay {
        Family::V4 => 14 + 8 + 8 + 20,
        Family::V6 => 14 + 8 + 8 + 40,
    }
}

/// What VXLAN adds to a packet of this node, in bytes.
pub(super) fn overhead(endpoint: &Endpoint) -> u32 {
    vxlan_overhead(if endpoint.ipv4.is_some() {
        Family::V4
    } else {
        Family::V6
    })
}

/// The paths from this node to its peers.
pub(super) fn paths(config: &Config, here: &Here, peers: &[Peer]) -> Paths {
    let mut paths = Paths::default();
    let preferred = if here.endpoint.ipv4.is_some() {
        Family::V4
    } else {
        Family::V6
    };
    add_device(&mut paths, config, here, preferred);
    for peer in peers {
        let Some(underlay) = common_underlay(&here.endpoint, &peer.endpoint) else {
            continue;
        };
        let device = add_device(&mut paths, config, here, underlay);
        if let Some(address) = peer.endpoint.underlay(underlay) {
            paths.fdb.insert(
                FdbKey {
                    device,
                    mac: peer.endpoint.mac,
                },
                address.addr(),
            );
        }
        for family in Family::BOTH {
            let Some(address) = peer.endpoint.pod_address(family) else {
                continue;
            };
            // The kernel refuses an IPv6 gateway for which the main table has a route through another
            // device (`ip6_route_check_nh_onlink`), as it has for the node pod address.
            let gateway = match address {
                IpAddr::V4(_) => address,
                IpAddr::V6(_) => peer.endpoint.mac.link_local().into(),
            };
            paths.neighbours.insert(
                NeighbourKey {
                    device,
                    address: gateway,
                },
                peer.endpoint.mac,
            );
            paths
                .peers
                .push(peer_paths(config, here, peer, family, device, gateway));
        }
    }
    paths
}

fn peer_paths(
    config: &Config,
    here: &Here,
    peer: &Peer,
    family: Family,
    device: DeviceName,
    gateway: IpAddr,
) -> PeerPaths {
    let mut open = BTreeMap::from([(Path::Vxlan, vec![Nexthop::onlink(gateway, device)])]);
    let mut send = Path::Vxlan;
    if here.endpoint.shares_subnet(&peer.endpoint, family)
        && let Some(address) = peer.endpoint.underlay(family)
    {
        let nexthop = Nexthop::onlink(address.addr(), here.device);
        open.insert(Path::Direct, vec![nexthop]);
        if config.encapsulation == Encapsulation::CrossSubnet {
            send = Path::Direct;
        }
    }
    PeerPaths {
        peer: peer.name.clone(),
        family,
        open,
        send,
        mode: Mode::Overlay,
        proof: Proof::None,
    }
}

/// What is in the way of this mode.
pub(super) fn obstacles(
    here: &Here,
    peers: &[Peer],
    missing: &BTreeMap<Capability, String>,
) -> Vec<String> {
    let mut obstacles = Vec::new();
    let needed = if here.endpoint.ipv4.is_some() {
        Capability::VxlanV4
    } else {
        Capability::VxlanV6
    };
    obstacles.extend(missing.get(&needed).map(|error| {
        format!("the kernel of this node lacks {needed}: {error}; use a kernel that has it")
    }));
    let mut apart = peers
        .iter()
        .filter(|peer| common_underlay(&here.endpoint, &peer.endpoint).is_none());
    if let Some(first) = apart.next() {
        obstacles.push(format!(
            "this node and {} have no address of the same family in the underlay ({} more such nodes); give one of them one",
            first.name,
            apart.count()
        ));
    }
    obstacles
}

/// The family in which the two nodes can send VXLAN packets to each other.
fn common_underlay(here: &Endpoint, there: &Endpoint) -> Option<Family> {
    Family::BOTH
        .into_iter()
        .find(|family| here.underlay(*family).is_some() && there.underlay(*family).is_some())
}

fn add_device(paths: &mut Paths, config: &Config, here: &Here, underlay: Family) -> DeviceName {
    let name = match underlay {
        Family::V4 => DeviceName::VX4,
        Family::V6 => DeviceName::VX6,
    };
    if let Some(local) = here.endpoint.underlay(underlay) {
        paths.vxlans.entry(name).or_insert_with(|| Vxlan {
            vni: config.vni,
            port: config.port,
            local: local.addr(),
            mac: here.endpoint.mac,
            mtu: here.endpoint.mtu.saturating_sub(vxlan_overhead(underlay)),
            tx_checksum: here.tx_checksum,
            up: true,
            learning: false,
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, here, peer};

    fn send(paths: &Paths, peer: &str) -> Vec<(Family, Path)> {
        let of_peer = paths.peers.iter().filter(|paths| paths.peer == peer);
        of_peer.map(|paths| (paths.family, paths.send)).collect()
    }

    #[test]
    fn always_sends_all_in_vxlan_and_yet_accepts_direct_packets() {
        let peers = [
            peer("b", 2, "192.0.2.2/24"),
            peer("c", 3, "198.51.100.3/24"),
        ];
        let paths = paths(&config(Encapsulation::Always), &here(1), &peers);
        for name in ["b", "c"] {
            assert_eq!(
                send(&paths, name),
                [(Family::V4, Path::Vxlan), (Family::V6, Path::Vxlan)]
            );
        }
        let b = paths.peers.iter().find(|paths| paths.peer == "b").unwrap();
        assert!(b.open.contains_key(&Path::Direct));
    }

    #[test]
    fn cross_subnet_sends_directly_only_where_both_share_a_subnet() {
        let peers = [
            peer("b", 2, "192.0.2.2/24"),
            peer("c", 3, "198.51.100.3/24"),
        ];
        let paths = paths(&config(Encapsulation::CrossSubnet), &here(1), &peers);
        // The nodes have no IPv6 address in the underlay, so IPv6 has no direct path.
        assert_eq!(
            send(&paths, "b"),
            [(Family::V4, Path::Direct), (Family::V6, Path::Vxlan)]
        );
        assert_eq!(
            send(&paths, "c"),
            [(Family::V4, Path::Vxlan), (Family::V6, Path::Vxlan)]
        );
    }

    #[test]
    fn a_subnet_is_shared_only_if_both_have_the_same_prefix_length() {
        let peers = [peer("b", 2, "192.0.2.2/25")];
        let paths = paths(&config(Encapsulation::CrossSubnet), &here(1), &peers);
        assert_eq!(send(&paths, "b")[0], (Family::V4, Path::Vxlan));
    }

    #[test]
    fn an_ipv6_underlay_has_a_device_of_its_own_and_a_smaller_mtu() {
        let mut here = here(1);
        let mut b = peer("b", 2, "192.0.2.2/24");
        for (endpoint, address) in [
            (&mut here.endpoint, "2001:db8::1/64"),
            (&mut b.endpoint, "2001:db8::2/64"),
        ] {
            endpoint.ipv4 = None;
            endpoint.ipv6 = Some(address.parse().unwrap());
        }
        let paths = paths(&config(Encapsulation::Always), &here, &[b]);
        let devices: Vec<_> = paths
            .vxlans
            .iter()
            .map(|(name, vxlan)| (*name, vxlan.mtu))
            .collect();
        assert_eq!(devices, [(DeviceName::VX6, 1430)]);
        assert_eq!(paths.peers.len(), 2);
    }

    #[test]
    fn a_node_without_a_common_family_has_no_path() {
        let mut b = peer("b", 2, "192.0.2.2/24");
        b.endpoint.ipv4 = None;
        b.endpoint.ipv6 = Some("2001:db8::2/64".parse().unwrap());
        let paths = paths(&config(Encapsulation::Always), &here(1), &[b]);
        assert!(paths.peers.is_empty() && paths.fdb.is_empty());
        assert_eq!(paths.vxlans.len(), 1);
    }
}
