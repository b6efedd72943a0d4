//! `NetworkConfig`: what an admin says of the network.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bgp::BgpSettings;
use crate::migration::MigrationSettings;
use crate::rules;
use crate::status::NetworkConfigStatus;

/// The network of the cluster. There is one, named `default`. Weft writes only its status.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "weft.dev",
    version = "v1alpha1",
    kind = "NetworkConfig",
    plural = "networkconfigs",
    shortname = "netcfg",
    category = "weft",
    status = "NetworkConfigStatus",
    derive = "PartialEq",
    doc = "The network of the cluster: how pods get addresses and how their packets get from node to node. There is one NetworkConfig, named default. Weft writes only its status, never its spec.",
    validation = rules::config_name(),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode", description = "The mode that the nodes send in"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether every node does what the spec says"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes.summary", description = "Nodes that forward, of all nodes"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.migration.phase", description = "How far a migration to another mode is"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.summary", description = "Nodes that have done what the phase asks for, of all nodes"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why it is ready or not", priority = 1),
    printcolumn(name = "MTU", type_ = "integer", json_path = ".status.mtu", description = "MTU of pods, in bytes", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::mtu_ipv6())]
pub struct NetworkConfigSpec {
    /// How packets get from node to node. Overlay: in VXLAN, so that the network between the nodes
    /// need not know of pods. BGP: by plain routing; nodes and the routers between them learn from
    /// each other by BGP where pods are. When it changes, the cluster is taken from the one to the
    /// other while it runs: see migration, and status.migration.
    pub mode: Mode,

    /// The address ranges that pods get their addresses from, disjoint, IPv4 or IPv6 or both. A pod
    /// gets one address of each family that has a pool.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cidr".to_string()]))]
    #[x_kube(
        validation = rules::pools_overlap(),
        validation = rules::pools_enabled(),
        validation = rules::pools_removal(),
        validation = rules::pools_families()
    )]
    pub pools: Vec<Pool>,

    /// Settings of mode Overlay.
    #[serde(default)]
    pub overlay: OverlaySettings,

    /// Settings of mode BGP.
    #[serde(default)]
    pub bgp: BgpSettings,

    /// How a node finds the address that other nodes reach it by.
    #[serde(default)]
    pub node_address: NodeAddressSettings,

    /// MTU of pods, in bytes. Default: the smallest MTU of the underlay of any node, less what the
    /// mode adds to a packet; it follows changes of the underlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 65465))]
    pub mtu: Option<u32>,

    /// Facts about the kube-proxy of the cluster.
    #[serde(default)]
    pub kube_proxy: KubeProxySettings,

    /// How blocks are given to nodes and taken back.
    #[serde(default)]
    pub ipam: IpamSettings,

    /// The agent on each node.
    #[serde(default)]
    pub agent: AgentSettings,

    /// How the cluster goes from one mode to another.
    #[serde(default)]
    pub migration: MigrationSettings,
}

/// How packets get from node to node.
#[derive(
    Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Mode {
    /// VXLAN between nodes.
    Overlay,
    /// Plain routing, with routes by BGP.
    BGP,
}

impl Mode {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Overlay => "Overlay",
            Mode::BGP => "BGP",
        }
    }
}

/// An address range of the cluster.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::pool_syntax(),
    validation = rules::pool_canonical(),
    validation = rules::pool_spelling(),
    validation = rules::pool_reserved(),
    validation = rules::pool_block_range(),
    validation = rules::pool_block_fits(),
    validation = rules::pool_block_immutable()
)]
pub struct Pool {
    /// The range, such as 10.244.0.0/16 or fd00:10:244::/56. It must overlap neither the range of
    /// Services nor an address of the underlay, and can't change once set.
    #[schemars(length(min = 1, max = 43))]
    pub cidr: String,

    /// Prefix length of the blocks that nodes get, from 16 to 29 (IPv4) or 96 to 125 (IPv6).
    /// Default: 26 (64 addresses) or 122. It can't change once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub block_size: Option<u8>,

    /// True: no new block is given out, and no new address from blocks of this pool, so that it
    /// empties and can be removed.
    #[serde(default)]
    pub disabled: bool,
}

impl Pool {
    /// The block size in prefix bits, with the default of the family where it is unset.
    pub fn effective_block_size(&self) -> u8 {
        let default = if self.cidr.contains(':') { 122 } else { 26 };
        self.block_size.unwrap_or(default)
    }
}

/// Settings of mode Overlay.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OverlaySettings {
    /// Always: every packet between nodes is in VXLAN. CrossSubnet: only packets between nodes on
    /// different subnets of the underlay are; others are routed directly. It can change at any time
    /// and loses nothing.
    #[serde(default)]
    pub encapsulation: Encapsulation,

    /// VXLAN network identifier (RFC 7348). Unlike encapsulation it can't change without loss: packets
    /// in VXLAN are lost until all nodes have the new one.
    #[serde(default = "default_vni")]
    #[schemars(range(min = 1, max = 16777215))]
    pub vni: u32,

    /// UDP port that VXLAN packets are sent to, on every node. The underlay has to let it pass. It
    /// can't change without loss either.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

impl Default for OverlaySettings {
    fn default() -> Self {
        Self {
            encapsulation: Encapsulation::default(),
            vni: default_vni(),
            port: default_port(),
        }
    }
}

/// Which packets are in VXLAN.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encapsulation {
    /// All packets between nodes.
    #[default]
    Always,
    /// Packets between nodes on different subnets.
    CrossSubnet,
}

/// How a node finds its address in the underlay.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::address_cidrs(),
    validation = rules::address_cidrs_alone(),
    validation = rules::address_cidrs_syntax(),
    validation = rules::address_interfaces(),
    validation = rules::address_interfaces_alone(),
    validation = rules::address_interfaces_syntax(),
    validation = rules::address_target(),
    validation = rules::address_target_alone(),
    validation = rules::address_target_syntax()
)]
pub struct NodeAddressSettings {
    /// NodeInternalIP: the InternalIP addresses of the Node object. CIDR: an address inside one of
    /// cidrs. Interface: the address of the first of interfaces that exists. CanReach: the address
    /// that the node would use to reach target. An address that floats between nodes (a virtual IP)
    /// is never taken unless interfaces names its interface.
    #[serde(default)]
    pub method: NodeAddressMethod,

    /// For method CIDR: the ranges, the first that has an address of the node wins, for each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 43)))]
    pub cidrs: Vec<String>,

    /// For method Interface: names or patterns such as eth*; the first that exists wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 15)))]
    pub interfaces: Vec<String>,

    /// For method CanReach: the IP address to reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 45))]
    pub target: Option<String>,
}

/// Where the address of a node comes from.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NodeAddressMethod {
    /// The InternalIP addresses of the Node object.
    #[default]
    NodeInternalIP,
    /// An address inside a given range.
    CIDR,
    /// The address of a named interface.
    Interface,
    /// The source address of the route to a target.
    CanReach,
}

/// Facts about kube-proxy that Weft relies on.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KubeProxySettings {
    /// Bit of the packet mark by which kube-proxy says that a packet has to be masqueraded: the
    /// same as iptables.masqueradeBit in the configuration of kube-proxy.
    #[serde(default = "default_masquerade_bit")]
    #[schemars(range(min = 0, max = 15))]
    pub masquerade_bit: u8,
}

impl Default for KubeProxySettings {
    fn default() -> Self {
        Self {
            masquerade_bit: default_masquerade_bit(),
        }
    }
}

/// How blocks are given to nodes and taken back.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IpamSettings {
    /// The most blocks of one address family that a node may own.
    #[serde(default = "default_max_blocks")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_blocks_per_node: u32,

    /// Seconds for which a released block is given to nobody.
    #[serde(default = "default_cooldown")]
    #[schemars(range(min = 0, max = 86400))]
    pub block_cooldown_seconds: u32,

    /// Seconds for which a block has to be empty before it is taken back. The first block of each
    /// family of a node is never taken back.
    #[serde(default = "default_empty")]
    #[schemars(range(min = 10, max = 604800))]
    pub empty_block_seconds: u32,
}

impl Default for IpamSettings {
    fn default() -> Self {
        Self {
            max_blocks_per_node: default_max_blocks(),
            block_cooldown_seconds: default_cooldown(),
            empty_block_seconds: default_empty(),
        }
    }
}

/// The agent on each node.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::max_unavailable())]
pub struct AgentSettings {
    /// Image of the agent. Default: that of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// How many agents may be down at once while they are rolled: a number or a percentage.
    /// Packets go on while an agent is down. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,

    /// How much the agents log.
    #[serde(default)]
    pub log_level: LogLevel,
}

/// How much a program logs.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LogLevel {
    /// What needs attention.
    Warn,
    /// What changed.
    #[default]
    Info,
    /// What was looked at.
    Debug,
}

fn default_vni() -> u32 {
    4873
}
fn default_port() -> u16 {
    4789
}
fn default_masquerade_bit() -> u8 {
    14
}
fn default_max_blocks() -> u32 {
    32
}
fn default_cooldown() -> u32 {
    300
}
fn default_empty() -> u32 {
    600
}
