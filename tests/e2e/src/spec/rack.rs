//! Racks: subnets that have routers of their own, which speak BGP with each other and with nodes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::check::{RESERVED, is_word};
use super::{ClusterSpec, Cni, NodeSpec, SubnetSpec};
use crate::plan::{CORE_ASN, OUTSIDE_ASN};

/// The label by which nodes of the presets say what rack they are in.
const RACK: &str = "rack";

/// As many as there are addresses for.
const MOST_ROUTERS: usize = 100;

/// A router of a subnet: a network namespace with one link to the subnet and one to the router of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouterSpec {
    /// A DNS label of at most 12 characters.
    pub name: String,
    /// What speaks BGP on it.
    pub daemon: Daemon,
    /// Its AS number, which no other router has.
    pub asn: u32,
}

/// A routing daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Daemon {
    /// BIRD 2.
    Bird,
    /// zebra and bgpd of FRR.
    Frr,
}

impl ClusterSpec {
    /// Two racks, each with a router: BIRD in rack a, with two nodes, FRR in rack b, with one; otherwise like
    /// the demo's. Nodes have the label `rack`.
    pub fn racks(name: &str) -> Self {
        let mut spec = Self::demo(name);
        spec.subnets[0].routers = vec![RouterSpec::new("tor-a", Daemon::Bird, 65101)];
        spec.subnets[1].routers = vec![RouterSpec::new("tor-b", Daemon::Frr, 65102)];
        for node in &mut spec.nodes {
            node.labels.insert(RACK.to_owned(), node.subnet.clone());
        }
        spec
    }

    /// The same with a second router in rack a, which has FRR.
    pub fn ecmp(name: &str) -> Self {
        let mut spec = Self::racks(name);
        let second = RouterSpec::new("tor-a2", Daemon::Frr, 65103);
        spec.subnets[0].routers.push(second);
        spec
    }

    /// Whether routers learn from each other where things are.
    pub fn routed(&self) -> bool {
        self.subnets.iter().any(|subnet| !subnet.routers.is_empty())
    }

    pub(super) fn router_problem(&self) -> Option<String> {
        if self.routed() && self.cni == Cni::Bridge {
            return Some(
                "cni: bridge wants one router that knows where pods are; leave it out, or the routers of subnets"
                    .to_owned(),
            );
        }
        let count: usize = self.subnets.iter().map(|subnet| subnet.routers.len()).sum();
        if count > MOST_ROUTERS {
            return Some(format!("{count} routers are more than {MOST_ROUTERS}"));
        }
        let nodes = self.nodes.iter().map(|node| node.name.as_str());
        let mut names: BTreeSet<&str> = nodes.chain(RESERVED).collect();
        let mut asns = BTreeSet::from([CORE_ASN, OUTSIDE_ASN]);
        for subnet in &self.subnets {
            for router in &subnet.routers {
                let name = router.name.as_str();
                let label = name.split('-').all(|part| is_word(part, 12)) && name.len() <= 12;
                if !label || name.starts_with("br-") || name.starts_with("up-") {
                    return Some(format!(
                        "router {name:?} must be a DNS label of at most 12 characters, and not br-... or up-..."
                    ));
                }
                if !names.insert(name) {
                    return Some(format!(
                        "router {name} has the name of something else; give it one of its own"
                    ));
                }
                if router.asn == 0 || !asns.insert(router.asn) {
                    return Some(format!(
                        "router {name}: AS {} is not its own; {CORE_ASN} and {OUTSIDE_ASN} are the testbed's",
                        router.asn
                    ));
                }
            }
            if let Some(problem) = self.number_problem(subnet) {
                return Some(problem);
            }
        }
        None
    }

    /// Routers have the first numbers of their subnet.
    fn number_problem(&self, subnet: &SubnetSpec) -> Option<String> {
        let taken = |(place, node): &(usize, &NodeSpec)| {
            node.subnet == subnet.name && node.number(*place) as usize <= subnet.routers.len()
        };
        let (place, node) = self.nodes.iter().enumerate().find(taken)?;
        Some(format!(
            "node {}: host {} is that of a router of subnet {}",
            node.name,
            node.number(place),
            subnet.name
        ))
    }
}

impl RouterSpec {
    /// A router.
    pub fn new(name: &str, daemon: Daemon, asn: u32) -> Self {
        Self {
            name: name.to_owned(),
            daemon,
            asn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_router_is_refused_with_its_reason() {
        type Spoil = fn(&mut ClusterSpec);
        let first = |spec: &mut ClusterSpec, name: &str| {
            spec.subnets[0].routers[0].name = name.to_owned();
        };
        let named: [(&str, &str); 5] = [
            ("Tor", "DNS label"),
            ("up-1", "not br-... or up-..."),
            ("node1", "name of something else"),
            ("tor-b", "name of something else"),
            ("router", "name of something else"),
        ];
        for (name, part) in named {
            let mut spec = ClusterSpec::ecmp("x");
            first(&mut spec, name);
            refused(spec, part);
        }
        let spoilt: [(Spoil, &str); 4] = [
            (
                |s| s.subnets[1].routers[0].asn = 65101,
                "AS 65101 is not its own",
            ),
            (
                |s| s.subnets[1].routers[0].asn = CORE_ASN,
                "AS 65000 is not its own",
            ),
            (
                |s| s.nodes[1].host = Some(2),
                "host 2 is that of a router of subnet a",
            ),
            (|s| s.cni = Cni::Bridge, "cni: bridge"),
        ];
        for (spoil, part) in spoilt {
            let mut spec = ClusterSpec::ecmp("x");
            spoil(&mut spec);
            refused(spec, part);
        }
    }

    fn refused(spec: ClusterSpec, part: &str) {
        let error = spec.validated().expect_err("refused").to_string();
        assert!(error.contains(part), "{error}, but not {part}");
    }
}
