//! What the new mode needs of the underlay, which nobody can see from here: it is proven in phase Verify.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use weft_crds::{BGPPeer, Mode};

use super::Wanted;
use crate::cluster::Cluster;
use crate::plan::underlay::{groups, selects};
use crate::text::{count, some};

/// UDP port of probes, in every mode.
const PROBES: u16 = 4873;

/// What has to be open and known, in words.
pub fn needs(cluster: &Cluster, wanted: &Wanted, to: Mode) -> Vec<String> {
    let spec = &wanted.config.spec;
    let mut needs = match to {
        Mode::Overlay => vec![format!(
            "UDP port {} between all nodes, for packets in VXLAN",
            spec.overlay.port
        )],
        Mode::BGP => bgp(cluster, wanted),
    };
    needs.push(format!(
        "UDP port {PROBES} between all nodes, for probes, as in every mode"
    ));
    needs
}

fn bgp(cluster: &Cluster, wanted: &Wanted) -> Vec<String> {
    let bgp = &wanted.config.spec.bgp;
    let mut needs = vec![
        "an underlay that lets packets with addresses of pods pass, as they are not hidden in VXLAN: look at source checks of clouds and switches"
            .to_owned(),
    ];
    if bgp.port != 0 && bgp.route_reflectors.is_some() {
        needs.push(format!(
            "TCP port {} of the route reflectors, for BGP",
            bgp.port
        ));
    } else if bgp.port != 0 && bgp.node_mesh {
        needs.push(format!("TCP port {} between all nodes, for BGP", bgp.port));
    }
    let selected = |peer: &BGPPeer| {
        let mut nodes: Vec<&Node> = cluster.nodes.iter().collect();
        nodes.retain(|node| selects(peer, node));
        nodes.len()
    };
    let routers: Vec<String> = wanted
        .bgp_peers
        .iter()
        .map(|peer| {
            format!(
                "{} ({}, TCP port {}, from {})",
                peer.name_any(),
                peer.spec.address,
                peer.spec.port,
                count(selected(peer), "node")
            )
        })
        .collect();
    if !routers.is_empty() {
        needs.push(format!(
            "sessions with the routers of the BGPPeers {}",
            some(&routers)
        ));
    }
    let subnets = groups(cluster).len();
    if subnets > 1 {
        needs.push(format!(
            "routers that know where pods are, and tell the nodes: the nodes are on {subnets} subnets"
        ));
    }
    needs
}
