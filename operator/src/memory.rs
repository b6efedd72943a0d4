//! What an operator remembers between plans: since when something has been so, and what it wrote
//! that its watches haven't told it yet. All of it may be lost; then waiting starts anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_crds::IPBlock;
use weft_migration::Timers;

use crate::observed::Observed;
use crate::plan::node_condition;

/// How long a write of a block is believed over a watch that tells otherwise.
const AHEAD_FOR: Duration = Duration::from_secs(30);

/// A node by name and UID.
pub type NodeId = (String, String);

/// Durations are on the monotonic clock of [`crate::observed::Now`].
#[derive(Debug, Default)]
pub struct Memory {
    /// Nodes that own blocks or have objects here, and that the watch says are not there.
    pub absent_since: BTreeMap<NodeId, Duration>,
    /// Blocks (by object name) whose owner has reported them empty without a break.
    pub empty_since: BTreeMap<String, Duration>,
    /// Nodes (by UID) that nobody who is up can reach, without a break.
    pub cut_since: BTreeMap<String, Duration>,
    /// Since when the barrier of a migration is met.
    pub timers: Timers,
    /// When the status of the NetworkConfig was written last.
    pub status_written: Option<Duration>,
    /// What the DaemonSet came out as after the last write of it.
    pub settled: Option<Settled>,
    /// Blocks as the API server answered to a write or a collision, ahead of the watch.
    ahead: BTreeMap<String, Ahead>,
}

/// The DaemonSet as the API server took it: an admission webhook may change what was asked for, and
/// writing it again would then never end.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// What was asked for.
    pub wanted: serde_json::Value,
    /// The generation of the result, which changes with its spec.
    pub generation: i64,
    /// The labels of the result.
    pub labels: BTreeMap<String, String>,
    /// UID of the result.
    pub uid: String,
}

#[derive(Debug)]
struct Ahead {
    block: Arc<IPBlock>,
    since: Duration,
}

impl Memory {
    /// Puts what is known better than by the watches into a view, and notes since when what is in
    /// the view has been so.
    pub fn merge(&mut self, observed: &mut Observed, mono: Duration) {
        self.merge_blocks(observed, mono);
        self.note_absent(observed, mono);
        self.note_empty(observed, mono);
        self.note_cut(observed, mono);
    }

    /// Remembers a block as the API server has just told it.
    pub fn block_is(&mut self, block: IPBlock, mono: Duration) {
        if let Some(name) = block.metadata.name.clone() {
            let ahead = Ahead {
                block: Arc::new(block),
                since: mono,
            };
            self.ahead.insert(name, ahead);
        }
    }

    /// Forgets what was known of a block that is gone.
    pub fn block_gone(&mut self, name: &str) {
        self.ahead.remove(name);
    }

    fn merge_blocks(&mut self, observed: &mut Observed, mono: Duration) {
        self.ahead.retain(|name, ahead| {
            let caught_up = observed
                .blocks
                .get(name)
                .is_some_and(|seen| version(seen) >= version(&ahead.block));
            !caught_up && mono < ahead.since + AHEAD_FOR
        });
        for (name, ahead) in &self.ahead {
            observed
                .blocks
                .insert(name.clone(), Arc::clone(&ahead.block));
        }
    }

    fn note_absent(&mut self, observed: &Observed, mono: Duration) {
        let owners = observed
            .blocks
            .values()
            .filter_map(|block| Some((block.spec.node.as_ref()?, block.spec.node_uid.as_ref()?)));
        let publishers = observed
            .networks
            .values()
            .filter_map(|network| Some((network.metadata.name.as_ref()?, &network.spec.node_uid)));
        let reporters = observed
            .reports
            .values()
            .filter_map(|report| Some((report.metadata.name.as_ref()?, &report.spec.node_uid)));
        let absent = owners
            .chain(publishers)
            .chain(reporters)
            .filter(|(name, uid)| !observed.has_node(name, uid))
            .map(|(name, uid)| (name.clone(), uid.clone()));
        self.absent_since = since(&self.absent_since, absent, mono);
    }

    fn note_empty(&mut self, observed: &Observed, mono: Duration) {
        let empty = observed
            .blocks
            .iter()
            .filter(|(_, block)| {
                let usage = crate::plan::blocks::usage_of(observed, block);
                usage.is_some_and(|usage| usage.used == 0 && !usage.drained)
            })
            .map(|(name, _)| name.clone());
        self.empty_since = since(&self.empty_since, empty, mono);
    }

    fn note_cut(&mut self, observed: &Observed, mono: Duration) {
        let cut = observed
            .nodes
            .values()
            .filter(|node| node_condition::is_cut_off(observed, node))
            .map(|node| node.uid.clone());
        self.cut_since = since(&self.cut_since, cut, mono);
    }
}

/// Keeps the times of keys that are still there, starts those of new ones, and drops the others.
fn since<K: Ord + Clone>(
    before: &BTreeMap<K, Duration>,
    keys: impl Iterator<Item = K>,
    mono: Duration,
) -> BTreeMap<K, Duration> {
    keys.map(|key| {
        let start = before.get(&key).copied().unwrap_or(mono);
        (key, start)
    })
    .collect()
}

/// The version of an object as a number. Since Kubernetes 1.35 versions of one kind may be compared
/// (KEP-5504); of something that is no number nothing is known, and it counts as oldest.
fn version(block: &IPBlock) -> u128 {
    block
        .metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{block, owned};

    fn with_version(mut block: IPBlock, version: &str) -> IPBlock {
        block.metadata.resource_version = Some(version.into());
        block
    }

    fn seen(block: IPBlock) -> Observed {
        let name = block.metadata.name.clone().unwrap();
        Observed {
            blocks: [(name, Arc::new(block))].into(),
            ..Observed::default()
        }
    }

    #[test]
    fn a_write_is_believed_until_the_watch_has_caught_up() {
        let old = with_version(block("10.244.0.0/26"), "9");
        let new = with_version(owned("10.244.0.0/26", "a"), "10");
        let mut memory = Memory::default();
        memory.block_is(new.clone(), Duration::ZERO);

        let mut observed = seen(old.clone());
        memory.merge(&mut observed, Duration::from_secs(1));
        assert_eq!(*observed.blocks["10-244-0-0-26"], new);

        let newer = with_version(old.clone(), "11");
        let mut observed = seen(newer.clone());
        memory.merge(&mut observed, Duration::from_secs(2));
        assert_eq!(*observed.blocks["10-244-0-0-26"], newer);

        let mut observed = seen(old.clone());
        memory.merge(&mut observed, Duration::from_secs(3));
        assert_eq!(*observed.blocks["10-244-0-0-26"], old, "it was forgotten");
    }

    #[test]
    fn a_write_is_not_believed_for_ever() {
        let mut memory = Memory::default();
        memory.block_is(owned("10.244.0.0/26", "a"), Duration::ZERO);
        let mut observed = Observed::default();
        memory.merge(&mut observed, AHEAD_FOR);
        assert!(observed.blocks.is_empty());
    }

    #[test]
    fn absence_is_measured_from_its_start_and_ends_with_the_node() {
        let mut memory = Memory::default();
        let mut observed = seen(owned("10.244.0.0/26", "a"));
        memory.merge(&mut observed, Duration::from_secs(1));
        memory.merge(&mut observed, Duration::from_secs(5));
        let id = ("a".to_string(), "uid-a".to_string());
        assert_eq!(memory.absent_since[&id], Duration::from_secs(1));

        let facts = crate::fixtures::node("a");
        observed.nodes.insert("a".into(), facts);
        memory.merge(&mut observed, Duration::from_secs(6));
        assert!(memory.absent_since.is_empty());
    }
}
