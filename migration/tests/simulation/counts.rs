//! What a migration costs the API server.

use std::collections::BTreeMap;

use serde_json::json;
use weft_migration::{Fact, Phase, State};

/// Counts by phase.
#[derive(Default)]
pub struct Counts {
    /// Bytes are counted too.
    pub bytes: bool,
    pub phases: BTreeMap<Option<Phase>, Count>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    pub state_writes: u64,
    /// What watches of agents were told.
    pub watch_events: u64,
    pub watch_bytes: u64,
    pub report_writes: u64,
    pub report_bytes: u64,
}

impl Counts {
    pub fn of(&mut self, phase: Option<Phase>) -> &mut Count {
        self.phases.entry(phase).or_default()
    }

    pub fn state(&mut self, state: &State<char>, nodes: u64) {
        let size = if self.bytes {
            serde_json::to_string(state).map_or(0, |text| text.len() as u64)
        } else {
            0
        };
        let count = self.of(state.phase());
        count.state_writes += 1;
        count.watch_events += nodes;
        count.watch_bytes += size * nodes;
    }

    pub fn report(&mut self, phase: Option<Phase>, fact: &Fact<char>) {
        let size = if self.bytes { size(fact) } else { 0 };
        let count = self.of(phase);
        count.report_writes += 1;
        count.report_bytes += size;
    }
}

/// The part of a NodeReport that is about modes, as the API server gets it.
fn size(fact: &Fact<char>) -> u64 {
    let trials = &fact.trials;
    let name = |modes: &std::collections::BTreeSet<char>| {
        let names = modes
            .iter()
            .map(|mode| ["Overlay", "BGP", "Mesh"][usize::from(*mode as u8 - b'A')]);
        names.collect::<Vec<_>>()
    };
    let report = json!({
        "configUID": "00000000-0000-0000-0000-000000000000",
        "step": fact.step,
        "receives": name(&fact.receives),
        "sends": name(&fact.sends),
        "sized": fact.sized,
        "shrinks": fact.shrinks,
        "trials": {
            "wanted": trials.wanted,
            "passed": trials.passed,
            "failed": trials.failed,
            "sent": trials.sent,
            "lost": trials.lost,
        },
    });
    report.to_string().len() as u64
}
