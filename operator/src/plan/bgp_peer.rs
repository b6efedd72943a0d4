//! The status of BGPPeers: with how many of the nodes that it selects a router has a session, and what is wrong with
//! the others, by the kstatus convention.

use weft_crds::condition::{READY, RECONCILING, STALLED};
use weft_crds::{BGPPeer, BGPPeerStatus, BgpSession, BgpState, Mode, NetworkConfig};

use super::status::{Verdict, dated, list};
use super::{Action, Plan};
use crate::observed::{NodeFacts, Now, Observed};

/// Why agents leave a BGPPeer out. It is the reason of the problem that they report, which begins with the name.
const NOT_USED: &str = "BGPPeerNotUsed";

/// Adds the writes of the statuses that change.
pub fn plan(observed: &Observed, config: &NetworkConfig, now: Now, plan: &mut Plan) {
    for (name, peer) in &observed.bgp_peers {
        let before = peer.status.clone().unwrap_or_default();
        let after = status(observed, config, name, peer, &before, now);
        if after != before {
            let written = BGPPeer {
                status: Some(after),
                ..peer.as_ref().clone()
            };
            plan.actions.push(Action::WriteBgpPeer(Box::new(written)));
        }
    }
}

fn status(
    observed: &Observed,
    config: &NetworkConfig,
    name: &str,
    peer: &BGPPeer,
    before: &BGPPeerStatus,
    now: Now,
) -> BGPPeerStatus {
    let nodes: Vec<&NodeFacts> = observed
        .nodes
        .values()
        .filter(|node| selects(peer, node))
        .collect();
    let missing: Vec<Missing> = nodes
        .iter()
        .filter_map(|node| missing(observed, name, node))
        .collect();
    let complaints: Vec<String> = nodes
        .iter()
        .filter_map(|node| complaint(observed, name, node))
        .collect();
    let established = nodes
        .iter()
        .filter(|node| session(observed, name, node).is_some_and(is_up))
        .count();
    let generation = peer.metadata.generation;
    let verdicts = verdicts(
        config,
        peer,
        established,
        nodes.len(),
        &missing,
        &complaints,
    )
    .into_iter();
    BGPPeerStatus {
        observed_generation: generation,
        established: format!("{established}/{}", nodes.len()),
        conditions: verdicts
            .map(|verdict| dated(verdict, &before.conditions, generation, now))
            .collect(),
    }
}

fn selects(peer: &BGPPeer, node: &NodeFacts) -> bool {
    node.is_selected(&peer.spec.node_selector)
}

fn session<'a>(observed: &'a Observed, name: &str, node: &NodeFacts) -> Option<&'a BgpSession> {
    let mut sessions = observed.report_of(node)?.spec.sessions.iter();
    sessions.find(|session| session.bgp_peer.as_deref() == Some(name))
}

fn is_up(session: &BgpSession) -> bool {
    session.state == BgpState::Established
}

/// A node without a session, or with one that is not as it should be.
struct Missing {
    /// The node and why, in words.
    what: String,
    /// It needs somebody to act.
    stalled: bool,
}

/// What is wrong with a session that there is.
fn complaint(observed: &Observed, name: &str, node: &NodeFacts) -> Option<String> {
    let session = session(observed, name, node).filter(|session| is_up(session))?;
    let error = session.last_error.as_ref()?;
    Some(format!("node {}: {}: {error}", node.name, session.address))
}

fn missing(observed: &Observed, name: &str, node: &NodeFacts) -> Option<Missing> {
    let without = |why: &str, stalled| {
        Some(Missing {
            what: format!("node {}: {why}", node.name),
            stalled,
        })
    };
    let Some(report) = observed.report_of(node) else {
        return without("its agent hasn't reported", false);
    };
    let start = format!("BGPPeer {name}: ");
    let problems = report.spec.problems.iter();
    let mut refused = problems.filter(|problem| problem.reason == NOT_USED);
    if let Some(why) = refused.find_map(|problem| problem.message.strip_prefix(&start)) {
        return without(why, true);
    }
    match session(observed, name, node) {
        Some(session) if is_up(session) => None,
        Some(session) => without(&why(session), false),
        None => without("its agent hasn't begun to speak with it", false),
    }
}

fn why(session: &BgpSession) -> String {
    let state = format!("{:?}", session.state);
    match &session.last_error {
        Some(error) => format!("{}: {error}", session.address),
        None => format!("{} is {state}", session.address),
    }
}

/// Nodes are in mode BGP, or on the way to it or from it.
fn speaks_bgp(config: &NetworkConfig) -> bool {
    let state = config.status.as_ref().and_then(|status| status.state());
    let Some(state) = state else {
        return config.spec.mode == Mode::BGP;
    };
    match state.migration {
        Some(migration) => [migration.from, migration.to].contains(&Mode::BGP),
        None => state.mode == Mode::BGP,
    }
}

fn verdicts(
    config: &NetworkConfig,
    peer: &BGPPeer,
    established: usize,
    nodes: usize,
    missing: &[Missing],
    complaints: &[String],
) -> Vec<Verdict> {
    let stalled = missing.iter().any(|missing| missing.stalled);
    let (ready, second, reason, message) = if !speaks_bgp(config) {
        let message = format!(
            "the mode of the NetworkConfig is {}; nodes speak BGP in mode BGP only",
            config.spec.mode.as_str()
        );
        ("False", Some(STALLED), "NotInModeBGP", message)
    } else if nodes == 0 {
        let message = format!(
            "nodeSelector {:?} matches no node; correct it, or label nodes",
            peer.spec.node_selector
        );
        ("False", Some(STALLED), "NoNodes", message)
    } else if missing.is_empty() {
        let mut message = format!("{nodes} of {nodes} nodes have a session");
        if !complaints.is_empty() {
            message += &format!("; {}", list(complaints.iter().cloned(), "; "));
        }
        ("True", None, "Established", message)
    } else {
        let missing = missing.iter().map(|missing| missing.what.clone());
        let all = list(missing.chain(complaints.iter().cloned()), "; ");
        let message = format!("{established} of {nodes} nodes have a session; {all}");
        let (second, reason) = match stalled {
            true => (STALLED, "NotUsed"),
            false => (RECONCILING, "NotEstablished"),
        };
        ("False", Some(second), reason, message)
    };
    let verdict = |type_, status: &'static str| Verdict {
        type_,
        status,
        reason: reason.into(),
        message: message.clone(),
    };
    let mut verdicts = vec![verdict(READY, ready)];
    // Present only when true, as kstatus has it.
    verdicts.extend(second.map(|type_| verdict(type_, "True")));
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{at, cluster};
    use serde_json::json;
    use std::sync::Arc;
    use weft_crds::Problem;

    fn observed(mode: &str, selector: serde_json::Value) -> Observed {
        let mut config = crate::fixtures::config(json!([{"cidr": "10.244.0.0/16"}]));
        config.spec.mode = serde_json::from_value(json!(mode)).unwrap();
        let mut observed = cluster(config, &["a", "b", "c"])
            .with_report("a", &[])
            .with_report("b", &[]);
        for (name, rack) in [("a", "1"), ("b", "1"), ("c", "2")] {
            let node = observed.nodes.get_mut(name).unwrap();
            node.labels.insert("rack".into(), rack.into());
        }
        let spec = json!({"address": "192.0.2.254", "asn": 64900, "nodeSelector": selector});
        let peer = BGPPeer::new("rack", serde_json::from_value(spec).unwrap());
        observed.bgp_peers.insert("rack".into(), Arc::new(peer));
        observed
    }

    fn a_session(state: BgpState, last_error: Option<&str>) -> BgpSession {
        BgpSession {
            node: None,
            bgp_peer: Some("rack".into()),
            address: "192.0.2.254".into(),
            asn: 64900,
            state,
            since: None,
            received: 0,
            advertised: 0,
            last_error: last_error.map(Into::into),
        }
    }

    /// The status that is written, if one is.
    fn run(observed: &Observed) -> Option<BGPPeerStatus> {
        let mut out = Plan::default();
        plan(observed, observed.config.as_ref().unwrap(), at(0), &mut out);
        match &out.actions[..] {
            [] => None,
            [Action::WriteBgpPeer(peer)] => peer.status.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn said(status: &BGPPeerStatus) -> (String, Vec<(&str, &str)>, String) {
        let conditions = status.conditions.iter();
        let all = conditions.map(|c| (c.type_.as_str(), c.status.as_str()));
        let message = status.conditions[0].message.clone();
        (status.established.clone(), all.collect(), message)
    }

    #[test]
    fn each_node_without_a_session_is_named_with_the_reason() {
        let error = "refuses: AS 64512, expected 64513";
        let observed = observed("BGP", json!({"rack": "1"}))
            .change_report("a", |report| {
                report.sessions = vec![a_session(BgpState::Established, None)]
            })
            .change_report("b", |report| {
                report.sessions = vec![a_session(BgpState::Idle, Some(error))]
            });
        let status = run(&observed).unwrap();
        let (established, conditions, message) = said(&status);
        assert_eq!(established, "1/2");
        assert_eq!(conditions, [(READY, "False"), (RECONCILING, "True")]);
        assert!(
            message.contains(&format!("node b: 192.0.2.254: {error}")),
            "{message}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_session_is_said_while_it_goes_on() {
        let error = "more than 10000 IPv4 prefixes";
        let observed = observed("BGP", json!({"rack": "2"}))
            .with_report("c", &[])
            .change_report("c", |report| {
                report.sessions = vec![a_session(BgpState::Established, Some(error))]
            });
        let (_, conditions, message) = {
            let status = run(&observed).unwrap();
            let said = said(&status);
            (said.0, said.1.len(), said.2)
        };
        assert_eq!(conditions, 1);
        assert!(message.contains(error), "{message}");
    }

    #[test]
    fn with_all_sessions_it_is_ready_and_nothing_is_written_again() {
        let mut observed = observed("BGP", json!({"rack": "1"}));
        for node in ["a", "b"] {
            observed = observed.change_report(node, |report| {
                report.sessions = vec![a_session(BgpState::Established, None)];
            });
        }
        let status = run(&observed).unwrap();
        let (established, conditions, _) = said(&status);
        assert_eq!(
            (established.as_str(), &conditions[..]),
            ("2/2", &[(READY, "True")][..])
        );
        let mut peer = observed.bgp_peers["rack"].as_ref().clone();
        peer.status = Some(status);
        observed.bgp_peers.insert("rack".into(), Arc::new(peer));
        assert_eq!(run(&observed), None);
    }

    #[test]
    fn what_an_agent_leaves_out_needs_somebody_to_act() {
        let problem = Problem {
            reason: NOT_USED.into(),
            message: "BGPPeer rack: there is no Secret x".into(),
        };
        let observed = observed("BGP", json!({"rack": "1"})).change_report("a", |report| {
            report.problems = vec![problem];
            // It goes on as it was.
            report.sessions = vec![a_session(BgpState::Established, None)];
        });
        let status = run(&observed).unwrap();
        let (established, conditions, message) = said(&status);
        assert_eq!(established, "1/2");
        assert_eq!(conditions, [(READY, "False"), (STALLED, "True")]);
        assert!(
            message.contains("node a: there is no Secret x"),
            "{message}"
        );
        assert!(
            message.contains("node b: its agent hasn't begun"),
            "{message}"
        );
    }

    #[test]
    fn a_selector_without_nodes_and_another_mode_stall() {
        for (mode, selector, reason) in [
            ("BGP", json!({"rack": "9"}), "NoNodes"),
            ("Overlay", json!({}), "NotInModeBGP"),
        ] {
            let status = run(&observed(mode, selector)).unwrap();
            assert_eq!(status.conditions[1].reason, reason);
            assert_eq!(status.conditions[1].type_, STALLED);
        }
    }
}
