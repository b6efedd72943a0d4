use super::*;
use crate::fixtures::{block, cluster, network_of, object, pod, report_of};
use crate::text::USUAL_WIDTH;
use rstest::rstest;
use serde_json::json;

fn fits(text: String) -> String {
    for line in text.lines() {
        assert!(
            line.chars().count() <= usize::from(USUAL_WIDTH),
            "too wide: {line}"
        );
    }
    text
}

/// Three nodes with two pods each, and counts to match.
fn sound() -> Cluster {
    let names = ["node-1", "node-2", "node-3"];
    let mut cluster = cluster(&names);
    for (index, name) in names.iter().enumerate() {
        for host in 2..4 {
            let v4 = format!("10.244.{index}.{host}");
            let v6 = format!("fd00:10:244:{index}::{host}");
            cluster
                .pods
                .push(pod(&format!("web-{index}-{host}"), name, &[&v4, &v6]));
        }
        for usage in &mut report_of(&mut cluster, name).spec.blocks {
            usage.used = 1;
        }
    }
    cluster
}

fn reasons(cluster: &Cluster) -> Vec<(Reason, String)> {
    let report = check(cluster);
    assert_eq!(report.clean, report.findings.is_empty());
    report
        .findings
        .into_iter()
        .map(|finding| (finding.reason, finding.object))
        .collect()
}

#[test]
fn what_adds_up_is_clean() {
    let report = check(&sound());
    assert_eq!(report.findings, []);
    assert!(report.clean);
    insta::assert_snapshot!(fits(render::render(&report, USUAL_WIDTH)));
}

#[rstest]
#[case(json!({"hostNetwork": true}), "Running")]
#[case(json!({}), "Succeeded")]
#[case(json!({}), "Failed")]
fn pods_without_an_address_of_their_own_do_not_count(
    #[case] spec: serde_json::Value,
    #[case] phase: &str,
) {
    let mut cluster = sound();
    let mut other: k8s_openapi::api::core::v1::Pod = pod("other", "node-1", &["10.244.0.2"]);
    let given = other.spec.as_mut().unwrap();
    given.host_network = spec.get("hostNetwork").and_then(serde_json::Value::as_bool);
    other.status.as_mut().unwrap().phase = Some(phase.into());
    cluster.pods.push(other);
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn one_address_on_two_pods() {
    let mut cluster = sound();
    cluster.pods.push(pod("twin", "node-1", &["10.244.0.2"]));
    assert_eq!(
        reasons(&cluster),
        [(Reason::AddressConflict, "address 10.244.0.2".into())]
    );
}

#[test]
fn a_pod_with_the_address_of_its_node() {
    let mut cluster = sound();
    cluster.pods.push(pod("twin", "node-1", &["10.244.0.1"]));
    assert_eq!(
        reasons(&cluster),
        [(Reason::AddressConflict, "address 10.244.0.1".into())]
    );
    network_of(&mut cluster, "node-1")
        .spec
        .node_pod_addresses
        .clear();
    assert_eq!(reasons(&cluster), []);
}

#[rstest]
#[case("10.244.1.9", "belongs to node node-2")]
#[case("10.244.99.9", "in no block")]
#[case("10.244.7.9", "was released")]
fn an_address_of_another_node_or_of_none(#[case] ip: &str, #[case] words: &str) {
    let mut cluster = sound();
    cluster.blocks.push(block("10.244.7.0/26", None));
    cluster.pods.push(pod("stray", "node-1", &[ip]));
    let findings = check(&cluster).findings;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].reason, Reason::AddressOutsideBlocks);
    assert!(
        findings[0].message.contains(words),
        "{}",
        findings[0].message
    );
}

#[test]
fn owners_that_are_gone_or_others_now() {
    let mut cluster = sound();
    cluster.blocks.push(block("10.244.8.0/26", Some("node-9")));
    cluster.blocks.push(block("10.244.9.0/26", Some("node-1")));
    cluster.blocks.last_mut().unwrap().spec.node_uid = Some("of an earlier node".into());
    assert_eq!(
        reasons(&cluster),
        [
            (Reason::OwnerMissing, "block 10.244.8.0/26".into()),
            (Reason::OwnerMissing, "block 10.244.9.0/26".into()),
        ]
    );
}

#[test]
fn a_block_of_no_pool_and_one_that_is_no_range() {
    let mut cluster = sound();
    cluster.blocks.push(block("10.9.0.0/26", Some("node-1")));
    cluster.blocks.push(block("nonsense", Some("node-1")));
    assert_eq!(
        reasons(&cluster),
        [
            (Reason::BlockInvalid, "block nonsense".into()),
            (Reason::PoolMissing, "block 10.9.0.0/26".into()),
        ]
    );
}

#[test]
fn blocks_that_overlap_at_any_depth() {
    let mut cluster = sound();
    for cidr in [
        "10.244.64.0/24",
        "10.244.64.0/26",
        "10.244.64.64/27",
        "10.244.64.192/26",
    ] {
        cluster.blocks.push(block(cidr, Some("node-1")));
    }
    cluster.blocks.push(block("10.244.65.0/26", Some("node-1")));
    let overlapping: Vec<String> = reasons(&cluster)
        .into_iter()
        .map(|(_, object)| object)
        .collect();
    assert_eq!(
        overlapping,
        [
            "block 10.244.64.0/26",
            "block 10.244.64.192/26",
            "block 10.244.64.64/27"
        ]
    );
}

#[rstest]
#[case(0, 0, None)]
#[case(0, 1, Some(Reason::AddressesUnknown))]
#[case(1, 15, None)]
#[case(1, 16, Some(Reason::AddressesUnknown))]
#[case(1, 0, Some(Reason::PossibleLeak))]
#[case(16, 16, None)]
#[case(16, 31, None)]
#[case(16, 15, Some(Reason::PossibleLeak))]
#[case(60, 60, None)]
#[case(60, 59, Some(Reason::PossibleLeak))]
#[case(60, 61, Some(Reason::AddressesUnknown))]
fn counts_against_pods(#[case] reported: u64, #[case] running: u8, #[case] found: Option<Reason>) {
    let mut cluster = cluster(&["node-1"]);
    report_of(&mut cluster, "node-1").spec.blocks[0].used = reported;
    for host in 2..2 + running {
        cluster.pods.push(pod(
            &format!("p{host}"),
            "node-1",
            &[&format!("10.244.0.{host}")],
        ));
    }
    let found: Vec<_> = found
        .into_iter()
        .map(|r| (r, "block 10.244.0.0/26".into()))
        .collect();
    assert_eq!(reasons(&cluster), found);
}

#[test]
fn a_pod_that_starts_may_hold_an_address_already() {
    let mut cluster = cluster(&["node-1"]);
    report_of(&mut cluster, "node-1").spec.blocks[0].used = 1;
    let mut starting = pod("starting", "node-1", &[]);
    starting.status.as_mut().unwrap().phase = Some("Pending".into());
    cluster.pods.push(starting);
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn reports_that_are_missing_or_about_blocks_of_others() {
    let mut cluster = sound();
    cluster
        .reports
        .retain(|report| report.metadata.name.as_deref() != Some("node-3"));
    report_of(&mut cluster, "node-1").spec.blocks[0].cidr = "10.244.50.0/26".into();
    assert_eq!(
        reasons(&cluster),
        [
            (Reason::BlockNotOwned, "block 10.244.50.0/26".into()),
            (Reason::NotReported, "node node-3".into()),
        ]
    );
}

#[test]
fn a_block_that_cools_down_is_a_note_and_one_that_has_is_none() {
    let mut cluster = sound();
    cluster.blocks.push(block("10.244.7.0/26", None));
    let report = check(&cluster);
    assert!(report.clean);
    assert_eq!(report.notes.len(), 1);
    assert!(
        report.notes[0].message.ends_with("in 4m"),
        "{}",
        report.notes[0].message
    );
    cluster.config.spec.ipam.block_cooldown_seconds = 30;
    assert!(check(&cluster).notes.is_empty());
}

#[test]
fn only_what_lasts_is_found() {
    let mut first = sound();
    first.pods.push(pod("twin", "node-1", &["10.244.0.2"]));
    let mut second = sound();
    second.pods.push(pod("stray", "node-1", &["10.244.99.9"]));
    let report = check(&second).confirming(&check(&first));
    assert!(report.clean && report.findings.is_empty());
    let report = check(&first).confirming(&check(&first));
    assert!(!report.clean);
    assert_eq!(report.findings.len(), 1);
}

/// Something of everything.
fn unsound() -> Cluster {
    let mut cluster = sound();
    let long = "a-deployment-with-quite-a-long-name-7d4b9c6f5d-x7k2q";
    cluster.pods.push(pod(long, "node-1", &["10.244.0.2"]));
    for index in 0..25 {
        cluster
            .pods
            .push(pod(&format!("stray-{index:02}"), "node-1", &["10.244.1.9"]));
    }
    cluster.blocks.push(block("10.244.8.0/26", Some("node-9")));
    cluster.blocks.push(block("10.244.8.32/27", Some("node-2")));
    cluster.blocks.push(block("10.9.0.0/26", Some("node-1")));
    cluster.blocks.push(block("10.244.7.0/26", None));
    cluster.blocks.push(object(json!({
        "metadata": {"name": "fd00-10-244-7--40-122"},
        "spec": {
            "cidr": "fd00:10:244:7::40/122", "pool": "fd00:10:244::/56", "draining": true,
            "node": "gke-production-cluster-default-pool-3f2a9c1b-x7k2", "nodeUID": "u",
        },
    })));
    report_of(&mut cluster, "node-2").spec.blocks[0].used = 61;
    cluster
}

#[test]
fn findings_as_text() {
    insta::assert_snapshot!(fits(render::render(&check(&unsound()), USUAL_WIDTH)));
}

#[test]
fn findings_as_json() {
    let mut cluster = sound();
    cluster.pods.push(pod("twin", "node-1", &["10.244.0.2"]));
    cluster.blocks.push(block("10.244.7.0/26", None));
    insta::assert_json_snapshot!(check(&cluster));
}

#[test]
fn pools_and_blocks_as_text() {
    insta::assert_snapshot!(fits(show::render(&show::report(&unsound()), USUAL_WIDTH)));
}

#[test]
fn pools_and_blocks_as_json() {
    let mut cluster = cluster(&["node-1"]);
    cluster.blocks.push(block("10.244.7.0/26", None));
    insta::assert_json_snapshot!(show::report(&cluster));
}

#[test]
fn nothing_given_out_yet() {
    insta::assert_snapshot!(fits(show::render(
        &show::report(&cluster(&[])),
        USUAL_WIDTH
    )));
}
