//! What was read of a cluster: all that an answer follows from.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use weft_crds::{IPBlock, NetworkConfig, NodeNetwork, NodeReport};

/// The namespace of Weft's own pods.
pub const NAMESPACE: &str = "weft-system";
/// Selects the pods of the agent.
pub const AGENT_SELECTOR: &str = "app.kubernetes.io/name=weft-agent";

/// The objects of a cluster at one time.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// When they were read.
    pub now: Timestamp,
    /// The one NetworkConfig.
    pub config: NetworkConfig,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The blocks.
    pub blocks: Vec<IPBlock>,
    /// What the agents report.
    pub reports: Vec<NodeReport>,
    /// How the nodes are reached.
    pub networks: Vec<NodeNetwork>,
    /// The pods that the question is about: of agents, or all.
    pub pods: Vec<Pod>,
}

impl Cluster {
    /// The report about each node. One about an earlier node of the same name is left out.
    pub fn report_of(&self, node: &Node) -> Option<&NodeReport> {
        self.reports
            .iter()
            .find(|report| is_about(&report.metadata, &report.spec.node_uid, node))
    }

    /// How a node is reached, by the word of its agent.
    pub fn network_of(&self, node: &Node) -> Option<&NodeNetwork> {
        self.networks
            .iter()
            .find(|network| is_about(&network.metadata, &network.spec.node_uid, node))
    }

    /// UIDs of the nodes by name.
    pub fn node_uids(&self) -> BTreeMap<String, String> {
        self.nodes
            .iter()
            .map(|node| (node.name_any(), node.uid().unwrap_or_default()))
            .collect()
    }
}

/// Whether an object of this metadata, about the node of this UID, is about this node. The UID tells most apart.
fn is_about(metadata: &ObjectMeta, uid: &String, node: &Node) -> bool {
    Some(uid) == node.metadata.uid.as_ref() && metadata.name == node.metadata.name
}
