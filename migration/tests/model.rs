//! Every order in which things can happen to a small cluster on its way from one mode to another, for the very functions
//! that the operator and the agents run.
//!
//! What can happen is in `model/steps.rs`, what must never be at its end. Further than is fit for every day goes
//! `cargo test --release -p weft-migration --test model -- --ignored --nocapture`.

#[path = "model/events.rs"]
mod events;
#[path = "model/old_reports.rs"]
mod old_reports;
#[path = "model/properties.rs"]
mod properties;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/search.rs"]
mod search;
#[path = "model/steps.rs"]
mod steps;
#[path = "model/world.rs"]
mod world;

use stateright::{Checker, HasDiscoveries, Model};
use weft_migration::Phase;

use events::Event;
use rules::Rules;
use search::{replay, search};
use steps::Cluster;
use world::Faults;

const NONE: Faults = Faults {
    edits: 0,
    outages: 0,
    lost_disks: 0,
    breaks: 0,
    stray: 0,
};

/// Goes to every state; gives the property that doesn't hold, and what led there.
fn check<const N: usize>(what: &str, model: Cluster<N>) -> Option<(&'static str, Vec<Event>)> {
    let found = model.checker().finish_when(HasDiscoveries::AnyFailures);
    let found = found.spawn_bfs().join();
    println!(
        "{what}: {} states, {} events, up to {} events deep",
        found.unique_state_count(),
        found.state_count(),
        found.max_depth() - 1,
    );
    let broken = found.discoveries().into_iter().next();
    broken.map(|(name, path)| (name, path.into_actions()))
}

fn holds<const N: usize>(what: &str, model: Cluster<N>) {
    if let Some((broken, story)) = check(what, model) {
        panic!("{what}: not always: {broken}: {story:#?}");
    }
}

fn comes_to_rest<const N: usize>(what: &str, model: &Cluster<N>) {
    let found = search(model);
    println!(
        "{what}: rest can be reached from all of {} states; {} of them are at rest; up to {} events deep",
        found.states, found.rests, found.deepest
    );
    if let Some(lost) = found.lost {
        let world = replay(model, &lost);
        let stored = world.as_ref().map(|world| model.stored(world));
        panic!("{what}: there is no way to rest after {lost:#?}: {stored:#?}, {world:#?}");
    }
}

fn two(faults: Faults) -> Cluster<2> {
    Cluster::new(Rules::Real, faults)
}

fn three(faults: Faults) -> Cluster<3> {
    Cluster::new(Rules::Real, faults).waves(1, Some(2))
}

#[test]
fn two_nodes_are_safe_whatever_the_admin_and_the_underlay_do() {
    let faults = Faults {
        edits: 2,
        breaks: 1,
        ..NONE
    };
    let mut model = two(faults);
    model.lag = 1;
    holds("2 nodes, 2 edits, underlay breaks", model);
    let unable = Faults { edits: 1, ..NONE };
    let model = two(unable).unable(1);
    holds("2 nodes, one unable until repaired, 1 edit", model);
}

#[test]
fn two_nodes_are_safe_whatever_dies_and_whoever_is_mistaken_about_it() {
    let faults = Faults {
        outages: 1,
        lost_disks: 1,
        stray: 1,
        ..NONE
    };
    holds(
        "2 nodes, power and disk lost, two leaders disagree",
        two(faults),
    );
    let broken = Faults {
        outages: 1,
        breaks: 1,
        ..NONE
    };
    let mut model = two(broken);
    model.lag = 1;
    holds("2 nodes, power lost, underlay breaks", model);
}

#[test]
fn two_nodes_are_safe_when_one_dies_and_the_admin_thinks_again() {
    let faults = Faults {
        edits: 1,
        outages: 1,
        ..NONE
    };
    let mut model = two(faults);
    (model.lag, model.saves_last) = (1, true);
    holds("2 nodes, 1 edit, power lost", model);
}

#[test]
fn three_nodes_are_safe() {
    let outage = Faults { outages: 1, ..NONE };
    holds("3 nodes, a canary, power lost", three(outage));
    let edit = Faults {
        edits: 1,
        breaks: 1,
        ..NONE
    };
    let mut model = three(edit);
    model.lag = 1;
    holds("3 nodes, a canary, 1 edit, underlay breaks", model);
}

#[test]
fn rest_can_be_reached_from_everywhere() {
    let edits = Faults {
        edits: 1,
        breaks: 1,
        ..NONE
    };
    comes_to_rest("2 nodes, 1 edit, underlay breaks", &two(edits));
    let outage = Faults {
        outages: 1,
        lost_disks: 1,
        stray: 1,
        ..NONE
    };
    let mut model = two(outage);
    (model.lag, model.saves_last) = (1, true);
    comes_to_rest("2 nodes, power and disk lost, two leaders disagree", &model);
    let mut model = two(Faults { edits: 1, ..NONE }).unable(1);
    (model.lag, model.saves_last) = (1, true);
    comes_to_rest("2 nodes, one unable until repaired, 1 edit", &model);
    let mut model = three(Faults { outages: 1, ..NONE });
    (model.lag, model.saves_last) = (1, true);
    comes_to_rest("3 nodes, a canary, power lost", &model);
}

/// Each rule is needed: without it, something that must never be is found.
#[test]
fn every_rule_that_is_broken_is_found_out() {
    let faults = |edits, outages| Faults {
        edits,
        outages,
        ..NONE
    };
    for rules in Rules::BROKEN {
        let tries = [faults(0, 0), faults(1, 0), faults(0, 1)];
        let mut caught = tries.into_iter().filter_map(|faults| {
            let mut model = Cluster::<2>::new(rules, faults);
            (model.lag, model.saves_last) = match rules {
                // Somebody has to have an old version to write from.
                Rules::WritesAreNotCompared => (2, true),
                Rules::ReportsComeBeforeSaving => (1, false),
                _ => (1, true),
            };
            if rules == Rules::RetireForgetsReturned {
                // It needs two nodes that were down. The first one is back, and nobody has noticed.
                model.faults.outages += 1;
                let first = [
                    Event::PowerGoes(0),
                    Event::Noticed(0),
                    Event::PowerReturns(0, false),
                ];
                model = model.begins_in(Phase::Retire, &first, 0);
            }
            let what = format!("{rules:?}, {faults:?}");
            Some((faults, check(&what, model)?))
        });
        let Some((faults, (property, story))) = caught.next() else {
            panic!("{rules:?} is not found out");
        };
        println!(
            "{rules:?}: not always: {property}; after {} events, with {faults:?}",
            story.len()
        );
    }
}

/// Further than is fit for every day.
#[test]
#[ignore = "minutes in release, and gigabytes"]
fn more_at_once_is_safe_too() {
    let each = |edits, outages, breaks| Faults {
        edits,
        outages,
        breaks,
        ..NONE
    };
    let less = |mut model: Cluster<3>| {
        (model.lag, model.saves_last) = (1, true);
        model
    };
    let mut model = two(each(1, 1, 1));
    (model.lag, model.saves_last) = (1, true);
    holds("2 nodes, 1 edit, power lost, underlay breaks", model);
    let mut model = two(each(0, 2, 0));
    model.lag = 1;
    holds("2 nodes, power lost twice", model);
    holds(
        "2 nodes, 1 edit, power lost, saved at any time",
        two(each(1, 1, 0)),
    );
    comes_to_rest("2 nodes, 1 edit, power lost", &two(each(1, 1, 0)));
    let mut model = three(Faults { edits: 2, ..NONE });
    model.lag = 1;
    holds("3 nodes, a canary, 2 edits", model);
    holds(
        "3 nodes, a canary, 1 edit, power lost",
        less(three(each(1, 1, 0))),
    );
}
