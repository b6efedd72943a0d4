//! `kubectl weft status`: the nodes, the paths between them, and what is wrong.

mod render;
#[cfg(test)]
mod tests;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{
    Encapsulation, Mode, NetworkConfig, NodeReport, PeerReport, PoolStatus, Problem, Progress,
};
use weft_migration::{Failure, Migration};

pub use render::render;

use crate::cluster::Cluster;
use crate::{counts, migrate};

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the cluster was looked at.
    pub at: Timestamp,
    /// The configuration, and how far it is carried out.
    pub config: ConfigReport,
    /// Each node, by name.
    pub nodes: Vec<NodeStatus>,
}

/// The configuration, and how far it is carried out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigReport {
    /// The generation of the spec.
    pub generation: i64,
    /// The generation that the status is about.
    pub observed_generation: Option<i64>,
    /// The mode that the nodes are in, or leave; unset while the operator hasn't said.
    pub mode: Option<Mode>,
    /// The migration that is under way, or went back, in one sentence.
    #[serde(skip)]
    pub migrates: Option<String>,
    /// The migration to another mode that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration<Mode>>,
    /// How the present phase of it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The migration that went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_migration: Option<Failure>,
    /// Which packets are to be in VXLAN.
    pub encapsulation: Encapsulation,
    /// MTU of pods, in bytes.
    pub mtu: Option<u32>,
    /// The last change of the spec, so far as the API server knows.
    pub last_change: Option<Change>,
    /// The pools.
    pub pools: Vec<PoolStatus>,
    /// The conditions, as they are.
    pub conditions: Vec<ConditionReport>,
}

/// A change of the spec.
#[derive(Debug, PartialEq, Serialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The program that made it, such as kubectl-edit.
    pub by: String,
}

/// A condition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionReport {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// A word for programs.
    pub reason: String,
    /// In words.
    pub message: String,
    /// Since when it has this status.
    pub since: Timestamp,
}

/// A node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// It does what this generation says, and forwards: what the condition Ready counts.
    pub ready: bool,
    /// Whether the kubelet says that the node is ready.
    pub kubelet_ready: bool,
    /// Whether a process of the agent runs there. Packets go on without.
    pub agent_running: bool,
    /// Version of the agent that reported last.
    pub agent_version: Option<String>,
    /// Whether probe packets to its peers come back; unset without a report.
    pub forwarding: Option<bool>,
    /// The generation that its kernel follows in full.
    pub generation: Option<i64>,
    /// MTU of its pods, in bytes.
    pub mtu: Option<u32>,
    /// MTU of the underlay at it, in bytes.
    pub underlay_mtu: Option<u32>,
    /// Its IPv4 blocks.
    pub ipv4: Usage,
    /// Its IPv6 blocks.
    pub ipv6: Usage,
    /// Peers with an answer of all peers, such as 4/4.
    pub peers_answering: Option<String>,
    /// How packets go to each peer and whether they arrive; at the most 64, silent ones first.
    pub peers: Vec<PeerReport>,
    /// What its agent says is wrong.
    pub problems: Vec<Problem>,
}

/// How full the blocks of one family are. Counts are those of the agent, which are coarse while there
/// is room.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Blocks.
    pub blocks: u64,
    /// Addresses that pods can have.
    pub capacity: u64,
    /// Addresses that pods have, at the least.
    pub used: u64,
    /// Addresses that pods have, at the most.
    pub used_at_most: u64,
    /// Addresses left, at the least.
    pub free: u64,
}

/// The answer that follows from what is there.
pub fn report(cluster: &Cluster) -> Report {
    let generation = cluster.config.metadata.generation;
    let mut nodes: Vec<NodeStatus> = cluster
        .nodes
        .iter()
        .map(|node| node_status(cluster, node, generation))
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Report {
        at: cluster.now,
        config: config_report(&cluster.config, cluster.now),
        nodes,
    }
}

fn config_report(config: &NetworkConfig, now: Timestamp) -> ConfigReport {
    let status = config.status.clone().unwrap_or_default();
    let waves = config.spec.migration.waves;
    let migrates = migrate::sentence(&status, config.spec.mode, waves, now);
    let conditions = status
        .conditions
        .into_iter()
        .map(|condition| ConditionReport {
            type_: condition.type_,
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
            since: condition.last_transition_time.0,
        });
    ConfigReport {
        generation: config.metadata.generation.unwrap_or_default(),
        observed_generation: status.observed_generation,
        mode: status.mode,
        migrates,
        migration: status.migration,
        progress: status.progress,
        failed_migration: status.failed_migration,
        encapsulation: config.spec.overlay.encapsulation,
        mtu: status.mtu,
        last_change: last_change(config),
        pools: status.pools,
        conditions: conditions.collect(),
    }
}

/// The newest entry of the managed fields that is about the spec.
fn last_change(config: &NetworkConfig) -> Option<Change> {
    let made = config.metadata.creation_timestamp.as_ref().map(|at| at.0);
    let newest = config
        .managed_fields()
        .iter()
        .filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty())
        .filter_map(|entry| {
            let by = entry
                .manager
                .clone()
                .unwrap_or_else(|| "an unknown program".into());
            Some(Change {
                at: entry.time.as_ref()?.0,
                by,
            })
        })
        .max_by_key(|change| change.at);
    newest.or_else(|| {
        Some(Change {
            at: made?,
            by: "an unknown program".into(),
        })
    })
}

fn node_status(cluster: &Cluster, node: &Node, generation: Option<i64>) -> NodeStatus {
    let name = node.name_any();
    let report = cluster.report_of(node);
    let spec = report.map(|report| &report.spec);
    NodeStatus {
        ready: spec.is_some_and(|spec| spec.forwarding && spec.observed_generation == generation),
        kubelet_ready: is_ready(node),
        agent_running: cluster.pods.iter().any(|pod| runs_on(pod, &name)),
        agent_version: spec.map(|spec| spec.agent_version.clone()),
        forwarding: spec.map(|spec| spec.forwarding),
        generation: spec.and_then(|spec| spec.observed_generation),
        mtu: spec.and_then(|spec| spec.mtu),
        underlay_mtu: cluster.network_of(node).map(|network| network.spec.mtu),
        ipv4: usage(report, true),
        ipv6: usage(report, false),
        peers_answering: spec.map(|spec| spec.summary.clone()),
        peers: spec.map(|spec| spec.peers.clone()).unwrap_or_default(),
        problems: spec.map(|spec| spec.problems.clone()).unwrap_or_default(),
        name,
    }
}

/// Whether the kubelet says that the node is ready.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether a pod of the agent is on the node, with a process in it.
fn runs_on(pod: &Pod, node: &str) -> bool {
    let here = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    let containers = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let running = containers.into_iter().any(|container| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    });
    here && running && pod.metadata.deletion_timestamp.is_none()
}

fn usage(report: Option<&NodeReport>, v4: bool) -> Usage {
    let mut usage = Usage::default();
    for block in report.into_iter().flat_map(|report| &report.spec.blocks) {
        let is_v4 = block
            .cidr
            .parse::<IpNet>()
            .is_ok_and(|range| range.addr().is_ipv4());
        if is_v4 == v4 {
            usage.blocks += 1;
            usage.capacity += block.capacity;
            let (least, most) = counts::span(block);
            usage.used += least;
            usage.used_at_most += most;
            usage.free += block.capacity.saturating_sub(most);
        }
    }
    usage
}
