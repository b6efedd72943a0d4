//! `kubectl weft migrate`: how far the migration to another mode is, live or once, and what an admin says to it.

mod act;
mod bars;
mod facts;
mod progress;
mod render;
#[cfg(test)]
mod tests;
mod watch;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{Mode, NetworkConfig, NetworkConfigStatus, annotation, condition};
use weft_migration::Failure;

pub use act::{Action, act, render as render_deed};
pub use progress::{Counted, Progress};
pub use render::{line, render, sentence};
pub use watch::{Until, watch};

use crate::cluster::Cluster;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the cluster was looked at.
    pub at: Timestamp,
    /// The generation of the spec.
    pub generation: i64,
    /// The mode that the nodes are in; while they go to another one, that which they come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The mode of the spec.
    pub wanted: Mode,
    /// How it stands.
    pub standing: Standing,
    /// A word of the operator for what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What keeps it where it is because an admin wants it so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused_by: Vec<&'static str>,
    /// The migration that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<Progress>,
    /// The one that went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Standing {
    /// The cluster is in the mode of the spec, and every node does what the spec says.
    Rest,
    /// The cluster is in the mode of the spec, and not every node does what the spec says yet.
    NotReady,
    /// The operator hasn't taken the spec up yet, or waits before it begins.
    Begins,
    /// A migration is under way.
    UnderWay,
    /// Nothing goes on until somebody acts.
    Stalled,
    /// It went back, and is not tried again by itself.
    Failed,
}

/// The answer that follows from what is there.
pub fn report(cluster: &Cluster) -> Report {
    let config = &cluster.config;
    let status = config.status.clone().unwrap_or_default();
    let standing = standing(config, &status);
    let said = said(config, &status, standing);
    Report {
        at: cluster.now,
        generation: config.metadata.generation.unwrap_or_default(),
        mode: status.mode,
        wanted: config.spec.mode,
        standing,
        reason: said.map(|said| said.reason.clone()),
        message: said.map(|said| said.message.clone()),
        paused_by: paused_by(config),
        migration: progress::progress(cluster, &status),
        failure: status.failed_migration,
    }
}

fn standing(config: &NetworkConfig, status: &NetworkConfigStatus) -> Standing {
    let generation = config.metadata.generation;
    let holds = |type_: &str| {
        let condition = condition_of(status, type_);
        condition.is_some_and(|condition| {
            condition.status == "True" && condition.observed_generation == generation
        })
    };
    let is_there = status.mode == Some(config.spec.mode);
    let failed = status.failed_migration.as_ref();
    let observed = status.observed_generation == generation;
    if status.migration.is_none()
        && !is_there
        && failed.is_some_and(|of| Some(of.generation) == generation)
    {
        Standing::Failed
    } else if holds(condition::STALLED) {
        Standing::Stalled
    } else if status.migration.is_some() {
        Standing::UnderWay
    } else if !is_there || !observed {
        Standing::Begins
    } else if holds(condition::READY) {
        Standing::Rest
    } else {
        Standing::NotReady
    }
}

/// The condition that says why it is as it is, of this generation.
fn said<'a>(
    config: &NetworkConfig,
    status: &'a NetworkConfigStatus,
    standing: Standing,
) -> Option<&'a Condition> {
    let of = |type_| {
        condition_of(status, type_)
            .filter(|condition| condition.observed_generation == config.metadata.generation)
    };
    match standing {
        Standing::Rest => None,
        Standing::Stalled => of(condition::STALLED),
        _ => of(condition::READY).filter(|condition| condition.status != "True"),
    }
}

fn condition_of<'a>(status: &'a NetworkConfigStatus, type_: &str) -> Option<&'a Condition> {
    let mut all = status.conditions.iter();
    all.find(|condition| condition.type_ == type_)
}

fn paused_by(config: &NetworkConfig) -> Vec<&'static str> {
    let annotation = config.annotations().get(annotation::PAUSED);
    [
        (config.spec.migration.paused, "spec.migration.paused"),
        (
            annotation.is_some_and(|value| value == "true"),
            "kubectl weft migrate pause",
        ),
    ]
    .into_iter()
    .filter_map(|(paused, by)| paused.then_some(by))
    .collect()
}

/// The nodes that somebody waits for.
fn waited_for<'a>(cluster: &'a Cluster, status: &NetworkConfigStatus) -> Vec<&'a Node> {
    let is_excluded = |node: &&Node| {
        let migration = status.migration.as_ref();
        migration.is_some_and(|migration| migration.excluded.contains(&node.name_any()))
    };
    let nodes = cluster.nodes.iter();
    nodes.filter(|node| !is_excluded(node)).collect()
}
