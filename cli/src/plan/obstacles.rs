//! What makes it impossible now: which node, why, and what to do.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{
    Approval, Mode, NetworkConfig, NetworkConfigSpec, NetworkConfigStatus, UnableNodes, annotation,
};

use super::sizes::{minimum, overhead_of};
use super::{Change, Outcome, Wanted, underlay};
use crate::cluster::Cluster;
use crate::waves::is_canary;

/// Something that makes it impossible.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Obstacle {
    /// A word for programs.
    pub reason: Reason,
    /// The node that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it is.
    pub message: String,
}

/// The kinds of obstacles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Reason {
    /// Another migration is not over.
    MigrationUnderWay,
    /// The same was tried and went back.
    MigrationFailed,
    /// Nobody would move first.
    NoCanary,
    /// The agent of a node says nothing.
    NotReported,
    /// The underlay leaves too little for packets of pods.
    MTUTooSmall,
    /// Two nodes have no address of one family.
    NoCommonUnderlay,
    /// A node has no way to nodes on other subnets.
    BGPPeerMissing,
}

impl Reason {
    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Reason::MigrationUnderWay => {
                "wait until it is over (kubectl weft migrate watch), then plan anew"
            }
            Reason::MigrationFailed => {
                "remove the cause, then kubectl weft migrate resume tries it once more; so does any change of the spec"
            }
            Reason::NoCanary => {
                "label the nodes that are to move first, or change or leave out spec.migration.canarySelector"
            }
            Reason::NotReported => {
                "it would be waited for without end; see the weft-agent pod of the node"
            }
            Reason::MTUTooSmall => {
                "raise the MTU of the network between the nodes, or lower spec.mtu if that is what does not fit"
            }
            Reason::NoCommonUnderlay => {
                "give every node an address of one family, and see spec.nodeAddress"
            }
            Reason::BGPPeerMissing => {
                "name the routers between the nodes in BGPPeers that select these nodes; they may be in the same file"
            }
        }
    }
}

/// What stands in the way whatever the nodes are like.
pub fn standing(
    status: &NetworkConfigStatus,
    outcome: Outcome,
    from: Mode,
    to: Mode,
    changes: &[Change],
) -> Vec<Obstacle> {
    if outcome != Outcome::Migration {
        return Vec::new();
    }
    let obstacle = |reason, message| Obstacle {
        reason,
        node: None,
        message,
    };
    if let Some(way) = &status.migration {
        let message = format!(
            "the cluster is on its way from {} to {} (phase {:?}), and goes there first",
            way.from.as_str(),
            way.to.as_str(),
            way.phase
        );
        return vec![obstacle(Reason::MigrationUnderWay, message)];
    }
    // Whatever changes makes a new generation, which is tried.
    let failure = status
        .failed_migration
        .as_ref()
        .filter(|_| changes.is_empty());
    let failed = failure.map(|failure| {
        let message = format!(
            "generation {} went from {} to {} and back, and is not tried again by itself: {}",
            failure.generation,
            from.as_str(),
            to.as_str(),
            failure.message
        );
        obstacle(Reason::MigrationFailed, message)
    });
    failed.into_iter().collect()
}

/// What stands in the way on nodes, of a migration between these modes.
pub fn of_nodes(cluster: &Cluster, wanted: &Wanted, from: Mode, to: Mode) -> Vec<Obstacle> {
    let mut all: Vec<Obstacle> = canaries(cluster, wanted).into_iter().collect();
    all.extend(silent(cluster));
    all.extend(narrow(cluster, &wanted.config.spec, &[from, to]));
    match (to, wanted.config.spec.migration.unable_nodes) {
        (Mode::Overlay, UnableNodes::Stop) => all.extend(underlay::no_common_family(cluster)),
        // Those that it concerns are left out instead.
        (Mode::Overlay, UnableNodes::LeaveOut) => {}
        (Mode::BGP, _) => all.extend(underlay::no_router(cluster, wanted)),
    }
    all
}

fn canaries(cluster: &Cluster, wanted: &Wanted) -> Option<Obstacle> {
    let settings = &wanted.config.spec.migration;
    let selector = settings.canary_selector.as_ref()?;
    let mut nodes = cluster.nodes.iter();
    let labels: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    (!nodes.any(|node| is_canary(node, settings))).then(|| Obstacle {
        reason: Reason::NoCanary,
        node: None,
        message: format!(
            "spec.migration.canarySelector matches no node: {}",
            labels.join(",")
        ),
    })
}

/// Nodes that are up and whose agents say nothing. Those that are down are not waited for.
fn silent(cluster: &Cluster) -> Vec<Obstacle> {
    let is_silent = |node: &&Node| {
        crate::status::is_ready(node)
            && (cluster.report_of(node).is_none() || cluster.network_of(node).is_none())
    };
    let obstacle = |node: &Node| Obstacle {
        reason: Reason::NotReported,
        node: Some(node.name_any()),
        message: "its agent hasn't reported".into(),
    };
    cluster
        .nodes
        .iter()
        .filter(is_silent)
        .map(obstacle)
        .collect()
}

/// Packets of pods have to fit into both modes while they are in use: the agents let nothing begin before.
fn narrow(cluster: &Cluster, spec: &NetworkConfigSpec, modes: &[Mode]) -> Vec<Obstacle> {
    let minimum = minimum(spec);
    let obstacle = |node, message| Obstacle {
        reason: Reason::MTUTooSmall,
        node: Some(node),
        message,
    };
    let of_node = |node: &Node| {
        let network = &cluster.network_of(node)?.spec;
        let overhead = overhead_of(modes, network);
        let room = network.mtu.saturating_sub(overhead);
        (room < minimum).then(|| {
            let message = format!(
                "its underlay carries {} bytes, of which the modes need {overhead}: {room} are left for packets of pods, which need {minimum}",
                network.mtu
            );
            obstacle(node.name_any(), message)
        })
    };
    cluster.nodes.iter().filter_map(of_node).collect()
}

/// What will hold a migration up until somebody acts, because somebody wants it so.
pub fn held(config: &NetworkConfig) -> Vec<String> {
    let settings = &config.spec.migration;
    let mut notes = Vec::new();
    if settings.paused {
        notes.push("spec.migration.paused is true: it waits before it begins".into());
    }
    let annotations = config.annotations();
    if annotations
        .get(annotation::PAUSED)
        .is_some_and(|value| value == "true")
    {
        notes.push(
            "kubectl weft migrate pause was said: it waits before it begins, until kubectl weft migrate resume".into(),
        );
    }
    if settings.approval == Approval::Manual {
        notes.push(
            "spec.migration.approval is Manual: after phase Verify it waits for kubectl weft migrate approve".into(),
        );
    }
    notes
}

/// What applying the file does to a migration that is under way.
pub fn under_way_note(status: &NetworkConfigStatus, outcome: Outcome) -> Option<String> {
    let way = status.migration.as_ref()?;
    let (from, to, phase) = (way.from.as_str(), way.to.as_str(), way.phase);
    match outcome {
        Outcome::UnderWay => Some(format!(
            "the cluster is on its way from {from} to {to} already, in phase {phase:?}; see kubectl weft migrate watch"
        )),
        Outcome::Back => Some(format!(
            "the cluster is on its way from {from} to {to}, in phase {phase:?}: it goes back to {from}, through the same phases, and nothing is lost; see kubectl weft migrate watch"
        )),
        _ => None,
    }
}
