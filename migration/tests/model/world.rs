//! What there is in the model: the stored state, the nodes, what is known of them, and how much may still happen.
//!
//! Stored states are numbered as they are met ([`Table`]), and what `advance` and `orders` said once is not asked
//! again: both are pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use weft_migration::{Fact, Node as Named, State, Timers, Trials, Waits, Wish};

use super::rules::Rules;

/// Modes, a bit each.
pub type Set = u8;

/// The names of nodes; in this order.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

pub fn bit(mode: char) -> Set {
    1 << (mode as u8 - b'A')
}

pub fn bits<'a>(modes: impl IntoIterator<Item = &'a char>) -> Set {
    modes.into_iter().fold(0, |set, mode| set | bit(*mode))
}

pub fn modes(set: Set) -> BTreeSet<char> {
    ('A'..='C').filter(|mode| set & bit(*mode) != 0).collect()
}

/// A stored state, as it was written once. The later it was written, the larger its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stored {
    pub version: u8,
    pub number: u32,
}

/// All that there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World<const N: usize> {
    /// What a watch may still bring, the oldest first. The last one is what the API server has.
    pub log: Vec<Stored>,
    pub wish: Spec,
    pub nodes: [Node<N>; N],
    /// The underlay swallows what is sent in a new mode.
    pub broken: bool,
    pub left: Faults,
}

/// What the admin wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spec {
    pub mode: char,
    pub generation: u8,
    pub paused: bool,
    pub rollback: bool,
    /// The step at which it is to be tried again.
    pub retry: Option<u8>,
}

/// How often something may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    /// The admin changes something.
    pub edits: u8,
    /// A node loses its power.
    pub outages: u8,
    /// A disk is lost in that.
    pub lost_disks: u8,
    /// The underlay goes bad.
    pub breaks: u8,
    /// An operator writes while it takes a node for down that is not, or the other way round, after the other
    /// operator knew better.
    pub stray: u8,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node<const N: usize> {
    pub on: bool,
    /// What its agent follows.
    pub heard: Option<Stored>,
    /// What it starts from.
    pub disk: Option<Stored>,
    pub kernel: Kernel<N>,
    /// What it published last, and before.
    pub reports: [Report; 2],
    /// The operators take it for down. They learn later than it happens.
    pub seen_down: bool,
    /// One of the operators may still take it for what it was before.
    pub doubted: bool,
    /// The last version at which Retire began or ended without it, because it was down or taken for it. Until it
    /// follows that or something later, and has saved it, it and the others may send each other what is not
    /// accepted: the only exception from I1.
    pub missed: Option<u8>,
    /// It can't do mode B, so it goes on as it did.
    pub unable: bool,
}

/// What the kernel of a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel<const N: usize> {
    pub receive: Set,
    /// The mode that it sends in to each node; none: it has no path.
    pub send: [Option<char>; N],
    /// Modes into which packets of its pods fit.
    pub fit: Set,
}

impl<const N: usize> Kernel<N> {
    pub const EMPTY: Self = Self {
        receive: 0,
        send: [None; N],
        fit: 0,
    };
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Report {
    pub step: Option<u8>,
    pub receives: Set,
    pub sends: Set,
    pub shrinks: bool,
    /// It can't do the new mode.
    pub obstacle: bool,
    /// A probe in the new mode didn't come through.
    pub failed: bool,
    /// It has probed.
    pub proves: bool,
}

impl Report {
    /// It is of another step than the present one.
    pub const OF_OLD: Self = Self {
        step: Some(u8::MAX),
        receives: 0,
        sends: 0,
        shrinks: false,
        obstacle: false,
        failed: false,
        proves: false,
    };
}

/// Orders, as the model needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Todo<const N: usize> {
    pub kernel: Kernel<N>,
    /// The mode that it sends in to all that are not left out.
    pub send: char,
    /// Nodes that are left out, a bit each.
    pub left_out: u8,
    pub examine: Option<char>,
    pub prove: bool,
}

/// Stored states and what follows from them.
pub struct Table<const N: usize> {
    pub rules: Rules,
    pub waves: u32,
    pub canary: Option<usize>,
    pub leave_out_unable: bool,
    states: Vec<State<char>>,
    numbers: HashMap<State<char>, u32>,
    todo: HashMap<(u32, usize), Todo<N>>,
    advances: HashMap<Asked<N>, Option<u32>>,
}

/// What `advance` is asked.
type Asked<const N: usize> = (u32, Spec, [(Report, bool); N]);

impl<const N: usize> Table<N> {
    pub fn new(rules: Rules, waves: u32, canary: Option<usize>, leave_out_unable: bool) -> Self {
        Self {
            rules,
            waves,
            canary,
            leave_out_unable,
            states: Vec::new(),
            numbers: HashMap::new(),
            todo: HashMap::new(),
            advances: HashMap::new(),
        }
    }

    pub fn number(&mut self, state: State<char>) -> u32 {
        if let Some(number) = self.numbers.get(&state) {
            return *number;
        }
        let number = self.states.len() as u32;
        self.states.push(state.clone());
        self.numbers.insert(state, number);
        number
    }

    pub fn state(&self, stored: Stored) -> &State<char> {
        &self.states[stored.number as usize]
    }

    /// What `orders` says.
    pub fn todo(&mut self, stored: Stored, node: usize) -> Todo<N> {
        if let Some(todo) = self.todo.get(&(stored.number, node)) {
            return *todo;
        }
        let state = self.state(stored);
        let named = Named {
            name: NAMES[node],
            canary: self.canary == Some(node),
        };
        let orders = self.rules.orders(state, named);
        let mut send = [None; N];
        for (peer, send) in send
            .iter_mut()
            .enumerate()
            .filter(|(peer, _)| *peer != node)
        {
            *send = Some(orders.send_to(NAMES[peer]));
        }
        let left_out = |peer: &usize| orders.left_out.contains(NAMES[*peer]);
        let todo = Todo {
            send: orders.send,
            left_out: (0..N).filter(left_out).fold(0, |set, peer| set | 1 << peer),
            kernel: Kernel {
                receive: bits(&orders.receive),
                send,
                fit: bits(&orders.fit),
            },
            examine: orders.examine,
            prove: orders.prove.is_some(),
        };
        self.todo.insert((stored.number, node), todo);
        todo
    }

    /// What `advance` says, if this is known.
    pub fn advance(&mut self, asked: Asked<N>) -> Option<u32> {
        if let Some(next) = self.advances.get(&asked) {
            return *next;
        }
        let (number, spec, known) = asked;
        let facts: Vec<Fact<char>> = known
            .iter()
            .enumerate()
            .map(|(node, (report, down))| self.fact(node, *report, *down))
            .collect();
        let waits = Waits {
            drain: Duration::ZERO,
            patience: Duration::ZERO,
        };
        let state = &self.states[number as usize];
        // A new operator each time: its timers are lost.
        let timers = &mut Timers::default();
        let wish = wish(spec, state.step, self.waves, self.leave_out_unable);
        let advance = self
            .rules
            .advance(state, &wish, &facts, waits, timers, Duration::ZERO);
        let next = advance.next.map(|next| self.number(next));
        self.advances.insert(asked, next);
        next
    }

    fn fact(&self, node: usize, report: Report, down: bool) -> Fact<char> {
        let words = |what: bool| what.then(|| "in words".to_owned()).into_iter().collect();
        Fact {
            name: NAMES[node].to_owned(),
            canary: self.canary == Some(node),
            step: report.step.map(u64::from),
            receives: modes(report.receives),
            sends: modes(report.sends),
            sized: true,
            shrinks: report.shrinks,
            obstacles: words(report.obstacle),
            trials: Trials {
                wanted: 1,
                passed: u32::from(report.proves && !report.failed),
                failed: words(report.failed),
                sent: 0,
                lost: 0,
            },
            down,
        }
    }
}

/// What the admin wants, as `advance` is told at a step.
pub fn wish(spec: Spec, step: u64, waves: u32, leave_out_unable: bool) -> Wish<char> {
    Wish {
        mode: spec.mode,
        generation: spec.generation.into(),
        paused: spec.paused,
        approved: true,
        rollback: spec.rollback,
        retry: spec.retry == Some(step as u8),
        waves,
        bake: Duration::ZERO,
        loss_permille: 10,
        leave_out_unable,
    }
}
