//! The whole desired state of the kernel of this node: what does not depend on the mode, and the
//! paths of the mode turned into nexthop objects and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use weft_ipam::Attachment;
use weft_kernel::nft::NftTable;
use weft_kernel::{
    DeviceName, FILTER_ADDRESS, Family, NEXTHOP_IDS, OwnAddress, Route, RouteKey, RouteTarget,
    Setting, SettingKey, State,
};

use crate::cluster::{Config, Peer};
use crate::mode::{Here, Paths, PeerPaths};

/// Loose reverse-path filtering: the source must be reachable, by whichever device (RFC 3704). A
/// packet may arrive on one path while the reverse route still uses another.
const RP_FILTER_LOOSE: u32 = 2;

/// What the state of the kernel follows from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What the admin says.
    pub config: &'a Config,
    /// This node.
    pub here: &'a Here,
    /// Its blocks.
    pub blocks: &'a [IpNet],
    /// The other nodes.
    pub peers: &'a [Peer],
    /// The paths to them.
    pub paths: &'a Paths,
    /// The pods of this node.
    pub attachments: &'a [Attachment],
    /// MTU of the routes of pods, in bytes.
    pub mtu: u32,
    /// The kernel itself drops IPv4 packets of pods under strange sources.
    pub sources_checked: bool,
}

/// What of the desired state says where to look for what is in Weft's way: devices and their
/// settings. It follows from neither pods nor peers one by one, so it is cheap to have.
pub fn devices(here: &Here, paths: &Paths) -> State {
    State {
        vxlans: paths.vxlans.clone(),
        settings: settings(here, paths),
        ..State::default()
    }
}

/// The state that the kernel of this node should be in.
pub fn desired(inputs: &Inputs) -> State {
    let mut state = State {
        neighbours: inputs.paths.neighbours.clone(),
        fdb: inputs.paths.fdb.clone(),
        nft: Some(nft_table(inputs)),
        ..devices(inputs.here, inputs.paths)
    };
    for family in Family::BOTH {
        let endpoint = &inputs.here.endpoint;
        let own = [endpoint.pod_address(family), endpoint.probe_address(family)];
        let own = own.into_iter().flatten();
        state.addresses.extend(own.map(OwnAddress::on_lo));
    }
    let filters = inputs.paths.vxlans.keys();
    state.addresses.extend(filters.map(|device| OwnAddress {
        device: *device,
        address: FILTER_ADDRESS.into(),
    }));
    add_local_routes(&mut state, inputs);
    add_peers(&mut state, inputs);
    state
}

fn settings(here: &Here, paths: &Paths) -> BTreeMap<SettingKey, u32> {
    let devices = paths.vxlans.keys().copied().chain([here.device]);
    devices
        .flat_map(|device| {
            [
                (Setting::RpFilter, RP_FILTER_LOOSE),
                (Setting::Forwarding, 1),
            ]
            .map(|(setting, value)| (SettingKey { device, setting }, value))
        })
        .collect()
}

fn nft_table(inputs: &Inputs) -> NftTable {
    NftTable {
        pools: inputs.config.pools.iter().map(|pool| pool.cidr).collect(),
        node_v4: inputs.here.endpoint.pod_ipv4,
        node_v6: inputs.here.endpoint.pod_ipv6,
        masquerade_mark: 1 << inputs.config.masquerade_bit,
        ipv4_sources: !inputs.sources_checked,
        hostports: inputs
            .attachments
            .iter()
            .flat_map(weft_cni::host_ports)
            .collect(),
        intact: true,
    }
}

/// Routes to the pods of this node; what else is sent to its blocks is dropped here, so that it
/// can't travel in circles.
fn add_local_routes(state: &mut State, inputs: &Inputs) {
    for block in inputs.blocks {
        state
            .routes
            .insert(RouteKey::send(*block), RouteTarget::Blackhole.into());
    }
    for attachment in inputs.attachments {
        let Ok(device) = attachment.host_ifname.parse::<DeviceName>() else {
            continue;
        };
        for address in &attachment.addresses {
            let route = Route {
                target: RouteTarget::device(device),
                source: inputs.here.endpoint.pod_address(Family::of(*address)),
                mtu: None,
            };
            state
                .routes
                .insert(RouteKey::send(IpNet::from(*address)), route);
        }
    }
}

fn add_peers(state: &mut State, inputs: &Inputs) {
    let mut ids = NexthopIds::default();
    let peers: BTreeMap<&str, &Peer> = inputs
        .peers
        .iter()
        .map(|peer| (peer.name.as_str(), peer))
        .collect();
    for paths in &inputs.paths.peers {
        let Some(peer) = peers.get(paths.peer.as_str()) else {
            continue;
        };
        let Some(nexthop) = paths.open.get(&paths.send) else {
            continue;
        };
        let id = ids.take(&paths.peer, paths.family);
        state.nexthops.insert(id, *nexthop);
        let source = inputs.here.endpoint.pod_address(paths.family);
        // Packets of the node itself keep one size too, whatever the device of the path could carry.
        let route = |target| Route {
            target,
            source,
            mtu: Some(inputs.mtu),
        };
        let in_family = |block: &&IpNet| Family::of(block.addr()) == paths.family;
        for block in peer.blocks.iter().filter(in_family) {
            let key = RouteKey::send(*block);
            state.routes.insert(key, route(RouteTarget::Nexthop(id)));
        }
        add_path_routes(state, peer, paths, route);
    }
}

/// One route by each open path to the address for probes, which ask for the device of their path. It is an
/// address of its own because the kernel looks at no further routes to the same one after an IPv4 route whose
/// nexthop object has another device than the one asked for (`fib_table_lookup`).
fn add_path_routes(
    state: &mut State,
    peer: &Peer,
    paths: &PeerPaths,
    route: impl Fn(RouteTarget) -> Route,
) {
    let Some(address) = peer.endpoint.probe_address(paths.family) else {
        return;
    };
    for (path, nexthop) in &paths.open {
        let key = RouteKey::path(IpNet::from(address), path.number());
        let target = RouteTarget::Device {
            device: nexthop.device,
            gateway: nexthop.gateway,
            onlink: nexthop.onlink,
        };
        state.routes.insert(key, route(target));
    }
}

/// Numbers of nexthop objects, by the name of the peer. A number depends on nothing else unless two
/// names collide, so that one peer's coming or going leaves the numbers of the others alone.
#[derive(Debug, Default)]
struct NexthopIds {
    taken: BTreeSet<u32>,
}

impl NexthopIds {
    fn take(&mut self, peer: &str, family: Family) -> u32 {
        let family: u8 = if family == Family::V4 { 4 } else { 6 };
        // FNV-1a.
        let hash = peer
            .bytes()
            .chain([0, family])
            .fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            });
        let (first, last) = (*NEXTHOP_IDS.start(), *NEXTHOP_IDS.end());
        let count = last - first + 1;
        let mut offset = hash % count;
        while !self.taken.insert(first + offset) {
            offset = (offset + 1) % count;
        }
        first + offset
    }
}

/// The node pod address of one family: the one it has while a block of the node holds it, else the
/// second address of the first block.
pub fn node_pod_address(
    former: Option<IpAddr>,
    family: Family,
    blocks: &[IpNet],
) -> Option<IpAddr> {
    let mut of_family = blocks
        .iter()
        .filter(|block| Family::of(block.addr()) == family);
    former
        .filter(|address| of_family.clone().any(|block| block.contains(address)))
        .or_else(|| of_family.next().map(second))
}

fn second(block: &IpNet) -> IpAddr {
    match block.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + 1).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + 1).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode;
    use crate::testing::{config, here, peer};
    use weft_crds::Encapsulation;
    use weft_ipam::{AttachmentId, HostPort, Protocol};

    fn attachment() -> Attachment {
        Attachment {
            id: AttachmentId::new("c1", "eth0"),
            netns: "/run/netns/c1".into(),
            network: "weft".into(),
            host_ifname: "weft00000000001".into(),
            pod: weft_ipam::PodRef::default(),
            addresses: vec![
                "10.244.1.2".parse().unwrap(),
                "fd00:10:244:1::2".parse().unwrap(),
            ],
            host_ports: vec![HostPort {
                host_ip: None,
                host_port: 8080,
                container_port: 80,
                protocol: Protocol::Tcp,
            }],
            since: 0,
            boot: String::new(),
        }
    }

    fn state(encapsulation: Encapsulation, attachments: &[Attachment]) -> State {
        let (config, here) = (config(encapsulation), here(1));
        let peers = [
            peer("b", 2, "192.0.2.2/24"),
            peer("c", 3, "198.51.100.3/24"),
        ];
        let paths = mode::paths(&config, &here, &peers);
        let blocks = [
            "10.244.1.0/26".parse().unwrap(),
            "fd00:10:244:1::/122".parse().unwrap(),
        ];
        desired(&Inputs {
            config: &config,
            here: &here,
            blocks: &blocks,
            peers: &peers,
            paths: &paths,
            attachments,
            mtu: 1450,
            sources_checked: true,
        })
    }

    #[test]
    fn an_edit_of_the_encapsulation_changes_nothing_but_one_nexthop_a_peer() {
        let always = state(Encapsulation::Always, &[attachment()]);
        let cross = state(Encapsulation::CrossSubnet, &[attachment()]);
        let changed: Vec<_> = always
            .nexthops
            .iter()
            .filter(|(id, nexthop)| cross.nexthops.get(id) != Some(nexthop))
            .collect();
        assert_eq!(
            changed.len(),
            1,
            "only b shares the subnet, and only for IPv4"
        );
        assert_eq!(
            State {
                nexthops: cross.nexthops.clone(),
                ..always.clone()
            },
            cross
        );
    }

    #[test]
    fn every_route_by_a_nexthop_has_one_and_keeps_source_and_mtu() {
        let state = state(Encapsulation::CrossSubnet, &[]);
        let mut routes = 0;
        for route in state.routes.values() {
            if let RouteTarget::Nexthop(id) = route.target {
                assert!(state.nexthops.contains_key(&id));
                assert!(route.source.is_some());
                assert_eq!(route.mtu, Some(1450));
                routes += 1;
            }
        }
        assert_eq!((routes, state.nexthops.len()), (4, 4));
    }

    #[test]
    fn a_pod_has_a_route_for_each_address_and_its_host_port_in_both_families() {
        let state = state(Encapsulation::Always, &[attachment()]);
        for address in attachment().addresses {
            let key = RouteKey::send(address.into());
            let device = "weft00000000001".parse().unwrap();
            assert_eq!(state.routes[&key].target, RouteTarget::device(device));
        }
        assert_eq!(state.nft.unwrap().hostports.len(), 2);
    }

    #[test]
    fn colliding_names_get_numbers_of_their_own() {
        let mut ids = NexthopIds::default();
        let first = ids.take("a", Family::V4);
        let again = ids.take("a", Family::V4);
        assert_ne!(first, again);
        assert_eq!(NexthopIds::default().take("a", Family::V4), first);
    }

    #[test]
    fn the_node_pod_address_stays_while_its_block_does() {
        let blocks: Vec<IpNet> = ["10.244.0.0/26", "10.244.9.0/26"]
            .iter()
            .map(|b| b.parse().unwrap())
            .collect();
        let former = Some("10.244.9.1".parse().unwrap());
        assert_eq!(node_pod_address(former, Family::V4, &blocks), former);
        let fresh = Some("10.244.0.1".parse().unwrap());
        assert_eq!(node_pod_address(None, Family::V4, &blocks), fresh);
        assert_eq!(node_pod_address(former, Family::V4, &blocks[..1]), fresh);
        assert_eq!(node_pod_address(None, Family::V6, &blocks), None);
    }
}
