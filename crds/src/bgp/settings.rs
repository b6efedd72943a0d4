//! `spec.bgp` of a NetworkConfig: how the nodes speak BGP, whoever their BGP peers are.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Settings of mode BGP.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::route_reflectors_use())]
pub struct BgpSettings {
    /// AS number of the nodes (RFC 6793), 1 to 4294967294. Private ones are 64512 to 65534 and
    /// 4200000000 to 4294967294.
    #[serde(default = "default_asn")]
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    #[x_kube(validation = rules::asn_usable())]
    pub asn: u32,

    /// AS numbers of nodes that have another one than asn. The first entry whose nodeSelector matches
    /// the labels of the node counts.
    #[serde(rename = "nodeASNs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub node_asns: Vec<NodeAsn>,

    /// True: each node is a BGP peer of each other node. False: nodes are peers of the route reflectors
    /// among them, if routeReflectors names any, and of what BGPPeers name.
    #[serde(default = "yes")]
    pub node_mesh: bool,

    /// Nodes that pass routes on between the others (RFC 4456), instead of nodeMesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_reflectors: Option<RouteReflectors>,

    /// TCP port that nodes listen on for BGP peers, and that they connect to on other nodes. 0: nodes
    /// don't listen, and are no BGP peers of each other.
    #[serde(default = "default_port")]
    #[schemars(range(min = 0, max = 65535))]
    pub port: u16,

    /// Seconds for which BGP peers keep the routes of a node whose agent restarts (graceful restart, RFC
    /// 4724). 0: they are told not to. A change counts from the next session with each on.
    #[serde(default = "default_restart")]
    #[schemars(range(min = 0, max = 4095))]
    pub restart_seconds: u16,

    /// Seconds for which BGP peers keep them after that as a last choice (long-lived graceful restart,
    /// RFC 9494), where they can. 0: not at all. A change counts from the next session with each on.
    #[serde(default = "default_long_lived")]
    #[schemars(range(min = 0, max = 16_777_215))]
    pub long_lived_seconds: u32,
}

impl Default for BgpSettings {
    fn default() -> Self {
        Self {
            asn: default_asn(),
            node_asns: Vec::new(),
            node_mesh: true,
            route_reflectors: None,
            port: default_port(),
            restart_seconds: default_restart(),
            long_lived_seconds: default_long_lived(),
        }
    }
}

/// The AS number of some nodes.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeAsn {
    /// Labels that the nodes have, all of them.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,

    /// Their AS number.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    #[x_kube(validation = rules::asn_usable())]
    pub asn: u32,
}

/// Which nodes reflect routes.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouteReflectors {
    /// Labels that the route reflectors have, all of them.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,

    /// What tells the cluster of these route reflectors from others (RFC 4456, section 7), written as an
    /// IPv4 address.
    #[serde(rename = "clusterID", default = "default_cluster")]
    #[x_kube(validation = rules::cluster_id())]
    #[schemars(length(max = 15))]
    pub cluster_id: String,
}

fn default_asn() -> u32 {
    64512
}
fn yes() -> bool {
    true
}
fn default_port() -> u16 {
    179
}
fn default_restart() -> u16 {
    120
}
fn default_long_lived() -> u32 {
    86400
}
fn default_cluster() -> String {
    "0.0.0.1".into()
}
