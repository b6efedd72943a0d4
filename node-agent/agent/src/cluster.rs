//! What the API server says of the cluster, as plain values without Kubernetes types.
//!
//! [`Cluster`] is a synchronous index: the watches feed it object by object, it parses each once, and
//! the rest of the agent reads it. It is also what is saved on disk, so that a node that boots
//! without an API server comes back as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use weft_crds::{
    BGPPeerSpec, BgpSettings, Encapsulation, IPBlock, LogLevel, Mode, NetworkConfig,
    NodeAddressSettings, NodeBgp, NodeNetwork,
};
use weft_kernel::Mac;
use weft_migration::{Node, Orders, State, orders};

/// Everything that an agent knows of the cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cluster {
    /// The last NetworkConfig that could be understood. It stays when the object is deleted.
    pub config: Option<Config>,
    /// This node, once its Node object was seen.
    pub own: Option<OwnNode>,
    /// The routers that BGPPeers name, by the name of the object.
    #[serde(default)]
    pub routers: BTreeMap<String, BGPPeerSpec>,
    /// How each node is reached, by node name; this node too.
    nodes: BTreeMap<String, Endpoint>,
    /// The blocks that nodes own.
    blocks: BTreeMap<IpNet, Ownership>,
}

/// What a NetworkConfig says, parsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `metadata.generation`.
    pub generation: i64,
    /// Where the cluster is between modes. Nodes follow this and never `spec.mode`: who is told what, and when, is
    /// for the operator to decide.
    pub stage: Stage,
    /// Labels of the nodes that move first.
    #[serde(default)]
    pub canaries: Option<BTreeMap<String, String>>,
    /// The pools.
    pub pools: Vec<Pool>,
    /// Which packets are in VXLAN.
    pub encapsulation: Encapsulation,
    /// VXLAN network identifier.
    pub vni: u32,
    /// VXLAN port.
    pub port: u16,
    /// How to find the address of this node.
    pub node_address: NodeAddressSettings,
    /// MTU of pods that the admin asks for, in bytes.
    pub mtu: Option<u32>,
    /// The bit of the packet mark that kube-proxy uses.
    pub masquerade_bit: u8,
    /// How much to log.
    pub log_level: LogLevel,
    /// How nodes speak BGP.
    #[serde(default)]
    pub bgp: BgpSettings,
    /// The ranges of Services.
    #[serde(default)]
    pub services: Vec<IpNet>,
}

/// Where the cluster is between modes, as one NetworkConfig says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// UID of that NetworkConfig.
    pub config_uid: String,
    /// Where it is.
    pub state: State<Mode>,
}

/// An address range of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The range.
    pub cidr: IpNet,
    /// Takes no new addresses.
    pub disabled: bool,
}

/// This node's Node object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnNode {
    /// The name of the node.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The addresses of type InternalIP, in their order.
    pub internal_ips: Vec<IpAddr>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl OwnNode {
    /// Whether it has all these labels.
    pub fn is_selected(&self, labels: &BTreeMap<String, String>) -> bool {
        labels
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// How a node is reached: a [`NodeNetwork`], parsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// UID of the node.
    pub uid: String,
    /// Address in the underlay.
    pub ipv4: Option<Ipv4Net>,
    /// Address in the underlay.
    pub ipv6: Option<Ipv6Net>,
    /// Of its VXLAN devices.
    pub mac: Mac,
    /// IPv4 node pod address.
    pub pod_ipv4: Option<Ipv4Addr>,
    /// IPv6 node pod address.
    pub pod_ipv6: Option<Ipv6Addr>,
    /// MTU of the underlay there, in bytes.
    pub mtu: u32,
    /// How the node takes part in BGP, if it does.
    #[serde(default)]
    pub bgp: Option<NodeBgp>,
}

/// Who owns a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ownership {
    node: String,
    uid: String,
    draining: bool,
}

/// Another node, with all that is needed to send to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The name of the node.
    pub name: String,
    /// How it is reached.
    pub endpoint: Endpoint,
    /// Its blocks.
    pub blocks: Vec<IpNet>,
}

/// A block of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnBlock {
    /// The range.
    pub cidr: IpNet,
    /// New addresses may be taken from it.
    pub open: bool,
}

impl Cluster {
    /// Takes a NetworkConfig over. While nothing says where the cluster is between modes, it is where it was; if
    /// that isn't known either, the operator will say so soon, and nothing is done until then.
    ///
    /// # Errors
    /// In words, when a field can't be understood; the former configuration stays.
    pub fn apply_config(&mut self, object: &NetworkConfig) -> Result<(), String> {
        let told = object.status.as_ref().and_then(|status| status.state());
        let told = told.map(|state| Stage {
            config_uid: object.metadata.uid.clone().unwrap_or_default(),
            state,
        });
        let former = || Some(self.config.as_ref()?.stage.clone());
        if let Some(stage) = told.or_else(former) {
            self.config = Some(Config::parse(object, stage)?);
        }
        Ok(())
    }

    /// Takes a NodeNetwork over.
    ///
    /// # Errors
    /// In words, when a field can't be understood; what was known of that node stays.
    pub fn apply_node(&mut self, object: &NodeNetwork) -> Result<(), String> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let endpoint = Endpoint::parse(object).map_err(|error| {
            format!("NodeNetwork {name}: {error}; its agent has to be looked at")
        })?;
        self.nodes.insert(name, endpoint);
        Ok(())
    }

    /// Forgets a node.
    pub fn delete_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Takes an IPBlock over; one without an owner is forgotten.
    ///
    /// # Errors
    /// In words, when a field can't be understood; what was known of that block stays.
    pub fn apply_block(&mut self, object: &IPBlock) -> Result<(), String> {
        let cidr = block_range(object)?;
        match (&object.spec.node, &object.spec.node_uid) {
            (Some(node), Some(uid)) => {
                let owner = Ownership {
                    node: node.clone(),
                    uid: uid.clone(),
                    draining: object.spec.draining,
                };
                self.blocks.insert(cidr, owner);
            }
            _ => {
                self.blocks.remove(&cidr);
            }
        }
        Ok(())
    }

    /// Forgets a block.
    pub fn delete_block(&mut self, object: &IPBlock) {
        if let Ok(cidr) = block_range(object) {
            self.blocks.remove(&cidr);
        }
    }

    /// Forgets every node that is not in the list: what was deleted while nobody watched.
    pub fn retain_nodes(&mut self, names: &BTreeSet<String>) {
        self.nodes.retain(|name, _| names.contains(name));
    }

    /// Forgets every block that is not in the list.
    pub fn retain_blocks(&mut self, blocks: &BTreeSet<IpNet>) {
        self.blocks.retain(|cidr, _| blocks.contains(cidr));
    }

    /// The name of the node that owns a block.
    pub fn owner(&self, block: &IpNet) -> Option<&str> {
        self.blocks.get(block).map(|owner| owner.node.as_str())
    }

    /// How this node was last published.
    pub fn own_endpoint(&self) -> Option<&Endpoint> {
        let own = self.own.as_ref()?;
        self.nodes
            .get(&own.name)
            .filter(|endpoint| endpoint.uid == own.uid)
    }

    /// The other nodes that say how they are reached, by name, each with the blocks that it owns. A
    /// block that belongs to an earlier node of the same name is left out.
    pub fn peers(&self) -> Vec<Peer> {
        self.peers_among(|_| true)
    }

    /// Those of these names, in the order of the names.
    pub fn peers_named(&self, names: &BTreeSet<String>) -> Vec<Peer> {
        self.peers_among(|name| names.contains(name))
    }

    fn peers_among(&self, among: impl Fn(&str) -> bool) -> Vec<Peer> {
        let own = self.own.as_ref().map(|own| own.name.as_str());
        let mut blocks: BTreeMap<&str, Vec<IpNet>> = BTreeMap::new();
        for (cidr, owner) in self.blocks.iter().filter(|(_, owner)| among(&owner.node)) {
            let current = self.nodes.get(&owner.node);
            if current.is_some_and(|endpoint| endpoint.uid == owner.uid) {
                blocks.entry(&owner.node).or_default().push(*cidr);
            }
        }
        self.nodes
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != own && among(name))
            .map(|(name, endpoint)| Peer {
                name: name.clone(),
                endpoint: endpoint.clone(),
                blocks: blocks.remove(name.as_str()).unwrap_or_default(),
            })
            .collect()
    }

    /// The blocks of this node, in the order of their addresses.
    pub fn own_blocks(&self) -> Vec<OwnBlock> {
        let Some(own) = &self.own else {
            return Vec::new();
        };
        let disabled = |cidr: &IpNet| {
            self.config.as_ref().is_some_and(|config| {
                config
                    .pools
                    .iter()
                    .any(|pool| pool.disabled && pool.cidr.contains(cidr))
            })
        };
        self.blocks
            .iter()
            .filter(|(_, owner)| owner.node == own.name && owner.uid == own.uid)
            .map(|(cidr, owner)| OwnBlock {
                cidr: *cidr,
                open: !owner.draining && !disabled(cidr),
            })
            .collect()
    }

    /// The smallest of what `measure` gives for the published nodes other than this one.
    pub fn smallest_of_others(&self, measure: impl Fn(&Endpoint) -> u32) -> Option<u32> {
        let own = self.own.as_ref().map(|own| own.name.as_str());
        self.nodes
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != own)
            .map(|(_, endpoint)| measure(endpoint))
            .min()
    }
}

/// The range of a block.
///
/// # Errors
/// In words, when it is none.
pub fn block_range(object: &IPBlock) -> Result<IpNet, String> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    parse(&object.spec.cidr)
        .map_err(|error| format!("IPBlock {name}: cidr: {error}; delete the object"))
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

impl Config {
    /// What a node is to do about modes.
    pub fn orders(&self, own: &OwnNode) -> Orders<Mode> {
        let canaries = self.canaries.as_ref();
        let node = Node {
            name: &own.name,
            canary: canaries.is_some_and(|labels| own.is_selected(labels)),
        };
        orders(&self.stage.state, node)
    }

    fn parse(object: &NetworkConfig, stage: Stage) -> Result<Self, String> {
        let spec = &object.spec;
        let pools = spec
            .pools
            .iter()
            .map(|pool| {
                Ok(Pool {
                    cidr: parse(&pool.cidr).map_err(|error| format!("pools: cidr: {error}"))?,
                    disabled: pool.disabled,
                })
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            generation: object.metadata.generation.unwrap_or_default(),
            stage,
            canaries: spec.migration.canary_selector.clone(),
            pools,
            encapsulation: spec.overlay.encapsulation,
            vni: spec.overlay.vni,
            port: spec.overlay.port,
            node_address: spec.node_address.clone(),
            mtu: spec.mtu,
            masquerade_bit: spec.kube_proxy.masquerade_bit,
            log_level: spec.agent.log_level,
            bgp: spec.bgp.clone(),
            services: services(object)?,
        })
    }
}

fn services(object: &NetworkConfig) -> Result<Vec<IpNet>, String> {
    let ranges = object
        .status
        .iter()
        .flat_map(|status| &status.service_cidrs);
    ranges
        .map(|range| parse(range).map_err(|error| format!("status.serviceCIDRs: {error}")))
        .collect()
}

impl Endpoint {
    fn parse(object: &NodeNetwork) -> Result<Self, String> {
        let spec = &object.spec;
        let mut endpoint = Self {
            uid: spec.node_uid.clone(),
            ipv4: spec.ipv4.as_deref().map(parse).transpose()?,
            ipv6: spec.ipv6.as_deref().map(parse).transpose()?,
            mac: parse(&spec.mac)?,
            pod_ipv4: None,
            pod_ipv6: None,
            mtu: spec.mtu,
            bgp: spec.bgp,
        };
        for address in &spec.node_pod_addresses {
            match parse(address)? {
                IpAddr::V4(address) => endpoint.pod_ipv4 = Some(address),
                IpAddr::V6(address) => endpoint.pod_ipv6 = Some(address),
            }
        }
        Ok(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::ObjectMeta;
    use weft_crds::{IPBlockSpec, NodeNetworkSpec};

    fn node(name: &str, uid: &str) -> NodeNetwork {
        let mut object = NodeNetwork::new(
            name,
            NodeNetworkSpec {
                node_uid: uid.into(),
                ipv4: Some("192.0.2.7/24".into()),
                mac: "02:00:00:00:00:01".into(),
                node_pod_addresses: vec!["10.244.0.1".into(), "fd00::1".into()],
                mtu: 1500,
                ..NodeNetworkSpec::default()
            },
        );
        object.metadata.uid = Some("unused".into());
        object
    }

    fn block(cidr: &str, owner: Option<(&str, &str)>) -> IPBlock {
        IPBlock {
            metadata: ObjectMeta::default(),
            spec: IPBlockSpec {
                cidr: cidr.into(),
                pool: "10.244.0.0/16".into(),
                node: owner.map(|(node, _)| node.into()),
                node_uid: owner.map(|(_, uid)| uid.into()),
                draining: false,
                released_at: None,
            },
        }
    }

    #[test]
    fn a_peer_has_only_the_blocks_of_its_present_incarnation() {
        let mut cluster = Cluster::default();
        cluster.apply_node(&node("b", "new")).unwrap();
        cluster
            .apply_block(&block("10.244.0.0/26", Some(("b", "old"))))
            .unwrap();
        cluster
            .apply_block(&block("10.244.0.64/26", Some(("b", "new"))))
            .unwrap();
        let peers = cluster.peers();
        assert_eq!(peers.len(), 1);
        assert_eq!(
            peers[0].blocks,
            ["10.244.0.64/26".parse::<IpNet>().unwrap()]
        );
        assert_eq!(peers[0].endpoint.pod_ipv6, Some("fd00::1".parse().unwrap()));
    }

    #[test]
    fn a_released_block_and_a_deleted_node_are_forgotten() {
        let mut cluster = Cluster::default();
        cluster.apply_node(&node("b", "1")).unwrap();
        cluster
            .apply_block(&block("10.244.0.0/26", Some(("b", "1"))))
            .unwrap();
        cluster.apply_block(&block("10.244.0.0/26", None)).unwrap();
        assert!(cluster.peers()[0].blocks.is_empty());
        cluster.delete_node("b");
        assert!(cluster.peers().is_empty());
    }

    #[test]
    fn what_cannot_be_parsed_changes_nothing_and_is_named() {
        let mut cluster = Cluster::default();
        cluster.apply_node(&node("b", "1")).unwrap();
        let mut bad = node("b", "1");
        bad.spec.ipv4 = Some("192.0.2.300/24".into());
        let error = cluster.apply_node(&bad).unwrap_err();
        assert!(
            error.contains("NodeNetwork b") && error.contains("192.0.2.300/24"),
            "{error}"
        );
        assert_eq!(cluster.peers().len(), 1);
    }

    #[test]
    fn nodes_are_where_the_status_says_and_never_where_the_spec_does() {
        let config = |mode: &str, status: serde_json::Value| -> NetworkConfig {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "weft.dev/v1alpha1", "kind": "NetworkConfig",
                "metadata": {"name": "default", "uid": mode, "generation": 1},
                "spec": {"mode": mode, "pools": [{"cidr": "10.244.0.0/16"}]}, "status": status,
            }))
            .unwrap()
        };
        let mut cluster = Cluster::default();
        let nothing = || serde_json::json!({});
        cluster.apply_config(&config("BGP", nothing())).unwrap();
        assert_eq!(cluster.config, None, "nobody has said where the cluster is");
        let told = serde_json::json!({"mode": "Overlay", "step": 3});
        cluster.apply_config(&config("BGP", told)).unwrap();
        let stage = |cluster: &Cluster| cluster.config.clone().unwrap().stage;
        let known = stage(&cluster);
        assert_eq!((known.state.mode, known.state.step), (Mode::Overlay, 3));
        // Deleted and made again: until its status is written, all is as it was.
        cluster.apply_config(&config("Overlay", nothing())).unwrap();
        assert_eq!(stage(&cluster), known);
    }

    #[test]
    fn it_survives_the_disk() {
        let mut cluster = Cluster::default();
        cluster.apply_node(&node("b", "1")).unwrap();
        cluster
            .apply_block(&block("fd00::/122", Some(("b", "1"))))
            .unwrap();
        let saved = serde_json::to_string(&cluster).unwrap();
        assert_eq!(serde_json::from_str::<Cluster>(&saved).unwrap(), cluster);
    }
}
