//! From a cluster's description to every name and address in it. Pure.

mod router;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::spec::{ClusterSpec, Families};

pub use router::{CORE_ASN, OUTSIDE_ASN, Router, Uplink};

/// The only host on the control plane's subnet and on the outside one.
const LONE_HOST: u32 = 10;

/// Where hardware addresses of nodes begin.
const FIRST_MAC: u32 = 11;

/// All names and addresses of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The cluster's name.
    pub cluster: String,
    /// Subnets, those of the nodes first.
    pub subnets: Vec<Subnet>,
    /// The control plane.
    pub control: Endpoint,
    /// The outside host.
    pub outside: Option<Endpoint>,
    /// The nodes in the order of the description.
    pub nodes: Vec<Endpoint>,
    /// The routers of racks in the order of the description.
    pub routers: Vec<Router>,
    /// The link by which the machine itself reaches the API server.
    pub host_link: HostLink,
}

/// A bridge in the router's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its name.
    pub name: String,
    /// The bridge's device name.
    pub bridge: String,
    /// In bytes.
    pub mtu: u32,
    /// The router's addresses on it; in a rack, those of its first router.
    pub gateways: Vec<IpNet>,
    /// Whether it is a rack: the router of the cluster has no address on it.
    pub rack: bool,
}

/// A network namespace with one interface, eth0, on a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name in the cluster, which is also the name of the bridge's port to it.
    pub name: String,
    /// The name of its network namespace.
    pub netns: String,
    /// The bridge that it is attached to.
    pub bridge: String,
    /// MTU of eth0 in bytes.
    pub mtu: u32,
    /// Hardware address of eth0.
    pub mac: String,
    /// Addresses of eth0, the primary family first.
    pub addresses: Vec<IpNet>,
    /// The router's addresses on its subnet.
    pub gateways: Vec<IpAddr>,
}

/// A veth pair from the machine's own namespace to the control plane's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// Device name on the machine.
    pub device: String,
    /// Address on the machine.
    pub host: IpNet,
    /// Address of the control plane.
    pub control: IpNet,
}

impl Plan {
    /// Plans a validated description. `index` tells clusters on one machine apart.
    pub fn new(spec: &ClusterSpec, index: u8) -> Self {
        let mut subnets: Vec<Subnet> = Vec::new();
        for subnet in &spec.subnets {
            subnets.push(Subnet {
                rack: !subnet.routers.is_empty(),
                ..plan_subnet(&subnet.name, subnet.mtu, &subnet.cidrs)
            });
        }
        let control = lone_subnet(spec.families, "control", 100);
        let outside = lone_subnet(spec.families, "outside", 200);
        let endpoint =
            |name: &str, subnet: &Subnet, place: usize, mtu: Option<u32>, number: u32| Endpoint {
                name: name.to_owned(),
                netns: netns(&spec.name, name),
                bridge: subnet.bridge.clone(),
                mtu: mtu.unwrap_or(subnet.mtu),
                mac: mac(place, number),
                addresses: subnet
                    .gateways
                    .iter()
                    .map(|net| host(net, number))
                    .collect(),
                gateways: subnet.gateways.iter().map(IpNet::addr).collect(),
            };
        let nodes = spec.nodes.iter().enumerate().filter_map(|(n, node)| {
            let number = node.number(n);
            let place = subnets
                .iter()
                .position(|subnet| subnet.name == node.subnet)?;
            let planned = endpoint(&node.name, &subnets[place], place, node.mtu, number);
            // A node that is given another address keeps its hardware.
            let mac = mac(place, FIRST_MAC + n as u32);
            Some(Endpoint { mac, ..planned })
        });
        let nodes = nodes.collect();
        let rack_routers = spec.subnets.iter().enumerate().flat_map(|(place, rack)| {
            let subnet = &subnets[place];
            (1..).zip(&rack.routers).map(move |(number, router)| {
                let mut planned = endpoint(&router.name, subnet, place, None, number);
                planned.gateways = Vec::new();
                (router, planned)
            })
        });
        let routers = (0..)
            .zip(rack_routers)
            .map(|(number, (router, planned))| Router::new(spec, number, router, planned))
            .collect();
        let plan = Self {
            cluster: spec.name.clone(),
            control: endpoint("control", &control, 0xfd, None, LONE_HOST),
            outside: spec
                .outside
                .then(|| endpoint("outside", &outside, 0xfe, None, LONE_HOST)),
            nodes,
            routers,
            host_link: HostLink::new(&spec.name, index),
            subnets: Vec::new(),
        };
        subnets.push(control);
        subnets.extend(spec.outside.then_some(outside));
        Self { subnets, ..plan }
    }

    /// The network namespace that holds the bridges and forwards between them.
    pub fn router_netns(&self) -> String {
        netns(&self.cluster, "router")
    }

    /// The machine's end of the link to a cluster's control plane.
    pub fn host_device(cluster: &str) -> String {
        format!("tb-{cluster}")
    }

    /// Every endpoint: control plane, outside host, nodes, routers of racks.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let routers = self.routers.iter().map(|router| &router.endpoint);
        std::iter::once(&self.control)
            .chain(&self.outside)
            .chain(&self.nodes)
            .chain(routers)
    }

    /// An endpoint by its name.
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints().find(|endpoint| endpoint.name == name)
    }

    /// Where nodes and pods reach the API server.
    pub fn api_server(&self) -> IpAddr {
        self.control.primary()
    }
}

impl Endpoint {
    /// Its address of the primary family.
    pub fn primary(&self) -> IpAddr {
        self.addresses
            .first()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpNet::addr)
    }

    /// Its addresses without prefix lengths.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(IpNet::addr).collect()
    }
}

impl HostLink {
    fn new(cluster: &str, index: u8) -> Self {
        // 198.18.0.0/15 is for benchmarks of network devices (RFC 2544), so nobody routes it.
        let address = |last| {
            IpNet::from(ipnet::Ipv4Net::new_assert(
                Ipv4Addr::new(198, 18, index, last),
                31,
            ))
        };
        Self {
            device: Plan::host_device(cluster),
            host: address(0),
            control: address(1),
        }
    }
}

/// The start of the names of a cluster's network namespaces and cgroups.
pub fn prefix(cluster: &str) -> String {
    format!("tb-{cluster}-")
}

/// The name of a network namespace of a cluster.
pub fn netns(cluster: &str, endpoint: &str) -> String {
    prefix(cluster) + endpoint
}

/// An address as the host part of a URL.
pub fn url_host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// The address number `number` in a range, with the range's prefix length.
pub fn host(net: &IpNet, number: u32) -> IpNet {
    let address = match net.network() {
        IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() | number)),
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() | u128::from(number))),
    };
    IpNet::new(address, net.prefix_len()).unwrap_or(*net)
}

/// A locally administered hardware address.
fn mac(place: usize, number: u32) -> String {
    let [.., high, low] = number.to_be_bytes();
    format!("02:77:65:{place:02x}:{high:02x}:{low:02x}")
}

fn plan_subnet(name: &str, mtu: u32, cidrs: &[IpNet]) -> Subnet {
    let mut gateways: Vec<_> = cidrs.iter().map(|net| host(net, 1)).collect();
    gateways.sort_by_key(|net| net.addr().is_ipv6());
    Subnet {
        name: name.to_owned(),
        bridge: format!("br-{name}"),
        mtu,
        gateways,
        rack: false,
    }
}

fn lone_subnet(families: Families, name: &str, number: u8) -> Subnet {
    let v4 = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(172, 30, number, 0), 24);
    let v6 = ipnet::Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd00, 0x30, number.into(), 0, 0, 0, 0, 0),
        64,
    );
    let cidrs: Vec<IpNet> = [v4.into(), v6.into()]
        .into_iter()
        .filter(|net| families.include(net))
        .collect();
    plan_subnet(name, 1500, &cidrs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::BTreeSet;

    fn plan(preset: &str) -> Plan {
        let spec = ClusterSpec::preset(preset, "demo")
            .expect("known")
            .validated()
            .expect("valid");
        Plan::new(&spec, 3)
    }

    #[test]
    fn addresses_of_the_demo() {
        let plan = plan("demo");
        let node3 = plan.endpoint("node3").expect("planned");
        assert_eq!(node3.netns, "tb-demo-node3");
        assert_eq!(node3.bridge, "br-b");
        let shown: Vec<_> = node3.addresses.iter().map(IpNet::to_string).collect();
        assert_eq!(shown, ["172.30.2.13/24", "fd00:30:2::d/64"]);
        assert_eq!(
            node3.gateways,
            plan.subnets[1]
                .gateways
                .iter()
                .map(IpNet::addr)
                .collect::<Vec<_>>()
        );
        assert_eq!(plan.api_server().to_string(), "172.30.100.10");
        assert_eq!(plan.host_link.control.to_string(), "198.18.3.1/31");
    }

    #[rstest]
    fn nothing_is_given_out_twice(#[values("demo", "ecmp")] preset: &str) {
        let plan = plan(preset);
        let mut seen = BTreeSet::new();
        for endpoint in plan.endpoints() {
            for text in endpoint
                .addresses
                .iter()
                .map(IpNet::to_string)
                .chain([endpoint.mac.clone()])
            {
                assert!(seen.insert(text.clone()), "{text} twice");
            }
        }
        let own = plan.subnets.iter().filter(|subnet| !subnet.rack);
        let gateways = own.flat_map(|subnet| &subnet.gateways);
        let uplinks = plan.routers.iter().flat_map(|router| {
            let uplink = &router.uplink;
            uplink.core.iter().chain(&uplink.router)
        });
        for address in gateways.chain(uplinks) {
            assert!(seen.insert(address.to_string()), "{address} twice");
        }
    }

    #[test]
    fn a_family_that_is_not_there_has_no_addresses() {
        for endpoint in plan("ipv6").endpoints() {
            assert!(endpoint.ips().iter().all(IpAddr::is_ipv6), "{endpoint:?}");
            assert!(!endpoint.addresses.is_empty());
        }
    }

    #[test]
    fn a_node_added_last_moves_nobody() {
        let mut spec = ClusterSpec::demo("demo").validated().expect("valid");
        let before = Plan::new(&spec, 0);
        spec.nodes.push(crate::spec::NodeSpec::new("node4", "a"));
        let after = Plan::new(&spec, 0);
        assert_eq!(before.nodes, after.nodes[..3]);
    }

    #[test]
    fn device_names_fit_the_kernel() {
        let mut spec = ClusterSpec::racks("abcdefghij");
        spec.nodes[0].name = "a-long-node1".into();
        spec.subnets[0].routers[0].name = "long-router1".into();
        spec.subnets[0].name = "tenletters".into();
        for node in &mut spec.nodes[..2] {
            node.subnet = "tenletters".into();
        }
        let plan = Plan::new(&spec.validated().expect("valid"), 0);
        let bridges = plan.subnets.iter().map(|s| s.bridge.as_str());
        let ports = plan.endpoints().map(|e| e.name.as_str());
        let uplinks = plan.routers.iter().map(|r| r.uplink.device.as_str());
        for device in bridges
            .chain(ports)
            .chain(uplinks)
            .chain([plan.host_link.device.as_str()])
        {
            assert!(device.len() <= 15, "{device}");
        }
    }
}
