//! What the operator sees of the cluster, as plain values that a plan is made from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Subject, Unreadable, resource};
use ipnet::IpNet;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::jiff::Timestamp;
use weft_crds::{BGPPeer, IPBlock, NetworkConfig, NodeNetwork, NodeReport};

/// The type of the condition of a Node by which the scheduler and others know that pods on it have
/// no network.
pub const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// One view of the cluster. Objects are as the watches last told; the API server may know better,
/// which is why every write that follows from this is conditional.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The NetworkConfig `default`, if there is one.
    pub config: Option<Arc<NetworkConfig>>,
    /// The NetworkConfig `default`, if there is one that this version doesn't understand.
    pub unreadable: Option<Box<Unreadable>>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// Blocks by the name of the object.
    pub blocks: BTreeMap<String, Arc<IPBlock>>,
    /// Reports of agents by the name of the node.
    pub reports: BTreeMap<String, Arc<NodeReport>>,
    /// What agents publish for each other, by the name of the node.
    pub networks: BTreeMap<String, Arc<NodeNetwork>>,
    /// The DaemonSet of the agent.
    pub daemonset: Option<Arc<DaemonSet>>,
    /// The ranges of Services.
    pub service_cidrs: Vec<IpNet>,
    /// BGPPeers by name.
    pub bgp_peers: BTreeMap<String, Arc<BGPPeer>>,
}

impl Observed {
    /// The NetworkConfig that there is, whether it can be read or not.
    pub fn subject(&self) -> Option<Subject> {
        match (&self.config, &self.unreadable) {
            (Some(config), _) => Some(Subject::of(config.as_ref(), &())),
            (None, Some(unreadable)) => Some(Subject::of(&unreadable.object, &resource())),
            (None, None) => None,
        }
    }

    /// The report about a node, unless it is about another node that had the same name.
    pub fn report_of(&self, node: &NodeFacts) -> Option<&NodeReport> {
        self.reports
            .get(&node.name)
            .map(Arc::as_ref)
            .filter(|report| report.spec.node_uid == node.uid)
    }

    /// What the agent of a node publishes, unless it is about another node of the same name.
    pub fn network_of(&self, node: &NodeFacts) -> Option<&NodeNetwork> {
        self.networks
            .get(&node.name)
            .map(Arc::as_ref)
            .filter(|network| network.spec.node_uid == node.uid)
    }

    /// Whether this very node is there; one of the same name and another UID is not it.
    pub fn has_node(&self, name: &str, uid: &str) -> bool {
        self.nodes.get(name).is_some_and(|node| node.uid == uid)
    }
}

/// What plans need of a Node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The version of the object, for conditional writes.
    pub resource_version: String,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// Its addresses in the underlay.
    pub addresses: Vec<IpAddr>,
    /// Its condition NetworkUnavailable.
    pub network_unavailable: Option<NodeCondition>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl NodeFacts {
    /// Whether it has all these labels.
    pub fn is_selected(&self, labels: &BTreeMap<String, String>) -> bool {
        labels
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> Self {
        let status = node.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or(&[]);
        let addresses = status.and_then(|s| s.addresses.as_deref()).unwrap_or(&[]);
        NodeFacts {
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            resource_version: node.metadata.resource_version.clone().unwrap_or_default(),
            ready: conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True"),
            addresses: addresses
                .iter()
                .filter(|a| a.type_ == "InternalIP")
                .filter_map(|a| a.address.parse().ok())
                .collect(),
            network_unavailable: conditions
                .iter()
                .find(|c| c.type_ == NETWORK_UNAVAILABLE)
                .cloned(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
        }
    }
}

/// The two clocks of a plan. What is written down for others is in wall-clock time; what one
/// operator measures for itself is on its monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The time of day.
    pub wall: Timestamp,
    /// Time since the operator started.
    pub mono: Duration,
}
