//! Which nodes have no way to each other in a mode, by the addresses that they have in the underlay.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use weft_crds::{BGPPeer, NodeNetworkSpec};

use super::Wanted;
use super::obstacles::{Obstacle, Reason};
use crate::cluster::Cluster;

/// The subnets of the underlay that a node is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnets {
    v4: Option<Ipv4Net>,
    v6: Option<Ipv6Net>,
}

impl Subnets {
    fn of(network: &NodeNetworkSpec) -> Self {
        let (v4, v6) = (network.ipv4.as_deref(), network.ipv6.as_deref());
        Self {
            v4: v4
                .and_then(|net| net.parse::<Ipv4Net>().ok())
                .map(|net| net.trunc()),
            v6: v6
                .and_then(|net| net.parse::<Ipv6Net>().ok())
                .map(|net| net.trunc()),
        }
    }

    /// Whether packets of pods go from one node to the other without a router. IPv4 packets may go to an IPv6
    /// address, not the other way round.
    fn reaches(self, other: Self, ipv4: bool) -> bool {
        let shares_v6 = self.v6.is_some() && self.v6 == other.v6;
        shares_v6 || (ipv4 && self.v4.is_some() && self.v4 == other.v4)
    }
}

/// Nodes by the subnets that they are on.
pub fn groups(cluster: &Cluster) -> BTreeMap<Subnets, Vec<&Node>> {
    let mut groups: BTreeMap<Subnets, Vec<&Node>> = BTreeMap::new();
    for node in &cluster.nodes {
        if let Some(network) = cluster.network_of(node) {
            groups
                .entry(Subnets::of(&network.spec))
                .or_default()
                .push(node);
        }
    }
    groups
}

/// Nodes that have an address of one family alone: of IPv4, and of IPv6.
fn of_one_family(cluster: &Cluster) -> [Vec<String>; 2] {
    let groups = groups(cluster);
    let only = |v4: bool| {
        let of_family = groups
            .iter()
            .filter(|(subnets, _)| subnets.v4.is_some() == v4 && subnets.v6.is_some() != v4);
        let nodes = of_family.flat_map(|(_, nodes)| nodes);
        nodes.map(|node| node.name_any()).collect()
    };
    [only(true), only(false)]
}

/// Nodes that have no family in common with some other: each of the two says so.
pub fn apart(cluster: &Cluster) -> BTreeSet<String> {
    match of_one_family(cluster) {
        [v4, v6] if !v4.is_empty() && !v6.is_empty() => v4.into_iter().chain(v6).collect(),
        _ => BTreeSet::new(),
    }
}

/// The same, where they are an obstacle: those of the rarer family are named, as they are easier to mend.
pub fn no_common_family(cluster: &Cluster) -> Vec<Obstacle> {
    let [v4, v6] = of_one_family(cluster);
    let (few, family, many, other) = match v4.len() < v6.len() {
        true => (v4, "IPv4", v6, "IPv6"),
        false => (v6, "IPv6", v4, "IPv4"),
    };
    let Some(first) = many.first() else {
        return Vec::new();
    };
    let obstacle = |name: String| Obstacle {
        reason: Reason::NoCommonUnderlay,
        node: Some(name),
        message: format!(
            "it has an {family} address in the underlay alone, and {} an {other} one alone",
            and_more(first, many.len() - 1)
        ),
    };
    few.into_iter().map(obstacle).collect()
}

/// Nodes whose packets to some others have to go by a router that nobody named.
pub fn no_router(cluster: &Cluster, wanted: &Wanted) -> Vec<Obstacle> {
    let groups = groups(cluster);
    let families = families(wanted);
    let mut all = Vec::new();
    for (subnets, nodes) in &groups {
        let beyond = |ipv4: bool| -> Vec<&Node> {
            let others = groups
                .iter()
                .filter(|(other, _)| !subnets.reaches(**other, ipv4));
            others
                .flat_map(|(_, nodes)| nodes.iter().copied())
                .collect()
        };
        let by_family: Vec<(&str, Vec<&Node>)> = families
            .iter()
            .map(|(name, ipv4)| (*name, beyond(*ipv4)))
            .collect();
        let unselected = |node: &&&Node| !wanted.bgp_peers.iter().any(|peer| selects(peer, node));
        all.extend(
            nodes
                .iter()
                .filter(unselected)
                .filter_map(|node| lacks_router(node, &by_family)),
        );
    }
    all
}

/// A node that is apart from others, by the family of the packets. It may be among them itself.
fn lacks_router(node: &Node, beyond: &[(&str, Vec<&Node>)]) -> Option<Obstacle> {
    let is_other = |other: &&&Node| !std::ptr::eq(**other, node);
    let mut families = Vec::new();
    let mut from = None;
    for (family, nodes) in beyond {
        if let Some(first) = nodes.iter().find(is_other) {
            families.push(*family);
            from.get_or_insert((*first, nodes));
        }
    }
    let (first, nodes) = from?;
    // One that shares no subnet with its like is in its own list.
    let others = nodes.len() - usize::from(nodes.iter().any(|other| std::ptr::eq(*other, node)));
    Some(Obstacle {
        reason: Reason::BGPPeerMissing,
        node: Some(node.name_any()),
        message: format!(
            "it shares no subnet for {} packets with {}, and no BGPPeer selects it",
            families.join(" and "),
            and_more(&first.name_any(), others - 1)
        ),
    })
}

fn and_more(first: &str, more: usize) -> String {
    match more {
        0 => first.to_owned(),
        more => format!("{first} and {more} more"),
    }
}

/// The address families of pods: their names, and whether it is IPv4.
fn families(wanted: &Wanted) -> Vec<(&'static str, bool)> {
    let pools = &wanted.config.spec.pools;
    [("IPv4", true), ("IPv6", false)]
        .into_iter()
        .filter(|(_, ipv4)| pools.iter().any(|pool| pool.cidr.contains(':') != *ipv4))
        .collect()
}

/// Whether a node is to exchange routes with a router.
pub fn selects(peer: &BGPPeer, node: &Node) -> bool {
    let labels = node.labels();
    let selector = &peer.spec.node_selector;
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
