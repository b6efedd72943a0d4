//! A cluster whose nodes do at once what they are told.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_migration::{Advance, Fact, Phase, State, Timers, Trials, Waits, Wish, advance, orders};

/// What an admin wants who wants nothing but another mode.
pub fn wish(mode: char) -> Wish<char> {
    Wish {
        mode,
        generation: mode as i64,
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

/// The cluster.
pub struct Cluster {
    pub state: State<char>,
    pub facts: Vec<Fact<char>>,
    pub now: Duration,
    pub shrinks: bool,
    timers: Timers,
}

impl Cluster {
    pub fn new(names: &[&str]) -> Self {
        let fact = |name: &&str| Fact {
            name: (*name).into(),
            canary: false,
            step: Some(0),
            receives: BTreeSet::from(['A']),
            sends: BTreeSet::from(['A']),
            sized: true,
            shrinks: false,
            obstacles: Vec::new(),
            trials: Trials::default(),
            down: false,
        };
        Self {
            state: State::rest('A'),
            facts: names.iter().map(fact).collect(),
            now: Duration::ZERO,
            shrinks: false,
            timers: Timers::default(),
        }
    }

    pub fn fact(&mut self, name: &str) -> &mut Fact<char> {
        self.facts
            .iter_mut()
            .find(|fact| fact.name == name)
            .expect("there is such a node")
    }

    pub fn excluded(&self) -> &BTreeSet<String> {
        &self.state.migration.as_ref().expect("it migrates").excluded
    }

    /// All nodes do what they are told.
    pub fn obey(&mut self) {
        let names: Vec<String> = self.facts.iter().map(|fact| fact.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.obey_only(&names);
    }

    /// These do.
    pub fn obey_only(&mut self, names: &[&str]) {
        for fact in self
            .facts
            .iter_mut()
            .filter(|fact| names.contains(&&*fact.name))
        {
            let orders = orders(&self.state, fact.node());
            fact.step = Some(self.state.step);
            fact.receives = orders.receive;
            fact.sends = BTreeSet::from([orders.send]);
            fact.shrinks = self.shrinks;
        }
    }

    /// Looks, and goes on if that is allowed.
    pub fn advance(&mut self, wish: &Wish<char>) -> Advance<char> {
        let waits = Waits {
            drain: Duration::ZERO,
            patience: Duration::from_secs(60),
        };
        let advance = advance(
            &self.state,
            wish,
            &self.facts,
            waits,
            &mut self.timers,
            self.now,
        );
        if let Some(next) = &advance.next {
            self.state = next.clone();
        }
        advance
    }

    /// Goes on until a phase has begun.
    pub fn until(&mut self, wish: &Wish<char>, phase: Phase) {
        while self.state.phase() != Some(phase) {
            self.obey();
            self.advance(wish);
        }
    }

    /// Goes on until nothing happens any more; all nodes obey. Gives the modes that it came to rest in.
    pub fn settle(&mut self, wish: &Wish<char>) -> Vec<char> {
        let mut modes = Vec::new();
        for _ in 0..100 {
            self.obey();
            self.facts
                .iter_mut()
                .for_each(|fact| fact.trials = Trials::default());
            self.advance(wish);
            if self.state.migration.is_none() && modes.last() != Some(&self.state.mode) {
                modes.push(self.state.mode);
            }
        }
        modes
    }
}
