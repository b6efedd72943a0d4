//! When the next step of a migration is allowed, and what stands in its way.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::facts::Fact;
use crate::orders::moves;
use crate::state::{Failure, Migration, Mode, Phase, State};
use crate::waves::{EVERYBODY, share};
use crate::wish::Wish;

/// Fewer lost probes than this are no evidence, however few were sent.
const LEAST_LOST: u64 = 3;
/// The most of what is wrong that is told of.
const MOST_TOLD: usize = 8;

/// How long to wait where nothing but time can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Until what was under way has arrived.
    pub drain: Duration,
    /// Until a path by which nothing comes yet is called broken.
    pub patience: Duration,
}

impl Waits {
    /// Those of a real cluster: packets under way have arrived by then, and nodes that a report is late from have sent it.
    pub const REAL: Self = Self {
        drain: Duration::from_secs(5),
        patience: Duration::from_secs(30),
    };
}

/// From accepting larger packets until they are sent, where nodes don't say so one by one: longer than it takes for
/// all of them to hear of it.
pub const RAISE_AFTER: Duration = Duration::from_secs(15);

/// Since when. It may be lost: then waiting begins anew. Durations are on a monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Timers {
    step: Option<u64>,
    entered: Duration,
    met: Option<Duration>,
}

impl Timers {
    fn note(&mut self, step: u64, met: bool, now: Duration) {
        if self.step != Some(step) {
            *self = Self {
                step: Some(step),
                entered: now,
                met: None,
            };
        }
        self.met = if met { self.met.or(Some(now)) } else { None };
    }
}

/// What comes of looking at a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance<M> {
    /// Where the cluster goes now; `None`: it stays.
    pub next: Option<State<M>>,
    /// How it stands where it is.
    pub standing: Standing,
    /// When to look again, if nothing is heard before.
    pub deadline: Option<Duration>,
}

/// How a migration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    Rest,
    /// It goes on by itself now.
    Moves,
    /// Nodes have yet to do something: their names, and what.
    Waits(Vec<(String, String)>),
    /// All did what they should; time has to pass.
    Bakes,
    /// Somebody said so.
    Paused,
    /// Somebody has to say so.
    AwaitsApproval,
    /// Nodes can't do the new mode: their names, and why.
    Obstacles(Vec<(String, String)>),
    /// Nothing comes through by some paths in the new mode: the nodes that send, and what doesn't come.
    Unproven(Vec<(String, String)>),
    /// It went back, and is not tried again.
    Failed(Failure),
}

/// Looks at where the cluster is and what its nodes do, and goes one step on if that is allowed.
pub fn advance<M: Mode>(
    state: &State<M>,
    wish: &Wish<M>,
    facts: &[Fact<M>],
    waits: Waits,
    timers: &mut Timers,
    now: Duration,
) -> Advance<M> {
    let Some(migration) = &state.migration else {
        timers.note(state.step, false, now);
        return begin(state, wish);
    };
    if !migration.back && migration.phase < Phase::Retire && wants_back(migration, wish) {
        let failure = wish.rollback.then(|| asked(wish));
        return moves_to(back(state, migration, failure));
    }
    let excluded = excluded(migration, wish, facts, state.step);
    if excluded != migration.excluded {
        let migration = Migration {
            excluded,
            ..migration.clone()
        };
        return moves_to(step(state, Some(migration)));
    }
    let here = Here {
        state,
        migration,
        wish,
        facts,
    };
    if let Some(message) = here.evidence_against() {
        let failure = Failure {
            generation: wish.generation,
            asked: false,
            message,
        };
        return moves_to(back(state, migration, Some(failure)));
    }
    let lacking = here.lacking();
    timers.note(state.step, lacking.is_none(), now);
    match lacking {
        Some(standing) => here.stays(standing, waits, timers, now),
        None => here.barrier_met(waits, timers, now),
    }
}

/// Nothing moves; perhaps something is to.
fn begin<M: Mode>(state: &State<M>, wish: &Wish<M>) -> Advance<M> {
    let failure = |failure| State {
        failure,
        ..state.clone()
    };
    if wish.mode == state.mode {
        return match state.failure {
            Some(_) => moves_to(failure(None)),
            None => stays(Standing::Rest),
        };
    }
    let standing = state
        .failure
        .as_ref()
        .filter(|failure| failure.generation == wish.generation && (wish.rollback || !wish.retry));
    if let Some(failure) = standing {
        return stays(Standing::Failed(failure.clone()));
    }
    if wish.rollback {
        return moves_to(failure(Some(asked(wish))));
    }
    if wish.paused {
        return stays(Standing::Paused);
    }
    let migration = Migration::new(state.mode, wish.mode);
    moves_to(step(&failure(None), Some(migration)))
}

fn asked<M>(wish: &Wish<M>) -> Failure {
    Failure {
        generation: wish.generation,
        asked: true,
        message: "as was asked for".into(),
    }
}

/// Where it goes is no longer where anybody wants to be.
fn wants_back<M: Mode>(migration: &Migration<M>, wish: &Wish<M>) -> bool {
    wish.rollback || wish.mode != migration.to
}

/// The same engine with the ends exchanged, from as far as it has come.
fn back<M: Mode>(state: &State<M>, migration: &Migration<M>, failure: Option<Failure>) -> State<M> {
    let turned = |phase| Migration {
        from: migration.to,
        to: migration.from,
        phase,
        wave: 1,
        canaries: false,
        share: EVERYBODY,
        excluded: migration.excluded.clone(),
        back: true,
    };
    let next = match migration.phase {
        Phase::Check => None,
        Phase::LowerMTU => Some(turned(Phase::RaiseMTU)),
        // Nobody was told to send in the new mode yet.
        Phase::Prepare | Phase::Verify => Some(turned(Phase::Retire)),
        Phase::Shift | Phase::Confirm | Phase::Retire | Phase::RaiseMTU => {
            Some(turned(Phase::Shift))
        }
    };
    State {
        failure,
        ..step(state, next)
    }
}

/// Nodes that are told anew.
fn step<M: Mode>(state: &State<M>, migration: Option<Migration<M>>) -> State<M> {
    State {
        mode: state.mode,
        step: state.step + 1,
        migration,
        failure: state.failure.clone(),
    }
}

fn moves_to<M>(next: State<M>) -> Advance<M> {
    Advance {
        next: Some(next),
        standing: Standing::Moves,
        deadline: None,
    }
}

fn stays<M>(standing: Standing) -> Advance<M> {
    Advance {
        next: None,
        standing,
        deadline: None,
    }
}

/// Those that nobody waits for, going by what is known now.
fn excluded<M: Mode>(
    migration: &Migration<M>,
    wish: &Wish<M>,
    facts: &[Fact<M>],
    step: u64,
) -> BTreeSet<String> {
    let leaves_out = |fact: &&Fact<M>| {
        let was = migration.excluded.contains(&fact.name);
        let unable = wish.leave_out_unable && fact.step == Some(step) && !fact.obstacles.is_empty();
        match migration.phase {
            _ if fact.down => true,
            Phase::Check => {
                unable || (was && !(fact.step == Some(step) && fact.obstacles.is_empty()))
            }
            // It is waited for again once it accepts what the others do.
            Phase::Prepare | Phase::Verify | Phase::Shift | Phase::Confirm => {
                was && !(fact.step == Some(step) && accepts_both(migration, fact))
            }
            Phase::LowerMTU | Phase::Retire | Phase::RaiseMTU => was,
        }
    };
    let left_out = facts.iter().filter(leaves_out);
    left_out.map(|fact| fact.name.clone()).collect()
}

fn accepts_both<M: Mode>(migration: &Migration<M>, fact: &Fact<M>) -> bool {
    [migration.from, migration.to]
        .iter()
        .all(|mode| fact.receives.contains(mode))
}

/// A migration, and what it is judged by.
struct Here<'a, M> {
    state: &'a State<M>,
    migration: &'a Migration<M>,
    wish: &'a Wish<M>,
    facts: &'a [Fact<M>],
}

impl<M: Mode> Here<'_, M> {
    fn waited_for(&self) -> impl Iterator<Item = &Fact<M>> {
        let excluded = &self.migration.excluded;
        self.facts
            .iter()
            .filter(|fact| !excluded.contains(&fact.name))
    }

    fn follows(&self, fact: &Fact<M>) -> bool {
        fact.step == Some(self.state.step)
    }

    /// What shows that nodes must not go on sending in the new mode.
    fn evidence_against(&self) -> Option<String> {
        let Migration { phase, back, .. } = self.migration;
        if *back || !matches!(phase, Phase::Shift | Phase::Confirm) {
            return None;
        }
        let said = || self.waited_for().filter(|fact| self.follows(fact));
        let broken = said().find_map(|fact| Some((&fact.name, fact.trials.failed.first()?)));
        if let Some((name, what)) = broken {
            return Some(format!("{name}: {what}"));
        }
        self.loss()
    }

    /// More probes in the new mode were lost than may be.
    fn loss(&self) -> Option<String> {
        let said = || self.waited_for().filter(|fact| self.follows(fact));
        let sum = |of: fn(&Fact<M>) -> u64| said().map(of).sum::<u64>();
        let sent = sum(|fact| fact.trials.sent);
        let lost = sum(|fact| fact.trials.lost);
        let budget = u64::from(self.wish.loss_permille);
        (lost >= LEAST_LOST && lost.saturating_mul(1000) > budget.saturating_mul(sent)).then(|| {
            format!(
                "{lost} of {sent} probes in the new mode were lost, and {budget} of 1000 may be"
            )
        })
    }

    /// What the barrier of this phase still lacks. None: it is met.
    fn lacking(&self) -> Option<Standing> {
        let told = |each: Vec<(String, String)>| (!each.is_empty()).then_some(each);
        let waits = self.waited_for();
        let waits = waits.filter_map(|fact| Some((fact.name.clone(), self.waits_for(fact)?)));
        let mut waits: Vec<_> = waits.collect();
        let back = self
            .facts
            .iter()
            .filter(|fact| self.migration.excluded.contains(&fact.name) && !fact.down);
        waits.extend(back.filter_map(|fact| {
            let why = match self.migration.phase {
                // The old mode can't go while somebody who is there has nothing else,
                Phase::Confirm => {
                    "is up and still needs the old mode; repair it, or take it out of the cluster"
                }
                // nor have all let go of it while somebody who came back may still send in it.
                Phase::Retire if !self.follows(fact) => "is back, and hasn't followed yet",
                _ => return None,
            };
            Some((fact.name.clone(), why.to_owned()))
        }));
        if let Some(waits) = told(waits) {
            return Some(Standing::Waits(waits));
        }
        match self.migration.phase {
            Phase::Check => told(self.each(|fact| &fact.obstacles)).map(Standing::Obstacles),
            Phase::Verify => {
                let failed = told(self.each(|fact| &fact.trials.failed));
                let lossy = || Some(Standing::Unproven(vec![("all nodes".into(), self.loss()?)]));
                let failed = failed.map(Standing::Unproven);
                failed.or_else(|| self.unproven()).or_else(lossy)
            }
            _ => None,
        }
    }

    fn each(&self, of: impl Fn(&Fact<M>) -> &Vec<String>) -> Vec<(String, String)> {
        let all = self.waited_for().flat_map(|fact| {
            let each = of(fact).iter();
            each.map(|what| (fact.name.clone(), what.clone()))
        });
        all.take(MOST_TOLD).collect()
    }

    fn unproven(&self) -> Option<Standing> {
        let yet = self
            .waited_for()
            .filter(|fact| fact.trials.passed < fact.trials.wanted);
        let yet: Vec<_> = yet
            .map(|fact| {
                let (passed, wanted) = (fact.trials.passed, fact.trials.wanted);
                (
                    fact.name.clone(),
                    format!("{passed} of {wanted} paths are proven"),
                )
            })
            .collect();
        (!yet.is_empty()).then_some(Standing::Waits(yet))
    }

    /// What a node has yet to do in this phase.
    fn waits_for(&self, fact: &Fact<M>) -> Option<String> {
        let Migration {
            from, to, phase, ..
        } = self.migration;
        let Some(step) = fact.step else {
            return Some("its agent hasn't reported".into());
        };
        if step != self.state.step {
            return Some("hasn't followed yet".into());
        }
        let only = BTreeSet::from([*to]);
        let both_needed = matches!(
            phase,
            Phase::Prepare | Phase::Verify | Phase::Shift | Phase::Confirm
        );
        if both_needed && !accepts_both(self.migration, fact) {
            return Some(format!("doesn't accept both {from:?} and {to:?} yet"));
        }
        let moved = match phase {
            Phase::Shift => moves(self.migration, fact.node()),
            Phase::Confirm => true,
            _ => false,
        };
        if moved && fact.sends != only {
            return Some(format!("still sends in {from:?}"));
        }
        match phase {
            Phase::LowerMTU | Phase::RaiseMTU if !fact.sized => {
                Some("the packets of its pods don't have their new size yet".into())
            }
            Phase::Retire if fact.receives != only => Some(format!("still accepts {from:?}")),
            _ => None,
        }
    }

    /// The barrier isn't met.
    fn stays(
        &self,
        standing: Standing,
        waits: Waits,
        timers: &Timers,
        now: Duration,
    ) -> Advance<M> {
        let until = timers.entered + waits.patience;
        // A path that was opened a moment ago may have to be learned first.
        if let Standing::Unproven(failed) = standing {
            let early = now < until;
            return Advance {
                next: None,
                standing: if early {
                    Standing::Waits(failed)
                } else {
                    Standing::Unproven(failed)
                },
                deadline: early.then_some(until),
            };
        }
        stays(standing)
    }

    /// The barrier is met: goes on, unless time has to pass or somebody has to agree.
    fn barrier_met(&self, waits: Waits, timers: &Timers, now: Duration) -> Advance<M> {
        let until = timers.met.unwrap_or(now) + self.hold(waits);
        if now < until {
            return Advance {
                next: None,
                standing: Standing::Bakes,
                deadline: Some(until),
            };
        }
        if self.wish.paused && !self.migration.back {
            return stays(Standing::Paused);
        }
        if self.migration.phase == Phase::Verify && !self.wish.approved {
            return stays(Standing::AwaitsApproval);
        }
        moves_to(self.next())
    }

    /// How long the barrier has to have been met.
    fn hold(&self, waits: Waits) -> Duration {
        let bake = if self.migration.back {
            Duration::ZERO
        } else {
            self.wish.bake
        };
        match self.migration.phase {
            Phase::LowerMTU => waits.drain,
            Phase::Shift => bake,
            Phase::Confirm => bake.max(waits.drain),
            // Those that were left out were sent to in the old mode until now.
            Phase::Retire if !self.migration.excluded.is_empty() => waits.drain,
            _ => Duration::ZERO,
        }
    }

    fn next(&self) -> State<M> {
        let to = |phase| Migration {
            phase,
            ..self.migration.clone()
        };
        let migration = match self.migration.phase {
            Phase::Check if self.waited_for().any(|fact| fact.shrinks) => to(Phase::LowerMTU),
            Phase::Check | Phase::LowerMTU => to(Phase::Prepare),
            Phase::Prepare => to(Phase::Verify),
            Phase::Verify if self.waited_for().any(|fact| fact.canary) => Migration {
                canaries: true,
                ..to(Phase::Shift)
            },
            Phase::Verify => self.wave(1),
            Phase::Shift if self.migration.share == EVERYBODY => to(Phase::Confirm),
            Phase::Shift => self.wave(self.migration.wave + 1),
            Phase::Confirm => to(Phase::Retire),
            Phase::Retire => to(Phase::RaiseMTU),
            Phase::RaiseMTU => {
                return State {
                    mode: self.migration.to,
                    ..step(self.state, None)
                };
            }
        };
        step(self.state, Some(migration))
    }

    fn wave(&self, number: u32) -> Migration<M> {
        let names = self.waited_for().map(|fact| fact.name.as_str());
        Migration {
            phase: Phase::Shift,
            wave: number,
            // It never falls, whoever came or went.
            share: share(number, self.wish.waves, names).max(self.migration.share),
            ..self.migration.clone()
        }
    }
}
