//! From every state that can be reached, rest can be reached: a question about the whole graph, which the checker of
//! stateright can't put.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::Model;

use super::events::Event;
use super::steps::Cluster;
use super::world::World;

/// What was found.
pub struct Found {
    pub states: usize,
    pub rests: usize,
    pub deepest: u32,
    /// What led to the first state from which there is no way to rest.
    pub lost: Option<Vec<Event>>,
}

/// Goes to every state, and then back from those that are at rest by events that are neither faults nor changes
/// of mind.
pub fn search<const N: usize>(model: &Cluster<N>) -> Found {
    let mut graph = Graph::default();
    let mut rests = Vec::new();
    let mut waiting = VecDeque::new();
    for world in model.init_states() {
        graph.number(&world, None);
        waiting.push_back((world, 0, 0_u32));
    }
    let mut deepest = 0;
    let mut events = Vec::new();
    while let Some((world, from, depth)) = waiting.pop_front() {
        deepest = depth;
        if model.rests(&world) {
            rests.push(from);
        }
        model.actions(&world, &mut events);
        for event in events.drain(..) {
            let Some(next) = model.next_state(&world, event) else {
                continue;
            };
            let (to, new) = graph.number(&next, Some((from, event)));
            if event.helps() {
                graph.helped.push((to, from));
            }
            if new {
                waiting.push_back((next, to, depth + 1));
            }
        }
    }
    let lost = graph.first_without_way_to(&rests);
    Found {
        states: graph.origins.len(),
        rests: rests.len(),
        deepest,
        lost: lost.map(|lost| graph.story(lost)),
    }
}

#[derive(Default)]
struct Graph {
    /// States by their hash of 64 bits.
    numbers: HashMap<u64, u32>,
    /// How each was reached first.
    origins: Vec<Option<(u32, Event)>>,
    /// Edges that help, backwards.
    helped: Vec<(u32, u32)>,
}

impl Graph {
    fn number<T: Hash>(&mut self, world: &T, origin: Option<(u32, Event)>) -> (u32, bool) {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        let next = self.origins.len() as u32;
        let number = *self.numbers.entry(hasher.finish()).or_insert(next);
        if number == next {
            self.origins.push(origin);
        }
        (number, number == next)
    }

    fn first_without_way_to(&mut self, rests: &[u32]) -> Option<u32> {
        self.helped.sort_unstable();
        let mut reaches = vec![false; self.origins.len()];
        let mut waiting = rests.to_vec();
        while let Some(to) = waiting.pop() {
            if std::mem::replace(&mut reaches[to as usize], true) {
                continue;
            }
            let begin = self.helped.partition_point(|edge| edge.0 < to);
            let edges = self.helped[begin..].iter();
            waiting.extend(edges.take_while(|edge| edge.0 == to).map(|edge| edge.1));
        }
        reaches
            .iter()
            .position(|reaches| !reaches)
            .map(|at| at as u32)
    }

    fn story(&self, mut state: u32) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((before, event)) = self.origins[state as usize] {
            events.push(event);
            state = before;
        }
        events.reverse();
        events
    }
}

/// The states that events lead through.
pub fn replay<const N: usize>(model: &Cluster<N>, events: &[Event]) -> Option<World<N>> {
    let first = model.init_states().pop();
    let next = |world: Option<World<N>>, event: &Event| model.next_state(&world?, *event);
    events.iter().fold(first, next)
}
