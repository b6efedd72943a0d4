//! The model: where it begins, and what comes of what happens.

use std::sync::{Mutex, MutexGuard};

use stateright::{Model, Property};
use weft_migration::{Phase, State};

use super::events::Event;
use super::properties::properties;
use super::rules::Rules;
use super::world::{Faults, Kernel, Node, Report, Spec, Stored, Table, Todo, World, bit};

/// A cluster of N nodes on its way from mode A to mode B, and what may happen to it.
pub struct Cluster<const N: usize> {
    pub rules: Rules,
    /// How often something may happen that nobody wants.
    pub faults: Faults,
    /// How many of the newest writes a watch may still bring: 1 is the newest alone.
    pub lag: usize,
    /// Agents save what they hear once their kernels follow it, as the real one does; else at any time before they
    /// report.
    pub saves_last: bool,
    /// The node that can't do mode B until somebody repairs it.
    pub unable: Option<usize>,
    /// Where it begins; else at rest.
    start: Option<World<N>>,
    table: Mutex<Table<N>>,
}
impl<const N: usize> Cluster<N> {
    pub fn new(rules: Rules, faults: Faults) -> Self {
        Self {
            rules,
            faults,
            lag: 2,
            saves_last: false,
            unable: None,
            start: None,
            table: Mutex::new(Table::new(rules, 2, None, false)),
        }
    }

    /// With these waves, and this node before them.
    pub fn waves(mut self, waves: u32, canary: Option<usize>) -> Self {
        let table = self
            .table
            .get_mut()
            .unwrap_or_else(|error| error.into_inner());
        (table.waves, table.canary) = (waves, canary);
        self
    }

    /// With a node that can't do mode B and that the admin leaves out.
    pub fn unable(mut self, node: usize) -> Self {
        self.table
            .get_mut()
            .unwrap_or_else(|error| error.into_inner())
            .leave_out_unable = true;
        self.unable = Some(node);
        self
    }

    /// Begins when the cluster has come to this phase in the way in which these events and then everybody but one
    /// node lead there.
    pub fn begins_in(mut self, phase: Phase, first: &[Event], but: usize) -> Self {
        let mut world = self.init_states().remove(0);
        let mut next = first.iter().copied();
        while self.stored(&world).phase() != Some(phase) {
            let mut events = Vec::new();
            self.actions(&world, &mut events);
            let usual = events
                .into_iter()
                .find(|event| event.helps() && event.node() != Some(but));
            let Some(then) = next
                .next()
                .or(usual)
                .and_then(|event| self.next_state(&world, event))
            else {
                break;
            };
            world = then;
        }
        self.start = Some(world);
        self
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table<N>> {
        self.table.lock().unwrap_or_else(|error| error.into_inner())
    }

    /// The stored state, in full.
    pub fn stored(&self, world: &World<N>) -> State<char> {
        self.table().state(current(world)).clone()
    }

    /// What a node that follows `stored` does, as far as it can.
    pub(super) fn todo(
        &self,
        table: &mut Table<N>,
        world: &World<N>,
        node: usize,
        stored: Stored,
    ) -> Todo<N> {
        let mut todo = table.todo(stored, node);
        let it = &world.nodes[node];
        if it.unable {
            for (send, was) in todo.kernel.send.iter_mut().zip(it.kernel.send) {
                *send = send.map(|mode| {
                    if mode == 'B' {
                        was.unwrap_or('A')
                    } else {
                        mode
                    }
                });
            }
            if todo.send == 'B' {
                todo.send = 'A';
            }
            let used = todo.kernel.send.iter().flatten();
            let used = used.fold(0, |set, mode| set | bit(*mode));
            todo.kernel.receive = todo.kernel.receive & !bit('B') | used;
            todo.kernel.fit |= used;
        }
        todo
    }

    /// What a kernel does after each of the two halves of a change.
    pub(super) fn halves(&self, now: Kernel<N>, then: Kernel<N>) -> (Kernel<N>, Kernel<N>) {
        let first = if self.rules == Rules::RemovalComesFirst {
            Kernel {
                receive: now.receive & then.receive,
                ..now
            }
        } else {
            Kernel {
                receive: now.receive | then.receive,
                // Packets become smaller before a path moves.
                fit: now.fit | then.fit,
                send: then.send,
            }
        };
        (first, then)
    }

    /// What a node that follows `heard` in full says.
    pub(super) fn report(
        &self,
        table: &mut Table<N>,
        world: &World<N>,
        n: usize,
        heard: Stored,
        failed: bool,
    ) -> Report {
        let todo = self.todo(table, world, n, heard);
        let node = &world.nodes[n];
        let told = (0..N).filter(|peer| todo.left_out & 1 << peer == 0);
        let sends = told.filter_map(|peer| node.kernel.send[peer]);
        let report = Report {
            step: Some(table.state(heard).step as u8),
            receives: node.kernel.receive,
            // Also if nobody is there to be sent to.
            sends: sends.fold(bit(todo.send), |set, mode| set | bit(mode)),
            shrinks: todo.examine == Some('B'),
            obstacle: node.unable && todo.examine == Some('B'),
            failed,
            proves: todo.prove,
        };
        self.as_read(table, current(world), report)
    }

    /// What a node said of another step is all the same to `advance` but for what is in the way (a test of its own shows
    /// it): such reports are told apart no longer, or states would be too many. A broken rule may tell them apart.
    fn as_read(&self, table: &Table<N>, now: Stored, report: Report) -> Report {
        let reads_all = matches!(
            self.rules,
            Rules::StepsAreIgnored | Rules::WritesAreNotCompared
        );
        if reads_all || report.step == Some(table.state(now).step as u8) {
            return report;
        }
        Report {
            obstacle: report.obstacle,
            ..Report::OF_OLD
        }
    }

    /// A write: what is stored now, and whom a Retire leaves out because it is not there.
    fn written(&self, world: &mut World<N>, next: u32) {
        let was = current(world);
        let now = Stored {
            version: was.version + 1,
            number: next,
        };
        let mut table = self.table();
        let (before, after) = (table.state(was).phase(), table.state(now).phase());
        if before != after && [before, after].contains(&Some(Phase::Retire)) {
            for n in 0..N {
                let left_out = table.todo(now, n).left_out;
                let node = &mut world.nodes[n];
                if left_out & 1 << n != 0 && node.doubted {
                    node.missed = Some(now.version);
                }
            }
        }
        for report in world.nodes.iter_mut().flat_map(|node| &mut node.reports) {
            *report = self.as_read(&table, now, *report);
        }
        // It is asked for at one step.
        let step = table.state(now).step as u8;
        world.wish.retry = world.wish.retry.filter(|asked| *asked == step);
        drop(table);
        world.log.push(now);
        if world.log.len() > self.lag {
            world.log.remove(0);
        }
    }
}

/// What the API server has.
pub fn current<const N: usize>(world: &World<N>) -> Stored {
    world.log[world.log.len() - 1]
}

impl<const N: usize> Model for Cluster<N> {
    type State = World<N>;
    type Action = Event;

    fn init_states(&self) -> Vec<World<N>> {
        if let Some(start) = &self.start {
            return vec![start.clone()];
        }
        let mut table = self.table();
        let rest = Stored {
            version: 0,
            number: table.number(State::rest('A')),
        };
        let report = Report {
            step: Some(0),
            receives: bit('A'),
            sends: bit('A'),
            ..Report::OF_OLD
        };
        let nodes = std::array::from_fn(|n| Node {
            on: true,
            heard: Some(rest),
            disk: Some(rest),
            kernel: table.todo(rest, n).kernel,
            reports: [report; 2],
            seen_down: false,
            doubted: false,
            missed: None,
            unable: self.unable == Some(n),
        });
        vec![World {
            log: vec![rest],
            wish: Spec {
                mode: 'B',
                generation: 1,
                paused: false,
                rollback: false,
                retry: None,
            },
            nodes,
            broken: false,
            left: self.faults,
        }]
    }

    fn actions(&self, world: &World<N>, events: &mut Vec<Event>) {
        let mut table = self.table();
        self.writes(&mut table, world, events);
        for n in 0..N {
            self.node_events(&mut table, world, n, events);
        }
        Self::wishes(&table, world, events);
        if world.broken {
            events.push(Event::UnderlayMends);
        } else if world.left.breaks > 0 {
            events.push(Event::UnderlayBreaks);
        }
    }

    fn next_state(&self, last: &World<N>, event: Event) -> Option<World<N>> {
        let mut world = last.clone();
        match event {
            Event::Hears(n, stored) => world.nodes[n].heard = Some(stored),
            Event::Saves(n) => world.nodes[n].disk = world.nodes[n].heard,
            Event::Moves(n) | Event::Removes(n) => {
                let todo = self.todo(&mut self.table(), last, n, last.nodes[n].heard?);
                let (first, second) = self.halves(last.nodes[n].kernel, todo.kernel);
                let moves = matches!(event, Event::Moves(_));
                world.nodes[n].kernel = if moves { first } else { second };
            }
            Event::Reports(n, failed) => {
                let mut table = self.table();
                let heard = last.nodes[n].heard?;
                let report = self.report(&mut table, last, n, heard, failed);
                world.nodes[n].reports = [report, last.nodes[n].reports[0]];
            }
            Event::AgentDies(n) => world.nodes[n].heard = world.nodes[n].disk,
            Event::PowerGoes(n) => {
                world.left.outages -= 1;
                let node = &mut world.nodes[n];
                (node.on, node.heard, node.doubted) = (false, None, true);
                node.kernel = Kernel::EMPTY;
            }
            Event::PowerReturns(n, lost) => {
                if lost {
                    world.left.lost_disks -= 1;
                    world.nodes[n].disk = None;
                }
                world.nodes[n].on = true;
                world.nodes[n].heard = world.nodes[n].disk;
                if let Some(disk) = world.nodes[n].disk {
                    let todo = self.todo(&mut self.table(), &world, n, disk);
                    world.nodes[n].kernel = todo.kernel;
                }
            }
            Event::Noticed(n) => {
                let mistakes = world.left.stray > 0;
                let node = &mut world.nodes[n];
                node.seen_down = !node.on;
                // Without mistakes there is no difference between the operators.
                node.doubted &= mistakes || node.seen_down;
            }
            Event::NoticedByBoth(n) => world.nodes[n].doubted = false,
            Event::Repaired(n) => world.nodes[n].unable = false,
            Event::Writes { from, next, stray } => {
                if from != current(&world) && self.rules != Rules::WritesAreNotCompared {
                    return None;
                }
                world.left.stray -= stray;
                self.written(&mut world, next);
            }
            Event::UnderlayBreaks => {
                world.left.breaks -= 1;
                world.broken = true;
            }
            Event::UnderlayMends => world.broken = false,
            Event::AdminWants(spec) => {
                world.left.edits -= 1;
                world.wish = spec;
            }
            Event::AdminResumes => world.wish.paused = false,
        }
        let mut table = self.table();
        for n in 0..N {
            let node = &world.nodes[n];
            if let (Some(missed), Some(heard), Some(disk)) = (node.missed, node.heard, node.disk)
                && heard.version.min(disk.version) >= missed
                // One that can't do the mode in which the others are now is beyond help until it is repaired.
                && node.kernel == table.todo(heard, n).kernel
            {
                world.nodes[n].missed = None;
            }
        }
        Some(world)
    }
    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}
