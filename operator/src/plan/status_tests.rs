use std::sync::Arc;

use serde_json::json;
use weft_crds::Problem;

use super::*;
use crate::fixtures::{at, cluster, config, owned};
use crate::memory::Memory;
use crate::plan::agent_manifest::{AgentSettings, render};
use crate::plan::check::check;
use crate::plan::migration;

fn observed(nodes: &[&str]) -> Observed {
    let mut observed = cluster(config(json!([{"cidr": "10.244.0.0/16"}])), nodes);
    let mut agents = render(&AgentSettings::default(), &Default::default());
    agents.metadata.generation = Some(1);
    agents.status = Some(k8s_openapi::api::apps::v1::DaemonSetStatus {
        observed_generation: Some(1),
        desired_number_scheduled: nodes.len() as i32,
        updated_number_scheduled: Some(nodes.len() as i32),
        ..Default::default()
    });
    observed.daemonset = Some(Arc::new(agents));
    observed
}

/// The status that is written, if one is, and what is announced.
fn run(
    observed: &Observed,
    shortages: &[Shortage],
    seconds: i64,
) -> (Option<NetworkConfigStatus>, Vec<(bool, String)>) {
    let mut out = Plan::default();
    let config = observed.config.clone().unwrap();
    let memory = Memory::default();
    let course = migration::plan(observed, &config, &memory, at(seconds), &mut out);
    let judged = Judged {
        checked: &check(observed),
        shortages,
        course: &course,
        written: None,
    };
    plan(observed, &config, &judged, at(seconds), &mut out);
    let mut status = None;
    let mut said = Vec::new();
    for action in out.actions {
        match action {
            Action::WriteStatus(config) => status = config.status,
            Action::Announce(a) => said.push((a.warning, a.reason)),
            other => panic!("{other:?}"),
        }
    }
    (status, said)
}

fn settle(mut observed: Observed, shortages: &[Shortage], seconds: i64) -> Observed {
    let (status, _) = run(&observed, shortages, seconds);
    Arc::make_mut(observed.config.as_mut().unwrap()).status = status;
    observed
}

fn conditions(status: &NetworkConfigStatus) -> Vec<(&str, &str, &str)> {
    let conditions = status.conditions.iter();
    conditions
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()))
        .collect()
}

#[test]
fn all_well() {
    let observed = observed(&["a", "b"])
        .with_report("a", &[])
        .with_report("b", &[])
        .change_report("b", |r| r.mtu = Some(1400))
        .with_block(owned("10.244.0.0/26", "a"));
    let (status, said) = run(&observed, &[], 0);
    let status = status.unwrap();
    assert_eq!(
        conditions(&status),
        [
            ("Ready", "True", "AllNodesReady"),
            ("AddressesAvailable", "True", "EveryNodeHasRoom")
        ]
    );
    assert_eq!(status.nodes.unwrap().summary, "2/2");
    assert_eq!(status.mtu, Some(1400));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(
        (status.pools[0].blocks, status.pools[0].allocated),
        (1024, 1)
    );
    assert!(
        status
            .conditions
            .iter()
            .all(|c| c.observed_generation == Some(1))
    );
    assert_eq!(said, [(false, "AllNodesReady".into())]);
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let observed = settle(observed(&["a"]).with_report("a", &[]), &[], 0);
    assert_eq!(run(&observed, &[], 500), (None, vec![]));
}

#[test]
fn times_change_only_with_the_status_of_a_condition() {
    let settled = settle(observed(&["a", "b"]), &[], 0);
    let (status, _) = run(&settled.clone().with_report("a", &[]), &[], 50);
    let status = status.unwrap();
    assert_eq!(status.nodes.as_ref().unwrap().summary, "1/2");
    assert_eq!(status.conditions[0].last_transition_time.0, at(0).wall);

    let all = settled.with_report("a", &[]).with_report("b", &[]);
    let (status, _) = run(&all, &[], 50);
    assert_eq!(
        status.unwrap().conditions[0].last_transition_time.0,
        at(50).wall
    );
}

#[test]
fn nodes_that_lag_are_named_with_the_cause() {
    let observed = observed(&["a", "b", "c", "d", "e"])
        .with_report("a", &[])
        .with_report("b", &[])
        .change_report("b", |r| r.observed_generation = Some(0))
        .with_report("c", &[])
        .change_report("c", |r| {
            r.forwarding = false;
            r.problems = vec![Problem {
                reason: "AddressNotFound".into(),
                message: "no InternalIP".into(),
            }];
        })
        .with_report("d", &[])
        .change_report("d", |r| r.node_uid = "uid-earlier".into());
    let (status, _) = run(&observed, &[], 0);
    let status = status.unwrap();
    assert_eq!(
        conditions(&status)[..2],
        [
            ("Ready", "False", "NodesNotReady"),
            ("Reconciling", "True", "NodesNotReady")
        ]
    );
    assert_eq!(
        status.conditions[0].message,
        "1 of 5 nodes are ready; not: b hasn't carried out this generation yet; c AddressNotFound: no InternalIP; d its agent hasn't reported; e its agent hasn't reported"
    );
}

#[test]
fn a_stall_comes_before_everything_and_is_announced_once() {
    let mut bad = observed(&["a"]);
    bad.service_cidrs = vec!["10.244.0.0/20".parse().unwrap()];
    let (status, said) = run(&bad, &[], 0);
    assert_eq!(
        conditions(status.as_ref().unwrap())[..2],
        [
            ("Ready", "False", "PoolOverlapsServices"),
            ("Stalled", "True", "PoolOverlapsServices")
        ]
    );
    assert_eq!(said, [(true, "PoolOverlapsServices".into())]);
    let settled = settle(bad, &[], 0);
    assert_eq!(run(&settled.with_report("a", &[]), &[], 1).1, []);
}

#[test]
fn exhaustion_is_a_condition_and_an_event_that_name_pool_and_nodes() {
    let short = |node: &str, cause| Shortage {
        node: node.into(),
        family: Family::V4,
        cause,
    };
    let shortages = [
        short("b", ShortageCause::WithoutBlock),
        short("a", ShortageCause::NearlyFull),
    ];
    let observed = observed(&["a"]).with_report("a", &[]);
    let (status, said) = run(&observed, &shortages, 0);
    let status = status.unwrap();
    let condition = status.conditions.last().unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", "PoolExhausted")
    );
    for part in [
        "10.244.0.0/16",
        "nodes without one: b (IPv4)",
        "nearly full: a (IPv4)",
        "add a pool",
    ] {
        assert!(condition.message.contains(part), "{}", condition.message);
    }
    assert!(said.contains(&(true, "PoolExhausted".into())));
    assert_eq!(conditions(&status)[0].1, "True", "what runs goes on");

    let settled = settle(observed, &shortages, 0);
    assert_eq!(
        run(&settled, &[], 1).1,
        [(false, "EveryNodeHasRoom".into())]
    );
}

#[test]
fn a_roll_of_the_agents_is_told() {
    let mut observed = observed(&["a", "b"])
        .with_report("a", &[])
        .with_report("b", &[]);
    let agents = Arc::make_mut(observed.daemonset.as_mut().unwrap());
    agents.status.as_mut().unwrap().updated_number_scheduled = Some(1);
    let (status, _) = run(&observed, &[], 0);
    let status = status.unwrap();
    assert_eq!(
        conditions(&status)[1],
        ("Reconciling", "True", "AgentsRolling")
    );
    assert!(status.conditions[0].message.starts_with("1 of 2 agents"));
}

#[test]
fn a_warning_about_what_is_in_use_is_an_event_and_no_stall() {
    let mut used = observed(&["a"])
        .with_report("a", &[])
        .with_block(owned("10.244.0.0/26", "a"));
    used.service_cidrs = vec!["10.244.0.0/20".parse().unwrap()];
    let (status, said) = run(&used, &[], 0);
    assert_eq!(conditions(&status.unwrap())[0].1, "True");
    assert!(said.contains(&(true, "PoolOverlapsServices".into())));
}
