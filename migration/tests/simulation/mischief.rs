//! What may happen to a cluster, by chance, and how it is told to the world.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_migration::Wish;

use crate::chance::Chance;
use crate::rules::Rules;
use crate::world::{Costs, Event, Kernel, Ms, World};

/// Mischief ends by then, in milliseconds.
const PEACE: Ms = 90_000;
/// If something still happens then, it will never end.
const FOREVER: Ms = 3_600_000;

/// What an admin wants who wants nothing.
pub fn wish() -> Wish<char> {
    Wish {
        mode: 'A',
        generation: 1,
        paused: false,
        approved: true,
        rollback: false,
        retry: false,
        waves: 3,
        bake: Duration::ZERO,
        loss_permille: 10,
        leave_out_unable: false,
    }
}

/// What became of a seed.
pub struct Outcome {
    pub nodes: usize,
    /// Steps that were written.
    pub steps: u64,
    /// A migration went back and was given up.
    pub failed: bool,
    pub virtual_time: Ms,
    pub broken: Option<String>,
}

/// One cluster and what happens to it.
pub fn run(seed: u64, tells: bool, rules: Rules) -> Outcome {
    let mut chance = Chance::new(seed);
    // Most clusters are small: more can happen in the same time.
    let count = 3 + chance.below(28).min(chance.below(28));
    let names = (0..count).map(|n| format!("node{n}")).collect();
    let mut world = World::new(names, chance, Costs::default(), wish());
    (world.tells, world.rules) = (tells, rules);
    prepare(&mut world);
    while let Some(event) = world.next() {
        world.happens(event);
        if world.broken.is_some() {
            break;
        }
        if world.now > FOREVER {
            world.breaks("it never comes to an end".into());
            break;
        }
    }
    if world.broken.is_none()
        && let Err(broken) = world.rests()
    {
        world.breaks(broken);
    }
    Outcome {
        nodes: count,
        steps: world.object.state.step,
        failed: world.object.state.failure.is_some(),
        virtual_time: world.now,
        broken: world.broken,
    }
}

fn prepare(world: &mut World) {
    let mut sizes = [1420, 1450, 1500];
    for at in 0..3 {
        sizes.swap(at, world.chance.below(3));
    }
    world.sizes = sizes;
    for n in 0..world.nodes.len() {
        let kernel = world.todo(n, &world.object.state).kernel;
        world.set_kernel(n, kernel);
        let (slow, canary) = (world.chance.percent(8), world.chance.percent(6));
        (world.nodes[n].slow, world.nodes[n].canary) = (slow, canary);
        world.nodes[n].slow_disk = world.chance.percent(5);
        for operator in &mut world.operators {
            operator.facts[n].canary = canary;
        }
    }
    if world.chance.percent(50) {
        world.operators[1].watch = (50, 10_000);
    }
    let first = world.chance.within((0, 1_000));
    let (waves, bake) = (world.chance.within((1, 6)), world.chance.within((0, 3_000)));
    world.object = std::rc::Rc::new(crate::world::Object {
        wish: Wish {
            waves: waves as u32,
            bake: Duration::from_millis(bake),
            ..wish()
        },
        ..crate::world::Object::clone(&world.object)
    });
    world.wants(|wish| (wish.mode, wish.generation) = ('B', 2));
    let faults = world.chance.within((0, 14));
    for _ in 0..faults {
        let at = world.chance.within((first, PEACE));
        // Most of a migration is over sooner than peace comes.
        let at = at.min(world.chance.within((first, PEACE)));
        world.after(at, Event::Mischief);
    }
    world.after(PEACE, Event::Peace);
}

impl World {
    /// Something happens.
    pub fn happens(&mut self, event: Event) {
        match event {
            Event::Hears(n, life, object) => self.hears(n, life, &object),
            Event::Lists(n, life) => self.lists(n, life),
            Event::Moves(n, life) => self.moves(n, life),
            Event::Removes(n, life) => self.removes(n, life),
            Event::Saves(n, life) => self.saves(n, life),
            Event::Probes(n, life) => self.probes(n, life),
            Event::Reports(n, life) => self.reports(n, life),
            Event::Reported(n, number, fact) => self.reported(n, number, fact),
            Event::AgentStarts(n, life) => self.agent_starts(n, life),
            Event::PowerReturns(n) => self.power_returns(n),
            Event::Reconnects(n) => self.reconnects(n),
            Event::Mends(a, b) => {
                self.bad.remove(&(a, b));
                self.all_look();
            }
            Event::OperatorSees(o, life, object) => self.sees(o, life, object),
            Event::OperatorReads(o, life, n, number, fact) => self.reads(o, life, n, number, &fact),
            Event::OperatorLearns(o, life, n, power, down) => self.learns(o, life, n, power, down),
            Event::Looks(o, life) => self.looks(o, life),
            Event::Writes {
                operator,
                life,
                version,
                next,
                down,
            } => {
                self.written(operator, life, version, *next, &down);
            }
            Event::OperatorStarts(o, life) => self.operator_starts(o, life),
            Event::Leads(o, leads) => {
                self.tell(|| format!("operator {o} leads: {leads}"));
                self.operators[o].leads = leads;
                self.looks_soon(o);
            }
            Event::Mischief => self.mischief(),
            Event::Resumes => self.wants(|wish| wish.paused = false),
            Event::Peace => self.peace(),
        }
    }

    fn mischief(&mut self) {
        let n = self.chance.below(self.nodes.len());
        let o = usize::from(self.chance.percent(30));
        match self.chance.below(16) {
            0..=2 => self.kill(n),
            3..=5 => self.power_goes(n),
            6 => {
                self.tell(|| format!("node{n} is cut off from the API server"));
                self.nodes[n].connected = false;
                self.soon((1_000, 30_000), Event::Reconnects(n));
            }
            7 | 8 => {
                let peer = self.chance.below(self.nodes.len());
                self.tell(|| format!("the underlay goes bad from node{n} to node{peer}"));
                self.bad.insert((n, peer));
                self.all_look();
                self.soon((500, 20_000), Event::Mends(n, peer));
            }
            9 => {
                self.tell(|| format!("operator {o} dies"));
                self.operator_dies(o);
                let event = Event::OperatorStarts(o, self.operators[o].life);
                self.soon((200, 10_000), event);
            }
            10 => {
                self.soon((1, 2), Event::Leads(1, true));
                self.soon((1_000, 30_000), Event::Leads(1, false));
            }
            11 => {
                let ahead = self.chance.within((100, 60_000));
                self.tell(|| format!("the clock of operator {o} jumps {ahead} ms ahead"));
                self.operators[o].ahead += ahead;
                self.jumped = true;
                self.looks_soon(o);
            }
            _ => self.change_of_mind(),
        }
    }

    fn change_of_mind(&mut self) {
        let other = ['A', 'B', 'C'][self.chance.below(3)];
        let (waves, bake) = (self.chance.within((1, 6)), self.chance.within((0, 3_000)));
        let step = self.object.state.step;
        match self.chance.below(10) {
            0..=4 if other != self.object.wish.mode => self.wants(|wish| {
                (wish.mode, wish.generation) = (other, wish.generation + 1);
                (wish.rollback, wish.retry) = (false, false);
            }),
            0..=5 => self.wants(|wish| {
                (wish.waves, wish.bake) = (waves as u32, Duration::from_millis(bake));
                wish.generation += 1;
                (wish.rollback, wish.retry) = (false, false);
            }),
            6 | 7 => {
                self.wants(|wish| wish.paused = true);
                self.soon((1_000, 15_000), Event::Resumes);
            }
            8 => self.wants(|wish| wish.rollback = true),
            // It is asked for at one step, and then there is no failure any more that it could be asked for again.
            _ if self.object.state.failure.is_some() && self.object.state.migration.is_none() => {
                self.tell(|| format!("it is to be tried again at step {step}"));
                self.wants(|wish| {
                    wish.generation += 1;
                    wish.rollback = false;
                });
            }
            _ => {}
        }
    }

    fn kill(&mut self, n: usize) {
        if self.nodes[n].on && self.nodes[n].runs {
            self.tell(|| format!("the agent of node{n} dies"));
            self.agent_dies(n);
            let event = Event::AgentStarts(n, self.nodes[n].life);
            self.soon((100, 10_000), event);
        }
    }

    fn power_goes(&mut self, n: usize) {
        if !self.nodes[n].on {
            return;
        }
        self.tell(|| format!("the power of node{n} goes"));
        self.agent_dies(n);
        self.nodes[n].on = false;
        self.nodes[n].stopped = [None; 3];
        self.set_kernel(n, Kernel::default());
        self.power_changes(n);
        self.all_look();
        self.soon((1_000, 40_000), Event::PowerReturns(n));
    }

    fn power_returns(&mut self, n: usize) {
        if self.nodes[n].on {
            return;
        }
        let lost = self.chance.percent(20);
        self.tell(|| format!("the power of node{n} returns, its disk is lost: {lost}"));
        let node = &mut self.nodes[n];
        node.on = true;
        // Its pods are new.
        node.sizes_late = true;
        if lost {
            node.disk = None;
        }
        let life = node.life;
        self.power_changes(n);
        self.soon((500, 3_000), Event::AgentStarts(n, life));
    }

    fn reconnects(&mut self, n: usize) {
        if !self.nodes[n].connected {
            self.nodes[n].connected = true;
            self.tell(|| format!("node{n} reaches the API server again"));
            let watch = if self.nodes[n].slow {
                self.costs.slow
            } else {
                self.costs.watch
            };
            let event = Event::Lists(n, self.nodes[n].life);
            self.soon(watch, event);
        }
    }

    fn peace(&mut self) {
        self.tell(|| "peace".into());
        self.bad = BTreeSet::new();
        for n in 0..self.nodes.len() {
            self.power_returns(n);
            self.reconnects(n);
            let life = self.nodes[n].life;
            self.soon((100, 2_000), Event::AgentStarts(n, life));
        }
        for o in 0..self.operators.len() {
            let life = self.operators[o].life;
            self.soon((100, 2_000), Event::OperatorStarts(o, life));
            self.after(1, Event::Leads(o, o == 0));
        }
        if self.object.wish.paused {
            self.wants(|wish| wish.paused = false);
        }
        self.all_look();
    }
}
