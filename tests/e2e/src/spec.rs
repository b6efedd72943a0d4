//! What a cluster should be like, as data. Everything but names has a default.

mod check;
mod rack;

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, read_file};

pub use rack::{Daemon, RouterSpec};

/// The number of the first node in its subnet; smaller ones are for the router and
/// for tests.
const FIRST_NODE: u32 = 11;

/// A cluster: nodes on underlay subnets that a router joins. The control plane
/// has a subnet of its own, and so has the outside host if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// Lower-case letters and digits, at most 10; part of the name of everything made for it.
    pub name: String,
    /// Address families of underlay, pods and Services.
    #[serde(default)]
    pub families: Families,
    /// The underlay subnets that nodes are on.
    pub subnets: Vec<SubnetSpec>,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// Whether there is a host beyond the router that is no part of the cluster.
    #[serde(default)]
    pub outside: bool,
    /// Ranges of Service addresses; by default 10.96.0.0/16 and fd00:10:96::/112.
    #[serde(default)]
    pub service_cidrs: Vec<IpNet>,
    /// Ranges of pod addresses, by default 10.244.0.0/16 and fd00:10:244::/56. Only
    /// kube-proxy (`clusterCIDR`) and the reference CNI are told.
    #[serde(default)]
    pub pool_cidrs: Vec<IpNet>,
    /// How kube-proxy works.
    #[serde(default)]
    pub proxy_mode: ProxyMode,
    /// `--v` of the Kubernetes programs.
    #[serde(default = "one")]
    pub verbosity: u8,
    /// What network the pods have when the cluster comes up.
    #[serde(default)]
    pub cni: Cni,
    /// Whether CoreDNS is deployed.
    #[serde(default)]
    pub dns: bool,
    /// Images to load into every node, by the name of their directory in `images/`.
    #[serde(default)]
    pub images: Vec<String>,
    /// Values for /proc/sys/net on every node, such as `net.ipv4.conf.all.rp_filter: "1"`.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
}

/// One underlay subnet: a bridge that the router has an address on; or, with routers of its own, a rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetSpec {
    /// Lower-case letters and digits, at most 10.
    pub name: String,
    /// The largest packet in bytes; 1500 by default.
    #[serde(default = "ethernet")]
    pub mtu: u32,
    /// Its ranges, one per family; by default 172.30.N.0/24 and fd00:30:N::/64,
    /// where N is its place in the list.
    #[serde(default)]
    pub cidrs: Vec<IpNet>,
    /// Routers of its own, between it and the router of the cluster. By default none.
    #[serde(default)]
    pub routers: Vec<RouterSpec>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// Also the Kubernetes node's name; a DNS label of at most 12 characters.
    pub name: String,
    /// The subnet that it is on.
    pub subnet: String,
    /// MTU of its interface in bytes, when it is not its subnet's.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Its number in its subnet, so that 7 stands for 172.30.1.7; by default 11 for
    /// the first node of the list, 12 for the second and so on.
    #[serde(default)]
    pub host: Option<u32>,
    /// Labels that its kubelet registers it with.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Which address families there are. The first one of two is primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Families {
    /// IPv4 only.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6 only.
    #[serde(rename = "IPv6")]
    V6,
    /// Both, IPv4 first.
    #[default]
    Dual,
}

impl Families {
    /// Whether an address range is of one of the families.
    pub fn include(self, net: &IpNet) -> bool {
        match net {
            IpNet::V4(_) => self != Families::V6,
            IpNet::V6(_) => self != Families::V4,
        }
    }

    fn count(self) -> usize {
        if self == Families::Dual { 2 } else { 1 }
    }
}

/// kube-proxy's mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// nftables.
    #[default]
    Nftables,
    /// iptables.
    Iptables,
}

/// The network that pods have when a cluster comes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cni {
    /// None: nodes stay NotReady until one is installed.
    #[default]
    None,
    /// The reference `bridge` and `host-local` plugins, with routes between nodes.
    Bridge,
}

impl ClusterSpec {
    /// The cluster of the demo: three nodes on two subnets, dual-stack, with an
    /// outside host, CoreDNS and an image of tools.
    pub fn demo(name: &str) -> Self {
        let mut spec = Self::flat(name, 2);
        spec.subnets.push(SubnetSpec::new("b"));
        spec.nodes.push(NodeSpec::new("node3", "b"));
        spec
    }

    /// `nodes` nodes on one subnet; otherwise like the demo's.
    pub fn flat(name: &str, nodes: usize) -> Self {
        Self {
            name: name.to_owned(),
            families: Families::Dual,
            subnets: vec![SubnetSpec::new("a")],
            nodes: (1..=nodes)
                .map(|n| NodeSpec::new(&format!("node{n}"), "a"))
                .collect(),
            outside: true,
            service_cidrs: Vec::new(),
            pool_cidrs: Vec::new(),
            proxy_mode: ProxyMode::Nftables,
            verbosity: 1,
            cni: Cni::None,
            dns: true,
            images: vec!["tools".to_owned()],
            sysctls: BTreeMap::new(),
        }
    }

    /// A cluster by the name of a preset: demo, flat, single, ipv4, ipv6, racks, or ecmp.
    pub fn preset(preset: &str, name: &str) -> Option<Self> {
        let with = |families| Self {
            families,
            ..Self::demo(name)
        };
        Some(match preset {
            "demo" => Self::demo(name),
            "flat" => Self::flat(name, 3),
            "single" => Self::flat(name, 1),
            "ipv4" => with(Families::V4),
            "ipv6" => with(Families::V6),
            "racks" => Self::racks(name),
            "ecmp" => Self::ecmp(name),
            _ => return None,
        })
    }

    /// Reads a description in YAML or JSON and checks it.
    pub fn read(path: &Path) -> Result<Self> {
        let problem =
            |error| Error::State(format!("cluster description {}: {error}", path.display()));
        let spec: Self = serde_yaml::from_str(&read_file(path)?).map_err(problem)?;
        spec.validated()
    }

    /// Fills in the address ranges that are left to their defaults, then checks everything.
    pub fn validated(mut self) -> Result<Self> {
        let families = self.families;
        let fill = |cidrs: &mut Vec<IpNet>, defaults: [String; 2]| {
            if cidrs.is_empty() {
                let parsed = defaults.iter().filter_map(|text| text.parse().ok());
                cidrs.extend(parsed.filter(|net| families.include(net)));
            }
        };
        fill(
            &mut self.service_cidrs,
            ["10.96.0.0/16".into(), "fd00:10:96::/112".into()],
        );
        fill(
            &mut self.pool_cidrs,
            ["10.244.0.0/16".into(), "fd00:10:244::/56".into()],
        );
        for (n, subnet) in (1..).zip(&mut self.subnets) {
            fill(
                &mut subnet.cidrs,
                [format!("172.30.{n}.0/24"), format!("fd00:30:{n}::/64")],
            );
        }
        match self.problem() {
            Some(problem) => Err(Error::Spec {
                cluster: self.name,
                problem,
            }),
            None => Ok(self),
        }
    }
}

impl SubnetSpec {
    /// A subnet with the default MTU and ranges.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mtu: ethernet(),
            cidrs: Vec::new(),
            routers: Vec::new(),
        }
    }
}

impl NodeSpec {
    /// A node on a subnet.
    pub fn new(name: &str, subnet: &str) -> Self {
        Self {
            name: name.to_owned(),
            subnet: subnet.to_owned(),
            mtu: None,
            host: None,
            labels: BTreeMap::new(),
        }
    }

    /// Its number in its subnet, given its place in the list of nodes.
    pub fn number(&self, place: usize) -> u32 {
        self.host.unwrap_or(FIRST_NODE + place as u32)
    }
}

fn ethernet() -> u32 {
    1500
}

fn one() -> u8 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    fn presets_are_valid(
        #[values("demo", "flat", "single", "ipv4", "ipv6", "racks", "ecmp")] preset: &str,
    ) {
        let spec = ClusterSpec::preset(preset, "x")
            .expect("known")
            .validated()
            .expect("valid");
        let again =
            serde_yaml::from_str::<ClusterSpec>(&serde_yaml::to_string(&spec).expect("YAML"));
        assert_eq!(again.expect("reads").validated().expect("valid"), spec);
    }

    #[test]
    fn a_short_description_is_enough() {
        let text =
            "{name: tiny, families: IPv6, subnets: [{name: a}], nodes: [{name: n1, subnet: a}]}";
        let spec: ClusterSpec = serde_yaml::from_str(text).expect("reads");
        let spec = spec.validated().expect("valid");
        assert_eq!(spec.subnets[0].cidrs, nets(&["fd00:30:1::/64"]));
        assert_eq!(spec.service_cidrs, nets(&["fd00:10:96::/112"]));
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts
            .iter()
            .map(|text| text.parse().expect("range"))
            .collect()
    }
}
