//! The pure half of the operator: from what is observed to what is to be done.

pub mod agent_manifest;
pub mod bgp_peer;
pub mod blocks;
pub mod check;
pub mod daemonset;
pub mod garbage;
pub mod migration;
pub mod node_condition;
pub mod pools;
pub mod status;

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::NodeCondition;
use kube::api::DynamicObject;
use weft_crds::{BGPPeer, IPBlock, NetworkConfig};
use weft_migration::Timers;

use crate::memory::{Memory, NodeId};
use crate::observed::{Now, Observed};
use daemonset::AgentSettings;

/// One change to the cluster. Each is carried out so that it fails when the object is no longer what
/// the plan was made from.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make a block that is not there yet.
    CreateBlock(Box<IPBlock>),
    /// Give a block that nobody owns to a node.
    AssignBlock(Box<IPBlock>),
    /// Tell the owner to take no more addresses from a block.
    DrainBlock(Box<IPBlock>),
    /// Take a block from its owner. With `gone`, only if a fresh look shows that this node is gone.
    ReleaseBlock {
        /// The block as it is to be, nobody's.
        block: Box<IPBlock>,
        /// The owner that has to be gone.
        gone: Option<NodeId>,
    },
    /// Remove a block that nobody owns and nobody will.
    DeleteBlock(Box<IPBlock>),
    /// Remove what a node that is gone has published.
    DeletePublished {
        /// Which kind.
        kind: Published,
        /// The node, by its name and by the UID that the object is about.
        node: NodeId,
        /// UID of the object.
        uid: String,
    },
    /// Write the condition NetworkUnavailable of a node.
    SetNodeCondition {
        /// The node.
        node: String,
        /// Its version.
        resource_version: String,
        /// The condition in full.
        condition: Box<NodeCondition>,
    },
    /// Make the DaemonSet of the agent.
    CreateDaemonSet(Box<DaemonSet>),
    /// Put the DaemonSet of the agent right.
    ReplaceDaemonSet {
        /// The object in full, with the version that it replaces.
        daemonset: Box<DaemonSet>,
        /// Whether somebody else changed it, and not the config.
        repair: bool,
    },
    /// Write the status.
    WriteStatus(Box<NetworkConfig>),
    /// Write the status of a BGPPeer.
    WriteBgpPeer(Box<BGPPeer>),
    /// Write the status of a config that can't be read.
    Refuse(Box<DynamicObject>),
    /// Say something to people who look at the NetworkConfig.
    Announce(Announcement),
}

/// A kind of object that an agent publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// `NodeNetwork`.
    Network,
    /// `NodeReport`.
    Report,
}

/// An event about the NetworkConfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Whether it needs attention.
    pub warning: bool,
    /// A word for programs.
    pub reason: String,
    /// What was done, for programs: events of one reason and one action become a series, with the text of the first.
    pub action: String,
    /// What happened and what to do.
    pub note: String,
}

/// The action of announcements that say what is so, whenever that was found.
pub const RECONCILE: &str = "Reconcile";

/// What to do, and when to look again if nothing wakes the operator before.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order in which they are to be done.
    pub actions: Vec<Action>,
    /// On the monotonic clock.
    pub deadline: Option<Duration>,
    /// Figures for metrics.
    pub figures: Figures,
    /// Since when the barrier of a migration is met, to be remembered.
    pub timers: Option<Timers>,
}

impl Plan {
    /// Asks for a look no later than a time.
    pub fn look_at(&mut self, mono: Duration) {
        self.deadline = Some(self.deadline.map_or(mono, |other| other.min(mono)));
    }
}

/// What metrics show of the last plan.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Nodes of the cluster.
    pub nodes: u32,
    /// Nodes that do what the spec says.
    pub nodes_ready: u32,
    /// Needs for a block that no pool can meet.
    pub shortages: usize,
    /// Per pool: its range, blocks in all, allocated, cooling.
    pub pools: Vec<(String, u64, u64, u64)>,
    /// Whether the config is stalled.
    pub stalled: bool,
}

/// The whole plan. Without a NetworkConfig that can be read nothing is done: what runs goes on as it is, and nothing
/// is lost when the same config is applied again.
pub fn plan(observed: &Observed, memory: &Memory, agent: &AgentSettings, now: Now) -> Plan {
    let mut plan = Plan::default();
    if let Some(unreadable) = &observed.unreadable {
        status::refuse(unreadable, now, &mut plan);
    }
    let Some(config) = &observed.config else {
        return plan;
    };
    let checked = check::check(observed);
    daemonset::plan(observed, memory, agent, config, &mut plan);
    let shortages = blocks::plan(observed, memory, &checked, config, now, &mut plan);
    garbage::plan(observed, memory, now, &mut plan);
    node_condition::plan(observed, memory, now, &mut plan);
    let course = migration::plan(observed, config, memory, now, &mut plan);
    let judged = status::Judged {
        checked: &checked,
        shortages: &shortages,
        course: &course,
        written: memory.status_written,
    };
    status::plan(observed, config, &judged, now, &mut plan);
    bgp_peer::plan(observed, config, now, &mut plan);
    plan
}
