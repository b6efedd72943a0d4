//! How long a migration takes, so far as that is said beforehand.

use serde::Serialize;
use weft_crds::MigrationSettings;
use weft_migration::{Phase, RAISE_AFTER, Waits};

use super::Sizes;

/// What the operator waits for in phases LowerMTU and Confirm, in seconds.
const DRAIN: u64 = Waits::REAL.drain.as_secs();
/// What the agents wait for, in seconds.
const RAISE: u64 = RAISE_AFTER.as_secs();

/// How long a migration takes.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Takes {
    /// Seconds in which nothing happens but waiting: the sum of `of`.
    pub seconds: u64,
    /// What they are for.
    pub of: Vec<Wait>,
    /// How often all nodes have to follow and say so. That takes some seconds each time, and as long as the slowest
    /// node needs.
    pub steps: usize,
}

/// A wait that is known beforehand.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// For what.
    pub what: String,
    /// Seconds.
    pub seconds: u64,
}

/// How long it takes through these phases, if nodes move `waves` times in phase Shift.
pub fn takes(settings: &MigrationSettings, phases: &[Phase], waves: usize, mtu: Sizes) -> Takes {
    let bake = u64::from(settings.bake_seconds);
    let mut of = Vec::new();
    let mut add = |what: String, seconds: u64| {
        if seconds > 0 {
            of.push(Wait { what, seconds });
        }
    };
    if phases.contains(&Phase::LowerMTU) {
        add("LowerMTU, until larger packets have arrived".into(), DRAIN);
    }
    let each = match waves {
        1 => format!("Shift, 1 wave of {bake} s"),
        _ => format!("Shift, {waves} waves of {bake} s"),
    };
    add(each, bake * waves as u64);
    add("Confirm".into(), bake.max(DRAIN));
    if mtu.is_raised() {
        add(
            "RaiseMTU, until every node accepts larger packets".into(),
            RAISE,
        );
    }
    Takes {
        seconds: of.iter().map(|wait| wait.seconds).sum(),
        of,
        // Shift is as many steps as it has waves.
        steps: phases.len() - usize::from(phases.contains(&Phase::Shift)) + waves,
    }
}
