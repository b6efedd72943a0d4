//! Clusters to test with.

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use serde_json::{Value, json};
use weft_crds::{IPBlock, IPBlockSpec, NetworkConfig, NodeNetwork, NodeReport};

use crate::cluster::Cluster;
use crate::text::USUAL_WIDTH;

/// An object from JSON.
pub fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The text, if no line of it is wider than a screen.
pub fn fits(text: String) -> String {
    for line in text.lines() {
        assert!(
            line.chars().count() <= usize::from(USUAL_WIDTH),
            "too wide: {line}"
        );
    }
    text
}

/// The time of every look.
pub fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// A cluster with one dual-stack pool, all nodes well, and no pods but those of agents.
pub fn cluster(names: &[&str]) -> Cluster {
    let mut cluster = Cluster {
        now: now(),
        config: config(),
        nodes: names.iter().map(|name| node(name)).collect(),
        blocks: Vec::new(),
        reports: Vec::new(),
        networks: Vec::new(),
        pods: names.iter().map(|name| agent(name)).collect(),
    };
    for (index, name) in names.iter().enumerate() {
        let (v4, v6) = (
            format!("10.244.{index}.0/26"),
            format!("fd00:10:244:{index}::/122"),
        );
        cluster.blocks.push(block(&v4, Some(name)));
        cluster.blocks.push(block(&v6, Some(name)));
        let peers = names.iter().filter(|peer| *peer != name);
        cluster.reports.push(object(json!({
            "metadata": {"name": name},
            "spec": {
                "nodeUID": format!("uid-{name}"),
                "observedGeneration": 4,
                "agentVersion": "0.1.0",
                "forwarding": true,
                "summary": format!("{0}/{0}", names.len() - 1),
                "mtu": 1450,
                "blocks": [
                    {"cidr": v4, "capacity": 61, "used": 0},
                    {"cidr": v6, "capacity": 62, "used": 0},
                ],
                "peers": peers.map(|peer| json!({
                    "node": peer, "ipv4": "VXLAN", "ipv6": "VXLAN", "answers": true,
                })).collect::<Vec<_>>(),
            },
        })));
        cluster.networks.push(object(json!({
            "metadata": {"name": name},
            "spec": {
                "nodeUID": format!("uid-{name}"),
                "ipv4": format!("192.0.2.{}/24", index + 1),
                "mac": "02:00:00:00:00:01",
                "nodePodAddresses": [format!("10.244.{index}.1"), format!("fd00:10:244:{index}::1")],
                "mtu": 1500,
            },
        })));
    }
    cluster
}

fn config() -> NetworkConfig {
    object(json!({
        "apiVersion": "weft.dev/v1alpha1",
        "kind": "NetworkConfig",
        "metadata": {
            "name": "default",
            "generation": 4,
            "creationTimestamp": "2026-11-20T12:00:00Z",
            "managedFields": [
                {"manager": "kubectl-client-side-apply", "operation": "Update", "time": "2026-11-20T12:00:00Z"},
                {"manager": "kubectl-edit", "operation": "Update", "time": "2026-11-24T11:50:00Z"},
                {"manager": "weft-operator", "operation": "Update", "subresource": "status", "time": "2026-11-24T11:59:00Z"},
            ],
        },
        "spec": {
            "mode": "Overlay",
            "pools": [{"cidr": "10.244.0.0/16"}, {"cidr": "fd00:10:244::/56"}],
        },
        "status": {
            "observedGeneration": 4,
            "mode": "Overlay",
            "mtu": 1450,
            "nodes": {"total": 3, "ready": 3, "summary": "3/3"},
            "pools": [
                {"cidr": "10.244.0.0/16", "blockSize": 26, "blocks": 1024, "allocated": 3, "cooling": 0},
                {"cidr": "fd00:10:244::/56", "blockSize": 122, "blocks": 9_223_372_036_854_775_807_u64, "allocated": 3, "cooling": 0},
            ],
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "AllNodesReady", "message": "3 of 3 nodes do what the spec says", "observedGeneration": 4, "lastTransitionTime": "2026-11-24T11:55:00Z"},
                {"type": "AddressesAvailable", "status": "True", "reason": "EveryNodeHasRoom", "message": "every node has addresses for more pods", "observedGeneration": 4, "lastTransitionTime": "2026-11-20T12:00:00Z"},
            ],
        },
    }))
}

/// A node that is ready.
pub fn node(name: &str) -> Node {
    object(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}")},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }))
}

fn agent(node: &str) -> Pod {
    object(json!({
        "metadata": {"name": format!("weft-agent-{node}"), "namespace": "weft-system"},
        "spec": {"nodeName": node, "hostNetwork": true, "containers": []},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": "192.0.2.1"}],
            "containerStatuses": [{
                "name": "agent", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {}},
            }],
        },
    }))
}

/// A running pod.
pub fn pod(name: &str, node: &str, addresses: &[&str]) -> Pod {
    let ips: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    object(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "podIPs": ips},
    }))
}

/// A block of the pool of its family. Without an owner, it was released a minute ago.
pub fn block(cidr: &str, owner: Option<&str>) -> IPBlock {
    let pool = if cidr.contains(':') {
        "fd00:10:244::/56"
    } else {
        "10.244.0.0/16"
    };
    let released = (now().as_second() - 60) * i64::from(owner.is_none());
    let released = Timestamp::from_second(released).unwrap();
    IPBlock {
        metadata: ObjectMeta {
            name: Some(cidr.replace(['.', ':', '/'], "-")),
            ..ObjectMeta::default()
        },
        spec: IPBlockSpec {
            cidr: cidr.into(),
            pool: pool.into(),
            node: owner.map(Into::into),
            node_uid: owner.map(|name| format!("uid-{name}")),
            draining: false,
            released_at: owner.is_none().then_some(
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(released),
            ),
        },
    }
}

/// The report about a node.
pub fn report_of<'a>(cluster: &'a mut Cluster, node: &str) -> &'a mut NodeReport {
    cluster
        .reports
        .iter_mut()
        .find(|report| report.metadata.name.as_deref() == Some(node))
        .unwrap()
}

/// What a node publishes.
pub fn network_of<'a>(cluster: &'a mut Cluster, node: &str) -> &'a mut NodeNetwork {
    cluster
        .networks
        .iter_mut()
        .find(|network| network.metadata.name.as_deref() == Some(node))
        .unwrap()
}
