//! What is known of the nodes.

use std::collections::BTreeSet;

use crate::orders::Node;

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fact<M> {
    /// Its name.
    pub name: String,
    /// It is one of those that move first.
    pub canary: bool,
    /// The step that it follows in full: all below is what it does at this step. None: it hasn't said anything.
    pub step: Option<u64>,
    /// The modes whose packets it accepts.
    pub receives: BTreeSet<M>,
    /// The modes that it sends in to those that are not left out; with none of them, the one that it would.
    pub sends: BTreeSet<M>,
    /// Packets of its pods have the size that the step wants.
    pub sized: bool,
    /// Packets of its pods would have to become smaller for the new mode.
    pub shrinks: bool,
    /// What is in the way of the new mode on this node, in words.
    pub obstacles: Vec<String>,
    /// What probes in the new mode say.
    pub trials: Trials,
    /// It is down: neither its kubelet nor any packet says otherwise.
    pub down: bool,
}

impl<M> Fact<M> {
    /// As far as orders depend on it.
    pub fn node(&self) -> Node<'_> {
        Node {
            name: &self.name,
            canary: self.canary,
        }
    }
}

/// What probes from one node to all peers that are up say of a mode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Trials {
    /// Paths to be proven: to each peer, in each family.
    pub wanted: u32,
    /// Those that are.
    pub passed: u32,
    /// Those by which nothing comes, in words; not all, if they are many.
    pub failed: Vec<String>,
    /// Probes sent since the proof began.
    pub sent: u64,
    /// Those of them that did not come back.
    pub lost: u64,
}
