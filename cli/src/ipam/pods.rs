//! Pods against the blocks of their nodes, and against what the agents count.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use weft_crds::BlockUsage;

use super::{Block, Finding, Reason};
use crate::cluster::Cluster;
use crate::counts;

/// So many holders of one address are named.
const MOST_HOLDERS: usize = 4;

/// An address of a running pod.
pub struct Address {
    /// Namespace and name of the pod.
    pub pod: String,
    /// The node that it is on.
    pub node: String,
    /// The address.
    pub ip: IpAddr,
}

/// The addresses of all pods that run in a network of their own, pod by pod.
pub fn addresses(cluster: &Cluster) -> Vec<Address> {
    let mut addresses = Vec::new();
    for pod in &cluster.pods {
        let Some(node) = node_of(pod) else { continue };
        let status = pod.status.clone().unwrap_or_default();
        for ip in status.pod_ips.unwrap_or_default() {
            if let Ok(ip) = ip.ip.parse() {
                addresses.push(Address {
                    pod: name(pod),
                    node: node.into(),
                    ip,
                });
            }
        }
    }
    addresses
}

/// The node of a pod that has, or is about to have, an address of its own.
fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    // Of a pod that has ended, the addresses are only remembered.
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    match spec.host_network == Some(true) || ended {
        true => None,
        false => spec.node_name.as_deref(),
    }
}

fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Finds addresses that two have, that are none of the node's, and counts that differ.
pub fn check(
    cluster: &Cluster,
    blocks: &[Block],
    addresses: &[Address],
    findings: &mut Vec<Finding>,
) {
    let mut held: HashMap<&str, Vec<IpNet>> = HashMap::new();
    for block in blocks {
        if let Some(node) = &block.spec.node {
            held.entry(node).or_default().push(block.range);
        }
    }
    outside(blocks, &held, addresses, findings);
    conflicts(cluster, addresses, findings);
    compare_counts(cluster, &held, addresses, findings);
}

fn outside(
    blocks: &[Block],
    held: &HashMap<&str, Vec<IpNet>>,
    addresses: &[Address],
    findings: &mut Vec<Finding>,
) {
    for Address { pod, node, ip } in addresses {
        let own = held.get(node.as_str()).map_or(&[][..], Vec::as_slice);
        if own.iter().any(|range| range.contains(ip)) {
            continue;
        }
        let around = blocks.iter().find(|block| block.range.contains(ip));
        let whose = match around.map(|block| (block.range, &block.spec.node)) {
            Some((range, Some(other))) => format!("but block {range} belongs to node {other}"),
            Some((range, None)) => format!("but block {range} was released"),
            None => {
                "which is in no block: another network plugin gave it, or the block was deleted"
                    .into()
            }
        };
        findings.push(Finding {
            reason: Reason::AddressOutsideBlocks,
            object: format!("pod {pod}"),
            message: format!("on node {node} has {ip}, {whose}"),
        });
    }
}

fn conflicts(cluster: &Cluster, addresses: &[Address], findings: &mut Vec<Finding>) {
    let mut holders: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for network in &cluster.networks {
        for ip in &network.spec.node_pod_addresses {
            if let Ok(ip) = ip.parse() {
                holders
                    .entry(ip)
                    .or_default()
                    .push(format!("node {}", network.name_any()));
            }
        }
    }
    for Address { pod, node, ip } in addresses {
        holders
            .entry(*ip)
            .or_default()
            .push(format!("pod {pod} on node {node}"));
    }
    for (ip, holders) in holders {
        if holders.len() > 1 {
            findings.push(Finding {
                reason: Reason::AddressConflict,
                object: format!("address {ip}"),
                message: format!("belongs to {}", named(&holders)),
            });
        }
    }
}

/// Who has an address, without end where it is many.
fn named(holders: &[String]) -> String {
    let (first, more) = holders.split_at(holders.len().min(MOST_HOLDERS));
    let mut text = first.join(" and to ");
    if !more.is_empty() {
        text.push_str(&format!(" and to {} more", more.len()));
    }
    text
}

fn compare_counts(
    cluster: &Cluster,
    held: &HashMap<&str, Vec<IpNet>>,
    addresses: &[Address],
    findings: &mut Vec<Finding>,
) {
    let mut starting: HashMap<&str, u64> = HashMap::new();
    for pod in &cluster.pods {
        let has_none = pod
            .status
            .as_ref()
            .is_none_or(|status| status.pod_ips.as_ref().is_none_or(Vec::is_empty));
        if let (Some(node), true) = (node_of(pod), has_none) {
            *starting.entry(node).or_default() += 1;
        }
    }
    let mut by_node: HashMap<&str, Vec<IpAddr>> = HashMap::new();
    for address in addresses {
        by_node.entry(&address.node).or_default().push(address.ip);
    }
    for node in &cluster.nodes {
        let name = node.name_any();
        let own = held.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let Some(report) = cluster.report_of(node) else {
            if !own.is_empty() {
                findings.push(Finding {
                    reason: Reason::NotReported,
                    object: format!("node {name}"),
                    message: "has blocks, but its agent has not reported what it uses of them"
                        .into(),
                });
            }
            continue;
        };
        let ips = by_node.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let starting = starting.get(name.as_str()).copied().unwrap_or_default();
        for usage in &report.spec.blocks {
            findings.extend(count(&name, own, usage, ips, starting));
        }
    }
}

/// What is wrong with one count.
fn count(
    node: &str,
    own: &[IpNet],
    usage: &BlockUsage,
    ips: &[IpAddr],
    starting: u64,
) -> Option<Finding> {
    let range: IpNet = usage.cidr.parse().ok()?;
    let found = |reason, message| {
        Some(Finding {
            reason,
            object: format!("block {range}"),
            message,
        })
    };
    if !own.contains(&range) {
        let message = format!("is in use by the agent of node {node}, which does not own it");
        return found(Reason::BlockNotOwned, message);
    }
    let pods = ips.iter().filter(|ip| range.contains(*ip)).count() as u64;
    let (least, most) = counts::span(usage);
    if least > pods + starting {
        let message = format!(
            "of node {node}: the agent counts at least {least} addresses in use, running pods have {pods}"
        );
        return found(Reason::PossibleLeak, message);
    }
    if most < pods {
        let message = format!(
            "of node {node}: running pods have {pods} addresses, the agent knows of at most {most}"
        );
        return found(Reason::AddressesUnknown, message);
    }
    None
}
