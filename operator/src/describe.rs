//! Actions in words, for logs and metrics.

use tracing::{debug, info};
use weft_crds::CONFIG_NAME;

use crate::plan::daemonset::AGENT;
use crate::plan::{Action, Published};

/// A word for an action, for metrics.
pub fn kind_of(action: &Action) -> &'static str {
    match action {
        Action::CreateBlock(_) => "create_block",
        Action::AssignBlock(_) => "assign_block",
        Action::DrainBlock(_) => "drain_block",
        Action::ReleaseBlock { .. } => "release_block",
        Action::DeleteBlock(_) => "delete_block",
        Action::DeletePublished { .. } => "delete_published",
        Action::SetNodeCondition { .. } => "set_node_condition",
        Action::CreateDaemonSet(_) => "create_daemonset",
        Action::ReplaceDaemonSet { .. } => "replace_daemonset",
        Action::WriteStatus(_) | Action::Refuse(_) | Action::WriteBgpPeer(_) => "write_status",
        Action::Announce(_) => "announce",
    }
}

/// The object that an action is about.
pub fn object_of(action: &Action) -> String {
    match action {
        Action::CreateBlock(block)
        | Action::AssignBlock(block)
        | Action::DrainBlock(block)
        | Action::DeleteBlock(block)
        | Action::ReleaseBlock { block, .. } => format!("IPBlock {}", block.spec.cidr),
        Action::DeletePublished { kind, node, .. } => match kind {
            Published::Network => format!("NodeNetwork {}", node.0),
            Published::Report => format!("NodeReport {}", node.0),
        },
        Action::SetNodeCondition { node, .. } => format!("Node {node}"),
        Action::CreateDaemonSet(_) | Action::ReplaceDaemonSet { .. } => {
            format!("DaemonSet {AGENT}")
        }
        Action::WriteBgpPeer(peer) => {
            let name = peer.metadata.name.as_deref().unwrap_or_default();
            format!("BGPPeer {name}")
        }
        Action::WriteStatus(_) | Action::Refuse(_) | Action::Announce(_) => {
            format!("NetworkConfig {CONFIG_NAME}")
        }
    }
}

/// Says that an action was carried out.
pub fn log(action: &Action) {
    let object = object_of(action);
    match action {
        Action::CreateBlock(block) | Action::AssignBlock(block) => {
            info!(object, node = block.spec.node, "gave a block to a node");
        }
        Action::DrainBlock(block) => info!(object, node = block.spec.node, "drains a block"),
        Action::ReleaseBlock { .. } => info!(object, "released a block"),
        Action::SetNodeCondition { condition, .. } => {
            info!(object, status = condition.status, "set NetworkUnavailable");
        }
        Action::WriteStatus(_) | Action::Refuse(_) | Action::WriteBgpPeer(_) => {
            debug!(object, "wrote the status");
        }
        Action::Announce(said) => info!(reason = said.reason, "{}", said.note),
        _ => info!(object, "did {}", kind_of(action)),
    }
}
