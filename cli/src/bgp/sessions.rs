//! Who speaks BGP with whom, as the agents report it.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{BgpSession, BgpState, NodeReport};

use crate::text::{Fit, Item, Tone, age, count, paragraph, table};

/// The answer.
#[derive(Debug, Serialize)]
pub struct Report {
    /// When it was.
    pub at: Timestamp,
    /// The sessions, by node.
    pub sessions: Vec<Session>,
}

/// A session of a node.
#[derive(Debug, Serialize)]
pub struct Session {
    /// The node that reports it.
    pub of: String,
    /// What it reports.
    #[serde(flatten)]
    pub session: BgpSession,
}

/// The sessions that agents report.
pub fn report(at: Timestamp, reports: &[NodeReport]) -> Report {
    let of_node = |report: &NodeReport| {
        let of = report.name_any();
        let sessions = report.spec.sessions.clone().into_iter();
        sessions
            .map(move |session| Session {
                of: of.clone(),
                session,
            })
            .collect::<Vec<_>>()
    };
    let mut sessions: Vec<Session> = reports.iter().flat_map(of_node).collect();
    sessions.sort_by(|a, b| (&a.of, &a.session.address).cmp(&(&b.of, &b.session.address)));
    Report { at, sessions }
}

/// The answer as text of lines of at most `width`.
pub fn render(report: &Report, width: u16) -> String {
    if report.sessions.is_empty() {
        return "No node has a BGP peer: see spec.mode of the NetworkConfig, and BGPPeers.\n"
            .into();
    }
    let columns = [
        ("NODE", Fit::Shorten),
        ("BGP PEER", Fit::Shorten),
        ("ADDRESS", Fit::Whole),
        ("AS", Fit::Whole),
        ("STATE", Fit::Whole),
        ("FOR", Fit::Whole),
        ("IN", Fit::Whole),
        ("OUT", Fit::Whole),
    ];
    let rows = report.sessions.iter().map(|one| row(report.at, one));
    let mut text = table(&columns, rows.collect(), width);
    let missing: Vec<&Session> = report
        .sessions
        .iter()
        .filter(|one| one.session.state != BgpState::Established)
        .collect();
    if !missing.is_empty() {
        text.push_str(&format!(
            "\n{} not established\n",
            count(missing.len(), "session")
        ));
    }
    for one in missing {
        let why = one.session.last_error.as_deref();
        let line = format!(
            "- {}: {}: {}",
            one.of,
            one.session.address,
            why.unwrap_or("no error yet")
        );
        text.push_str(&paragraph(&line, 2, width));
    }
    text
}

fn row(now: Timestamp, one: &Session) -> Vec<Item> {
    let session = &one.session;
    let tone = match session.state {
        BgpState::Established => Tone::Good,
        _ => Tone::Bad,
    };
    let since = session.since.as_ref().map_or_else(String::new, |since| {
        age(now.as_second() - since.0.as_second())
    });
    let peer = session.bgp_peer.as_ref().or(session.node.as_ref());
    vec![
        Item::plain(&one.of),
        Item::plain(peer.cloned().unwrap_or_default()),
        Item::plain(&session.address),
        Item::plain(session.asn.to_string()),
        Item::new(format!("{:?}", session.state), tone),
        Item::plain(since),
        Item::plain(session.received.to_string()),
        Item::plain(session.advertised.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reports() -> Vec<NodeReport> {
        let report = |name: &str, sessions: serde_json::Value| {
            serde_json::from_value(json!({
                "apiVersion": "weft.dev/v1alpha1", "kind": "NodeReport", "metadata": {"name": name},
                "spec": {"nodeUID": name, "agentVersion": "0.1.0", "forwarding": true, "summary": "1/1", "sessions": sessions},
            }))
            .unwrap()
        };
        vec![
            report(
                "b",
                json!([
                    {"bgpPeer": "rack-a", "address": "192.0.2.254", "asn": 64900, "state": "Idle", "lastError": "refuses: AS 64512, expected 64513"},
                ]),
            ),
            report(
                "a",
                json!([
                    {"node": "b", "address": "192.0.2.2", "asn": 64512, "state": "Established", "since": "2026-01-01T00:00:00Z", "received": 2, "advertised": 3},
                ]),
            ),
        ]
    }

    #[test]
    fn sessions_are_listed_by_node_and_errors_said_in_full() {
        let at: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
        insta::assert_snapshot!(render(&report(at, &reports()), 80));
    }

    #[test]
    fn without_sessions_it_says_where_to_look() {
        let at: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
        assert!(render(&report(at, &[]), 80).contains("spec.mode"));
    }
}
