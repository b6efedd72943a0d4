//! What an admin wants of migrations.

use std::time::Duration;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish<M> {
    /// The mode to be in.
    pub mode: M,
    /// The generation of what says so.
    pub generation: i64,
    /// Go no further than where it is. It never stops the way back.
    pub paused: bool,
    /// Nodes may begin to send in the new mode.
    pub approved: bool,
    /// Go back, and don't try this generation again.
    pub rollback: bool,
    /// Try a generation again that went back.
    pub retry: bool,
    /// In how many waves nodes move.
    pub waves: u32,
    /// How long each wave is watched before the next.
    pub bake: Duration,
    /// So many of 1,000 probes may be lost.
    pub loss_permille: u32,
    /// Nodes that can't do the new mode are left behind; else they stop it.
    pub leave_out_unable: bool,
}
