//! The operators and the API server: what is seen, what is written, and what is refused.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use weft_migration::{Advance, Fact, Phase, State, Timers, Wish};

use crate::rules::Rules;
use crate::world::{Event, Ms, Object, WAITS, World};

impl World {
    /// Tells all watches of a new version.
    fn publish(&mut self, object: Object) {
        let object = Rc::new(object);
        self.object = Rc::clone(&object);
        let mut told = 0;
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            if node.runs && node.connected {
                told += 1;
                let watch = if node.slow {
                    self.costs.slow
                } else {
                    self.costs.watch
                };
                let event = Event::Hears(n, node.life, Rc::clone(&object));
                self.soon(watch, event);
            }
        }
        self.counts.state(&object.state, told);
        for o in 0..self.operators.len() {
            let event = Event::OperatorSees(o, self.operators[o].life, Rc::clone(&object));
            self.soon(self.operators[o].watch, event);
        }
    }

    /// The admin changes what is wanted.
    pub fn wants(&mut self, change: impl FnOnce(&mut Wish<char>)) {
        let mut object = Object::clone(&self.object);
        change(&mut object.wish);
        object.version += 1;
        self.tell(|| format!("the admin wants {:?}", object.wish));
        self.publish(object);
    }

    /// A write of an operator arrives. It is refused unless it was made from the version that is stored.
    pub fn written(
        &mut self,
        o: usize,
        life: u32,
        version: u64,
        next: State<char>,
        down: &BTreeSet<String>,
    ) {
        if self.operators[o].life == life {
            self.operators[o].writes = false;
        }
        if self.object.version != version && self.rules != Rules::WritesAreNotCompared {
            self.tell(|| format!("operator {o}: its write is refused"));
            self.looks_soon(o);
            return;
        }
        let before = self.object.state.phase();
        let after = next.phase();
        let excluded = next
            .migration
            .as_ref()
            .map(|migration| migration.excluded.clone())
            .unwrap_or_default();
        for node in &mut self.nodes {
            if !excluded.contains(&node.name) {
                continue;
            }
            node.sizes_late = true;
            let retires = before != after && [before, after].contains(&Some(Phase::Retire));
            if retires && (!node.on || down.contains(&node.name)) {
                node.missed = Some(next.step);
            }
        }
        self.tell(|| format!("operator {o}: {}", Self::place(&next)));
        let wish = self.object.wish.clone();
        self.publish(Object {
            version: self.object.version + 1,
            wish,
            state: next,
        });
    }

    pub fn sees(&mut self, o: usize, life: u32, object: Rc<Object>) {
        let operator = &mut self.operators[o];
        if operator.life == life && operator.runs && operator.seen.version < object.version {
            operator.seen = object;
            self.looks_soon(o);
        }
    }

    /// A report arrives at the API server.
    pub fn reported(&mut self, n: usize, number: u64, fact: Rc<Fact<char>>) {
        if number < self.reports[n].0 {
            return;
        }
        self.reports[n] = (number, Rc::clone(&fact));
        self.counts.report(self.object.state.phase(), &fact);
        for o in 0..self.operators.len() {
            let event =
                Event::OperatorReads(o, self.operators[o].life, n, number, Rc::clone(&fact));
            self.soon(self.operators[o].watch, event);
        }
    }

    pub fn reads(&mut self, o: usize, life: u32, n: usize, number: u64, fact: &Fact<char>) {
        let operator = &mut self.operators[o];
        if operator.life == life && operator.runs && operator.newest[n].0 < number {
            let down = operator.facts[n].down;
            operator.newest[n].0 = number;
            operator.facts[n] = Fact {
                down,
                ..fact.clone()
            };
            self.looks_soon(o);
        }
    }

    /// The power of a node went or came: operators learn of it late, each for itself.
    pub fn power_changes(&mut self, n: usize) {
        self.nodes[n].power += 1;
        let (power, on) = (self.nodes[n].power, self.nodes[n].on);
        for o in 0..self.operators.len() {
            let late = if on { (200, 3_000) } else { (3_000, 8_000) };
            let late = self.chance.within(late) + self.chance.within(self.operators[o].watch);
            let event = Event::OperatorLearns(o, self.operators[o].life, n, power, !on);
            self.after(late, event);
        }
    }

    pub fn learns(&mut self, o: usize, life: u32, n: usize, power: u64, down: bool) {
        let operator = &mut self.operators[o];
        if operator.life == life && operator.runs && operator.newest[n].1 < power {
            operator.newest[n].1 = power;
            operator.facts[n].down = down;
            self.looks_soon(o);
        }
    }

    pub fn looks_soon(&mut self, o: usize) {
        let look = self.costs.look;
        let operator = &mut self.operators[o];
        if operator.runs && !operator.looks {
            operator.looks = true;
            let event = Event::Looks(o, operator.life);
            self.after(look, event);
        }
    }

    pub fn looks(&mut self, o: usize, life: u32) {
        let now = self.now;
        let operator = &mut self.operators[o];
        if operator.life != life || !operator.runs {
            return;
        }
        operator.looks = false;
        if !operator.leads || operator.writes {
            return;
        }
        let mono = Duration::from_millis(now + operator.ahead);
        let seen = Rc::clone(&operator.seen);
        let Advance {
            next,
            deadline,
            standing,
        } = self.rules.advance(
            &seen.state,
            &seen.wish,
            &operator.facts,
            WAITS,
            &mut operator.timers,
            mono,
        );
        let down = || {
            let down = operator.facts.iter().filter(|fact| fact.down);
            down.map(|fact| fact.name.clone()).collect()
        };
        if let Some(next) = next {
            let event = Event::Writes {
                operator: o,
                life,
                version: seen.version,
                down: down(),
                next: Box::new(next),
            };
            operator.writes = true;
            self.soon(self.costs.write, event);
        } else if let Some(deadline) = deadline {
            let wait = deadline.saturating_sub(mono).as_millis() as Ms;
            self.tell(|| format!("operator {o}: {standing:?} for {wait} ms"));
            // It is marked as no look: what is heard in between leads to one of its own.
            self.after(wait.max(1), Event::Looks(o, life));
        }
    }

    pub fn operator_dies(&mut self, o: usize) {
        let operator = &mut self.operators[o];
        operator.life += 1;
        (operator.runs, operator.looks, operator.writes) = (false, false, false);
    }

    /// It reads all there is, and has forgotten since when it waits.
    pub fn operator_starts(&mut self, o: usize, life: u32) {
        let operator = &mut self.operators[o];
        if operator.life != life || operator.runs {
            return;
        }
        operator.runs = true;
        operator.timers = Timers::default();
        operator.seen = Rc::clone(&self.object);
        for (n, (number, fact)) in self.reports.iter().enumerate() {
            operator.newest[n].0 = *number;
            let down = operator.facts[n].down;
            operator.facts[n] = Fact {
                down,
                ..Fact::clone(fact)
            };
        }
        // Whether a node is down it learns late, as before.
        for n in 0..self.nodes.len() {
            let (power, on) = (self.nodes[n].power, self.nodes[n].on);
            if self.operators[o].newest[n].1 < power {
                let late = self.chance.within((3_000, 8_000));
                self.after(late, Event::OperatorLearns(o, life, n, power, !on));
            }
        }
        self.looks_soon(o);
    }
}
