use super::*;
use crate::fixtures::{cluster, object, report_of};
use crate::text::USUAL_WIDTH;
use serde_json::json;
use weft_crds::PeerPath;
use weft_migration::Phase;

fn rendered(cluster: &Cluster) -> String {
    let text = render(&report(cluster), USUAL_WIDTH);
    for line in text.lines() {
        assert!(
            line.chars().count() <= usize::from(USUAL_WIDTH),
            "too wide: {line}"
        );
    }
    text
}

#[test]
fn a_cluster_that_is_well() {
    let mut cluster = cluster(&["node-1", "node-2", "node-3"]);
    report_of(&mut cluster, "node-1").spec.blocks[0].used = 16;
    report_of(&mut cluster, "node-3").spec.peers[0].ipv4 = Some(PeerPath::Direct);
    insta::assert_snapshot!(rendered(&cluster));
}

#[test]
fn a_cluster_with_everything_wrong() {
    let mut cluster = cluster(&["node-1", "node-2", "node-3", "node-4", "node-5"]);
    let wrong = &mut report_of(&mut cluster, "node-1").spec;
    wrong.forwarding = false;
    wrong.summary = "3/4".into();
    wrong.peers[0].answers = false;
    wrong.problems.push(Problem {
        reason: "PathBroken".into(),
        message: "packets of full size do not come back from node-2, though the underlay reaches it; look for a firewall that drops the packets of the mode".into(),
    });
    report_of(&mut cluster, "node-2").spec.observed_generation = Some(3);
    report_of(&mut cluster, "node-3").spec.node_uid = "of an earlier node".into();
    cluster
        .pods
        .retain(|pod| pod.name_any() != "weft-agent-node-4");
    let full = &mut report_of(&mut cluster, "node-5").spec;
    full.blocks[0].used = full.blocks[0].capacity;
    cluster.nodes[4].status = None;
    let status = cluster.config.status.as_mut().unwrap();
    status.observed_generation = Some(3);
    status.conditions[0].status = "False".into();
    status.conditions[0].reason = "NodesNotReady".into();
    status.conditions[0].message = "2 of 5 nodes are ready; not: node-1 PathBroken: packets of full size do not come back from node-2; node-2 hasn't carried out this generation yet; node-3 its agent hasn't reported".into();
    insta::assert_snapshot!(rendered(&cluster));
}

#[test]
fn long_names_are_shortened_in_the_middle() {
    let names = [
        "ip-10-0-12-34.eu-central-1.compute.internal",
        "ip-10-0-12-35.eu-central-1.compute.internal",
        "gke-production-cluster-default-pool-3f2a9c1b-x7k2",
        "gke-production-cluster-default-pool-3f2a9c1b-b9p1",
        "a",
        "b",
        "c",
    ];
    insta::assert_snapshot!(rendered(&cluster(&names)));
}

#[test]
fn a_cluster_just_configured() {
    let mut cluster = cluster(&["node-1"]);
    cluster.reports.clear();
    cluster.networks.clear();
    cluster.pods.clear();
    cluster.config.status = None;
    insta::assert_snapshot!(rendered(&cluster));
}

#[test]
fn a_cluster_on_its_way_to_another_mode() {
    let mut cluster = cluster(&["node-1"]);
    let status = cluster.config.status.as_mut().unwrap();
    status.migration = Some(Migration {
        phase: Phase::Shift,
        wave: 2,
        ..Migration::new(Mode::Overlay, Mode::BGP)
    });
    status.progress = Some(object(json!({
        "summary": "2/3", "began": "2026-11-24T11:57:00Z", "stepBegan": "2026-11-24T11:59:48Z",
    })));
    status.conditions.push(object(json!({
        "type": "Migrating", "status": "True", "reason": "Shift", "message": "waits for node-1",
        "lastTransitionTime": "2026-11-24T11:57:00Z",
    })));
    insta::assert_snapshot!(rendered(&cluster));
    let json = serde_json::to_value(report(&cluster)).unwrap();
    assert_eq!(json["config"]["migration"]["phase"], "Shift");
}

#[test]
fn a_cluster_whose_migration_went_back() {
    let mut cluster = cluster(&["node-1"]);
    cluster.config.spec.mode = Mode::BGP;
    cluster.config.status.as_mut().unwrap().failed_migration = Some(Failure {
        generation: 4,
        asked: false,
        message: "node-1: to node-2, IPv4, in BGP: packets do not arrive".into(),
    });
    let text = rendered(&cluster);
    insta::assert_snapshot!(text.lines().take(6).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_cluster_without_nodes() {
    insta::assert_snapshot!(rendered(&cluster(&[])));
}

#[test]
fn as_json() {
    insta::assert_json_snapshot!(report(&cluster(&["node-1", "node-2"])));
}

#[test]
fn writes_of_the_status_are_no_change() {
    let cluster = cluster(&[]);
    let change = last_change(&cluster.config).unwrap();
    assert_eq!(
        (change.by.as_str(), change.at.to_string().as_str()),
        ("kubectl-edit", "2026-11-24T11:50:00Z")
    );
}
