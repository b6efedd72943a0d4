//! What can happen in the model, and when.

use super::rules::Rules;
use super::steps::{Cluster, current};
use super::world::{Spec, Stored, Table, World};

/// Something that happens. Numbers are those of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The watch of a node brings a stored state.
    Hears(usize, Stored),
    /// It saves what it follows.
    Saves(usize),
    /// Its kernel gets what is new, and paths move.
    Moves(usize),
    /// Its kernel loses what is no longer wanted.
    Removes(usize),
    /// It says what it does; whether probes came through.
    Reports(usize, bool),
    /// Its agent dies and starts again from disk. The kernel goes on.
    AgentDies(usize),
    PowerGoes(usize),
    /// It starts from its disk; or that is lost.
    PowerReturns(usize, bool),
    /// The first operator learns whether it is down.
    Noticed(usize),
    /// So does the other.
    NoticedByBoth(usize),
    Repaired(usize),
    /// An operator writes what follows from what it has seen. The number is how often it was mistaken on nodes being down.
    Writes {
        from: Stored,
        next: u32,
        stray: u8,
    },
    UnderlayBreaks,
    UnderlayMends,
    AdminWants(Spec),
    AdminResumes,
}

impl Event {
    /// The node that it happens to.
    pub fn node(&self) -> Option<usize> {
        match self {
            Self::Hears(n, _) | Self::Saves(n) | Self::Moves(n) | Self::Removes(n) => Some(*n),
            Self::Reports(n, _) | Self::AgentDies(n) | Self::PowerGoes(n) => Some(*n),
            Self::PowerReturns(n, _) | Self::Noticed(n) | Self::NoticedByBoth(n) => Some(*n),
            Self::Repaired(n) => Some(*n),
            _ => None,
        }
    }

    /// It is neither a fault nor a change of mind: what is to come to rest has to get there by these alone.
    pub fn helps(&self) -> bool {
        match self {
            Self::AgentDies(_)
            | Self::PowerGoes(_)
            | Self::UnderlayBreaks
            | Self::AdminWants(_) => false,
            Self::PowerReturns(_, lost) => !lost,
            Self::Reports(_, failed) => !failed,
            Self::Writes { stray, .. } => *stray == 0,
            _ => true,
        }
    }
}

impl<const N: usize> Cluster<N> {
    pub(super) fn node_events(
        &self,
        table: &mut Table<N>,
        world: &World<N>,
        n: usize,
        events: &mut Vec<Event>,
    ) {
        let node = &world.nodes[n];
        if !node.on {
            events.push(Event::PowerReturns(n, false));
            if world.left.lost_disks > 0 {
                events.push(Event::PowerReturns(n, true));
            }
        } else {
            let newer = |stored: &&Stored| {
                node.heard
                    .is_none_or(|heard| heard.version < stored.version)
            };
            events.extend(
                world
                    .log
                    .iter()
                    .filter(newer)
                    .map(|stored| Event::Hears(n, *stored)),
            );
            if let Some(heard) = node.heard {
                let todo = self.todo(table, world, n, heard);
                let (first, second) = self.halves(node.kernel, todo.kernel);
                if node.kernel != first && node.kernel != second {
                    events.push(Event::Moves(n));
                } else if node.kernel != second {
                    events.push(Event::Removes(n));
                }
                let saved = node.disk == node.heard || self.rules == Rules::ReportsComeBeforeSaving;
                if saved && node.kernel == todo.kernel {
                    for failed in [false, true] {
                        let news = self.report(table, world, n, heard, failed);
                        let may = !failed || (todo.prove && world.broken);
                        if may && (news != node.reports[0]) {
                            events.push(Event::Reports(n, failed));
                        }
                    }
                }
                if node.disk != node.heard {
                    if !self.saves_last || node.kernel == todo.kernel {
                        events.push(Event::Saves(n));
                    }
                    events.push(Event::AgentDies(n));
                }
            }
            if world.left.outages > 0 {
                events.push(Event::PowerGoes(n));
            }
            if node.unable {
                events.push(Event::Repaired(n));
            }
        }
        if node.seen_down == node.on {
            events.push(Event::Noticed(n));
        } else if node.on && node.doubted {
            events.push(Event::NoticedByBoth(n));
        }
    }

    /// What operators may write: each sees the newest report of a node or the one before, and whether it is down
    /// perhaps late. Only what was made from the newest version is taken.
    pub(super) fn writes(&self, table: &mut Table<N>, world: &World<N>, events: &mut Vec<Event>) {
        let views = if self.rules == Rules::WritesAreNotCompared {
            &world.log[..]
        } else {
            // A refused write changes nothing: it need not be tried.
            &world.log[world.log.len() - 1..]
        };
        for choice in 0..1_u32 << (2 * N) {
            let old = |n: usize| choice >> (2 * n) & 1 == 1;
            let mistaken = |n: usize| choice >> (2 * n + 1) & 1 == 1;
            let same = |n: usize| old(n) && world.nodes[n].reports[0] == world.nodes[n].reports[1];
            let sure = |n: usize| mistaken(n) && !world.nodes[n].doubted;
            let stray = (0..N).filter(|n| mistaken(*n)).count() as u8;
            if stray > world.left.stray || (0..N).any(|n| same(n) || sure(n)) {
                continue;
            }
            let known = std::array::from_fn(|n| {
                let node = &world.nodes[n];
                (
                    node.reports[usize::from(old(n))],
                    node.seen_down != mistaken(n),
                )
            });
            for from in views {
                let Some(next) = table.advance((from.number, world.wish, known)) else {
                    continue;
                };
                let known = |event: &Event| matches!(event, Event::Writes { from: f, next: n, .. } if (f, *n) == (from, next));
                if !events.iter().any(known) {
                    events.push(Event::Writes {
                        from: *from,
                        next,
                        stray,
                    });
                }
            }
        }
    }

    pub(super) fn wishes(table: &Table<N>, world: &World<N>, events: &mut Vec<Event>) {
        let wish = world.wish;
        let step = table.state(current(world)).step as u8;
        if wish.paused {
            events.push(Event::AdminResumes);
        }
        let edited = Spec {
            generation: wish.generation + 1,
            rollback: false,
            retry: None,
            ..wish
        };
        let mut wants = |spec| events.push(Event::AdminWants(spec));
        if world.left.edits == 0 {
            return;
        }
        for mode in ['A', 'B', 'C'] {
            if mode != wish.mode {
                wants(Spec { mode, ..edited });
            }
        }
        if !wish.paused {
            wants(Spec {
                paused: true,
                ..wish
            });
        }
        if !wish.rollback {
            wants(Spec {
                rollback: true,
                ..wish
            });
        }
        if wish.retry.is_none() {
            wants(Spec {
                rollback: false,
                retry: Some(step),
                ..wish
            });
        }
    }
}
