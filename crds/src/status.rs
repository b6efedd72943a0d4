//! The status of `NetworkConfig`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use weft_migration::{Failure, Migration, State};

use crate::config::Mode;

/// Types of conditions, by the kstatus convention
/// (<https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>), and of Weft.
pub mod condition {
    /// Every node does what this generation of the spec says.
    pub const READY: &str = "Ready";
    /// Nodes are on their way to what the spec says.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing goes on until somebody acts; what runs is not touched.
    pub const STALLED: &str = "Stalled";
    /// The cluster is on its way from one mode to another; its reason is the phase.
    pub const MIGRATING: &str = "Migrating";
    /// Every pool has a block left.
    pub const ADDRESSES_AVAILABLE: &str = "AddressesAvailable";
}

/// What Weft found and did.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfigStatus {
    /// The generation of the spec that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The mode that the nodes are in; while they go to another one, that which they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// Counts what nodes are told of modes. It grows with each phase and wave of a migration.
    #[serde(default)]
    pub step: u64,

    /// The migration to another mode that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration<Mode>>,

    /// How the present phase of it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// The migration that went back, if the spec still asks for what it went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_migration: Option<Failure>,

    /// MTU of pods, in bytes: the smallest that a node reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,

    /// Counts of nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCount>,

    /// The ranges of Services, as the cluster has them: no router may route them elsewhere.
    #[serde(
        rename = "serviceCIDRs",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub service_cidrs: Vec<String>,

    /// The pools and what is left of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolStatus>,

    /// Ready, Reconciling and Stalled by the kstatus convention, and AddressesAvailable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
}

impl NetworkConfigStatus {
    /// Where the cluster is between modes; `None` before anybody has said so.
    pub fn state(&self) -> Option<State<Mode>> {
        Some(State {
            mode: self.mode?,
            step: self.step,
            migration: self.migration.clone(),
            failure: self.failed_migration.clone(),
        })
    }
}

/// How a phase of a migration goes.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Nodes that have done what the phase asks for, of those that are waited for, to be read: "2/3". It is
    /// coarse where nodes are many.
    pub summary: String,
    /// When the migration began.
    pub began: Time,
    /// When the present phase, or wave, began.
    pub step_began: Time,
}

/// Counts of nodes.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct NodeCount {
    /// Nodes of the cluster.
    pub total: u32,
    /// Nodes whose agent reports that it does what this generation says and that it forwards.
    pub ready: u32,
    /// Ready of total, to be read: "3/3".
    pub summary: String,
}

/// A pool and what is left of it.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// The range, as in the spec.
    pub cidr: String,
    /// Prefix length of its blocks.
    pub block_size: u8,
    /// Blocks that it holds in all (capped at the largest number that fits the field).
    pub blocks: u64,
    /// Blocks that nodes own.
    pub allocated: u64,
    /// Blocks that were released and cool down.
    pub cooling: u64,
}
