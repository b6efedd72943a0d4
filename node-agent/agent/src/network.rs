//! The whole desired state of the kernel of this node: what does not depend on the mode, and the
//! paths of the mode turned into nexthop objects and routes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use weft_ipam::Attachment;
use weft_kernel::nft::NftTable;
use weft_kernel::{
    DeviceName, FILTER_ADDRESS, Family, OwnAddress, Route, RouteKey, RouteTarget, Setting,
    SettingKey, State,
};

use crate::cluster::{Config, Peer};
use crate::mode::{Here, Paths, PeerPaths, Proof};
use crate::nexthops::Nexthops;

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
    /// The size at which paths of another mode are to be proven, in bytes.
    pub proof_mtu: u32,
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
    let mut state = alone(inputs);
    add_peers(&mut state, inputs);
    state
}

/// What of it leads to no other node.
pub fn alone(inputs: &Inputs) -> State {
    let mut state = State {
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

/// Adds what leads to other nodes. Nothing of it depends on blocks or pods of this one.
pub fn add_peers(state: &mut State, inputs: &Inputs) {
    state.neighbours.clone_from(&inputs.paths.neighbours);
    state.fdb.clone_from(&inputs.paths.fdb);
    let mut nexthops = Nexthops::default();
    let peers: BTreeMap<&str, &Peer> = inputs
        .peers
        .iter()
        .map(|peer| (peer.name.as_str(), peer))
        .collect();
    for paths in &inputs.paths.peers {
        let Some(peer) = peers.get(paths.peer.as_str()) else {
            continue;
        };
        let used = paths.open.get(&paths.send).map_or(&[][..], Vec::as_slice);
        let Some(id) = nexthops.peer(&paths.peer, paths.family, used) else {
            continue;
        };
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
        add_path_routes(state, peer, paths, inputs, (id, source));
    }
    for (prefix, used) in &inputs.paths.routes {
        if let Some(id) = nexthops.elsewhere(used) {
            let route = RouteTarget::Nexthop(id).into();
            state.routes.insert(RouteKey::send(*prefix), route);
        }
    }
    state.nexthops = nexthops.singles;
    state.groups = nexthops.groups;
}

/// Keeps what the kernel has and nothing says to be wrong: routes that lead to somewhere, and what is under them.
pub fn hold(desired: &mut State, observed: &State) {
    for (key, route) in &observed.routes {
        let RouteTarget::Nexthop(id) = route.target else {
            continue;
        };
        if desired.routes.contains_key(key) {
            continue;
        }
        let members = observed.groups.get(&id).cloned().unwrap_or_default();
        for id in members.iter().chain([&id]) {
            if let Some(nexthop) = observed.nexthops.get(id) {
                desired.nexthops.entry(*id).or_insert(*nexthop);
            }
        }
        if !members.is_empty() {
            desired.groups.entry(id).or_insert(members);
        }
        desired.routes.insert(*key, route.clone());
    }
}

/// One route by each open path to the address for probes, which ask for the device of their path. It is an
/// address of its own because the kernel looks at no further routes to the same one after an IPv4 route whose
/// nexthop object has another device than the one asked for (`fib_table_lookup`).
fn add_path_routes(
    state: &mut State,
    peer: &Peer,
    paths: &PeerPaths,
    inputs: &Inputs,
    (used, source): (u32, Option<IpAddr>),
) {
    let Some(address) = peer.endpoint.probe_address(paths.family) else {
        return;
    };
    for (path, nexthops) in &paths.open {
        let key = RouteKey::path(IpNet::from(address), path.number());
        let target = match nexthops[..] {
            // Several that share the packets of the path in use are a group; of another path one is tried.
            [_, _, ..] if *path == paths.send => RouteTarget::Nexthop(used),
            [nexthop, ..] => RouteTarget::Device {
                device: nexthop.device,
                gateway: nexthop.gateway,
                onlink: nexthop.onlink,
            },
            [] => continue,
        };
        // Packets of pods may become larger than they are now.
        let mtu = if paths.proof == Proof::Of(*path) {
            inputs.mtu.max(inputs.proof_mtu)
        } else {
            inputs.mtu
        };
        let route = Route {
            target,
            source,
            mtu: Some(mtu),
        };
        state.routes.insert(key, route);
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
    use weft_peering::View;

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
        let paths = mode::paths(&config, &here, &peers, &View::default(), &Paths::default());
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
            proof_mtu: 1450,
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
    fn what_is_held_stays_with_what_is_under_it_and_is_replaced_by_what_is_known() {
        let mut before = state(Encapsulation::Always, &[attachment()]);
        let group: std::collections::BTreeSet<u32> = [1, 2].into();
        for id in &group {
            let nexthop = before.nexthops.values().next().copied().unwrap();
            before.nexthops.insert(*id, nexthop);
        }
        before.groups.insert(3, group);
        let far = RouteKey::send("203.0.113.0/24".parse().unwrap());
        before.routes.insert(far, RouteTarget::Nexthop(3).into());
        let mut after = state(Encapsulation::CrossSubnet, &[]);
        let known = after.clone();
        hold(&mut after, &before);
        assert_eq!(after.routes[&far], before.routes[&far]);
        assert!(after.groups.contains_key(&3) && after.nexthops.contains_key(&1));
        for (key, route) in &known.routes {
            assert_eq!(after.routes[key], *route);
        }
        for (id, nexthop) in &known.nexthops {
            assert_eq!(after.nexthops[id], *nexthop);
        }
        // The pod is gone, and so is its route.
        assert_eq!(after.routes.len(), known.routes.len() + 1);
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
