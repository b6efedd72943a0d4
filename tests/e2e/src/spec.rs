//! What a cluster should be like, as data. Everything but names has a default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, read_file};

/// Names that the testbed's own network namespaces have.
const RESERVED: [&str; 3] = ["router", "control", "outside"];

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

/// One underlay subnet: a bridge that the router has an address on.
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

    /// A cluster by the name of a preset: demo, flat, single, ipv4, ipv6.
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

    fn problem(&self) -> Option<String> {
        self.naming_problem()
            .or_else(|| self.range_problem())
            .or_else(|| self.mtu_problem())
    }

    fn naming_problem(&self) -> Option<String> {
        if !is_word(&self.name, 10) {
            return Some(format!(
                "name {:?} must be 1 to 10 lower-case letters and digits",
                self.name
            ));
        }
        let mut subnets = BTreeSet::new();
        for subnet in &self.subnets {
            let name = &subnet.name;
            if !is_word(name, 10) || RESERVED.contains(&name.as_str()) {
                return Some(format!(
                    "subnet {name:?} must be 1 to 10 lower-case letters and digits, and not control or outside"
                ));
            }
            if !subnets.insert(name) {
                return Some(format!(
                    "two subnets are called {name}; give each a name of its own"
                ));
            }
        }
        let mut nodes = BTreeSet::new();
        for node in &self.nodes {
            let name = &node.name;
            let label = name.split('-').all(|part| is_word(part, 12)) && name.len() <= 12;
            if !label || RESERVED.contains(&name.as_str()) || name.starts_with("br-") {
                return Some(format!(
                    "node {name:?} must be a DNS label of at most 12 characters, and not br-..., router, control or outside"
                ));
            }
            if !nodes.insert(name) {
                return Some(format!(
                    "two nodes are called {name}; give each a name of its own"
                ));
            }
            if !subnets.contains(&node.subnet) {
                return Some(format!(
                    "node {name} is on subnet {:?}, which is not among the subnets",
                    node.subnet
                ));
            }
        }
        None
    }

    fn range_problem(&self) -> Option<String> {
        let subnets = self
            .subnets
            .iter()
            .map(|s| (format!("subnet {}", s.name), &s.cidrs));
        let own = [
            ("serviceCidrs".to_owned(), &self.service_cidrs),
            ("poolCidrs".to_owned(), &self.pool_cidrs),
        ];
        let mut seen: Vec<(String, IpNet)> = Vec::new();
        for (what, cidrs) in subnets.chain(own) {
            let per_family = [true, false].map(|v4| {
                cidrs
                    .iter()
                    .filter(|net| net.addr().is_ipv4() == v4)
                    .count()
            });
            if cidrs.len() != self.families.count() || per_family.contains(&2) {
                return Some(format!(
                    "{what} needs exactly one range for each of its {} families",
                    self.families.count()
                ));
            }
            for net in cidrs {
                if !self.families.include(net) {
                    return Some(format!(
                        "{what}: {net} is of a family that the cluster does not have"
                    ));
                }
                if net.trunc() != *net {
                    return Some(format!(
                        "{what}: {net} has host bits set; write {}",
                        net.trunc()
                    ));
                }
                let overlaps = |other: &IpNet| other.contains(net) || net.contains(other);
                if let Some((other, at)) = seen.iter().find(|(_, other)| overlaps(other)) {
                    return Some(format!("{what}: {net} overlaps {at} of {other}"));
                }
                seen.push((what.clone(), *net));
            }
        }
        None
    }

    fn mtu_problem(&self) -> Option<String> {
        let least = if self.families == Families::V4 {
            576
        } else {
            1280
        };
        for subnet in &self.subnets {
            if !(least..=9216).contains(&subnet.mtu) {
                return Some(format!(
                    "subnet {}: mtu {} is not between {least} and 9216",
                    subnet.name, subnet.mtu
                ));
            }
        }
        for node in &self.nodes {
            let subnet = self.subnets.iter().find(|s| s.name == node.subnet)?;
            if node
                .mtu
                .is_some_and(|mtu| !(least..=subnet.mtu).contains(&mtu))
            {
                return Some(format!(
                    "node {}: its mtu is not between {least} and its subnet's {}",
                    node.name, subnet.mtu
                ));
            }
        }
        None
    }
}

impl SubnetSpec {
    /// A subnet with the default MTU and ranges.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mtu: ethernet(),
            cidrs: Vec::new(),
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
        }
    }
}

fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
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

    #[test]
    fn a_bad_description_is_refused_with_its_reason() {
        type Spoil = fn(&mut ClusterSpec);
        let cases: [(Spoil, &str); 14] = [
            (|s| s.name = "Demo".into(), "lower-case"),
            (|s| s.name = "a-b".into(), "lower-case"),
            (
                |s| s.subnets[1].name = "a".into(),
                "two subnets are called a",
            ),
            (
                |s| s.subnets[0].name = "outside".into(),
                "not control or outside",
            ),
            (
                |s| s.nodes[1].name = "node1".into(),
                "two nodes are called node1",
            ),
            (|s| s.nodes[1].name = "router".into(), "not br-..., router"),
            (|s| s.nodes[0].name = "-x".into(), "DNS label"),
            (|s| s.nodes[2].subnet = "c".into(), "not among the subnets"),
            (|s| s.subnets[0].mtu = 1000, "between 1280 and 9216"),
            (|s| s.nodes[0].mtu = Some(9000), "its subnet's 1500"),
            (
                |s| s.pool_cidrs = nets(&["10.244.0.0/16"]),
                "poolCidrs needs exactly one range",
            ),
            (
                |s| s.pool_cidrs = nets(&["10.96.128.0/17", "fd00::/56"]),
                "overlaps 10.96.0.0/16 of serviceCidrs",
            ),
            (
                |s| s.pool_cidrs = nets(&["10.244.0.1/16", "fd00::/56"]),
                "write 10.244.0.0/16",
            ),
            (
                |s| {
                    s.families = Families::V6;
                    s.pool_cidrs = nets(&["10.244.0.0/16"])
                },
                "does not have",
            ),
        ];
        for (spoil, part) in cases {
            let mut spec = ClusterSpec::demo("demo");
            spoil(&mut spec);
            let error = spec.validated().expect_err("refused").to_string();
            assert!(error.contains(part), "{error}, but not {part}");
        }
    }

    #[rstest]
    fn presets_are_valid(#[values("demo", "flat", "single", "ipv4", "ipv6")] preset: &str) {
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
