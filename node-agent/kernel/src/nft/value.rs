//! The table as a value, and the difference of two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::state::Family;

/// What the tables `inet weft` and `ip6 weft` have to do.
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
    /// The sources of IPv4 packets of pods are checked here, because the kernel's own check (`rp_filter`) is
    /// not strict on every device of a pod. Every packet pays for it, so only then.
    #[serde(default = "yes")]
    pub ipv4_sources: bool,
    /// Ports of this node which lead to pods.
    #[serde(with = "crate::state::pairs")]
    pub hostports: BTreeMap<HostPortKey, HostPortTarget>,
    /// Chains, rules and sets are as Weft makes them. Always wanted; observed false when
    /// somebody changed or deleted one.
    #[serde(default = "yes")]
    pub intact: bool,
}

fn yes() -> bool {
    true
}

impl Default for NftTable {
    fn default() -> Self {
        Self {
            pools: BTreeSet::new(),
            node_v4: None,
            node_v6: None,
            masquerade_mark: 0x4000,
            ipv4_sources: true,
            hostports: BTreeMap::new(),
            intact: true,
        }
    }
}

impl NftTable {
    /// The pools without overlaps, as the kernel holds them.
    pub(crate) fn ranges(&self) -> Vec<IpNet> {
        IpNet::aggregate(&self.pools.iter().copied().collect())
    }

    /// What the text of the rules depends on.
    fn parameters(&self) -> impl PartialEq {
        (
            self.node_v4,
            self.node_v6,
            self.masquerade_mark,
            self.ipv4_sources,
        )
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
    /// The pod's address, of the same family.
    pub address: IpAddr,
    /// The pod's port.
    pub port: u16,
}

/// A host port and where it leads.
pub type HostPort = (HostPortKey, HostPortTarget);

/// A change of the table, made by one transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make the table.
    Create(NftTable),
    /// Put the table in the place of the one that is there.
    Rebuild(NftTable),
    /// Change elements of its sets and maps.
    Update {
        /// All pools, if they changed.
        pools: Option<Vec<IpNet>>,
        /// Host ports that go away.
        remove: Vec<HostPort>,
        /// Host ports that are new.
        add: Vec<HostPort>,
        /// Pods which had host ports and have none any more.
        remove_pods: Vec<IpAddr>,
        /// Pods which have host ports now.
        add_pods: Vec<IpAddr>,
    },
    /// Delete the table.
    Delete,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(_) => write!(f, "create nftables tables inet weft and ip6 weft"),
            Self::Rebuild(_) => write!(f, "rebuild nftables tables inet weft and ip6 weft"),
            Self::Delete => write!(f, "delete nftables tables inet weft and ip6 weft"),
            Self::Update {
                pools, remove, add, ..
            } => {
                write!(f, "change nftables table inet weft:")?;
                if let Some(pools) = pools {
                    write!(f, " {} pools,", pools.len())?;
                }
                write!(
                    f,
                    " {} host ports added, {} removed",
                    add.len(),
                    remove.len()
                )
            }
        }
    }
}

/// The change that turns `observed` into `desired`, if they differ. Elements are changed
/// in place; a table whose rules differ is replaced as a whole.
pub(crate) fn difference(
    desired: Option<&NftTable>,
    observed: Option<&NftTable>,
) -> Option<Change> {
    let (desired, observed) = match (desired, observed) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Change::Delete),
        (Some(desired), None) => return Some(Change::Create(desired.clone())),
        (Some(desired), Some(observed)) => (desired, observed),
    };
    if !observed.intact || desired.parameters() != observed.parameters() {
        return Some(Change::Rebuild(desired.clone()));
    }
    let ranges = desired.ranges();
    let pools = (ranges != observed.ranges()).then_some(ranges);
    let missing = |from: &NftTable, entry: &(&HostPortKey, &HostPortTarget)| {
        from.hostports.get(entry.0) != Some(entry.1)
    };
    let collect = |of: &NftTable, from: &NftTable| -> Vec<HostPort> {
        let differs = of.hostports.iter().filter(|entry| missing(from, entry));
        differs.map(|(key, target)| (*key, *target)).collect()
    };
    let (add, remove) = (collect(desired, observed), collect(observed, desired));
    if pools.is_none() && add.is_empty() && remove.is_empty() {
        return None;
    }
    let (pods_then, pods_now) = (pods(observed), pods(desired));
    let add_pods = pods_now.difference(&pods_then).copied().collect();
    let remove_pods = pods_then.difference(&pods_now).copied().collect();
    Some(Change::Update {
        pools,
        remove,
        add,
        remove_pods,
        add_pods,
    })
}

/// Addresses of pods with host ports.
pub(crate) fn pods(table: &NftTable) -> BTreeSet<IpAddr> {
    table
        .hostports
        .values()
        .map(|target| target.address)
        .collect()
}
