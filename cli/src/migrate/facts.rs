//! What agents report, as the facts that the engine of migrations judges by: so that nodes which are behind are named
//! here in the same words, and by the same rules, as the operator goes by.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use weft_crds::{Mode, ModesReport, NetworkConfigStatus};
use weft_migration::{Fact, Phase, Standing, Timers, Trials, Waits, Wish, advance};

use crate::cluster::Cluster;
use crate::waves::is_canary;

/// What a node reports of modes, if it is about this NetworkConfig.
pub fn modes_of<'a>(cluster: &'a Cluster, node: &Node) -> Option<&'a ModesReport> {
    let modes = cluster.report_of(node)?.spec.modes.as_ref()?;
    (Some(&modes.config_uid) == cluster.config.metadata.uid.as_ref()).then_some(modes)
}

/// What is known of a node. `excluded`: nobody waits for it.
fn fact(cluster: &Cluster, node: &Node, excluded: bool) -> Fact<Mode> {
    let modes = modes_of(cluster, node).cloned();
    let step = modes.as_ref().map(|modes| modes.step);
    let modes = modes.unwrap_or_default();
    let trials = modes.trials.unwrap_or_default();
    Fact {
        name: node.name_any(),
        canary: is_canary(node, &cluster.config.spec.migration),
        step,
        receives: modes.receives.into_iter().collect(),
        sends: modes.sends.into_iter().collect(),
        sized: modes.sized,
        shrinks: modes.shrinks,
        obstacles: modes.obstacles,
        trials: Trials {
            wanted: trials.wanted,
            passed: trials.passed,
            failed: trials.failed,
            sent: trials.sent,
            lost: trials.lost,
        },
        down: excluded,
    }
}

/// Nodes that have something yet to do in the present phase, and what; none if nothing is under way.
pub fn behind(cluster: &Cluster, status: &NetworkConfigStatus) -> Vec<(String, String)> {
    let Some(mut state) = status.state() else {
        return Vec::new();
    };
    let Some(migration) = &mut state.migration else {
        return Vec::new();
    };
    let is_excluded = |node: &Node| migration.excluded.contains(&node.name_any());
    let facts: Vec<Fact<Mode>> = cluster
        .nodes
        .iter()
        .map(|node| fact(cluster, node, is_excluded(node)))
        .collect();
    // A node that was left out and is gone is no reason to look at all others anew.
    migration
        .excluded
        .retain(|name| facts.iter().any(|fact| fact.name == *name));
    let wish = Wish {
        mode: migration.to,
        generation: 0,
        paused: true,
        approved: true,
        rollback: false,
        retry: false,
        waves: 1,
        bake: Duration::ZERO,
        // Whether losses are too many is the operator's to say.
        loss_permille: 1000,
        leave_out_unable: false,
    };
    let waits = Waits {
        drain: Duration::ZERO,
        patience: Duration::ZERO,
    };
    let mut timers = Timers::default();
    let standing = advance(&state, &wish, &facts, waits, &mut timers, Duration::ZERO).standing;
    let mut behind = match standing {
        Standing::Waits(nodes) | Standing::Obstacles(nodes) | Standing::Unproven(nodes) => nodes,
        _ => Vec::new(),
    };
    // The engine tells of what is in the way only once it waits for nothing else.
    let late: BTreeSet<String> = behind.iter().map(|(name, _)| name.clone()).collect();
    let others = facts
        .iter()
        .filter(|fact| !fact.down && !late.contains(&fact.name));
    let in_the_way = |fact: &Fact<Mode>| match state.phase() {
        Some(Phase::Check) => fact.obstacles.first().cloned(),
        Some(Phase::Verify) => fact.trials.failed.first().cloned(),
        _ => None,
    };
    behind.extend(others.filter_map(|fact| Some((fact.name.clone(), in_the_way(fact)?))));
    behind
}
