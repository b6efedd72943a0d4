//! What makes a description of a cluster wrong, said so that it can be put right.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{ClusterSpec, Families};

/// Names that the testbed's own network namespaces have.
pub(super) const RESERVED: [&str; 3] = ["router", "control", "outside"];

impl ClusterSpec {
    pub(super) fn problem(&self) -> Option<String> {
        self.naming_problem()
            .or_else(|| self.range_problem())
            .or_else(|| self.mtu_problem())
            .or_else(|| self.host_problem())
            .or_else(|| self.router_problem())
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

    fn host_problem(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let host = node.number(place);
            if !(2..=250).contains(&host) {
                let name = &node.name;
                return Some(format!("node {name}: host {host} is not between 2 and 250"));
            }
            if !seen.insert((&node.subnet, host)) {
                return Some(format!(
                    "two nodes on subnet {} have host {host}",
                    node.subnet
                ));
            }
        }
        None
    }
}

pub(super) fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_description_is_refused_with_its_reason() {
        type Spoil = fn(&mut ClusterSpec);
        let cases: [(Spoil, &str); 16] = [
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
            (
                |s| s.nodes[0].host = Some(12),
                "two nodes on subnet a have host 12",
            ),
            (|s| s.nodes[0].host = Some(1), "not between 2 and 250"),
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

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts
            .iter()
            .map(|text| text.parse().expect("range"))
            .collect()
    }
}
