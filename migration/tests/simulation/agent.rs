//! The agent and the kernel of a node: it hears, moves paths, removes what is old, saves, and reports.

use std::collections::BTreeSet;
use std::rc::Rc;

use weft_migration::{Fact, Node as Named, State, Trials};

use crate::rules::Rules;
use crate::world::{Event, Kernel, Ms, Object, Send, World, bit};

/// A path by which nothing has come for so long is broken.
const SILENCE: Ms = 3_000;
/// Peers are looked at so often, and so many probes were sent to each since.
const PROBES: Ms = 1_000;
const PROBES_EACH: u64 = 10;

/// Orders, for the simulated kernel.
pub struct Todo {
    pub kernel: Kernel,
    pub examine: Option<char>,
    pub prove: Option<char>,
}

impl World {
    /// What `orders` says.
    pub fn todo(&self, n: usize, state: &State<char>) -> Todo {
        let node = &self.nodes[n];
        let named = Named {
            name: &node.name,
            canary: node.canary,
        };
        let orders = self.rules.orders(state, named);
        let set = |modes: &BTreeSet<char>| modes.iter().fold(0, |set, mode| set | bit(*mode));
        let sizes = (0..3).filter(|mode| set(&orders.fit) & 1 << mode != 0);
        Todo {
            kernel: Kernel {
                receive: set(&orders.receive),
                send: Some(Send {
                    mode: orders.send,
                    mode_left_out: orders.send_left_out,
                    left_out: Rc::new(orders.left_out),
                }),
                mtu: sizes.map(|mode| self.sizes[mode]).min().unwrap_or(0),
            },
            examine: orders.examine,
            prove: orders.prove,
        }
    }

    pub fn hears(&mut self, n: usize, life: u32, object: &Rc<Object>) {
        let node = &mut self.nodes[n];
        if node.life != life || !node.runs || !node.connected {
            return;
        }
        node.wakes += 1;
        let heard = node
            .heard
            .as_ref()
            .map(|heard| (heard.version, heard.state.step));
        if heard.is_some_and(|heard| heard.0 >= object.version || heard.1 == object.state.step) {
            return;
        }
        node.heard = Some(Rc::clone(object));
        self.works(n);
    }

    /// It does what it heard last, unless it is at something already.
    pub fn works(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.heard.is_some() && !node.busy {
            node.busy = true;
            let event = Event::Moves(n, node.life);
            self.soon(self.costs.apply, event);
        }
    }

    /// First what is new, smaller packets, and the paths.
    pub fn moves(&mut self, n: usize, life: u32) {
        let Some(heard) = self.nodes[n]
            .heard
            .clone()
            .filter(|_| self.nodes[n].life == life)
        else {
            return;
        };
        let todo = self.todo(n, &heard.state);
        let now = &self.nodes[n].kernel;
        let early = self.rules == Rules::RemovalComesFirst && now.receive != 0;
        let kernel = Kernel {
            receive: if early {
                now.receive & todo.kernel.receive
            } else {
                now.receive | todo.kernel.receive
            },
            mtu: if now.mtu == 0 {
                todo.kernel.mtu
            } else {
                now.mtu.min(todo.kernel.mtu)
            },
            send: now.send.clone().filter(|_| early).or(todo.kernel.send),
        };
        self.drained_for(n, &kernel);
        self.nodes[n].follows = Some(heard);
        self.set_kernel(n, kernel);
        self.soon(self.costs.apply, Event::Removes(n, life));
    }

    /// Then what is old goes, and packets grow.
    pub fn removes(&mut self, n: usize, life: u32) {
        let node = &self.nodes[n];
        let Some(follows) = node.follows.clone().filter(|_| node.life == life) else {
            return;
        };
        if node
            .heard
            .as_ref()
            .is_some_and(|heard| heard.version != follows.version)
        {
            return self.moves(n, life);
        }
        let todo = self.todo(n, &follows.state);
        self.nobody_sends(n, &follows.state, todo.kernel.receive);
        self.set_kernel(n, todo.kernel);
        let save = if self.nodes[n].slow_disk {
            self.costs.slow_save
        } else {
            self.costs.save
        };
        self.soon(save, Event::Saves(n, life));
    }

    pub fn saves(&mut self, n: usize, life: u32) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some(follows) = node.follows.clone().filter(|_| node.life == life) else {
            return;
        };
        node.busy = false;
        node.disk = Some(Rc::clone(&follows));
        node.done = Some(Rc::clone(&follows));
        let step = follows.state.step;
        if node.missed.is_some_and(|missed| missed <= step) {
            // What it sent last may still be under way: nobody has waited for that.
            (node.missed, node.stopped) = (None, [None; 3]);
        }
        // From rest it goes with all others.
        node.sizes_late &= follows.state.migration.is_some() || step != self.object.state.step;
        let todo = self.todo(n, &follows.state);
        let node = &mut self.nodes[n];
        if node.proves != todo.prove {
            node.trials = Trials::default();
            node.silent.clear();
            node.proven.clear();
        }
        node.proves = todo.prove;
        if node
            .heard
            .as_ref()
            .is_some_and(|heard| heard.version != follows.version)
        {
            self.works(n);
        }
        // A look at all peers is dear where they are many: the first comes at once.
        if todo.prove.is_some() {
            self.look_at_peers(n, now);
        }
        self.reports_soon(n);
    }

    pub fn probes(&mut self, n: usize, life: u32) {
        if self.nodes[n].life == life {
            self.nodes[n].probing = false;
            self.look_at_peers(n, self.now);
            self.reports_soon(n);
        }
    }

    /// Who answers in the mode that it proves. It goes on while somebody doesn't.
    pub fn look_at_peers(&mut self, n: usize, now: Ms) {
        let Some(mode) = self.nodes[n].proves else {
            return;
        };
        let Some(done) = self.nodes[n].done.clone() else {
            return;
        };
        let excluded = done
            .state
            .migration
            .as_ref()
            .map(|migration| &migration.excluded);
        let me = &self.nodes[n];
        let bit = bit(mode);
        let mut trials = Trials {
            sent: me.trials.sent,
            lost: me.trials.lost,
            ..Trials::default()
        };
        let (mut silent, mut answering) = (Vec::new(), Vec::new());
        if self.bad.is_empty() && self.live == self.accepting[mode as usize - 'A' as usize] {
            // The usual case, with a shortcut: thousands of peers take long.
            trials.wanted = self.live as u32 - 1;
            trials.passed = trials.wanted;
            if self.nodes.len() < 100 {
                answering.extend(0..self.nodes.len());
            }
        } else {
            for (p, peer) in self.nodes.iter().enumerate() {
                let left_out = excluded.is_some_and(|excluded| excluded.contains(&peer.name));
                if p == n || left_out || peer.kernel.receive == 0 {
                    continue;
                }
                trials.wanted += 1;
                let bad = self.bad.contains(&(n, p)) || self.bad.contains(&(p, n));
                if bad || peer.kernel.receive & bit == 0 || me.kernel.receive & bit == 0 {
                    // What was lost before a path was proven says nothing.
                    trials.lost += PROBES_EACH * u64::from(bad && me.proven.contains(&p));
                    silent.push(p);
                } else {
                    trials.passed += 1;
                    answering.push(p);
                }
            }
        }
        trials.sent += PROBES_EACH * u64::from(trials.wanted);
        let me = &mut self.nodes[n];
        me.proven.extend(answering);
        me.silent.retain(|peer, _| silent.contains(peer));
        for peer in &silent {
            let since = *me.silent.entry(*peer).or_insert(now);
            if now - since >= SILENCE && trials.failed.len() < 8 {
                trials.failed.push(format!("to node {peer}: nothing"));
            }
        }
        me.trials = trials;
        // Losses weigh less the more is sent.
        let goes_on = !silent.is_empty() || me.trials.lost > 0;
        if goes_on && !me.probing {
            me.probing = true;
            let event = Event::Probes(n, me.life);
            self.after(PROBES, event);
        }
    }

    /// Something may have changed between nodes: those that prove look again.
    pub fn all_look(&mut self) {
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            if node.proves.is_some() && node.runs && !node.probing {
                node.probing = true;
                let event = Event::Probes(n, node.life);
                self.after(10, event);
            }
        }
    }

    pub fn reports_soon(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if !node.reporting && node.runs {
            node.reporting = true;
            let wait = node.reports_at.saturating_sub(now);
            let event = Event::Reports(n, node.life);
            self.after(wait, event);
        }
    }

    pub fn reports(&mut self, n: usize, life: u32) {
        if self.nodes[n].life != life {
            return;
        }
        self.nodes[n].reporting = false;
        let Some(fact) = self.fact(n).filter(|_| self.nodes[n].connected) else {
            return;
        };
        let node = &mut self.nodes[n];
        if node.reported.as_deref() == Some(&fact) {
            return;
        }
        let fact = Rc::new(fact);
        node.reported = Some(Rc::clone(&fact));
        node.reports_at = self.now + self.costs.pace;
        self.numbered += 1;
        let event = Event::Reported(n, self.numbered, fact);
        self.soon(self.costs.write, event);
    }

    /// What it says of itself.
    fn fact(&self, n: usize) -> Option<Fact<char>> {
        let node = &self.nodes[n];
        let done = node.done.as_ref()?;
        let todo = self.todo(n, &done.state);
        let modes = |set: u8| ('A'..='C').filter(|mode| set & bit(*mode) != 0).collect();
        let send = node.kernel.send.as_ref()?;
        Some(Fact {
            name: node.name.clone(),
            canary: node.canary,
            step: Some(done.state.step),
            receives: modes(node.kernel.receive),
            // To those that are not left out.
            sends: modes(bit(send.mode)),
            sized: node.kernel.mtu == todo.kernel.mtu,
            shrinks: todo
                .examine
                .is_some_and(|mode| node.kernel.mtu > self.sizes[mode as usize - 'A' as usize]),
            obstacles: Vec::new(),
            trials: Trials {
                // It is not reported for every probe.
                sent: node.trials.sent.checked_ilog2().map_or(0, |log| 1 << log),
                ..node.trials.clone()
            },
            down: false,
        })
    }

    /// Its agent dies; the kernel goes on.
    pub fn agent_dies(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.life += 1;
        (node.runs, node.busy, node.reporting, node.probing) = (false, false, false, false);
        (node.heard, node.follows, node.done, node.proves) = (None, None, None, None);
    }

    pub fn agent_starts(&mut self, n: usize, life: u32) {
        let node = &mut self.nodes[n];
        if node.life != life || !node.on || node.runs {
            return;
        }
        node.runs = true;
        node.heard = node.disk.clone();
        node.reported = None;
        node.trials = Trials::default();
        node.silent.clear();
        node.proven.clear();
        self.works(n);
        let watch = if self.nodes[n].slow {
            self.costs.slow
        } else {
            self.costs.watch
        };
        self.soon(watch, Event::Lists(n, life));
    }

    pub fn lists(&mut self, n: usize, life: u32) {
        let object = Rc::clone(&self.object);
        self.hears(n, life, &object);
        if self.nodes[n].life == life {
            self.reports_soon(n);
        }
    }
}
