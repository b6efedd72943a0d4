//! How far a migration is, in numbers.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{Mode, ModesReport, NetworkConfigStatus};
use weft_migration::{Migration, Phase};

use super::facts::{behind, modes_of};
use super::waited_for;
use crate::cluster::Cluster;
use crate::waves::{last_wave, waves};

/// How far a migration is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The mode that is left.
    pub from: Mode,
    /// The mode that is gone to.
    pub to: Mode,
    /// It goes back.
    pub back: bool,
    /// The present phase.
    pub phase: Phase,
    /// The wave that moves in phase Shift, from 1; 0: the canaries.
    pub wave: u32,
    /// Of so many.
    pub of_waves: u32,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When the present phase, or wave, began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_began: Option<Timestamp>,
    /// Nodes that have done what the phase asks for, of those that are waited for.
    pub nodes: Counted,
    /// The waves, and how many of their nodes send in the new mode.
    pub waves: Vec<WaveProgress>,
    /// What probes in the new mode say.
    pub probes: Probes,
    /// Nodes that have something yet to do, and what.
    pub behind: Vec<Behind>,
    /// Nodes that nobody waits for.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub excluded: BTreeSet<String>,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// So many.
    pub done: usize,
    /// Of so many.
    pub all: usize,
}

/// A wave, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveProgress {
    /// From 1; 0: the canaries.
    pub number: u32,
    /// How it is called.
    pub called: String,
    /// Its nodes.
    pub nodes: Vec<String>,
    /// Those of them that send in the new mode alone.
    pub sending: usize,
}

/// What probes in the new mode say, over all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probes {
    /// Paths to be proven.
    pub wanted: u64,
    /// Those that are.
    pub passed: u64,
    /// Nodes that report paths by which nothing comes.
    pub failing: usize,
    /// Probes sent; each node rounds down to a power of two.
    pub sent: u64,
    /// Those of them that did not come back.
    pub lost: u64,
    /// So many of 1,000 may be lost.
    pub budget_permille: u32,
}

/// A node that has something yet to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// The node.
    pub node: String,
    /// What.
    pub what: String,
}

/// How far the migration is that is under way.
pub fn progress(cluster: &Cluster, status: &NetworkConfigStatus) -> Option<Progress> {
    let migration = status.migration.clone()?;
    let settings = &cluster.config.spec.migration;
    let nodes = waited_for(cluster, status);
    let behind = behind(cluster, status);
    let late: BTreeSet<&str> = behind.iter().map(|(node, _)| node.as_str()).collect();
    let current = |node: &Node| modes_of(cluster, node).filter(|modes| modes.step == status.step);
    // Of what is in the way, only some is told.
    let is_done = |node: &Node| {
        let modes = current(node);
        let clear = match migration.phase {
            Phase::Check => modes.is_some_and(|modes| modes.obstacles.is_empty()),
            Phase::Verify => modes.is_some_and(proven),
            _ => true,
        };
        clear && !late.contains(node.name_any().as_str())
    };
    let of_waves = last_wave(&migration, settings.waves);
    Some(Progress {
        began: status.progress.as_ref().map(|of| of.began.0),
        step_began: status.progress.as_ref().map(|of| of.step_began.0),
        nodes: Counted {
            done: nodes.iter().filter(|node| is_done(node)).count(),
            all: nodes.len(),
        },
        waves: waves_progress(cluster, &migration, &nodes),
        probes: probes(
            nodes.iter().filter_map(|node| current(node)),
            settings.loss_budget_permille,
        ),
        behind: behind
            .iter()
            .map(|(node, what)| named(cluster, node, what))
            .collect(),
        of_waves,
        from: migration.from,
        to: migration.to,
        back: migration.back,
        phase: migration.phase,
        wave: migration.wave,
        excluded: migration.excluded,
    })
}

/// A node that is behind, with the first problem that it reports: often what it is held up by.
fn named(cluster: &Cluster, name: &str, what: &str) -> Behind {
    let mut nodes = cluster.nodes.iter();
    let report = nodes
        .find(|node| node.metadata.name.as_deref() == Some(name))
        .and_then(|node| cluster.report_of(node));
    let problem = report.and_then(|report| report.spec.problems.first());
    let held_up = problem.map(|problem| format!(" ({}: {})", problem.reason, problem.message));
    Behind {
        node: name.to_owned(),
        what: format!("{what}{}", held_up.unwrap_or_default()),
    }
}

fn proven(modes: &ModesReport) -> bool {
    let trials = modes.trials.as_ref();
    trials.is_none_or(|trials| trials.passed >= trials.wanted && trials.failed.is_empty())
}

/// On the way back all move at once.
fn waves_progress(
    cluster: &Cluster,
    migration: &Migration<Mode>,
    nodes: &[&Node],
) -> Vec<WaveProgress> {
    let mut settings = cluster.config.spec.migration.clone();
    if migration.back {
        (settings.waves, settings.canary_selector) = (1, None);
    }
    let sending: BTreeSet<String> = nodes
        .iter()
        .filter(|node| modes_of(cluster, node).is_some_and(|modes| modes.sends == [migration.to]))
        .map(|node| node.name_any())
        .collect();
    let count = |names: &[String]| names.iter().filter(|name| sending.contains(*name)).count();
    waves(nodes, &settings)
        .into_iter()
        .map(|wave| WaveProgress {
            number: wave.number,
            called: wave.called(settings.waves),
            sending: count(&wave.nodes),
            nodes: wave.nodes,
        })
        .collect()
}

fn probes<'a>(reports: impl Iterator<Item = &'a ModesReport>, budget_permille: u32) -> Probes {
    let mut probes = Probes {
        budget_permille,
        ..Probes::default()
    };
    for trials in reports.filter_map(|modes| modes.trials.as_ref()) {
        probes.wanted += u64::from(trials.wanted);
        probes.passed += u64::from(trials.passed);
        probes.failing += usize::from(!trials.failed.is_empty());
        probes.sent += trials.sent;
        probes.lost += trials.lost;
    }
    probes
}
