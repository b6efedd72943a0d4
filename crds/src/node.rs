//! What nodes publish: `NodeNetwork` for every other node, `NodeReport` for the operator alone.
//!
//! They are two objects so that a report, which changes often, wakes no other agent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Mode;

/// How other nodes reach this one.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[kube(
    group = "weft.dev",
    version = "v1alpha1",
    kind = "NodeNetwork",
    plural = "nodenetworks",
    category = "weft",
    derive = "PartialEq",
    doc = "How other nodes reach the node of this name. Its agent writes it, the agents of all other nodes read it.",
    printcolumn(name = "IPv4", type_ = "string", json_path = ".spec.ipv4"),
    printcolumn(name = "IPv6", type_ = "string", json_path = ".spec.ipv6"),
    printcolumn(name = "MTU", type_ = "integer", json_path = ".spec.mtu"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct NodeNetworkSpec {
    /// UID of the Node object that this is about.
    #[serde(rename = "nodeUID")]
    #[schemars(length(max = 64))]
    pub node_uid: String,

    /// IPv4 address in the underlay with its prefix length, such as 192.0.2.7/24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 43))]
    pub ipv4: Option<String>,

    /// IPv6 address in the underlay with its prefix length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 43))]
    pub ipv6: Option<String>,

    /// Link-layer address of the VXLAN devices of the node.
    #[schemars(regex(pattern = "^([0-9a-f]{2}:){5}[0-9a-f]{2}$"))]
    pub mac: String,

    /// The node pod addresses, one of each family that the node has a block of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 39)))]
    pub node_pod_addresses: Vec<String>,

    /// MTU of the underlay at this node, in bytes.
    pub mtu: u32,

    /// How the node takes part in BGP, when the cluster is in mode BGP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<NodeBgp>,
}

/// How a node takes part in BGP.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeBgp {
    /// Its AS number.
    pub asn: u32,
    /// Whether it passes routes on between the others of its AS (RFC 4456).
    #[serde(default)]
    pub reflects: bool,
}

/// What the agent of a node has done and seen.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[kube(
    group = "weft.dev",
    version = "v1alpha1",
    kind = "NodeReport",
    plural = "nodereports",
    category = "weft",
    derive = "PartialEq",
    doc = "What the agent of the node of this name has done and seen. Its agent writes it, the operator and kubectl weft read it.",
    printcolumn(name = "Forwarding", type_ = "boolean", json_path = ".spec.forwarding"),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        json_path = ".spec.observedGeneration"
    ),
    printcolumn(name = "Peers", type_ = "string", json_path = ".spec.summary"),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".spec.agentVersion",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct NodeReportSpec {
    /// UID of the Node object that this is about.
    #[serde(rename = "nodeUID")]
    pub node_uid: String,

    /// The generation of the NetworkConfig that the kernel of the node follows in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Version of the agent.
    pub agent_version: String,

    /// Whether probe packets of full size to the peers come back, and everything is programmed.
    pub forwarding: bool,

    /// Peers with an answer of all peers, to be read: "4/4".
    pub summary: String,

    /// MTU of the pods of this node, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,

    /// The blocks of the node and how full they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockUsage>,

    /// How packets go to each peer, and whether they arrive. Those without an answer come first; at
    /// the most 64 are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub peers: Vec<PeerReport>,

    /// The BGP sessions of the node, in mode BGP. Those that are not established come first; at the
    /// most 64 are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub sessions: Vec<BgpSession>,

    /// The modes that the node is in, once it follows a step of the NetworkConfig in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modes: Option<ModesReport>,

    /// What is wrong on this node, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub problems: Vec<Problem>,
}

/// The modes that a node is in, and what it says of the one that it is to go to.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ModesReport {
    /// UID of the NetworkConfig that the step is one of.
    #[serde(rename = "configUID")]
    #[schemars(length(max = 64))]
    pub config_uid: String,
    /// The step that the kernel of the node follows in full, and that is saved on its disk.
    pub step: u64,
    /// The modes whose packets it accepts.
    pub receives: Vec<Mode>,
    /// The modes that it sends in to the nodes that are not left out.
    pub sends: Vec<Mode>,
    /// Packets of its pods have the size that the step wants.
    pub sized: bool,
    /// Packets of its pods would have to become smaller for the new mode.
    #[serde(default)]
    pub shrinks: bool,
    /// What is in the way of the new mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 1024)))]
    pub obstacles: Vec<String>,
    /// What probes in the new mode say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<TrialsReport>,
}

/// What probes of full size in the new mode say, to the peers that are up. The numbers of probes are coarse.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct TrialsReport {
    /// Paths to be proven: to each peer that is up, in each family.
    pub wanted: u32,
    /// Those that are.
    pub passed: u32,
    /// Those by which nothing comes, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 1024)))]
    pub failed: Vec<String>,
    /// Probes sent since the proof began, rounded down to a power of two.
    pub sent: u64,
    /// Those of them that did not come back.
    pub lost: u64,
}

/// Counts of used addresses in a report are exact when no more than so many are left, else rounded down
/// to a multiple of it.
pub const USAGE_STEP: u64 = 16;

/// The longest message of a problem, in bytes: what an event can carry too.
pub const LONGEST_MESSAGE: usize = 1024;

/// A block and how full it is. Counts are coarse while there is room, so that a report is not
/// written for every pod.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BlockUsage {
    /// The range of the block.
    pub cidr: String,
    /// Addresses that can be given to pods.
    pub capacity: u64,
    /// Addresses that pods have.
    pub used: u64,
    /// The agent gives out no address from it any more, and none is in use.
    #[serde(default)]
    pub drained: bool,
}

/// How packets go to a peer.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    /// The node.
    pub node: String,
    /// The path of IPv4 packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<PeerPath>,
    /// The path of IPv6 packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<PeerPath>,
    /// Whether the last probes of full size came back.
    pub answers: bool,
}

/// How packets get from one node to another.
#[derive(
    Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
pub enum PeerPath {
    /// In VXLAN.
    VXLAN,
    /// By a route to the address of the node.
    Direct,
    /// By way of routers that announce its blocks by BGP.
    Routed,
}

/// A BGP session of a node.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BgpSession {
    /// The node at the other end, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The BGPPeer at the other end, if it is one.
    #[serde(rename = "bgpPeer", default, skip_serializing_if = "Option::is_none")]
    pub bgp_peer: Option<String>,
    /// The address of the other end.
    pub address: String,
    /// Its AS number.
    pub asn: u32,
    /// Where the session is (RFC 4271, section 8.2.2).
    pub state: BgpState,
    /// When it was established last, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Prefixes that the other end announces and that are believed.
    #[serde(default)]
    pub received: u32,
    /// Prefixes that the other end is told.
    #[serde(default)]
    pub advertised: u32,
    /// Why the last session ended, or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_error: Option<String>,
}

/// States of a BGP session (RFC 4271, section 8.2.2).
#[derive(
    Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
pub enum BgpState {
    /// Resting, or told to.
    Idle,
    /// Connecting.
    Connect,
    /// Waiting for the other end to connect.
    Active,
    /// Waiting for its OPEN.
    OpenSent,
    /// Waiting for its first KEEPALIVE.
    OpenConfirm,
    /// Up.
    Established,
}

/// Something that is wrong on a node.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A word for programs, such as AddressNotFound.
    pub reason: String,
    /// What is wrong and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}
