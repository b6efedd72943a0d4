//! Which modes the nodes are to be in: the wish of the admin and the facts of the nodes, put to the engine of
//! [`weft_migration`], and what it answers, put into words.

mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weft_crds::{Approval, Mode, NetworkConfig, Progress, UnableNodes, annotation};
use weft_migration::{Advance, Fact, Standing, State, Trials, Waits, Wish, advance};

use super::{Action, Plan};
use crate::memory::Memory;
use crate::observed::{NodeFacts, Now, Observed};

/// So many nodes are counted one by one in the progress; of more, tenths of them, so that the status is not written
/// for each.
const COUNTED: usize = 20;

/// What becomes of the modes.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Where the cluster is.
    pub state: State<Mode>,
    /// How the present phase goes, if a migration is under way.
    pub progress: Option<Progress>,
    /// Why the cluster is not in the mode that is wanted; `None`: it is.
    pub verdict: Option<Verdict>,
}

/// Why the cluster is not in the mode that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Somebody has to act.
    pub stalled: bool,
    /// A word for programs.
    pub reason: &'static str,
    /// What it waits for, and what to do.
    pub message: String,
}

/// Puts the question to the engine, and adds the announcements of what changes. The state is written with the status.
pub fn plan(
    observed: &Observed,
    config: &NetworkConfig,
    memory: &Memory,
    now: Now,
    plan: &mut Plan,
) -> Course {
    let told = config.status.as_ref().and_then(|status| status.state());
    let mut timers = memory.timers.clone();
    let before = told.unwrap_or_else(|| found(observed, config));
    let wish = wish(config, &before);
    let facts: Vec<Fact<Mode>> = observed
        .nodes
        .values()
        .map(|node| fact(observed, config, node))
        .collect();
    let nobody_first = config.spec.migration.canary_selector.is_some()
        && before.migration.is_none()
        && wish.mode != before.mode
        && !facts.iter().any(|fact| fact.canary);
    let Advance {
        next,
        standing,
        deadline,
    } = if nobody_first {
        Advance {
            next: None,
            standing: Standing::Rest,
            deadline: None,
        }
    } else {
        advance(&before, &wish, &facts, Waits::REAL, &mut timers, now.mono)
    };
    plan.timers = Some(timers);
    if let Some(deadline) = deadline {
        plan.look_at(deadline);
    }
    let state = next.unwrap_or_else(|| before.clone());
    let said = words::announcements(&before, &state);
    plan.actions.extend(said.into_iter().map(Action::Announce));
    let progress = progress(config, &before, &state, &facts, &standing, now);
    let verdict = if nobody_first {
        Some(words::no_canary())
    } else {
        words::verdict(&state, &wish, &standing, observed)
    };
    Course {
        state,
        progress,
        verdict,
    }
}

/// What the admin wants, by the spec and by `kubectl weft migrate`.
fn wish(config: &NetworkConfig, state: &State<Mode>) -> Wish<Mode> {
    let spec = &config.spec.migration;
    let generation = config.metadata.generation.unwrap_or_default();
    let annotations = config.metadata.annotations.as_ref();
    let said = |name: &str, value: &str| {
        annotations.is_some_and(|all| all.get(name).map(String::as_str) == Some(value))
    };
    let this_one = generation.to_string();
    Wish {
        mode: config.spec.mode,
        generation,
        paused: spec.paused || said(annotation::PAUSED, "true"),
        approved: spec.approval == Approval::Automatic || said(annotation::APPROVED, &this_one),
        rollback: said(annotation::ROLLBACK, &this_one),
        retry: said(annotation::RETRY, &state.step.to_string()),
        waves: spec.waves,
        bake: Duration::from_secs(spec.bake_seconds.into()),
        loss_permille: spec.loss_budget_permille,
        leave_out_unable: spec.unable_nodes == UnableNodes::LeaveOut,
    }
}

/// What is known of a node.
fn fact(observed: &Observed, config: &NetworkConfig, node: &NodeFacts) -> Fact<Mode> {
    let report = observed.report_of(node);
    let modes = report.and_then(|report| report.spec.modes.as_ref());
    let modes = modes.filter(|modes| Some(&modes.config_uid) == config.metadata.uid.as_ref());
    let canaries = config.spec.migration.canary_selector.as_ref();
    let set = |modes: &[Mode]| modes.iter().copied().collect::<BTreeSet<_>>();
    Fact {
        name: node.name.clone(),
        canary: canaries.is_some_and(|labels| node.is_selected(labels)),
        step: modes.map(|modes| modes.step),
        receives: modes.map(|modes| set(&modes.receives)).unwrap_or_default(),
        sends: modes.map(|modes| set(&modes.sends)).unwrap_or_default(),
        sized: modes.is_some_and(|modes| modes.sized),
        shrinks: modes.is_some_and(|modes| modes.shrinks),
        obstacles: modes
            .map(|modes| modes.obstacles.clone())
            .unwrap_or_default(),
        trials: modes
            .and_then(|modes| modes.trials.clone())
            .map(|trials| Trials {
                wanted: trials.wanted,
                passed: trials.passed,
                failed: trials.failed,
                sent: trials.sent,
                lost: trials.lost,
            })
            .unwrap_or_default(),
        down: is_down(observed, node),
    }
}

/// Its kubelet is silent, and some peer whose kubelet isn't says that not even probes of the underlay come back,
/// and none says that they do. A node whose agent or kubelet alone is dead still forwards, and is waited for.
fn is_down(observed: &Observed, node: &NodeFacts) -> bool {
    if node.ready {
        return false;
    }
    let others = observed
        .nodes
        .values()
        .filter(|other| other.ready && other.name != node.name);
    let mut answers = others
        .filter_map(|other| observed.report_of(other))
        .flat_map(|report| &report.spec.peers)
        .filter(|peer| peer.node == node.name)
        .map(|peer| peer.answers)
        .peekable();
    answers.peek().is_some() && !answers.any(|answers| answers)
}

/// Where the cluster is, when no status says so: the nodes know. This is so for a new NetworkConfig, of which no
/// node has heard; for one that was deleted and made again; and for one whose status was lost.
fn found(observed: &Observed, config: &NetworkConfig) -> State<Mode> {
    let reports = || {
        let nodes = observed.nodes.values();
        nodes.filter_map(|node| observed.report_of(node)?.spec.modes.as_ref())
    };
    let same = reports().filter(|modes| Some(&modes.config_uid) == config.metadata.uid.as_ref());
    let step = same.map(|modes| modes.step + 1).max().unwrap_or(0);
    let sent: BTreeSet<Mode> = reports()
        .flat_map(|modes| modes.sends.iter().copied())
        .collect();
    // In the middle of a migration every node accepts both. All go to the one, and from there to the other.
    let wanted = config.spec.mode;
    let mode = match sent.first() {
        Some(first) if !sent.contains(&wanted) => *first,
        _ => wanted,
    };
    let other = sent.into_iter().find(|other| *other != mode);
    State {
        step,
        migration: other.map(|other| weft_migration::Migration {
            phase: weft_migration::Phase::Shift,
            wave: 1,
            share: weft_migration::EVERYBODY,
            back: true,
            ..weft_migration::Migration::new(other, mode)
        }),
        ..State::rest(mode)
    }
}

fn progress(
    config: &NetworkConfig,
    before: &State<Mode>,
    state: &State<Mode>,
    facts: &[Fact<Mode>],
    standing: &Standing,
    now: Now,
) -> Option<Progress> {
    let migration = state.migration.as_ref()?;
    let second = k8s_openapi::jiff::Timestamp::from_second(now.wall.as_second());
    let moment = Time(second.unwrap_or(now.wall));
    let former = config
        .status
        .as_ref()
        .and_then(|status| status.progress.as_ref());
    let former = former.filter(|_| before.migration.is_some());
    let began = former.map_or_else(|| moment.clone(), |progress| progress.began.clone());
    let same_step = former.filter(|_| before.step == state.step);
    let step_began = same_step.map_or(moment, |progress| progress.step_began.clone());
    let total = facts.len().saturating_sub(migration.excluded.len());
    let lacking: BTreeSet<&str> = match standing {
        Standing::Waits(each) | Standing::Obstacles(each) | Standing::Unproven(each) => {
            each.iter().map(|(name, _)| name.as_str()).collect()
        }
        _ => BTreeSet::new(),
    };
    // What has just begun nobody has done.
    let done = match standing {
        Standing::Moves => 0,
        _ => total.saturating_sub(lacking.len()),
    };
    let counted = if total <= COUNTED || done == total {
        done
    } else {
        done * 10 / total * total / 10
    };
    Some(Progress {
        summary: format!("{counted}/{total}"),
        began,
        step_began,
    })
}

#[cfg(test)]
#[path = "migration/tests.rs"]
mod tests;
