//! What a migration of many nodes costs, and how long the way back takes.

use std::time::Duration;

use weft_migration::{Phase, Wish};

use crate::chance::Chance;
use crate::mischief::wish;
use crate::world::{Costs, Ms, World};

/// So many nodes that nothing happens to.
fn cluster(count: usize, costs: &Costs, waves: u32) -> World {
    let names = (0..count).map(|n| format!("node-{n:04}")).collect();
    let wish = Wish {
        waves,
        bake: Duration::from_secs(5),
        ..wish()
    };
    World::new(names, Chance::new(count as u64), costs.clone(), wish)
}

/// A migration from A to C, from its beginning to its end.
fn migrate(count: usize, costs: &Costs, waves: u32) -> World {
    let mut world = cluster(count, costs, waves);
    world.counts.bytes = true;
    world.wants(|wish| (wish.mode, wish.generation) = ('C', 2));
    while let Some(event) = world.next() {
        world.happens(event);
    }
    assert_eq!((&world.broken, world.rests()), (&None, Ok(())));
    world
}

#[test]
fn writes_of_a_migration_grow_with_the_nodes_and_wakes_of_a_node_do_not() {
    let (count, waves) = (5_000_u64, 5);
    let costs = Costs {
        watch: (50, 1_000),
        apply: (100, 400),
        ..Costs::default()
    };
    let world = migrate(count as usize, &costs, waves);
    println!(
        "{count} nodes from A to C in {waves} waves: {} s of the cluster\n{:>10} {:>13} {:>13} {:>13} {:>14} {:>13}",
        world.now / 1_000,
        "phase",
        "state writes",
        "watch events",
        "their bytes",
        "report writes",
        "their bytes",
    );
    let mut all = 0;
    for (phase, of) in &world.counts.phases {
        let name = phase.map_or("rest".to_owned(), |phase| format!("{phase:?}"));
        println!(
            "{name:>10} {:>13} {:>13} {:>13} {:>14} {:>13}",
            of.state_writes, of.watch_events, of.watch_bytes, of.report_writes, of.report_bytes
        );
        let most_writes = if *phase == Some(Phase::Shift) {
            u64::from(waves)
        } else {
            2
        };
        assert!(of.state_writes <= most_writes, "{phase:?}: {of:?}");
        assert_eq!(of.watch_events, of.state_writes * count, "{phase:?}");
        // What is said of a step, and of the probes in it.
        assert!(
            of.report_writes <= 3 * most_writes * count,
            "{phase:?}: {of:?}"
        );
        all += of.report_writes;
    }
    let wakes = world.nodes.iter().map(|node| node.wakes).max();
    println!("an agent is woken {wakes:?} times at most; {all} reports in all");
    assert!(wakes <= Some(2 * Phase::ALL.len() as u32 + waves));
}

/// From the wish for a rollback, when half of the nodes send in the new mode, until the last of them sends in the old
/// one.
fn way_back(count: usize, costs: &Costs) -> Ms {
    let mut world = cluster(count, costs, 2);
    world.wants(|wish| (wish.mode, wish.generation) = ('C', 2));
    let sends = |world: &World| world.sending[2];
    while sends(&world) < count / 2 {
        let event = world.next().expect("it goes on");
        world.happens(event);
    }
    let begin = world.now;
    world.wants(|wish| wish.rollback = true);
    let mut last = begin;
    while let Some(event) = world.next() {
        let before = sends(&world);
        world.happens(event);
        if before > 0 && sends(&world) == 0 {
            last = world.now;
        }
    }
    assert_eq!((&world.broken, world.rests()), (&None, Ok(())));
    assert!(last > begin, "they did go back");
    last - begin
}

#[test]
fn the_last_sender_is_back_within_ten_seconds() {
    let three = Costs {
        watch: (50, 51),
        apply: (30, 31),
        ..Costs::default()
    };
    let many = Costs {
        watch: (50, 2_000),
        apply: (100, 800),
        ..Costs::default()
    };
    for (count, costs) in [(3, three), (5_000, many)] {
        let took = way_back(count, &costs);
        println!(
            "{count} nodes, a watch {:?} ms late, half of a change of the kernel {:?} ms: the last sender is back after {took} ms",
            costs.watch, costs.apply
        );
        assert!(took <= 10_000);
    }
}
