//! Removing what nodes that are gone have published, so that no other node keeps a route to them.

use super::blocks::ABSENT_FOR;
use super::{Action, Plan, Published};
use crate::memory::Memory;
use crate::observed::{Now, Observed};

/// Adds the removal of NodeNetworks and NodeReports of nodes that have been absent for long enough.
/// What is about an earlier node of a name that is there again is left: its agent writes over it.
pub fn plan(observed: &Observed, memory: &Memory, now: Now, plan: &mut Plan) {
    let networks = observed.networks.iter().map(|(name, network)| {
        let uid = network.metadata.uid.as_deref();
        (Published::Network, name, &network.spec.node_uid, uid)
    });
    let reports = observed.reports.iter().map(|(name, report)| {
        let uid = report.metadata.uid.as_deref();
        (Published::Report, name, &report.spec.node_uid, uid)
    });
    for (kind, name, node_uid, uid) in networks.chain(reports) {
        if observed.nodes.contains_key(name) {
            continue;
        }
        let node = (name.clone(), node_uid.clone());
        let since = memory.absent_since.get(&node).copied().unwrap_or(now.mono);
        if now.mono < since + ABSENT_FOR {
            plan.look_at(since + ABSENT_FOR);
        } else if let Some(uid) = uid {
            plan.actions.push(Action::DeletePublished {
                kind,
                node,
                uid: uid.to_string(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{at, cluster, config};
    use serde_json::json;

    #[test]
    fn only_what_absent_nodes_published_goes_and_not_at_once() {
        let mut observed = cluster(config(json!([{"cidr": "10.244.0.0/16"}])), &["a"])
            .with_report("a", &[])
            .with_network("a", &[])
            .with_report("b", &[])
            .with_network("b", &[]);
        let mut memory = Memory::default();
        memory.merge(&mut observed, at(0).mono);
        let mut early = Plan::default();
        plan(&observed, &memory, at(1), &mut early);
        assert!(early.actions.is_empty());
        assert_eq!(early.deadline, Some(at(5).mono));

        let mut late = Plan::default();
        plan(&observed, &memory, at(5), &mut late);
        let node = ("b".to_string(), "uid-b".to_string());
        let gone = |kind, uid: &str| Action::DeletePublished {
            kind,
            node: node.clone(),
            uid: uid.into(),
        };
        assert_eq!(
            late.actions,
            [
                gone(Published::Network, "uid-network-b"),
                gone(Published::Report, "uid-report-b")
            ]
        );
    }
}
