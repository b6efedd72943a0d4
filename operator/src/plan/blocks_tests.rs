use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixtures::{at, block, cluster, config, node, owned};
use crate::plan::check::check;
use crate::plan::pools::overlap;

const V4: &str = "10.244.0.0/16";

fn dual() -> NetworkConfig {
    config(json!([{"cidr": V4}, {"cidr": "fd00:10:244::/56"}]))
}

fn one(pool: serde_json::Value) -> NetworkConfig {
    config(json!([pool]))
}

struct Planned {
    actions: Vec<Action>,
    shortages: Vec<Shortage>,
    deadline: Option<i64>,
}

fn run(observed: &Observed, memory: &Memory, seconds: i64) -> Planned {
    let mut out = Plan::default();
    let config = observed.config.clone().unwrap();
    let checked = check(observed);
    let shortages = plan(observed, memory, &checked, &config, at(seconds), &mut out);
    Planned {
        actions: out.actions,
        shortages,
        deadline: out.deadline.map(|d| d.as_secs() as i64),
    }
}

/// Each action as "verb cidr node".
fn brief(actions: &[Action]) -> Vec<String> {
    let line = |verb: &str, block: &IPBlock| {
        let node = block.spec.node.clone().unwrap_or_else(|| "-".into());
        format!("{verb} {} {node}", block.spec.cidr)
    };
    actions
        .iter()
        .map(|action| match action {
            Action::CreateBlock(b) => line("create", b),
            Action::AssignBlock(b) => line("assign", b),
            Action::DrainBlock(b) => line("drain", b),
            Action::ReleaseBlock { block, gone: None } => line("release", block),
            Action::ReleaseBlock { block, .. } => line("release-if-gone", block),
            Action::DeleteBlock(b) => line("delete", b),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn now(observed: &Observed) -> Vec<String> {
    brief(&run(observed, &Memory::default(), 100_000).actions)
}

fn emptied_since(observed: &mut Observed, seconds: i64) -> Memory {
    let mut memory = Memory::default();
    memory.merge(observed, at(seconds).mono);
    memory
}

#[test]
fn each_node_gets_one_block_of_each_family_at_once() {
    assert_eq!(
        now(&cluster(dual(), &["b", "a"])),
        [
            "create 10.244.0.0/26 a",
            "create 10.244.0.64/26 b",
            "create fd00:10:244::/122 a",
            "create fd00:10:244::40/122 b",
        ]
    );
}

#[test]
fn nothing_is_done_when_all_have_what_they_need() {
    let observed = cluster(dual(), &["a"])
        .with_block(owned("10.244.0.0/26", "a"))
        .with_block(owned("fd00:10:244::/122", "a"))
        .with_report(
            "a",
            &[("10.244.0.0/26", 61, 40), ("fd00:10:244::/122", 62, 40)],
        );
    let planned = run(&observed, &Memory::default(), 0);
    assert!(planned.actions.is_empty() && planned.shortages.is_empty());
    assert_eq!(planned.deadline, None);
}

#[test]
fn a_nearly_full_node_gets_another_block_once() {
    let full = |used| {
        cluster(one(json!({"cidr": V4})), &["a"])
            .with_block(owned("10.244.0.0/26", "a"))
            .with_report("a", &[("10.244.0.0/26", 61, used)])
    };
    assert!(now(&full(49)).is_empty());
    assert_eq!(now(&full(50)), ["create 10.244.0.64/26 a"]);
    // A block that its agent hasn't seen yet counts as room.
    assert!(now(&full(61).with_block(owned("10.244.0.64/26", "a"))).is_empty());
}

#[test]
fn small_blocks_have_a_small_mark() {
    assert_eq!(low_water("10.0.0.0/29".parse().unwrap()), 4);
    assert_eq!(low_water("10.0.0.0/26".parse().unwrap()), 12);
    assert_eq!(low_water("fd00::/96".parse().unwrap()), 12);
}

#[test]
fn the_maximum_is_kept_and_told() {
    let mut config = one(json!({"cidr": V4}));
    config.spec.ipam.max_blocks_per_node = 1;
    let observed = cluster(config, &["a"])
        .with_block(owned("10.244.0.0/26", "a"))
        .with_report("a", &[("10.244.0.0/26", 61, 61)]);
    let planned = run(&observed, &Memory::default(), 0);
    assert!(planned.actions.is_empty());
    assert_eq!(planned.shortages[0].cause, ShortageCause::AtMaximum);
}

#[test]
fn exhaustion_names_the_nodes_and_serves_those_without_first() {
    let observed = cluster(one(json!({"cidr": "10.244.0.0/25"})), &["a", "b", "c"])
        .with_block(owned("10.244.0.0/26", "a"))
        .with_report("a", &[("10.244.0.0/26", 61, 61)]);
    let planned = run(&observed, &Memory::default(), 0);
    assert_eq!(brief(&planned.actions), ["create 10.244.0.64/26 b"]);
    let short: Vec<_> = planned
        .shortages
        .iter()
        .map(|s| (s.node.as_str(), s.cause))
        .collect();
    assert_eq!(
        short,
        [
            ("c", ShortageCause::WithoutBlock),
            ("a", ShortageCause::NearlyFull)
        ]
    );
}

#[test]
fn a_second_pool_is_used_when_the_first_is_exhausted() {
    let observed = cluster(
        config(json!([{"cidr": "10.244.0.0/26"}, {"cidr": "10.245.0.0/24", "blockSize": 28}])),
        &["a", "b"],
    );
    assert_eq!(
        now(&observed),
        ["create 10.244.0.0/26 a", "create 10.245.0.0/28 b"]
    );
}

#[test]
fn blocks_of_a_node_that_is_gone_are_released_after_a_while() {
    let mut observed =
        cluster(one(json!({"cidr": V4})), &[]).with_block(owned("10.244.0.0/26", "a"));
    let mut memory = Memory::default();
    memory.merge(&mut observed, at(0).mono);
    let early = run(&observed, &memory, 4);
    assert!(early.actions.is_empty());
    assert_eq!(early.deadline, Some(5));
    match &run(&observed, &memory, 5).actions[..] {
        [Action::ReleaseBlock { block, gone }] => {
            assert_eq!(*gone, Some(("a".into(), "uid-a".into())));
            assert_eq!((&block.spec.node, &block.spec.node_uid), (&None, &None));
            assert_eq!(block.spec.released_at.as_ref().unwrap().0, at(5).wall);
            assert_eq!(block.metadata.resource_version.as_deref(), Some("1"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_node_of_the_same_name_is_not_the_owner() {
    let mut observed =
        cluster(one(json!({"cidr": V4})), &["a"]).with_block(owned("10.244.0.0/26", "a"));
    observed.nodes.get_mut("a").unwrap().uid = "uid-new".into();
    let mut memory = Memory::default();
    memory.merge(&mut observed, at(0).mono);
    assert_eq!(
        brief(&run(&observed, &memory, 5).actions),
        ["release-if-gone 10.244.0.0/26 -", "create 10.244.0.64/26 a"]
    );
}

#[test]
fn a_released_block_cools_down_and_then_comes_before_new_ones() {
    let mut released = block("10.244.0.64/26");
    released.spec.released_at = Some(Time(at(0).wall));
    let observed = cluster(one(json!({"cidr": V4})), &["a"]).with_block(released);
    let early = run(&observed, &Memory::default(), 299);
    assert_eq!(brief(&early.actions), ["create 10.244.0.0/26 a"]);
    assert_eq!(early.deadline, Some(300));
    let late = run(&observed, &Memory::default(), 300);
    assert_eq!(brief(&late.actions), ["assign 10.244.0.64/26 a"]);
}

#[test]
fn the_block_released_longest_ago_is_first() {
    let mut newer = block("10.244.0.0/26");
    newer.spec.released_at = Some(Time(at(10).wall));
    let mut older = block("10.244.0.64/26");
    older.spec.released_at = Some(Time(at(5).wall));
    let observed = cluster(one(json!({"cidr": V4})), &["a", "b"])
        .with_block(newer)
        .with_block(older);
    assert_eq!(
        now(&observed),
        ["assign 10.244.0.64/26 a", "assign 10.244.0.0/26 b"]
    );
}

#[test]
fn a_clock_set_back_waits_no_longer_than_a_cool_down() {
    let mut released = block("10.244.0.0/26");
    released.spec.released_at = Some(Time(at(90_000).wall));
    let observed = cluster(one(json!({"cidr": "10.244.0.0/26"})), &["a"]).with_block(released);
    let planned = run(&observed, &Memory::default(), 0);
    assert!(planned.actions.is_empty());
    assert_eq!(planned.deadline, Some(300));
}

#[test]
fn a_released_block_that_its_last_owner_still_reports_is_given_to_nobody() {
    let observed = cluster(one(json!({"cidr": V4})), &["a", "b"])
        .with_block(owned("10.244.0.64/26", "a"))
        .with_block(block("10.244.0.0/26"))
        .with_report("a", &[("10.244.0.64/26", 61, 1), ("10.244.0.0/26", 61, 0)]);
    assert_eq!(now(&observed), ["create 10.244.0.128/26 b"]);
}

#[test]
fn foreign_blocks_are_gone_around_and_those_of_removed_pools_go() {
    let mut foreign = block("10.99.0.0/26");
    foreign.spec.pool = "10.99.0.0/16".into();
    let observed = cluster(one(json!({"cidr": V4})), &["a"])
        .with_block(owned("10.244.0.0/27", "z"))
        .with_block(block("10.244.0.96/27"))
        .with_block(foreign);
    let lines = now(&observed);
    assert_eq!(
        lines,
        [
            "delete 10.244.0.96/27 -",
            "delete 10.99.0.0/26 -",
            "create 10.244.0.128/26 a"
        ]
    );
}

fn two_blocks(used: (u64, u64)) -> Observed {
    cluster(one(json!({"cidr": V4})), &["a"])
        .with_block(owned("10.244.0.0/26", "a"))
        .with_block(owned("10.244.0.64/26", "a"))
        .with_report(
            "a",
            &[
                ("10.244.0.0/26", 61, used.0),
                ("10.244.0.64/26", 61, used.1),
            ],
        )
        .with_network("a", &["10.244.0.1"])
}

#[test]
fn a_long_empty_extra_block_is_drained_then_released() {
    let mut observed = two_blocks((5, 0));
    let memory = emptied_since(&mut observed, 0);
    let early = run(&observed, &memory, 599);
    assert!(early.actions.is_empty());
    assert_eq!(early.deadline, Some(600));
    assert_eq!(
        brief(&run(&observed, &memory, 600).actions),
        ["drain 10.244.0.64/26 a"]
    );

    let mut draining = owned("10.244.0.64/26", "a");
    draining.spec.draining = true;
    let observed = observed.with_block(draining);
    assert!(
        now(&observed).is_empty(),
        "the agent hasn't said that it is drained"
    );
    let drained = observed.change_report("a", |r| r.blocks[1].drained = true);
    assert_eq!(now(&drained), ["release 10.244.0.64/26 -"]);
}

#[test]
fn the_home_of_the_node_pod_address_stays_even_if_it_is_the_empty_one() {
    let mut observed = two_blocks((0, 5));
    let memory = emptied_since(&mut observed, 0);
    assert!(run(&observed, &memory, 9_000).actions.is_empty());
}

#[test]
fn without_knowing_the_home_nothing_is_drained() {
    let mut observed = two_blocks((5, 0));
    observed.networks.clear();
    let memory = emptied_since(&mut observed, 0);
    assert!(run(&observed, &memory, 9_000).actions.is_empty());
}

#[test]
fn a_block_that_would_be_wanted_back_at_once_stays() {
    let mut observed = two_blocks((45, 0));
    let memory = emptied_since(&mut observed, 0);
    assert!(run(&observed, &memory, 9_000).actions.is_empty());
}

#[test]
fn a_stale_report_of_drained_is_no_reason_to_drain() {
    let mut observed = two_blocks((5, 0)).change_report("a", |r| r.blocks[1].drained = true);
    let memory = emptied_since(&mut observed, 0);
    assert!(run(&observed, &memory, 9_000).actions.is_empty());
}

#[test]
fn blocks_of_a_disabled_pool_drain_and_the_node_gets_one_of_another() {
    let pools = json!([{"cidr": V4, "disabled": true}, {"cidr": "10.9.0.0/16"}]);
    let observed = cluster(config(pools), &["a"]).with_block(owned("10.244.0.0/26", "a"));
    assert_eq!(
        now(&observed),
        ["drain 10.244.0.0/26 a", "create 10.9.0.0/26 a"]
    );
}

#[test]
fn a_disabled_pool_gives_nothing_out_and_that_is_no_shortage() {
    let pools = json!([{"cidr": V4, "disabled": true}, {"cidr": "fd00:10:244::/56"}]);
    let planned = run(&cluster(config(pools), &["a"]), &Memory::default(), 0);
    assert_eq!(brief(&planned.actions), ["create fd00:10:244::/122 a"]);
    assert!(planned.shortages.is_empty());
}

#[test]
fn blocks_of_a_missing_pool_are_left_alone() {
    let observed = cluster(one(json!({"cidr": "10.9.0.0/16"})), &["a"])
        .with_block(owned("10.244.0.0/26", "a"));
    assert!(now(&observed).is_empty());
}

proptest! {
    /// Whatever is there, nothing that is given out overlaps anything else.
    #[test]
    fn nothing_given_out_overlaps(
        existing in prop::collection::vec((0u32..512, 24u8..=28, 0u8..4, any::<bool>()), 0..20),
        nodes in 1usize..8,
    ) {
        let names: Vec<String> = (0..nodes).map(|i| format!("n{i}")).collect();
        let mut observed = cluster(one(json!({"cidr": "10.244.0.0/22"})), &[]);
        for name in &names {
            observed.nodes.insert(name.clone(), node(name));
        }
        for (offset, prefix, owner, is_owned) in existing {
            let address = u32::from_be_bytes([10, 244, 0, 0]) + offset * 8;
            let range = ipnet::Ipv4Net::new(address.into(), prefix).unwrap().trunc().to_string();
            let piece = if is_owned { owned(&range, &format!("n{owner}")) } else { block(&range) };
            let mut piece = piece;
            piece.spec.pool = "10.244.0.0/22".into();
            observed.blocks.insert(piece.metadata.name.clone().unwrap(), Arc::new(piece));
        }
        let planned = run(&observed, &Memory::default(), 0);
        let mut held: Vec<(String, IpNet)> = observed
            .blocks
            .values()
            .map(|b| (b.metadata.name.clone().unwrap(), b.spec.cidr.parse().unwrap()))
            .collect();
        for action in &planned.actions {
            let (given, is_new) = match action {
                Action::CreateBlock(b) => (b, true),
                Action::AssignBlock(b) => (b, false),
                _ => continue,
            };
            let name = given.metadata.name.clone().unwrap();
            let range: IpNet = given.spec.cidr.parse().unwrap();
            for (other, taken) in &held {
                prop_assert!(*other == name || !overlap(*taken, range), "{range} and {taken}");
            }
            prop_assert_eq!(is_new, !held.iter().any(|(n, _)| *n == name));
            if is_new {
                held.push((name, range));
            }
        }
    }
}
