//! The condition NetworkUnavailable of nodes. The node lifecycle controller of Kubernetes keeps a taint in
//! step with it, so pods are scheduled to a node only when their packets go somewhere.
//!
//! A node starts as unavailable and becomes available when its report says that it forwards. From then
//! on the silence of its agent is no reason to change that, because packets go on without the agent;
//! nor is a peer that is down. Only a node that no peer with a ready kubelet can reach, for a while, is
//! unavailable again.

use std::time::Duration;

use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Action, Plan};
use crate::memory::Memory;
use crate::observed::{NETWORK_UNAVAILABLE, NodeFacts, Now, Observed};

/// For how long a node has to be cut off before it is unavailable.
pub const CUT_FOR: Duration = Duration::from_secs(60);

/// Reason of the condition when the node forwards.
pub const UP: &str = "WeftIsUp";
/// Reason of the condition when it doesn't.
pub const NOT_READY: &str = "WeftNotReady";

/// Whether the report of a node says that it doesn't forward and that none of the peers whose kubelet
/// is ready answers it.
pub fn is_cut_off(observed: &Observed, node: &NodeFacts) -> bool {
    let Some(report) = observed.report_of(node).filter(|r| !r.spec.forwarding) else {
        return false;
    };
    let mut up = report
        .spec
        .peers
        .iter()
        .filter(|peer| observed.nodes.get(&peer.node).is_some_and(|n| n.ready))
        .peekable();
    up.peek().is_some() && !up.any(|peer| peer.answers)
}

/// Adds the conditions that have to change.
pub fn plan(observed: &Observed, memory: &Memory, now: Now, plan: &mut Plan) {
    for node in observed.nodes.values() {
        let current = node.network_unavailable.as_ref();
        let forwards = observed.report_of(node).is_some_and(|r| r.spec.forwarding);
        let cut_since = memory.cut_since.get(&node.uid);
        let wanted = if forwards {
            ("False", UP, "Weft programs the node and its peers answer")
        } else if current.is_none_or(|c| c.status == "Unknown") {
            (
                "True",
                NOT_READY,
                "the agent hasn't reported yet that packets reach this node",
            )
        } else if let Some(since) = cut_since {
            if now.mono < *since + CUT_FOR {
                plan.look_at(*since + CUT_FOR);
                continue;
            }
            (
                "True",
                NOT_READY,
                "no peer that is up answers the probes of this node",
            )
        } else {
            continue;
        };
        let (status, reason, message) = wanted;
        let is_so =
            current.is_some_and(|c| c.status == status && c.reason.as_deref() == Some(reason));
        if is_so {
            continue;
        }
        let since = current
            .filter(|c| c.status == status)
            .and_then(|c| c.last_transition_time.clone());
        plan.actions.push(Action::SetNodeCondition {
            node: node.name.clone(),
            resource_version: node.resource_version.clone(),
            condition: Box::new(NodeCondition {
                type_: NETWORK_UNAVAILABLE.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                last_heartbeat_time: Some(Time(now.wall)),
                last_transition_time: since.or(Some(Time(now.wall))),
            }),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{at, cluster, config};
    use serde_json::json;
    use weft_crds::PeerReport;

    fn observed() -> Observed {
        cluster(config(json!([{"cidr": "10.244.0.0/16"}])), &["a", "b"])
    }

    fn set(observed: &Observed, memory: &Memory, seconds: i64) -> Vec<(String, String)> {
        let mut out = Plan::default();
        plan(observed, memory, at(seconds), &mut out);
        out.actions
            .iter()
            .map(|action| match action {
                Action::SetNodeCondition {
                    node, condition, ..
                } => (node.clone(), condition.status.clone()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn up(mut observed: Observed) -> Observed {
        for node in observed.nodes.values_mut() {
            node.network_unavailable = Some(NodeCondition {
                type_: NETWORK_UNAVAILABLE.into(),
                status: "False".into(),
                reason: Some(UP.into()),
                ..NodeCondition::default()
            });
        }
        observed
    }

    fn cut(observed: Observed, answers: bool) -> Observed {
        observed.with_report("a", &[]).change_report("a", |report| {
            report.forwarding = false;
            report.peers = vec![PeerReport {
                node: "b".into(),
                ipv4: None,
                ipv6: None,
                answers,
            }];
        })
    }

    #[test]
    fn a_node_is_unavailable_until_it_forwards() {
        let memory = Memory::default();
        assert_eq!(
            set(&observed(), &memory, 0),
            [("a".into(), "True".into()), ("b".into(), "True".into())]
        );
        let reported = observed().with_report("a", &[]).with_report("b", &[]);
        assert_eq!(set(&reported, &memory, 0).len(), 2);
        assert!(set(&up(reported), &memory, 0).is_empty());
    }

    #[test]
    fn a_report_about_another_node_of_the_same_name_counts_for_nothing() {
        let stale = observed()
            .with_report("a", &[])
            .change_report("a", |r| r.node_uid = "another".into());
        assert_eq!(
            set(&stale, &Memory::default(), 0)[0],
            ("a".into(), "True".into())
        );
    }

    #[test]
    fn silence_of_the_agent_changes_nothing() {
        assert!(set(&up(observed()), &Memory::default(), 0).is_empty());
    }

    #[test]
    fn a_node_that_nobody_up_reaches_is_unavailable_after_a_while() {
        let mut observed = cut(up(observed()).with_report("b", &[]), false);
        let mut memory = Memory::default();
        memory.merge(&mut observed, at(0).mono);
        assert!(set(&observed, &memory, 59).is_empty());
        assert_eq!(set(&observed, &memory, 60), [("a".into(), "True".into())]);
    }

    #[test]
    fn a_peer_that_is_down_or_one_that_answers_is_no_reason() {
        for (ready, answers) in [(false, false), (true, true)] {
            let mut observed = cut(up(observed()), answers);
            observed.nodes.get_mut("b").unwrap().ready = ready;
            let mut memory = Memory::default();
            memory.merge(&mut observed, at(0).mono);
            assert!(set(&observed, &memory, 600).is_empty(), "{ready} {answers}");
        }
    }
}
