//! The status of the NetworkConfig, by the kstatus convention, and what is announced when it changes.

use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::json;
use weft_crds::{
    NetworkConfig, NetworkConfigStatus, NodeCount, PoolStatus,
    condition::{ADDRESSES_AVAILABLE, MIGRATING, READY, RECONCILING, STALLED},
};

use super::blocks::{Shortage, ShortageCause};
use super::check::Checked;
use super::migration::Course;
use super::pools::{Family, blocks_in};
use super::{Action, Announcement, Figures, Plan, RECONCILE};
use crate::config::Unreadable;
use crate::observed::{NodeFacts, Now, Observed};

/// Between two writes of the status that say the same but for counts and names, for each node: every agent hears
/// of each write.
const PACE_PER_NODE: Duration = Duration::from_millis(10);
/// The least time between two such writes.
const PACE: Duration = Duration::from_secs(1);
/// The most names that a message lists.
const NAMES: usize = 10;

/// Adds the status of a config that can't be read, if it doesn't say so already.
pub fn refuse(unreadable: &Unreadable, now: Now, plan: &mut Plan) {
    plan.figures.stalled = true;
    let object = &unreadable.object;
    // What an older or newer version wrote may not fit either; then its times are lost.
    let conditions = object.data["status"]["conditions"].clone();
    let before = NetworkConfigStatus {
        conditions: serde_json::from_value(conditions).unwrap_or_default(),
        ..NetworkConfigStatus::default()
    };
    let verdict = |type_, status| Verdict {
        type_,
        status,
        reason: "InvalidSpec".into(),
        message: unreadable.message.clone(),
    };
    let generation = object.metadata.generation;
    let after: Vec<Condition> = [verdict(READY, "False"), verdict(STALLED, "True")]
        .into_iter()
        .map(|verdict| dated(verdict, &before.conditions, generation, now))
        .collect();
    if after == before.conditions {
        return;
    }
    for condition in &after {
        plan.actions.extend(announcement(&before, condition));
    }
    let mut written = object.clone();
    let mut status = json!({"observedGeneration": generation, "conditions": after});
    // Where the cluster is between modes is true whatever the spec says; nodes follow it.
    for field in [
        "mode",
        "step",
        "migration",
        "failedMigration",
        "serviceCIDRs",
    ] {
        if let Some(known) = object.data["status"].get(field) {
            status[field] = known.clone();
        }
    }
    written.data["status"] = status;
    plan.actions.push(Action::Refuse(Box::new(written)));
}

/// What a condition says, before it is compared with what it said.
pub(super) struct Verdict {
    pub(super) type_: &'static str,
    pub(super) status: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What the other parts of the plan have found.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// What is wrong with the spec.
    pub checked: &'a Checked,
    /// Blocks that can't be had.
    pub shortages: &'a [Shortage],
    /// What becomes of the modes.
    pub course: &'a Course,
    /// When the status was written last, on the monotonic clock.
    pub written: Option<Duration>,
}

/// Adds the write of the status, if it changes, and announcements of what changed.
pub fn plan(
    observed: &Observed,
    config: &NetworkConfig,
    judged: &Judged,
    now: Now,
    plan: &mut Plan,
) {
    let Judged {
        checked, shortages, ..
    } = *judged;
    let before = config.status.clone().unwrap_or_default();
    let after = status(observed, config, judged, &before, now);
    plan.figures = figures(&after, shortages, judged);
    if after == before {
        return;
    }
    if essence(&after) == essence(&before)
        && let Some(written) = judged.written
    {
        let nodes = u32::try_from(observed.nodes.len()).unwrap_or(u32::MAX);
        let due = written + PACE.max(PACE_PER_NODE.saturating_mul(nodes));
        if now.mono < due {
            plan.look_at(due);
            return;
        }
    }
    for condition in &after.conditions {
        plan.actions.extend(announcement(&before, condition));
    }
    // A warning has no condition of its own: it is said once for each generation.
    if before.observed_generation != after.observed_generation {
        for warning in &checked.warnings {
            plan.actions.push(Action::Announce(Announcement {
                warning: true,
                reason: warning.reason.into(),
                action: RECONCILE.into(),
                note: warning.message.clone(),
            }));
        }
    }
    let mut written = config.clone();
    written.status = Some(after);
    plan.actions.push(Action::WriteStatus(Box::new(written)));
}

/// The status without counts and names, which may be a moment late.
fn essence(status: &NetworkConfigStatus) -> NetworkConfigStatus {
    let mut essence = status.clone();
    (essence.nodes, essence.progress) = (None, None);
    essence.pools.clear();
    for condition in &mut essence.conditions {
        condition.message.clear();
    }
    essence
}

fn status(
    observed: &Observed,
    config: &NetworkConfig,
    judged: &Judged,
    before: &NetworkConfigStatus,
    now: Now,
) -> NetworkConfigStatus {
    let (checked, course) = (judged.checked, judged.course);
    let generation = config.metadata.generation;
    let lagging: Vec<(&NodeFacts, String)> = observed
        .nodes
        .values()
        .filter_map(|node| Some((node, lag(observed, node, generation)?)))
        .collect();
    let total = u32::try_from(observed.nodes.len()).unwrap_or(u32::MAX);
    let ready = total.saturating_sub(u32::try_from(lagging.len()).unwrap_or(u32::MAX));
    let reports = observed
        .nodes
        .values()
        .filter_map(|node| observed.report_of(node));
    NetworkConfigStatus {
        observed_generation: generation,
        mode: Some(course.state.mode),
        step: course.state.step,
        migration: course.state.migration.clone(),
        progress: course.progress.clone(),
        failed_migration: course.state.failure.clone(),
        mtu: reports.filter_map(|report| report.spec.mtu).min(),
        nodes: Some(NodeCount {
            total,
            ready,
            summary: format!("{ready}/{total}"),
        }),
        service_cidrs: service_cidrs(observed, before),
        pools: checked
            .pools
            .iter()
            .map(|pool| pool_status(observed, pool))
            .collect(),
        conditions: verdicts(observed, config, judged, &lagging)
            .into_iter()
            .map(|verdict| dated(verdict, &before.conditions, generation, now))
            .collect(),
    }
}

/// What was known stays while they can't be read.
fn service_cidrs(observed: &Observed, before: &NetworkConfigStatus) -> Vec<String> {
    if observed.service_cidrs.is_empty() {
        return before.service_cidrs.clone();
    }
    let ranges = observed.service_cidrs.iter();
    ranges.map(IpNet::to_string).collect()
}

/// Why a node doesn't count as ready. None: it does.
fn lag(observed: &Observed, node: &NodeFacts, generation: Option<i64>) -> Option<String> {
    let Some(report) = observed.report_of(node) else {
        return Some("its agent hasn't reported".into());
    };
    let problem = report.spec.problems.first();
    if report.spec.forwarding && report.spec.observed_generation == generation {
        return None;
    }
    if let Some(problem) = problem {
        return Some(format!("{}: {}", problem.reason, problem.message));
    }
    if !report.spec.forwarding {
        return Some(format!(
            "doesn't forward, {} peers answer",
            report.spec.summary
        ));
    }
    Some("hasn't carried out this generation yet".into())
}

fn pool_status(observed: &Observed, pool: &super::check::PoolView) -> PoolStatus {
    let mut status = PoolStatus {
        cidr: pool.text.clone(),
        block_size: pool.block_size,
        blocks: blocks_in(pool.cidr, pool.block_size),
        allocated: 0,
        cooling: 0,
    };
    for block in observed.blocks.values() {
        let range = block.spec.cidr.parse::<IpNet>();
        if !range.is_ok_and(|range| pool.cidr.contains(&range)) {
            continue;
        }
        match block.spec.node {
            Some(_) => status.allocated += 1,
            None => status.cooling += 1,
        }
    }
    status
}

fn verdicts(
    observed: &Observed,
    config: &NetworkConfig,
    judged: &Judged,
    lagging: &[(&NodeFacts, String)],
) -> Vec<Verdict> {
    let Judged {
        checked,
        shortages,
        course,
        ..
    } = *judged;
    let mut verdicts = Vec::new();
    let total = observed.nodes.len();
    let rolling = rolling(observed);
    let (ready, reason, message) = if let Some(first) = checked.stalls.first() {
        let messages: Vec<_> = checked.stalls.iter().map(|c| c.message.as_str()).collect();
        ("False", first.reason, messages.join(". "))
    } else if let Some(verdict) = &course.verdict {
        ("False", verdict.reason, verdict.message.clone())
    } else if !lagging.is_empty() {
        let nodes = lagging
            .iter()
            .map(|(node, why)| format!("{} {why}", node.name));
        let message = format!(
            "{} of {total} nodes are ready; not: {}",
            total - lagging.len(),
            list(nodes, "; ")
        );
        ("False", "NodesNotReady", message)
    } else if let Some(message) = rolling {
        ("False", "AgentsRolling", message)
    } else {
        let message = format!("{total} of {total} nodes do what the spec says");
        ("True", "AllNodesReady", message)
    };
    verdicts.push(Verdict {
        type_: READY,
        status: ready,
        reason: reason.into(),
        message: message.clone(),
    });
    // Present only when true, as kstatus has it.
    if ready == "False" {
        let stalled = is_stalled(judged);
        verdicts.push(Verdict {
            type_: if stalled { STALLED } else { RECONCILING },
            status: "True",
            reason: reason.into(),
            message,
        });
    }
    if let Some(migration) = &course.state.migration {
        let verdict = course.verdict.as_ref();
        verdicts.push(Verdict {
            type_: MIGRATING,
            status: "True",
            reason: format!("{:?}", migration.phase),
            message: verdict
                .map(|verdict| verdict.message.clone())
                .unwrap_or_default(),
        });
    }
    verdicts.push(addresses(config, checked, shortages));
    verdicts
}

/// Somebody has to act before it goes on.
fn is_stalled(judged: &Judged) -> bool {
    let verdict = judged.course.verdict.as_ref();
    !judged.checked.stalls.is_empty() || verdict.is_some_and(|verdict| verdict.stalled)
}

/// What is left to do on the DaemonSet. None: all agents run as it says.
fn rolling(observed: &Observed) -> Option<String> {
    let Some(daemonset) = &observed.daemonset else {
        return Some("the DaemonSet weft-agent isn't there yet".into());
    };
    let status = daemonset.status.clone().unwrap_or_default();
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let wanted = status.desired_number_scheduled;
    let seen = status.observed_generation == daemonset.metadata.generation;
    (!seen || updated < wanted)
        .then(|| format!("{updated} of {wanted} agents are of the current version"))
}

fn addresses(config: &NetworkConfig, checked: &Checked, shortages: &[Shortage]) -> Verdict {
    let of = |cause| {
        let matching: Vec<_> = shortages.iter().filter(|s| s.cause == cause).collect();
        (!matching.is_empty()).then_some(matching)
    };
    let names = |shortages: &[&Shortage]| {
        let named = shortages
            .iter()
            .map(|s| format!("{} ({})", s.node, s.family.as_str()));
        list(named, ", ")
    };
    let mut parts = Vec::new();
    let mut reason = "EveryNodeHasRoom";
    if let Some(at_maximum) = of(ShortageCause::AtMaximum) {
        reason = "NodeAtMaximum";
        parts.push(format!(
            "nearly full and at spec.ipam.maxBlocksPerNode ({}): {}; raise it or run fewer pods there",
            config.spec.ipam.max_blocks_per_node,
            names(&at_maximum)
        ));
    }
    let without = of(ShortageCause::WithoutBlock);
    let full = of(ShortageCause::NearlyFull);
    if without.is_some() || full.is_some() {
        reason = "PoolExhausted";
        let mut families: Vec<Family> = [&without, &full]
            .into_iter()
            .flatten()
            .flatten()
            .map(|s| s.family)
            .collect();
        families.sort();
        families.dedup();
        let pools: Vec<_> = checked
            .pools
            .iter()
            .filter(|pool| !pool.draining && families.contains(&Family::of(pool.cidr)))
            .map(|pool| pool.text.as_str())
            .collect();
        let mut text = format!("no block is left in pool {}", pools.join(" and "));
        if let Some(without) = without {
            text.push_str(&format!("; nodes without one: {}", names(&without)));
        }
        if let Some(full) = full {
            text.push_str(&format!("; nearly full: {}", names(&full)));
        }
        text.push_str("; add a pool to spec.pools, or remove nodes (their blocks are given out again after spec.ipam.blockCooldownSeconds)");
        parts.insert(0, text);
    }
    Verdict {
        type_: ADDRESSES_AVAILABLE,
        status: if parts.is_empty() { "True" } else { "False" },
        reason: reason.into(),
        message: if parts.is_empty() {
            "every node has addresses for more pods".into()
        } else {
            parts.join(". ")
        },
    }
}

pub(super) fn list(items: impl Iterator<Item = String>, separator: &str) -> String {
    let mut items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(NAMES);
    if more > 0 {
        items.truncate(NAMES);
        items.push(format!("and {more} more"));
    }
    items.join(separator)
}

/// A condition keeps its time while its status is the same.
pub(super) fn dated(
    verdict: Verdict,
    before: &[Condition],
    generation: Option<i64>,
    now: Now,
) -> Condition {
    let earlier = before.iter().find(|c| c.type_ == verdict.type_);
    let since = earlier
        .filter(|c| c.status == verdict.status)
        .map(|c| c.last_transition_time.clone());
    Condition {
        type_: verdict.type_.into(),
        status: verdict.status.into(),
        reason: verdict.reason,
        message: verdict.message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| {
            // The API keeps whole seconds; more would differ from what is read back.
            let second = k8s_openapi::jiff::Timestamp::from_second(now.wall.as_second());
            Time(second.unwrap_or(now.wall))
        }),
    }
}

/// Announced are: a stall, exhaustion, and each time that all is well again.
fn announcement(before: &NetworkConfigStatus, condition: &Condition) -> Option<Action> {
    let earlier = before
        .conditions
        .iter()
        .find(|c| c.type_ == condition.type_);
    let was = earlier.map(|c| (c.status.as_str(), c.message.as_str()));
    let is_new = was != Some((condition.status.as_str(), condition.message.as_str()));
    let flipped = was.map(|(status, _)| status) != Some(condition.status.as_str());
    let warning = match (condition.type_.as_str(), condition.status.as_str()) {
        (STALLED, "True") | (ADDRESSES_AVAILABLE, "False") if is_new => true,
        (READY, "True") if flipped => false,
        (ADDRESSES_AVAILABLE, "True") if flipped && was.is_some() => false,
        _ => return None,
    };
    Some(Action::Announce(Announcement {
        warning,
        reason: condition.reason.clone(),
        action: RECONCILE.into(),
        note: condition.message.clone(),
    }))
}

fn figures(status: &NetworkConfigStatus, shortages: &[Shortage], judged: &Judged) -> Figures {
    let nodes = status.nodes.clone().unwrap_or_default();
    let pools = status.pools.iter();
    Figures {
        nodes: nodes.total,
        nodes_ready: nodes.ready,
        shortages: shortages.len(),
        pools: pools
            .map(|p| (p.cidr.clone(), p.blocks, p.allocated, p.cooling))
            .collect(),
        stalled: is_stalled(judged),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
