//! Where a cluster is between two modes. It is kept where it outlives the operator, and is all that nodes are told.

use std::collections::BTreeSet;
use std::fmt::Debug;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A way in which a whole cluster is networked. Nothing is known of it here but that it is this one or another.
pub trait Mode: Copy + Ord + Debug {}

impl<T: Copy + Ord + Debug> Mode for T {}

/// Where a cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State<M> {
    /// The mode that all nodes are in; while a migration is under way, the one that it began in.
    pub mode: M,
    /// Counts what nodes are told: it grows by one with each change of it, and never falls.
    pub step: u64,
    /// The migration that is under way.
    pub migration: Option<Migration<M>>,
    /// The migration that went back last, if what asked for it still asks.
    pub failure: Option<Failure>,
}

/// A migration that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Migration<M> {
    /// The mode that is left.
    pub from: M,
    /// The mode that is gone to.
    pub to: M,
    /// How far it is.
    pub phase: Phase,
    /// The number of the wave that moves, from 1 (0: the canaries), in phase Shift.
    #[serde(default)]
    pub wave: u32,
    /// Canaries send in the new mode.
    #[serde(default)]
    pub canaries: bool,
    /// Nodes whose position is less than this send in the new mode. It follows from the name of a node and is
    /// from 0 to 4294967295.
    #[serde(default)]
    pub share: u64,
    /// Nodes that nobody waits for, because they are down or can't do the new mode. They are sent to as before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub excluded: BTreeSet<String>,
    /// It goes back to where it came from; nothing stops it on its way.
    #[serde(default)]
    pub back: bool,
}

/// A migration that went back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The generation of what asked for it. It is not tried again for this one.
    pub generation: i64,
    /// Somebody asked for the way back; else the evidence did.
    pub asked: bool,
    /// Why, in words.
    pub message: String,
}

/// A step of a migration, in the order in which they come.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// Nodes say what is in the way. Nothing changes.
    Check,
    /// Pods send packets that fit into both modes.
    LowerMTU,
    /// Every node accepts both modes.
    Prepare,
    /// Probes go in the new mode on every pair of nodes, at full size.
    Verify,
    /// Nodes come to send in the new mode, wave by wave.
    Shift,
    /// All send in the new mode, and are watched: the last moment for a free way back.
    Confirm,
    /// The old mode is taken down.
    Retire,
    /// Pods send packets as large as the new mode takes.
    RaiseMTU,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 8] = [
        Self::Check,
        Self::LowerMTU,
        Self::Prepare,
        Self::Verify,
        Self::Shift,
        Self::Confirm,
        Self::Retire,
        Self::RaiseMTU,
    ];
}

impl<M: Mode> State<M> {
    /// All nodes are in `mode`, and nothing moves.
    pub fn rest(mode: M) -> Self {
        Self {
            mode,
            step: 0,
            migration: None,
            failure: None,
        }
    }

    /// The present phase, if a migration is under way.
    pub fn phase(&self) -> Option<Phase> {
        self.migration.as_ref().map(|migration| migration.phase)
    }
}

impl<M: Mode> Migration<M> {
    /// From `from` to `to`, at its beginning.
    pub fn new(from: M, to: M) -> Self {
        Self {
            from,
            to,
            phase: Phase::Check,
            wave: 0,
            canaries: false,
            share: 0,
            excluded: BTreeSet::new(),
            back: false,
        }
    }
}
