//! How an admin wants a cluster to go from one mode to another.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// Names of annotations of the NetworkConfig by which `kubectl weft migrate` says what the spec can say too. They are
/// no part of the spec, so that a pipeline which applies the spec doesn't undo them.
pub mod annotation {
    /// `true`: as `spec.migration.paused`.
    pub const PAUSED: &str = "weft.dev/migration-paused";
    /// The generation whose migration goes back, and is not tried again.
    pub const ROLLBACK: &str = "weft.dev/migration-rollback";
    /// The step at which a migration that went back came to rest: it is tried once more.
    pub const RETRY: &str = "weft.dev/migration-retry";
    /// The generation whose migration may go on though `spec.migration.approval` is Manual.
    pub const APPROVED: &str = "weft.dev/migration-approved";
}

/// How the cluster goes from one mode to another when spec.mode changes. No packet is lost on the way, and until the old
/// mode is taken down (phase Retire) setting spec.mode back is a way back that loses none either.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::canary_labels())]
pub struct MigrationSettings {
    /// Automatic: nodes begin to send in the new mode once probes in it have come through between all of
    /// them. Manual: it waits for approval then; set Automatic, or run kubectl weft migrate approve.
    #[serde(default)]
    pub approval: Approval,

    /// True: the migration goes no further than where it is. Every pair of nodes works meanwhile, for as
    /// long as one likes.
    #[serde(default)]
    pub paused: bool,

    /// In how many waves nodes come to send in the new mode.
    #[serde(default = "default_waves")]
    #[schemars(range(min = 1, max = 100))]
    pub waves: u32,

    /// Seconds for which each wave is watched before the next, and the whole before the old mode is taken down.
    #[serde(default = "default_bake")]
    #[schemars(range(min = 0, max = 86400))]
    pub bake_seconds: u32,

    /// So many of 1,000 probes in the new mode may be lost, counted over all nodes. If more are, or if one path
    /// carries nothing, the migration goes back by itself.
    #[serde(default = "default_loss")]
    #[schemars(range(min = 0, max = 1000))]
    pub loss_budget_permille: u32,

    /// Labels of nodes that come to send in the new mode before the first wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_selector: Option<BTreeMap<String, String>>,

    /// Stop: a node that can't do the new mode stops the migration before anything has changed. LeaveOut: the
    /// others go on, and keep the old mode for the sake of that node until it is repaired or gone.
    #[serde(default)]
    pub unable_nodes: UnableNodes,
}

impl Default for MigrationSettings {
    fn default() -> Self {
        Self {
            approval: Approval::default(),
            paused: false,
            waves: default_waves(),
            bake_seconds: default_bake(),
            loss_budget_permille: default_loss(),
            canary_selector: None,
            unable_nodes: UnableNodes::default(),
        }
    }
}

/// Who lets nodes send in the new mode.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Approval {
    /// The evidence.
    #[default]
    Automatic,
    /// The evidence, and then somebody.
    Manual,
}

/// What becomes of nodes that can't do the new mode.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnableNodes {
    /// They stop the migration.
    #[default]
    Stop,
    /// They stay behind.
    LeaveOut,
}

fn default_waves() -> u32 {
    3
}
fn default_bake() -> u32 {
    10
}
fn default_loss() -> u32 {
    10
}
