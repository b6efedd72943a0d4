//! What must never be in the model, and where it is to end.

use stateright::Property;
use weft_migration::Phase;

use super::steps::{Cluster, current};
use super::world::{Kernel, NAMES, Set, World, bit};

impl<const N: usize> Cluster<N> {
    fn accepts(&self, world: &World<N>) -> bool {
        let pairs = (0..N).flat_map(|from| (0..N).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to).all(|(from, to)| {
            let (sender, peer) = (&world.nodes[from], &world.nodes[to]);
            let excepted = sender.missed.is_some() || peer.missed.is_some();
            let dark = sender.kernel == Kernel::EMPTY || peer.kernel == Kernel::EMPTY;
            let sent: Set = sender.kernel.send[to].map_or(0, bit);
            excepted || dark || peer.kernel.receive & sent == sent
        })
    }

    /// Nobody is left to go: it rests where the admin wants it, or where it was, with a failure that says why.
    pub fn rests(&self, world: &World<N>) -> bool {
        let mut table = self.table();
        let now = current(world);
        let state = table.state(now);
        let failed = state
            .failure
            .as_ref()
            .is_some_and(|failure| failure.generation == i64::from(world.wish.generation));
        let there = state.migration.is_none() && (state.mode == world.wish.mode || failed);
        there
            && (0..N).all(|n| {
                let node = &world.nodes[n];
                let todo = self.todo(&mut table, world, n, now);
                node.heard == Some(now) && node.disk == Some(now) && node.kernel == todo.kernel
            })
    }
}

/// What must hold in every state.
pub fn properties<const N: usize>() -> Vec<Property<Cluster<N>>> {
    vec![
        Property::always("what is sent is accepted", |model, world| {
            model.accepts(world)
        }),
        Property::always(
            "every node has a path to every other",
            |_, world: &World<N>| {
                let lives = world
                    .nodes
                    .iter()
                    .filter(|node| node.kernel != Kernel::EMPTY);
                // A path goes by the devices that also receive.
                lives.into_iter().all(|node| {
                    let to = node.kernel.send.iter().flatten();
                    to.clone().count() == N - 1
                        && to
                            .into_iter()
                            .all(|mode| node.kernel.receive & bit(*mode) != 0)
                })
            },
        ),
        Property::always("what is sent fits", |_, world: &World<N>| {
            let mut nodes = world.nodes.iter();
            nodes.all(|node| {
                node.kernel
                    .send
                    .iter()
                    .flatten()
                    .all(|mode| node.kernel.fit & bit(*mode) != 0)
            })
        }),
        Property::always(
            "Retire is told after the last sender has stopped",
            |model, world: &World<N>| {
                let table = model.table();
                let state = table.state(current(world));
                let Some(migration) = state
                    .migration
                    .as_ref()
                    .filter(|it| it.phase >= Phase::Retire)
                else {
                    return true;
                };
                let mut told = world.nodes.iter().filter(|node| node.missed.is_none());
                told.all(|node| {
                    let mut sends = node.kernel.send.iter().enumerate().filter(|(peer, _)| {
                        world.nodes[*peer].kernel != Kernel::EMPTY
                            && !migration.excluded.contains(NAMES[*peer])
                    });
                    sends.all(|(_, mode)| *mode != Some(migration.from))
                })
            },
        ),
    ]
}
