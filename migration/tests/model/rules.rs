//! The rules, and what becomes of them when one of them is broken on purpose.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_migration::{
    Advance, EVERYBODY, Fact, Migration, Node, Orders, Phase, Standing, State, Timers, Waits, Wish,
    advance, orders,
};

/// `advance` and `orders` as they are, or with one rule broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// As they are.
    Real,
    /// Operator: nobody is waited for in Prepare and Verify.
    PrepareIsSkipped,
    /// Operator: Retire follows on the last wave, without waiting for those in it.
    RetireFollowsShift,
    /// Nodes: Prepare and Shift have changed places.
    PrepareAndShiftAreSwapped,
    /// Operator: what a node says of an old step is taken for what it does now.
    StepsAreIgnored,
    /// API server: a write is taken whatever version it was made from.
    WritesAreNotCompared,
    /// Nodes: those that are left out are sent to in the new mode too.
    ExcludedAreSentToInTheNewMode,
    /// Agent: it says what it does before that is on its disk.
    ReportsComeBeforeSaving,
    /// Agent: it takes down the old before it has the new.
    RemovalComesFirst,
    /// Operator: a node that is up again is one like any other before it accepts the new mode.
    ReturnedAreTrusted,
    /// Operator: in Confirm a node that is left out and up is forgotten.
    LeftOutAreForgotten,
    /// Operator: on the way back the new mode goes while some still send in it.
    WayBackIsCutShort,
    /// Operator: after Retire the way back is taken as before it.
    WayBackAfterRetire,
    /// Nodes: one that is left out and is back lets go of the old mode in Retire at once, like the others.
    LeftOutLetGoAtOnce,
    /// Operator: Retire ends without those that were left out and are up again.
    RetireForgetsReturned,
}

impl Rules {
    /// All in which a rule is broken.
    pub const BROKEN: [Self; 14] = [
        Self::PrepareIsSkipped,
        Self::RetireFollowsShift,
        Self::PrepareAndShiftAreSwapped,
        Self::StepsAreIgnored,
        Self::WritesAreNotCompared,
        Self::ExcludedAreSentToInTheNewMode,
        Self::ReportsComeBeforeSaving,
        Self::RemovalComesFirst,
        Self::ReturnedAreTrusted,
        Self::LeftOutAreForgotten,
        Self::WayBackIsCutShort,
        Self::WayBackAfterRetire,
        Self::LeftOutLetGoAtOnce,
        Self::RetireForgetsReturned,
    ];

    /// What one node does.
    pub fn orders(self, state: &State<char>, node: Node) -> Orders<char> {
        let mut state = state.clone();
        if let Some(migration) = state.migration.as_mut().filter(|it| !it.back) {
            match self {
                Self::PrepareAndShiftAreSwapped => match migration.phase {
                    Phase::Prepare => {
                        (migration.phase, migration.share) = (Phase::Shift, EVERYBODY);
                    }
                    Phase::Shift => migration.phase = Phase::Prepare,
                    _ => {}
                },
                Self::ExcludedAreSentToInTheNewMode => migration.excluded.clear(),
                _ => {}
            }
        }
        let mut orders = orders(&state, node);
        if self == Self::LeftOutLetGoAtOnce && state.phase() == Some(Phase::Retire) {
            orders.receive = BTreeSet::from([orders.send]);
        }
        orders
    }

    /// What an operator writes.
    pub fn advance(
        self,
        state: &State<char>,
        wish: &Wish<char>,
        facts: &[Fact<char>],
        waits: Waits,
        timers: &mut Timers,
        now: Duration,
    ) -> Advance<char> {
        let mut facts = facts.to_vec();
        if let Some(migration) = &state.migration {
            if let Some(next) = self.shortcut(state, migration, wish, &facts) {
                return Advance {
                    next: Some(next),
                    standing: Standing::Moves,
                    deadline: None,
                };
            }
            for fact in &mut facts {
                self.distort(state, migration, fact);
            }
        }
        advance(state, wish, &facts, waits, timers, now)
    }

    /// Where it goes without a look at the rules.
    fn shortcut(
        self,
        state: &State<char>,
        migration: &Migration<char>,
        wish: &Wish<char>,
        facts: &[Fact<char>],
    ) -> Option<State<char>> {
        let to = |migration| {
            Some(State {
                step: state.step + 1,
                migration: Some(migration),
                ..state.clone()
            })
        };
        let unwanted = !migration.back && (wish.rollback || wish.mode != migration.to);
        let turned = |phase| Migration {
            from: migration.to,
            to: migration.from,
            phase,
            share: EVERYBODY,
            back: true,
            ..migration.clone()
        };
        let last_wave = migration.phase == Phase::Shift && migration.share == EVERYBODY;
        match self {
            Self::RetireFollowsShift if last_wave && !migration.back => to(Migration {
                phase: Phase::Retire,
                ..migration.clone()
            }),
            Self::WayBackIsCutShort if migration.phase == Phase::Shift && unwanted => {
                to(turned(Phase::Retire))
            }
            Self::WayBackAfterRetire if migration.phase == Phase::Retire && unwanted => {
                to(turned(Phase::Shift))
            }
            Self::ReturnedAreTrusted => {
                let down = facts.iter().filter(|fact| fact.down);
                let down: BTreeSet<String> = down.map(|fact| fact.name.clone()).collect();
                let excluded: BTreeSet<String> =
                    migration.excluded.intersection(&down).cloned().collect();
                (excluded != migration.excluded)
                    .then(|| {
                        to(Migration {
                            excluded,
                            ..migration.clone()
                        })
                    })
                    .flatten()
            }
            _ => None,
        }
    }

    /// What is made of what a node said.
    fn distort(self, state: &State<char>, migration: &Migration<char>, fact: &mut Fact<char>) {
        let excluded = migration.excluded.contains(&fact.name);
        match self {
            Self::PrepareIsSkipped
                if !excluded && matches!(migration.phase, Phase::Prepare | Phase::Verify) =>
            {
                fact.step = Some(state.step);
                fact.receives = BTreeSet::from([migration.from, migration.to]);
                fact.trials.passed = fact.trials.wanted;
            }
            Self::StepsAreIgnored if fact.step.is_some() => fact.step = Some(state.step),
            Self::LeftOutAreForgotten if excluded && migration.phase == Phase::Confirm => {
                fact.down = true;
            }
            Self::RetireForgetsReturned if excluded && migration.phase == Phase::Retire => {
                fact.down = true;
            }
            _ => {}
        }
    }
}
