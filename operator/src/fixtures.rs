//! Values that tests of plans are written with.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use weft_crds::{
    BlockUsage, IPBlock, IPBlockSpec, NetworkConfig, NetworkConfigSpec, NodeNetwork,
    NodeNetworkSpec, NodeReport, NodeReportSpec, block_name,
};

use crate::observed::{NodeFacts, Now, Observed};

pub fn at(seconds: i64) -> Now {
    Now {
        wall: Timestamp::from_second(1_700_000_000 + seconds).unwrap(),
        mono: Duration::from_secs(seconds as u64),
    }
}

pub fn config(pools: serde_json::Value) -> NetworkConfig {
    let spec: NetworkConfigSpec =
        serde_json::from_value(serde_json::json!({"mode": "Overlay", "pools": pools})).unwrap();
    let mut config = NetworkConfig::new("default", spec);
    config.metadata.generation = Some(1);
    config.metadata.uid = Some("uid-config".into());
    config.metadata.resource_version = Some("1".into());
    config
}

pub fn node(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: "1".into(),
        ready: true,
        addresses: vec![],
        network_unavailable: None,
        labels: std::collections::BTreeMap::new(),
    }
}

pub fn cluster(config: NetworkConfig, nodes: &[&str]) -> Observed {
    Observed {
        config: Some(Arc::new(config)),
        nodes: nodes.iter().map(|n| ((*n).into(), node(n))).collect(),
        ..Observed::default()
    }
}

/// A block that nobody owns and that was released long ago.
pub fn block(cidr: &str) -> IPBlock {
    let range: ipnet::IpNet = cidr.parse().unwrap();
    let pool = if cidr.contains(':') {
        "fd00:10:244::/56"
    } else {
        "10.244.0.0/16"
    };
    let mut block = IPBlock::new(
        &block_name(range),
        IPBlockSpec {
            cidr: cidr.into(),
            pool: pool.into(),
            node: None,
            node_uid: None,
            draining: false,
            released_at: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                Timestamp::from_second(1_600_000_000).unwrap(),
            )),
        },
    );
    block.metadata.resource_version = Some("1".into());
    block.metadata.uid = Some(format!("uid-{cidr}"));
    block
}

pub fn owned(cidr: &str, node: &str) -> IPBlock {
    let mut block = block(cidr);
    block.spec.node = Some(node.into());
    block.spec.node_uid = Some(format!("uid-{node}"));
    block.spec.released_at = None;
    block
}

#[allow(missing_docs)]
impl Observed {
    pub fn with_block(mut self, block: IPBlock) -> Self {
        let name = block.metadata.name.clone().unwrap();
        self.blocks.insert(name, Arc::new(block));
        self
    }

    /// A forwarding node at the generation of the config, with so much used of its blocks.
    pub fn with_report(mut self, node: &str, usage: &[(&str, u64, u64)]) -> Self {
        let blocks = usage.iter().map(|(cidr, capacity, used)| BlockUsage {
            cidr: (*cidr).into(),
            capacity: *capacity,
            used: *used,
            drained: false,
        });
        let mut report = NodeReport::new(
            node,
            NodeReportSpec {
                node_uid: format!("uid-{node}"),
                observed_generation: Some(1),
                agent_version: "0.1.0".into(),
                forwarding: true,
                summary: "0/0".into(),
                mtu: Some(1450),
                blocks: blocks.collect(),
                ..NodeReportSpec::default()
            },
        );
        report.metadata.resource_version = Some("1".into());
        report.metadata.uid = Some(format!("uid-report-{node}"));
        self.reports.insert(node.into(), Arc::new(report));
        self
    }

    pub fn change_report(mut self, node: &str, change: impl FnOnce(&mut NodeReportSpec)) -> Self {
        let report = self.reports.get_mut(node).unwrap();
        change(&mut Arc::make_mut(report).spec);
        self
    }

    pub fn with_network(mut self, node: &str, pod_addresses: &[&str]) -> Self {
        let mut network = NodeNetwork::new(
            node,
            NodeNetworkSpec {
                node_uid: format!("uid-{node}"),
                mac: "02:00:00:00:00:01".into(),
                node_pod_addresses: pod_addresses.iter().map(|a| (*a).into()).collect(),
                mtu: 1500,
                ..NodeNetworkSpec::default()
            },
        );
        network.metadata.resource_version = Some("1".into());
        network.metadata.uid = Some(format!("uid-network-{node}"));
        self.networks.insert(node.into(), Arc::new(network));
        self
    }
}
