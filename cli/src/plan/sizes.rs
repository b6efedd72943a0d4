//! MTU of pods: before, on the way and after. The same rule as that of the agents, from what they publish.

use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{Mode, NetworkConfigSpec, NodeNetworkSpec};

use crate::cluster::Cluster;

/// IPv6 needs links of at least this size (RFC 8200, section 5).
const IPV6_MINIMUM: u32 = 1280;
/// Every IPv4 host takes packets of this size (RFC 791).
const IPV4_MINIMUM: u32 = 576;

/// MTU of pods, in bytes; unset where no node has said what its underlay carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sizes {
    /// Now.
    pub before: Option<u32>,
    /// While both modes are in use.
    pub on_the_way: Option<u32>,
    /// At the end.
    pub after: Option<u32>,
}

impl Sizes {
    /// Packets of pods become smaller first.
    pub fn is_lowered(self) -> bool {
        self.on_the_way
            .zip(self.before)
            .is_some_and(|(on_the_way, before)| on_the_way < before)
    }

    /// Packets of pods become larger at the end.
    pub fn is_raised(self) -> bool {
        self.after
            .zip(self.on_the_way.or(self.before))
            .is_some_and(|(after, before)| after > before)
    }
}

/// What the narrowest node leaves for packets of pods.
#[derive(Debug, PartialEq, Eq)]
pub struct Room {
    /// In bytes.
    pub bytes: u32,
    /// The node.
    pub node: String,
}

/// The sizes on the way from one mode to another, or to other settings of the same one.
pub fn sizes(cluster: &Cluster, wanted: &NetworkConfigSpec, from: Mode, to: Mode) -> Sizes {
    let reports = cluster.reports.iter().filter_map(|report| report.spec.mtu);
    let status = cluster.config.status.as_ref();
    let present = status
        .and_then(|status| status.mtu)
        .or_else(|| reports.min());
    let of = |modes: &[Mode]| {
        let room = room(cluster, modes)?.bytes.max(minimum(wanted));
        Some(wanted.mtu.map_or(room, |asked| asked.min(room)))
    };
    Sizes {
        before: present.or_else(|| of(&[from])),
        on_the_way: of(&[from, to]),
        after: of(&[to]),
    }
}

/// The least that the address families of pods need, in bytes.
pub fn minimum(spec: &NetworkConfigSpec) -> u32 {
    if spec.pools.iter().any(|pool| pool.cidr.contains(':')) {
        IPV6_MINIMUM
    } else {
        IPV4_MINIMUM
    }
}

/// What the underlay leaves in all of these modes.
pub fn room(cluster: &Cluster, modes: &[Mode]) -> Option<Room> {
    let of_node = |node| {
        let network = cluster.network_of(node)?;
        let overhead = overhead_of(modes, &network.spec);
        Some(Room {
            bytes: network.spec.mtu.saturating_sub(overhead),
            node: node.name_any(),
        })
    };
    cluster
        .nodes
        .iter()
        .filter_map(of_node)
        .min_by_key(|room| room.bytes)
}

/// The most bytes that one of these modes adds to a packet of this node.
pub fn overhead_of(modes: &[Mode], network: &NodeNetworkSpec) -> u32 {
    let each = modes.iter().map(|mode| overhead(*mode, network));
    each.max().unwrap_or(0)
}

/// Bytes that a mode adds to a packet of this node. Overlay: Ethernet, VXLAN, UDP and the outer IP header.
fn overhead(mode: Mode, network: &NodeNetworkSpec) -> u32 {
    match mode {
        Mode::Overlay if network.ipv4.is_some() => 14 + 8 + 8 + 20,
        Mode::Overlay => 14 + 8 + 8 + 40,
        Mode::BGP => 0,
    }
}

/// A wish for more than there is room for, where that is no obstacle.
pub fn note(cluster: &Cluster, wanted: &NetworkConfigSpec) -> Option<String> {
    let asked = wanted.mtu?;
    let room = room(cluster, &[wanted.mode])?;
    (asked > room.bytes).then(|| {
        format!(
            "spec.mtu: {asked} does not fit into the underlay of node {} in mode {}: pods get {} bytes",
            room.node,
            wanted.mode.as_str(),
            room.bytes
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overhead_is_that_of_the_agents() {
        let mut network = NodeNetworkSpec {
            ipv4: Some("192.0.2.1/24".into()),
            ..NodeNetworkSpec::default()
        };
        assert_eq!(overhead(Mode::Overlay, &network), 50);
        assert_eq!(overhead(Mode::BGP, &network), 0);
        assert_eq!(overhead_of(&[Mode::Overlay, Mode::BGP], &network), 50);
        network.ipv4 = None;
        assert_eq!(overhead(Mode::Overlay, &network), 70);
    }
}
