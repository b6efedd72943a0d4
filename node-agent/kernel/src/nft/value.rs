//! The table as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::state::Family;

/// What the table `inet weft` has to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftTable {
    /// The cluster's address ranges, both families.
    pub pools: BTreeSet<IpNet>,
    /// The node pod address, IPv4: the source of what kube-proxy would masquerade.
    pub node_v4: Option<Ipv4Addr>,
    /// The node pod address, IPv6.
    pub node_v6: Option<Ipv6Addr>,
    /// The mark with which kube-proxy asks for masquerading (one bit).
    pub masquerade_mark: u32,
    /// Ports of this node which lead to pods.
    #[serde(with = "crate::state::pairs")]
    pub hostports: BTreeMap<HostPortKey, HostPortTarget>,
}

impl Default for NftTable {
    fn default() -> Self {
        Self {
            pools: BTreeSet::new(),
            node_v4: None,
            node_v6: None,
            masquerade_mark: 0x4000,
            hostports: BTreeMap::new(),
        }
    }
}

/// A port of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPortKey {
    /// Family of the address that is connected to.
    pub family: Family,
    /// IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
    pub protocol: u8,
    /// Only this address of the node; none means every local one.
    pub host: Option<IpAddr>,
    /// Port of the node.
    pub port: u16,
}

/// Where a host port leads: an address and port of a pod on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPortTarget {
    /// The pod's address.
    pub address: IpAddr,
    /// The pod's port.
    pub port: u16,
}
