//! A migration in words: conditions and events.

use weft_crds::Mode;
use weft_migration::{EVERYBODY, Migration, Phase, Standing, State, Wish};

use super::Verdict;
use crate::observed::Observed;
use crate::plan::Announcement;
use crate::plan::status::list;

/// Why the cluster is not in the mode that is wanted; `None`: it is.
pub(super) fn verdict(
    state: &State<Mode>,
    wish: &Wish<Mode>,
    standing: &Standing,
    observed: &Observed,
) -> Option<Verdict> {
    let what = match &state.migration {
        Some(migration) => heading(migration, wish),
        None if state.mode == wish.mode => return None,
        None => format!("from {} to {}", state.mode.as_str(), wish.mode.as_str()),
    };
    let goes_on = |reason, text: &str| Verdict {
        stalled: false,
        reason,
        message: format!("{what}: {text}"),
    };
    let stalls = |reason, text: String| Verdict {
        stalled: true,
        reason,
        message: format!("{what}: {text}"),
    };
    Some(match standing {
        Standing::Rest | Standing::Moves => goes_on("Migrating", "goes on"),
        Standing::Bakes => goes_on(
            "Migrating",
            "all nodes have done it, and are watched for a while",
        ),
        Standing::Waits(each) => {
            let each = each
                .iter()
                .map(|(node, why)| match problem(observed, node) {
                    Some(problem) => format!("{node} {why} ({problem})"),
                    None => format!("{node} {why}"),
                });
            goes_on("Migrating", &format!("waits for {}", list(each, "; ")))
        }
        Standing::Paused => goes_on(
            "MigrationPaused",
            "paused; set spec.migration.paused to false, or run kubectl weft migrate resume, to let it go on",
        ),
        Standing::AwaitsApproval => goes_on(
            "AwaitsApproval",
            "probes have come through between all nodes, and no packet of a pod has moved; set spec.migration.approval to Automatic, or run kubectl weft migrate approve, to let it go on",
        ),
        Standing::Obstacles(each) => stalls(
            "MigrationObstacle",
            format!(
                "nothing has changed; {}; repair that, set spec.mode back, or set spec.migration.unableNodes to LeaveOut",
                named(each)
            ),
        ),
        Standing::Unproven(each) => stalls(
            "PathsUnproven",
            format!(
                "no packet of a pod has moved; {}; it goes on by itself once they come through; or set spec.mode back",
                named(each)
            ),
        ),
        Standing::Failed(failure) => stalls(
            "MigrationFailed",
            format!(
                "all nodes went back to {}, {}; it is not tried again until the spec changes: set spec.mode back, or mend it and run kubectl weft migrate resume",
                state.mode.as_str(),
                if failure.asked {
                    failure.message.clone()
                } else {
                    format!("because {}", failure.message)
                }
            ),
        ),
    })
}

/// Somebody asked for canaries, and there are none.
pub(super) fn no_canary() -> Verdict {
    Verdict {
        stalled: true,
        reason: "NoCanary",
        message: "spec.migration.canarySelector matches no node, so the migration doesn't begin; label a node, or leave the selector out".into(),
    }
}

/// Which migration, and how far it is.
fn heading(migration: &Migration<Mode>, wish: &Wish<Mode>) -> String {
    let (from, to) = (migration.from.as_str(), migration.to.as_str());
    let way = if migration.back {
        format!("back from {from} to {to}")
    } else {
        format!("from {from} to {to}")
    };
    let wave = match migration.phase {
        Phase::Shift if migration.wave == 0 => ", canaries".into(),
        Phase::Shift if !migration.back => {
            let last = if migration.share == EVERYBODY {
                migration.wave
            } else {
                wish.waves.max(migration.wave)
            };
            format!(", wave {} of {last}", migration.wave)
        }
        _ => String::new(),
    };
    let excluded = match migration.excluded.len() {
        0 => String::new(),
        _ => {
            let names = migration.excluded.iter().cloned();
            format!(", without {}", list(names, ", "))
        }
    };
    format!("{way}, phase {:?}{wave}{excluded}", migration.phase)
}

fn named(each: &[(String, String)]) -> String {
    list(
        each.iter().map(|(node, what)| format!("{node}: {what}")),
        "; ",
    )
}

/// The first problem that a node reports: often what it is held up by.
fn problem(observed: &Observed, name: &str) -> Option<String> {
    let node = observed.nodes.get(name)?;
    let problem = observed.report_of(node)?.spec.problems.first()?;
    Some(format!("{}: {}", problem.reason, problem.message))
}

/// What is told of when the state changes so.
pub(super) fn announcements(before: &State<Mode>, after: &State<Mode>) -> Option<Announcement> {
    let said = |warning, reason: &str, note: String| {
        Some(Announcement {
            warning,
            reason: reason.into(),
            // Each step is an event of its own, however often the same phases come.
            action: format!("Step{}", after.step),
            note,
        })
    };
    match (&before.migration, &after.migration) {
        (None, Some(now)) => said(
            false,
            "MigrationStarted",
            format!("from {} to {}", now.from.as_str(), now.to.as_str()),
        ),
        (Some(was), Some(now)) if now.back && !was.back => said(
            true,
            "MigrationWentBack",
            match &after.failure {
                Some(failure) => format!("back to {}: {}", now.to.as_str(), failure.message),
                None => format!("back to {}, as spec.mode says", now.to.as_str()),
            },
        ),
        (Some(was), Some(now)) if (was.phase, was.wave) != (now.phase, now.wave) => {
            let wave = match now.phase {
                Phase::Shift if now.wave == 0 => ", canaries".into(),
                Phase::Shift => format!(", wave {}", now.wave),
                _ => String::new(),
            };
            said(
                false,
                "MigrationPhase",
                format!("{:?}{wave} (to {})", now.phase, now.to.as_str()),
            )
        }
        (Some(_), None) => said(
            false,
            "MigrationEnded",
            format!("all nodes are in mode {}", after.mode.as_str()),
        ),
        _ => None,
    }
}
