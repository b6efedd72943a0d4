//! A small network of namespaces: nodes on one underlay switch, a pod on each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use weft_kernel::nft::NftTable;
use weft_kernel::testing::{Netns, sh};
use weft_kernel::{
    DeviceName, FILTER_ADDRESS, Family, FdbKey, Mac, NeighbourKey, Nexthop, OwnAddress, Route,
    RouteKey, RouteTarget, Setting, SettingKey, State, Vxlan,
};

/// A node, its pod, and its number (from 1).
pub struct Node {
    pub number: u8,
    pub ns: Netns,
    pub pod: Netns,
}

/// Nodes on one switch, which lives as long as this.
pub struct Lab {
    pub nodes: Vec<Node>,
    switch: Netns,
}

/// How packets get to the other nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Path {
    /// VXLAN over an underlay of this family.
    Vxlan(Family),
    /// Plain routes to an underlay address of this family.
    Direct(Family),
}

fn eth0() -> DeviceName {
    "eth0".parse().unwrap()
}

pub fn host_end() -> DeviceName {
    "weft00000000001".parse().unwrap()
}

/// The path by which `ip` can name a namespace that has no name.
fn reference(ns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd())
}

pub fn underlay(number: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, number).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// An address of node `number`'s block: 1 is the node pod address, 5 that of its pod.
pub fn pod_address(number: u8, family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 244, number, host).into(),
        Family::V6 => {
            Ipv6Addr::new(0xfd00, 0x10, 0x244, number.into(), 0, 0, 0, host.into()).into()
        }
    }
}

/// By which node `number` is reached in VXLAN.
pub fn gateway(number: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => pod_address(number, family, 1),
        Family::V6 => mac(number).link_local().into(),
    }
}

impl Lab {
    /// `count` nodes with IPv4 and IPv6 in the underlay, each with a dual-stack pod.
    pub fn new(count: u8) -> Self {
        let switch = Netns::new();
        switch.run(|| sh("ip link add br0 type bridge; ip link set br0 up"));
        let nodes = (1..=count)
            .map(|number| Self::node(&switch, number))
            .collect();
        Self { nodes, switch }
    }

    /// A host on the underlay that is no node: number 200.
    pub fn outside(&self) -> Netns {
        let ns = Netns::new();
        ns.run(|| sh("sysctl -qw net.ipv6.conf.default.accept_dad=0"));
        plug(&self.switch, &ns, 200);
        ns
    }

    fn node(switch: &Netns, number: u8) -> Node {
        let (ns, pod) = (Netns::new(), Netns::new());
        for ns in [&ns, &pod] {
            // Nobody waits a second here until addresses are known to be unique.
            ns.run(|| {
                sh("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")
            });
        }
        plug(switch, &ns, number);
        let (to_pod, host) = (reference(&pod), host_end());
        ns.run(|| {
            sh(&format!(
                "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
                ip link add {host} address 02:00:00:00:00:01 type veth peer name eth0 netns {to_pod}
                ip link set {host} up"
            ))
        });
        let (v4, v6) = (
            pod_address(number, Family::V4, 5),
            pod_address(number, Family::V6, 5),
        );
        pod.run(|| {
            sh(&format!(
                "ip link set eth0 mtu 1430 up; ip addr add {v4}/32 dev eth0; ip addr add {v6}/128 dev eth0 nodad
                ip route add default via 169.254.1.1 dev eth0 onlink
                ip route add default via fe80::1 dev eth0
                ip neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 nud permanent dev eth0
                ip neigh add fe80::1 lladdr 02:00:00:00:00:01 nud permanent dev eth0"
            ))
        });
        Node { number, ns, pod }
    }

    /// What node `number` wants when it sends by `path` and receives in every way.
    pub fn desired(&self, number: u8, path: Path) -> State {
        let mut state = State::default();
        for (device, family, mtu) in [
            (DeviceName::VX4, Family::V4, 1450),
            (DeviceName::VX6, Family::V6, 1430),
        ] {
            let local = underlay(number, family);
            let vxlan = Vxlan {
                vni: 4873,
                port: 4789,
                local,
                mac: mac(number),
                mtu,
                tx_checksum: true,
                up: true,
                learning: false,
            };
            state.vxlans.insert(device, vxlan);
            let address = FILTER_ADDRESS.into();
            state.addresses.insert(OwnAddress { device, address });
        }
        for device in [DeviceName::VX4, DeviceName::VX6, eth0()] {
            state.settings.insert(
                SettingKey {
                    device,
                    setting: Setting::RpFilter,
                },
                2,
            );
        }
        for family in Family::BOTH {
            let own = pod_address(number, family, 1);
            state.addresses.insert(OwnAddress::on_lo(own));
            let pod = RouteKey::send(pod_address(number, family, 5).into());
            let target = RouteTarget::device(host_end());
            state.routes.insert(
                pod,
                Route {
                    target,
                    source: Some(own),
                    mtu: None,
                },
            );
        }
        for peer in self
            .nodes
            .iter()
            .map(|node| node.number)
            .filter(|peer| *peer != number)
        {
            self.add_peer(&mut state, number, peer, path);
        }
        state
    }

    /// The nftables table of node `number`, without host ports.
    pub fn table(&self, number: u8) -> NftTable {
        let mut table = NftTable {
            pools: ["10.244.0.0/16", "fd00:10:244::/48"]
                .map(|pool| pool.parse().unwrap())
                .into(),
            ..NftTable::default()
        };
        for family in Family::BOTH {
            match pod_address(number, family, 1) {
                IpAddr::V4(v4) => table.node_v4 = Some(v4),
                IpAddr::V6(v6) => table.node_v6 = Some(v6),
            }
        }
        table
    }

    fn add_peer(&self, state: &mut State, number: u8, peer: u8, path: Path) {
        for (device, family) in [(DeviceName::VX4, Family::V4), (DeviceName::VX6, Family::V6)] {
            state.fdb.insert(
                FdbKey {
                    device,
                    mac: mac(peer),
                },
                underlay(peer, family),
            );
            for inner in Family::BOTH {
                let address = gateway(peer, inner);
                state
                    .neighbours
                    .insert(NeighbourKey { device, address }, mac(peer));
            }
        }
        for family in Family::BOTH {
            let nexthop = match (path, family) {
                (Path::Vxlan(Family::V4), _) => {
                    Nexthop::onlink(gateway(peer, family), DeviceName::VX4)
                }
                (Path::Vxlan(Family::V6), _) => {
                    Nexthop::onlink(gateway(peer, family), DeviceName::VX6)
                }
                // An IPv6 packet cannot go by way of an IPv4 nexthop.
                (Path::Direct(Family::V6), _) | (_, Family::V6) => {
                    Nexthop::via(underlay(peer, Family::V6), eth0())
                }
                (Path::Direct(Family::V4), Family::V4) => {
                    Nexthop::via(underlay(peer, Family::V4), eth0())
                }
            };
            let id = 0x5700_0000 + u32::from(peer) * 2 + family as u32;
            state.nexthops.insert(id, nexthop);
            let bits = if family == Family::V4 { 24 } else { 64 };
            let block = ipnet::IpNet::new(pod_address(peer, family, 0), bits).unwrap();
            let source = Some(pod_address(number, family, 1));
            let route = Route {
                target: RouteTarget::Nexthop(id),
                source,
                mtu: Some(1430),
            };
            state.routes.insert(RouteKey::send(block), route);
        }
    }
}

/// Gives a namespace its `eth0` on the switch, with addresses of both families.
fn plug(switch: &Netns, ns: &Netns, number: u8) {
    let to_ns = reference(ns);
    switch.run(|| {
        sh(&format!(
            "ip link add p{number} type veth peer name eth0 netns {to_ns}
            ip link set p{number} master br0 up"
        ))
    });
    let (v4, v6) = (underlay(number, Family::V4), underlay(number, Family::V6));
    ns.run(|| {
        sh(&format!(
            "ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad; ip link set eth0 up"
        ))
    });
}

fn mac(number: u8) -> Mac {
    Mac([2, 0x57, 0, 0, 0, number])
}
