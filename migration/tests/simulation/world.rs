//! What there is in the simulation: a clock, an API server, nodes and operators, and what will happen when.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use weft_migration::{Fact, Migration, Phase, State, Timers, Trials, Waits, Wish};

use crate::chance::Chance;
use crate::counts::Counts;
use crate::rules::Rules;

/// Milliseconds since the beginning.
pub type Ms = u64;

/// Modes, a bit each.
pub type Set = u8;

pub const WAITS: Waits = Waits {
    drain: Duration::from_millis(2_000),
    patience: Duration::from_millis(10_000),
};

pub fn index(mode: char) -> usize {
    usize::from(mode as u8 - b'A')
}

pub fn bit(mode: char) -> Set {
    1 << index(mode)
}

/// From when to when something takes, in milliseconds.
pub type Range = (Ms, Ms);

/// What things cost.
#[derive(Debug, Clone)]
pub struct Costs {
    /// From a write to a watch that is told of it.
    pub watch: Range,
    /// The same, where a watch is slow.
    pub slow: Range,
    /// Half of a change of the kernel.
    pub apply: Range,
    pub save: Range,
    /// The same, on a slow disk.
    pub slow_save: Range,
    /// A write, until the API server has it.
    pub write: Range,
    /// Reports of a node are so far apart at least.
    pub pace: Ms,
    /// An operator looks so long after it heard of something.
    pub look: Ms,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            watch: (5, 100),
            slow: (1_000, 15_000),
            apply: (5, 150),
            save: (1, 40),
            slow_save: (500, 5_000),
            write: (3, 50),
            pace: 500,
            look: 50,
        }
    }
}

/// The NetworkConfig, as it was at one version: what the admin wants, and where the cluster is.
#[derive(Debug, Clone)]
pub struct Object {
    pub version: u64,
    pub wish: Wish<char>,
    pub state: State<char>,
}

/// What a kernel does.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    pub receive: Set,
    pub send: Option<Send>,
    /// The size of its pods' packets.
    pub mtu: u32,
}

/// The mode to each peer.
#[derive(Debug, Clone)]
pub struct Send {
    pub mode: char,
    pub mode_left_out: char,
    pub left_out: Rc<BTreeSet<String>>,
}

impl Send {
    pub fn to(&self, peer: &str) -> char {
        if self.left_out.contains(peer) {
            self.mode_left_out
        } else {
            self.mode
        }
    }

    /// The modes that it sends in to anybody.
    pub fn modes(&self) -> Set {
        if self.left_out.is_empty() {
            bit(self.mode)
        } else {
            bit(self.mode) | bit(self.mode_left_out)
        }
    }
}

pub struct Node {
    pub name: String,
    pub canary: bool,
    /// Its watch is slow.
    pub slow: bool,
    /// Its disk is.
    pub slow_disk: bool,
    pub on: bool,
    /// Its agent runs.
    pub runs: bool,
    /// Its agent reaches the API server.
    pub connected: bool,
    /// Changes whenever its agent dies: what was under way then comes to nothing.
    pub life: u32,
    pub heard: Option<Rc<Object>>,
    /// What its kernel is being changed to.
    pub follows: Option<Rc<Object>>,
    pub busy: bool,
    /// What its kernel does in full, and is saved.
    pub done: Option<Rc<Object>>,
    pub disk: Option<Rc<Object>>,
    pub kernel: Kernel,
    pub proves: Option<char>,
    pub probing: bool,
    pub trials: Trials,
    /// Since when nothing comes from a peer.
    pub silent: BTreeMap<usize, Ms>,
    /// Peers that have answered.
    pub proven: BTreeSet<usize>,
    pub reported: Option<Rc<Fact<char>>>,
    pub reports_at: Ms,
    pub reporting: bool,
    /// Counts how often its power went or came.
    pub power: u64,
    /// The step at which Retire last began or ended without it because it was down or taken for it.
    pub missed: Option<u64>,
    /// It was down or left out since the last rest: the drain after LowerMTU was not for it.
    pub sizes_late: bool,
    /// Since when packets of its pods fit into each mode.
    pub fits_since: [Option<Ms>; 3],
    /// When it stopped to send in each mode, if a packet may still be under way.
    pub stopped: [Option<Ms>; 3],
    pub wakes: u32,
}

pub struct Operator {
    pub runs: bool,
    pub leads: bool,
    pub life: u32,
    pub ahead: Ms,
    pub watch: Range,
    pub timers: Timers,
    pub seen: Rc<Object>,
    pub facts: Vec<Fact<char>>,
    /// The number of the newest report, and of the newest word on power, of each node.
    pub newest: Vec<(u64, u64)>,
    pub looks: bool,
    pub writes: bool,
}

/// Something that will happen.
pub enum Event {
    /// A watch of a node.
    Hears(usize, u32, Rc<Object>),
    /// Its agent asks for all there is.
    Lists(usize, u32),
    Moves(usize, u32),
    Removes(usize, u32),
    Saves(usize, u32),
    Probes(usize, u32),
    Reports(usize, u32),
    Reported(usize, u64, Rc<Fact<char>>),
    AgentStarts(usize, u32),
    PowerReturns(usize),
    Reconnects(usize),
    Mends(usize, usize),
    OperatorSees(usize, u32, Rc<Object>),
    OperatorReads(usize, u32, usize, u64, Rc<Fact<char>>),
    OperatorLearns(usize, u32, usize, u64, bool),
    Looks(usize, u32),
    Writes {
        operator: usize,
        life: u32,
        version: u64,
        next: Box<State<char>>,
        down: BTreeSet<String>,
    },
    OperatorStarts(usize, u32),
    Leads(usize, bool),
    /// Something of chance: a fault, or a change of mind.
    Mischief,
    Resumes,
    /// No more mischief, and all that is broken is repaired.
    Peace,
}

struct Entry(Ms, u64, Event);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

pub struct World {
    pub now: Ms,
    queue: BinaryHeap<Reverse<Entry>>,
    queued: u64,
    pub chance: Chance,
    pub costs: Costs,
    pub object: Rc<Object>,
    /// What nodes reported last, with its number.
    pub reports: Vec<(u64, Rc<Fact<char>>)>,
    pub nodes: Vec<Node>,
    pub operators: Vec<Operator>,
    /// The largest packet of each mode.
    pub sizes: [u32; 3],
    /// Pairs between which nothing but the old mode comes through.
    pub bad: BTreeSet<(usize, usize)>,
    /// The clock of an operator has jumped: drains may have been too short.
    pub jumped: bool,
    pub numbered: u64,
    pub counts: Counts,
    /// Live nodes that accept, and that send in, each mode; live nodes.
    pub accepting: [usize; 3],
    pub sending: [usize; 3],
    pub live: usize,
    /// What must never be, and was.
    pub broken: Option<String>,
    pub tells: bool,
    pub rules: Rules,
}

impl World {
    /// Nodes at rest in mode A, and two operators of which the first leads.
    pub fn new(names: Vec<String>, chance: Chance, costs: Costs, wish: Wish<char>) -> Self {
        let object = Rc::new(Object {
            version: 1,
            wish,
            state: State::rest('A'),
        });
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            chance,
            costs,
            object: Rc::clone(&object),
            reports: Vec::new(),
            nodes: Vec::new(),
            operators: Vec::new(),
            sizes: [1450, 1500, 1420],
            bad: BTreeSet::new(),
            jumped: false,
            numbered: 0,
            counts: Counts::default(),
            accepting: [0; 3],
            sending: [0; 3],
            live: 0,
            broken: None,
            tells: false,
            rules: Rules::Real,
        };
        let facts: Vec<Fact<char>> = names.iter().map(|name| rest(name)).collect();
        for fact in &facts {
            world.reports.push((0, Rc::new(fact.clone())));
        }
        for name in names {
            world.nodes.push(node(name, &object));
        }
        for n in 0..world.nodes.len() {
            let kernel = world.todo(n, &object.state).kernel;
            world.set_kernel(n, kernel);
            world.nodes[n].fits_since = world.nodes[n].fits_since.map(|since| since.map(|_| 0));
            world.nodes[n].reported = Some(Rc::clone(&world.reports[n].1));
        }
        for leads in [true, false] {
            world.operators.push(Operator {
                runs: true,
                leads,
                life: 0,
                ahead: 0,
                watch: world.costs.watch,
                timers: Timers::default(),
                seen: Rc::clone(&object),
                facts: facts.clone(),
                newest: vec![(0, 0); facts.len()],
                looks: false,
                writes: false,
            });
        }
        world
    }

    pub fn after(&mut self, delay: Ms, event: Event) {
        self.queued += 1;
        let entry = Entry(self.now + delay, self.queued, event);
        self.queue.push(Reverse(entry));
    }

    /// Within a range from now.
    pub fn soon(&mut self, range: Range, event: Event) {
        let delay = self.chance.within(range);
        self.after(delay, event);
    }

    /// Goes to the next event.
    pub fn next(&mut self) -> Option<Event> {
        let Reverse(Entry(at, _, event)) = self.queue.pop()?;
        self.now = at;
        Some(event)
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{:>9.3} s  {}", self.now as f64 / 1000.0, what());
        }
    }

    /// Where the cluster is, in a line.
    pub fn place(state: &State<char>) -> String {
        match &state.migration {
            None => format!("step {}: rest in {}", state.step, state.mode),
            Some(Migration {
                from,
                to,
                phase,
                wave,
                back,
                excluded,
                ..
            }) => {
                let wave = if *phase == Phase::Shift {
                    format!(" wave {wave}")
                } else {
                    String::new()
                };
                let back = if *back { ", back" } else { "" };
                format!(
                    "step {}: {from} to {to}, {phase:?}{wave}{back}, without {excluded:?}",
                    state.step
                )
            }
        }
    }
}

fn rest(name: &str) -> Fact<char> {
    Fact {
        name: name.to_owned(),
        canary: false,
        step: Some(0),
        receives: BTreeSet::from(['A']),
        sends: BTreeSet::from(['A']),
        sized: true,
        shrinks: false,
        obstacles: Vec::new(),
        trials: Trials::default(),
        down: false,
    }
}

fn node(name: String, object: &Rc<Object>) -> Node {
    Node {
        name,
        canary: false,
        slow: false,
        slow_disk: false,
        on: true,
        runs: true,
        connected: true,
        life: 0,
        heard: Some(Rc::clone(object)),
        follows: Some(Rc::clone(object)),
        busy: false,
        done: Some(Rc::clone(object)),
        disk: Some(Rc::clone(object)),
        kernel: Kernel::default(),
        proves: None,
        probing: false,
        trials: Trials::default(),
        silent: BTreeMap::new(),
        proven: BTreeSet::new(),
        reported: None,
        reports_at: 0,
        reporting: false,
        power: 0,
        missed: None,
        sizes_late: false,
        fits_since: [None; 3],
        stopped: [None; 3],
        wakes: 0,
    }
}
