//! `kubectl weft plan`: what a changed NetworkConfig would do, before it is applied.

mod ask;
mod changes;
mod duration;
mod needs;
mod obstacles;
mod render;
mod sizes;
#[cfg(test)]
mod tests;
mod underlay;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{BGPPeer, Mode, NetworkConfig, NetworkConfigStatus, UnableNodes};
use weft_migration::{Migration, Phase};

pub use ask::ask;
pub use changes::Change;
pub use duration::Takes;
pub use obstacles::{Obstacle, Reason};
pub use render::render;
pub use sizes::Sizes;

use crate::cluster::Cluster;
use crate::text::some;
use crate::waves::{Wave, waves};

/// What is to be applied, as the API server would have it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The NetworkConfig.
    pub config: NetworkConfig,
    /// All BGPPeers that there will be.
    pub bgp_peers: Vec<BGPPeer>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the cluster was looked at.
    pub at: Timestamp,
    /// The generation of the NetworkConfig that this is the plan for.
    pub generation: i64,
    /// What comes of it.
    pub outcome: Outcome,
    /// Nothing that is known makes it impossible.
    pub possible: bool,
    /// The mode that the nodes are in.
    pub from: Mode,
    /// The mode of the file.
    pub to: Mode,
    /// Fields of the spec that change.
    pub changes: Vec<Change>,
    /// The migration, if there is to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<Way>,
    /// MTU of pods.
    pub mtu: Sizes,
    /// What makes it impossible now.
    pub obstacles: Vec<Obstacle>,
    /// What to do about it, by reason.
    pub advice: BTreeMap<Reason, &'static str>,
    /// What is good to know.
    pub notes: Vec<String>,
}

/// What comes of applying the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// The cluster is as the file says.
    Nothing,
    /// Fields change, and the mode stays.
    SameMode,
    /// A migration.
    Migration,
    /// The migration that is under way goes there already.
    UnderWay,
    /// The migration that is under way goes back.
    Back,
}

/// A migration that is to be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// The phases that it goes through.
    pub phases: Vec<Phase>,
    /// In how many waves nodes move, the canaries not counted.
    pub of_waves: u32,
    /// Nodes in the order in which they come to send in the new mode.
    pub waves: Vec<Wave>,
    /// Nodes that stay behind, as spec.migration.unableNodes says.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<String>,
    /// How long it takes.
    pub takes: Takes,
    /// What the new mode needs of the underlay.
    pub needs: Vec<String>,
}

/// The answer that follows from what is there and what is to be applied.
pub fn report(cluster: &Cluster, wanted: &Wanted) -> Report {
    let present = &cluster.config;
    let status = present.status.clone().unwrap_or_default();
    let from = status.mode.unwrap_or(present.spec.mode);
    let to = wanted.config.spec.mode;
    let under_way = status.migration.as_ref();
    let in_use = under_way.map_or(vec![from], |way| vec![way.from, way.to]);
    let changes = changes::changes(&present.spec, &wanted.config.spec, &in_use);
    let outcome = outcome(under_way, from, to, &changes);
    let mut all = obstacles::standing(&status, outcome, from, to, &changes);
    let mtu = sizes::sizes(cluster, &wanted.config.spec, from, to);
    let mut left_out = BTreeSet::new();
    if outcome == Outcome::Migration {
        all.extend(obstacles::of_nodes(cluster, wanted, from, to));
        let unable = wanted.config.spec.migration.unable_nodes;
        if unable == UnableNodes::LeaveOut && to == Mode::Overlay {
            left_out = underlay::apart(cluster);
        }
    }
    all.sort();
    let way = (outcome == Outcome::Migration).then(|| way(cluster, wanted, to, mtu, left_out));
    Report {
        at: cluster.now,
        generation: present.metadata.generation.unwrap_or_default(),
        outcome,
        possible: all.is_empty(),
        from,
        to,
        notes: notes(cluster, wanted, outcome, way.as_ref()),
        changes,
        migration: way,
        mtu,
        advice: all
            .iter()
            .map(|of| (of.reason, of.reason.advice()))
            .collect(),
        obstacles: all,
    }
}

fn outcome(
    under_way: Option<&Migration<Mode>>,
    from: Mode,
    to: Mode,
    changes: &[Change],
) -> Outcome {
    match under_way {
        Some(way) if way.to == to => Outcome::UnderWay,
        Some(way) if way.from == to && !way.back && way.phase < Phase::Retire => Outcome::Back,
        Some(_) => Outcome::Migration,
        None if from != to => Outcome::Migration,
        None if changes.is_empty() => Outcome::Nothing,
        None => Outcome::SameMode,
    }
}

fn way(
    cluster: &Cluster,
    wanted: &Wanted,
    to: Mode,
    mtu: Sizes,
    left_out: BTreeSet<String>,
) -> Way {
    let settings = &wanted.config.spec.migration;
    let movers: Vec<&Node> = cluster
        .nodes
        .iter()
        .filter(|node| !left_out.contains(&node.name_any()))
        .collect();
    let waves = waves(&movers, settings);
    let phases: Vec<Phase> = Phase::ALL
        .into_iter()
        .filter(|phase| *phase != Phase::LowerMTU || mtu.is_lowered())
        .collect();
    Way {
        takes: duration::takes(settings, &phases, waves.len(), mtu),
        needs: needs::needs(cluster, wanted, to),
        of_waves: settings.waves,
        phases,
        waves,
        left_out,
    }
}

fn notes(cluster: &Cluster, wanted: &Wanted, outcome: Outcome, way: Option<&Way>) -> Vec<String> {
    let spec = &wanted.config.spec;
    let mut notes = Vec::new();
    let Some(way) = way else {
        notes.extend(sizes::note(cluster, spec));
        notes.extend(obstacles::under_way_note(
            cluster
                .config
                .status
                .as_ref()
                .unwrap_or(&NetworkConfigStatus::default()),
            outcome,
        ));
        return notes;
    };
    notes.extend(obstacles::held(&wanted.config));
    let away: Vec<String> = cluster
        .nodes
        .iter()
        .filter(|node| !crate::status::is_ready(node))
        .map(|node| node.name_any())
        .collect();
    if !away.is_empty() {
        notes.push(format!(
            "the kubelet does not say that these nodes are ready: {}; one that no peer hears either is not waited for, and joins in the right phase when it returns; one that is heard is waited for",
            some(&away)
        ));
    }
    if !way.left_out.is_empty() {
        let names: Vec<String> = way.left_out.iter().cloned().collect();
        notes.push(format!(
            "these nodes can't do the new mode and are left out, as spec.migration.unableNodes says: {}; phase Confirm lasts, and the old mode stays, until they are repaired or gone",
            some(&names)
        ));
    }
    let idle = way
        .waves
        .iter()
        .filter(|wave| wave.nodes.is_empty())
        .count();
    if idle > 0 {
        notes.push(format!(
            "{} no node of its own, and the time passes all the same: spec.migration.waves is {}, for {}",
            match idle {
                1 => "1 wave has".to_owned(),
                many => format!("{many} waves have"),
            },
            way.of_waves,
            crate::text::count(cluster.nodes.len(), "node"),
        ));
    }
    notes
}
