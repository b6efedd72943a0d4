//! What the model relies on where it tells reports of old steps apart no longer.

use std::time::Duration;

use proptest::prelude::*;
use weft_migration::{EVERYBODY, Fact, Migration, Phase, State, Timers, Trials, Waits, advance};

use super::world::{NAMES, Spec, modes, wish};

/// Of what step a node speaks, and what it says.
type Said = (Option<u64>, u8, u8, bool, u64, bool);

const STEP: u64 = 7;

fn fact(n: usize, down: bool, (step, receives, sends, shrinks, lost, failed): Said) -> Fact<char> {
    Fact {
        name: NAMES[n].to_owned(),
        canary: false,
        step,
        receives: modes(receives),
        sends: modes(sends),
        sized: !shrinks,
        shrinks,
        obstacles: Vec::new(),
        trials: Trials {
            wanted: 1,
            passed: u32::from(!failed),
            failed: failed.then(|| "it".to_owned()).into_iter().collect(),
            sent: 10,
            lost: lost % 11,
        },
        down,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_a_node_said_of_another_step_is_no_evidence(
        phase in 0_usize..8,
        back: bool,
        excluded: [bool; 2],
        down: [bool; 2],
        other: (bool, u8, u8, bool),
        old: [Said; 2],
        paused: bool,
    ) {
        let mut migration = Migration::new('A', 'B');
        (migration.phase, migration.back, migration.share) = (Phase::ALL[phase], back, EVERYBODY);
        let left_out = (0..2).filter(|n| excluded[*n]);
        migration.excluded = left_out.map(|n| NAMES[n].to_owned()).collect();
        let state = State { step: STEP, migration: Some(migration), ..State::rest('A') };
        let spec = Spec { mode: 'B', generation: 1, paused, rollback: false, retry: None };
        let wish = wish(spec, STEP, 2, false);
        let waits = Waits { drain: Duration::ZERO, patience: Duration::ZERO };
        let (follows, receives, sends, failed) = other;
        let step = if follows { STEP } else { STEP - 1 };
        let other = fact(0, down[0], (Some(step), receives, sends, false, 0, failed));
        let next = |said: Said| {
            let facts = [other.clone(), fact(1, down[1], said)];
            advance(&state, &wish, &facts, waits, &mut Timers::default(), Duration::ZERO).next
        };
        let old = old.map(|said| (said.0.filter(|step| *step != STEP), said.1, said.2, said.3, said.4, said.5));
        prop_assert_eq!(next(old[0]), next(old[1]));
    }
}
