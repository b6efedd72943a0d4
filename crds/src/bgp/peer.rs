//! `BGPPeer`: a router that nodes exchange routes with.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// A router that nodes exchange routes with, in mode BGP.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "weft.dev",
    version = "v1alpha1",
    kind = "BGPPeer",
    plural = "bgppeers",
    category = "weft",
    status = "BGPPeerStatus",
    derive = "PartialEq",
    doc = "A router that nodes exchange routes with in mode BGP. Weft writes only its status.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asn"),
    printcolumn(
        name = "Established",
        type_ = "string",
        json_path = ".status.established",
        description = "Nodes with a session, of the nodes that should have one"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::reach(), validation = rules::source_family())]
pub struct BGPPeerSpec {
    /// IP address of the router.
    #[schemars(length(min = 2, max = 39))]
    #[x_kube(validation = rules::peer_address())]
    pub address: String,

    /// TCP port of the router.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// AS number of the router. The same as the node's: iBGP; another: eBGP.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    #[x_kube(validation = rules::asn_usable())]
    pub asn: u32,

    /// Labels of the nodes that exchange routes with it, all of them. Default: all nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,

    /// Where the password of TCP MD5 (RFC 2385) is. Default: no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretKey>,

    /// Seconds of silence after which the session is lost; 0: never. The lesser of both sides' counts, and
    /// a third of it is the time between keepalives (RFC 4271, section 4.2).
    #[serde(default = "default_hold")]
    #[schemars(range(min = 0, max = 65535))]
    #[x_kube(validation = rules::hold_time())]
    pub hold_seconds: u16,

    /// How the router is reached. Direct: it is on a subnet of the node. TTLSecurity: the same, and
    /// packets that a router has passed on are refused, by all sides (RFC 5082). Multihop: over up to hops
    /// routers.
    #[serde(default)]
    pub reach: Reach,

    /// For Multihop: the most hops to the router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub hops: Option<u8>,

    /// Address of the node to speak from, where it has several. Default: the address that other nodes
    /// reach it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 39))]
    pub source_address: Option<String>,

    /// True: nodes wait until the router connects.
    #[serde(default)]
    pub passive: bool,

    /// Which routes are taken from the router.
    #[serde(default)]
    pub import: ImportSettings,

    /// How the routes to pods are announced to the router.
    #[serde(default)]
    pub export: ExportSettings,
}

/// A key of a Secret in the namespace of Weft.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret, in the namespace of Weft.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key in it.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How a router is reached.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// On a subnet of the node.
    #[default]
    Direct,
    /// On a subnet of the node, and nothing that was passed on is believed.
    TTLSecurity,
    /// Over other routers.
    Multihop,
}

/// Which routes are taken from a router. The blocks of other nodes are always; whatever else overlaps a
/// pool, the range of Services, an address of a node, or a loopback, link-local or multicast range never is.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ImportSettings {
    /// Ranges of which prefixes are taken. Default: every prefix that may be taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub prefixes: Vec<PrefixRange>,

    /// True: a default route is taken too.
    #[serde(default)]
    pub default_route: bool,

    /// The most prefixes of one address family; those beyond are not taken, and said in the status, until there is
    /// room again.
    #[serde(default = "default_max_prefixes")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_prefixes: u32,

    /// LOCAL_PREF of its routes: those with more are preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<u32>,
}

impl Default for ImportSettings {
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            default_route: false,
            max_prefixes: default_max_prefixes(),
            local_preference: None,
        }
    }
}

/// A range and how long prefixes in it may be.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::prefix_range_syntax(), validation = rules::prefix_range_lengths())]
pub struct PrefixRange {
    /// The range.
    #[schemars(length(min = 1, max = 43))]
    pub cidr: String,

    /// The shortest prefix length. Default: that of cidr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub min_length: Option<u8>,

    /// The longest prefix length. Default: the longest of the address family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub max_length: Option<u8>,
}

/// How routes to pods are announced to a router.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ExportSettings {
    /// Communities (RFC 1997) to add, such as 64512:100, or large ones (RFC 8092), such as 64512:1:2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 3, max = 32)))]
    #[x_kube(validation = rules::communities())]
    pub communities: Vec<String>,

    /// LOCAL_PREF to set, for a router of the same AS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<u32>,

    /// MULTI_EXIT_DISC to set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,

    /// How many times more the AS number of the node is put in front of the path.
    #[serde(default)]
    #[schemars(range(min = 0, max = 16))]
    pub prepend: u8,
}

/// What came of a BGPPeer.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Nodes with a session of the nodes that should have one, to be read: "3/4".
    #[serde(default)]
    pub established: String,

    /// Ready, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn default_port() -> u16 {
    179
}
fn default_key() -> String {
    "password".into()
}
fn default_hold() -> u16 {
    90
}
fn default_max_prefixes() -> u32 {
    10_000
}
