//! What one node is to do, as follows from where the cluster is.

use std::collections::BTreeSet;

use crate::state::{Migration, Mode, Phase, State};
use crate::waves::position;

/// A node, as far as orders depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// It is one of those that move first.
    pub canary: bool,
}

/// What a node is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders<M> {
    /// The modes whose packets it accepts.
    pub receive: BTreeSet<M>,
    /// The mode that it sends in.
    pub send: M,
    /// The mode that it sends in to those of `left_out`.
    pub send_left_out: M,
    /// Nodes that are sent to in another mode.
    pub left_out: BTreeSet<String>,
    /// The modes into which packets of pods have to fit.
    pub fit: BTreeSet<M>,
    /// The mode about which it says what is in the way.
    pub examine: Option<M>,
    /// The mode whose paths it proves with probes, whether it sends in it or not.
    pub prove: Option<M>,
}

impl<M: Mode> Orders<M> {
    /// What every node does while nothing moves.
    pub fn rest(mode: M) -> Self {
        Self {
            receive: BTreeSet::from([mode]),
            send: mode,
            send_left_out: mode,
            left_out: BTreeSet::new(),
            fit: BTreeSet::from([mode]),
            examine: None,
            prove: None,
        }
    }

    /// The mode that it sends to `peer` in.
    pub fn send_to(&self, peer: &str) -> M {
        if self.left_out.contains(peer) {
            self.send_left_out
        } else {
            self.send
        }
    }
}

/// What `node` is to do.
pub fn orders<M: Mode>(state: &State<M>, node: Node) -> Orders<M> {
    let Some(migration) = &state.migration else {
        return Orders::rest(state.mode);
    };
    let (from, to) = (migration.from, migration.to);
    let both = BTreeSet::from([from, to]);
    let shifted = match migration.phase {
        Phase::Check | Phase::LowerMTU | Phase::Prepare | Phase::Verify => false,
        Phase::Shift => moves(migration, node),
        Phase::Confirm | Phase::Retire | Phase::RaiseMTU => true,
    };
    let send = if shifted { to } else { from };
    // On the way back nobody is left in the mode that failed.
    let kept = migration.phase < Phase::Retire && !migration.back;
    Orders {
        receive: match migration.phase {
            Phase::Check | Phase::LowerMTU => BTreeSet::from([from]),
            Phase::Prepare | Phase::Verify | Phase::Shift | Phase::Confirm => both.clone(),
            // It is back, and others send to it as before until they have heard of this phase.
            Phase::Retire if migration.excluded.contains(node.name) => both.clone(),
            Phase::Retire | Phase::RaiseMTU => BTreeSet::from([to]),
        },
        send,
        send_left_out: if kept { from } else { send },
        left_out: migration.excluded.clone(),
        fit: match migration.phase {
            Phase::Check => BTreeSet::from([from]),
            Phase::RaiseMTU => BTreeSet::from([to]),
            _ => both,
        },
        examine: (migration.phase == Phase::Check).then_some(to),
        prove: matches!(
            migration.phase,
            Phase::Prepare | Phase::Verify | Phase::Shift | Phase::Confirm
        )
        .then_some(to)
        .filter(|_| !migration.back),
    }
}

/// Whether a node sends in the new mode in the present wave.
pub(crate) fn moves<M>(migration: &Migration<M>, node: Node) -> bool {
    (migration.canaries && node.canary) || position(node.name) < migration.share
}
