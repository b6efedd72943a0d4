use super::*;
use crate::fixtures::{cluster, fits, network_of, node, object};
use crate::text::USUAL_WIDTH;
use rstest::rstest;
use serde_json::json;
use weft_crds::{Approval, Encapsulation, NetworkConfigSpec};
use weft_migration::Failure;

/// The cluster with another spec, and with these BGPPeers.
fn wanted(cluster: &Cluster, change: impl FnOnce(&mut NetworkConfigSpec)) -> Wanted {
    let mut config = cluster.config.clone();
    change(&mut config.spec);
    Wanted {
        config,
        bgp_peers: Vec::new(),
    }
}

fn rendered(report: &Report) -> String {
    fits(render(report, USUAL_WIDTH))
}

/// Three nodes with both families in the underlay: no router is needed.
fn one_subnet() -> Cluster {
    let mut cluster = cluster(&["node-1", "node-2", "node-3"]);
    for (index, name) in ["node-1", "node-2", "node-3"].into_iter().enumerate() {
        let network = &mut network_of(&mut cluster, name).spec;
        network.ipv6 = Some(format!("2001:db8::{}/64", index + 1));
    }
    cluster
}

/// Nodes on two subnets, with IPv4 pods alone.
fn two_racks() -> Cluster {
    let mut cluster = cluster(&["node-1", "node-2", "node-3"]);
    cluster.config.spec.pools.truncate(1);
    network_of(&mut cluster, "node-3").spec.ipv4 = Some("198.51.100.3/24".into());
    cluster.nodes[2].metadata.labels = Some([("rack".into(), "b".into())].into());
    cluster
}

fn in_bgp(mut cluster: Cluster) -> Cluster {
    cluster.config.spec.mode = Mode::BGP;
    let status = cluster.config.status.as_mut().unwrap();
    (status.mode, status.mtu) = (Some(Mode::BGP), Some(1500));
    cluster
}

fn bgp_peer(name: &str, selector: serde_json::Value) -> BGPPeer {
    object(json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "BGPPeer", "metadata": {"name": name},
        "spec": {"address": "192.0.2.254", "asn": 64900, "nodeSelector": selector},
    }))
}

fn reasons(report: &Report) -> Vec<(Reason, Option<&str>)> {
    let each = report.obstacles.iter();
    each.map(|of| (of.reason, of.node.as_deref())).collect()
}

#[test]
fn from_overlay_to_bgp() {
    let cluster = one_subnet();
    let report = report(&cluster, &wanted(&cluster, |spec| spec.mode = Mode::BGP));
    assert!(report.possible);
    insta::assert_snapshot!(rendered(&report));
    insta::assert_json_snapshot!(report);
}

#[test]
fn from_bgp_to_overlay_with_canaries_and_approval() {
    let mut cluster = in_bgp(one_subnet());
    cluster.nodes[1].metadata.labels = Some([("canary".into(), "yes".into())].into());
    let report = report(
        &cluster,
        &wanted(&cluster, |spec| {
            spec.mode = Mode::Overlay;
            spec.migration.canary_selector = Some([("canary".into(), "yes".into())].into());
            spec.migration.approval = Approval::Manual;
            spec.migration.waves = 4;
            spec.migration.bake_seconds = 60;
        }),
    );
    assert!(report.possible && report.mtu.is_lowered());
    insta::assert_snapshot!(rendered(&report));
}

#[test]
fn many_nodes_are_counted() {
    let names: Vec<String> = (0..60).map(|number| format!("node-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut cluster = cluster(&names);
    cluster.config.spec.pools.truncate(1);
    let report = report(&cluster, &wanted(&cluster, |spec| spec.mode = Mode::BGP));
    insta::assert_snapshot!(rendered(&report));
}

#[test]
fn everything_is_in_the_way() {
    let mut cluster = cluster(&["node-1", "node-2", "node-3"]);
    network_of(&mut cluster, "node-2").spec.mtu = 1250;
    network_of(&mut cluster, "node-3").spec.ipv4 = Some("198.51.100.3/24".into());
    cluster.nodes.push(node("node-4"));
    let status = cluster.config.status.as_mut().unwrap();
    status.failed_migration = Some(Failure {
        generation: 4,
        asked: false,
        message: "node-1: to node-2, IPv4: nothing".into(),
    });
    cluster.config.spec.mode = Mode::BGP;
    let selector = Some([("canary".into(), "yes".into())].into());
    cluster.config.spec.migration.canary_selector = selector;
    let report = report(&cluster, &wanted(&cluster, |_| ()));
    assert!(!report.possible);
    insta::assert_snapshot!(rendered(&report));
}

#[test]
fn what_failed_is_tried_again_once_the_spec_changes() {
    let mut cluster = one_subnet();
    cluster.config.spec.mode = Mode::BGP;
    cluster.config.status.as_mut().unwrap().failed_migration = Some(Failure {
        generation: 4,
        asked: true,
        message: "as was asked for".into(),
    });
    let same = report(&cluster, &wanted(&cluster, |_| ()));
    assert_eq!(reasons(&same), [(Reason::MigrationFailed, None)]);
    let other = report(&cluster, &wanted(&cluster, |spec| spec.migration.waves = 2));
    assert!(other.possible && other.outcome == Outcome::Migration);
}

#[test]
fn nodes_beyond_a_router_need_a_bgp_peer_each() {
    let cluster = two_racks();
    let mut wanted = wanted(&cluster, |spec| spec.mode = Mode::BGP);
    let all = ["node-1", "node-2", "node-3"];
    let missing = |names: &[&'static str]| -> Vec<_> {
        names
            .iter()
            .map(|name| (Reason::BGPPeerMissing, Some(*name)))
            .collect()
    };
    assert_eq!(reasons(&report(&cluster, &wanted)), missing(&all));
    wanted
        .bgp_peers
        .push(bgp_peer("rack-b", json!({"rack": "b"})));
    assert_eq!(reasons(&report(&cluster, &wanted)), missing(&all[..2]));
    wanted.bgp_peers.push(bgp_peer("all", json!({})));
    let report = report(&cluster, &wanted);
    assert!(report.possible);
    insta::assert_debug_snapshot!(report.migration.unwrap().needs);
}

#[test]
fn ipv6_pods_need_a_router_where_the_underlay_has_no_ipv6() {
    let cluster = cluster(&["node-1", "node-2"]);
    let report = report(&cluster, &wanted(&cluster, |spec| spec.mode = Mode::BGP));
    let said: Vec<_> = report.obstacles.iter().map(|of| &*of.message).collect();
    assert_eq!(
        said[0],
        "it shares no subnet for IPv6 packets with node-2, and no BGPPeer selects it"
    );
    assert_eq!(said.len(), 2);
}

#[test]
fn vxlan_needs_one_family_that_all_nodes_have() {
    let mut cluster = in_bgp(one_subnet());
    network_of(&mut cluster, "node-2").spec.ipv4 = None;
    let of =
        |cluster: &Cluster| report(cluster, &wanted(cluster, |spec| spec.mode = Mode::Overlay));
    assert!(of(&cluster).possible, "the others have IPv6 too");
    network_of(&mut cluster, "node-3").spec.ipv6 = None;
    assert_eq!(
        reasons(&of(&cluster)),
        [(Reason::NoCommonUnderlay, Some("node-2"))]
    );
}

#[test]
fn nodes_that_are_unable_can_be_left_out() {
    let mut cluster = in_bgp(one_subnet());
    network_of(&mut cluster, "node-2").spec.ipv4 = None;
    network_of(&mut cluster, "node-3").spec.ipv6 = None;
    let report = report(
        &cluster,
        &wanted(&cluster, |spec| {
            spec.mode = Mode::Overlay;
            spec.migration.unable_nodes = UnableNodes::LeaveOut;
        }),
    );
    assert!(report.possible);
    let way = report.migration.unwrap();
    let moved: Vec<_> = way.waves.iter().flat_map(|wave| &wave.nodes).collect();
    assert_eq!(moved, ["node-1"]);
    assert_eq!(Vec::from_iter(&way.left_out), ["node-2", "node-3"]);
    assert!(
        report.notes[0].contains("node-2, node-3"),
        "{:?}",
        report.notes
    );
}

#[rstest]
#[case(1300, None, Some("1250 are left"))]
#[case(1340, Some(1400), None)]
#[case(1340, Some(1290), None)]
fn packets_of_pods_have_to_fit_into_both_modes(
    #[case] underlay: u32,
    #[case] asked: Option<u32>,
    #[case] said: Option<&str>,
) {
    let mut cluster = one_subnet();
    network_of(&mut cluster, "node-2").spec.mtu = underlay;
    let change = |spec: &mut NetworkConfigSpec| (spec.mode, spec.mtu) = (Mode::BGP, asked);
    let report = report(&cluster, &wanted(&cluster, change));
    match said {
        Some(said) => {
            assert_eq!(reasons(&report), [(Reason::MTUTooSmall, Some("node-2"))]);
            assert!(report.obstacles[0].message.contains(said), "{report:?}");
        }
        None => assert!(report.possible, "{report:?}"),
    }
}

#[test]
fn a_node_that_is_down_is_no_obstacle() {
    let mut cluster = one_subnet();
    let mut down = node("node-4");
    down.status = None;
    cluster.nodes.push(down);
    let report = report(&cluster, &wanted(&cluster, |spec| spec.mode = Mode::BGP));
    assert!(report.possible);
    assert!(report.notes[0].contains("node-4"), "{:?}", report.notes);
}

#[test]
fn nothing_to_do() {
    let cluster = one_subnet();
    let report = report(&cluster, &wanted(&cluster, |_| ()));
    assert_eq!((report.outcome, report.possible), (Outcome::Nothing, true));
    insta::assert_snapshot!(rendered(&report));
}

#[test]
fn in_the_same_mode() {
    let cluster = one_subnet();
    let report = report(
        &cluster,
        &wanted(&cluster, |spec| {
            spec.overlay.encapsulation = Encapsulation::CrossSubnet;
            spec.mtu = Some(9000);
            spec.pools[0].disabled = true;
        }),
    );
    assert_eq!(report.outcome, Outcome::SameMode);
    insta::assert_snapshot!(rendered(&report));
}

#[rstest]
#[case(Phase::Shift, false, Mode::BGP, Outcome::UnderWay)]
#[case(Phase::Shift, false, Mode::Overlay, Outcome::Back)]
#[case(Phase::Retire, false, Mode::Overlay, Outcome::Migration)]
#[case(Phase::Shift, true, Mode::Overlay, Outcome::Migration)]
fn while_a_migration_is_under_way(
    #[case] phase: Phase,
    #[case] back: bool,
    #[case] to: Mode,
    #[case] outcome: Outcome,
) {
    let mut cluster = one_subnet();
    cluster.config.spec.mode = Mode::BGP;
    cluster.config.status.as_mut().unwrap().migration = Some(Migration {
        phase,
        back,
        ..Migration::new(Mode::Overlay, Mode::BGP)
    });
    let report = report(&cluster, &wanted(&cluster, |spec| spec.mode = to));
    assert_eq!(report.outcome, outcome);
    let under_way = vec![(Reason::MigrationUnderWay, None)];
    let expected = if outcome == Outcome::Migration {
        under_way
    } else {
        Vec::new()
    };
    assert_eq!(reasons(&report), expected);
    assert_eq!(report.notes.is_empty(), outcome == Outcome::Migration);
    rendered(&report);
}

#[test]
fn a_cluster_that_has_reported_nothing() {
    let mut cluster = cluster(&["node-1"]);
    cluster.reports.clear();
    cluster.networks.clear();
    cluster.config.status = None;
    let report = report(&cluster, &wanted(&cluster, |spec| spec.mode = Mode::BGP));
    assert_eq!(reasons(&report), [(Reason::NotReported, Some("node-1"))]);
    assert_eq!(report.mtu, Sizes::default());
    rendered(&report);
}
