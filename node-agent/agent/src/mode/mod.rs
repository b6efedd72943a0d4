//! A mode, as a function from (this node, its peers) to paths: the one place where modes are chosen.
//!
//! Everything that does not depend on the path (addresses, policy, masquerade, pods) is elsewhere,
//! in [`crate::network`], and is the same in every mode.

mod overlay;

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use weft_kernel::{DeviceName, Family, FdbKey, Mac, Mark, NeighbourKey, Nexthop, Vxlan};

use crate::cluster::{Config, Endpoint, Peer};

/// A way for packets to get from this node to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Path {
    /// In VXLAN.
    Vxlan,
    /// By a route to the address of the peer in the underlay.
    Direct,
}

/// The bits of a packet mark by which a probe chooses its path.
const MARK_MASK: u32 = 0x00ff_0000;

impl Path {
    /// Every path.
    pub const ALL: [Path; 2] = [Path::Vxlan, Path::Direct];

    /// The routing table that sends everything by this path.
    pub fn table(self) -> u32 {
        match self {
            Path::Vxlan => 8701,
            Path::Direct => 8702,
        }
    }

    /// The mark that selects [`Path::table`].
    pub fn mark(self) -> Mark {
        let value = match self {
            Path::Vxlan => 0x0051_0000,
            Path::Direct => 0x0052_0000,
        };
        Mark {
            value,
            mask: MARK_MASK,
        }
    }
}

/// This node, as far as paths depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// How other nodes reach it.
    pub endpoint: Endpoint,
    /// The device that holds its address in the underlay.
    pub device: DeviceName,
    /// Whether VXLAN devices may leave inner checksums to hardware.
    pub tx_checksum: bool,
}

/// The paths of this node, and the kernel objects under them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// VXLAN devices: the receiving side too.
    pub vxlans: BTreeMap<DeviceName, Vxlan>,
    /// Permanent neighbours on them.
    pub neighbours: BTreeMap<NeighbourKey, Mac>,
    /// Where the VXLAN packets of a link-layer address go.
    pub fdb: BTreeMap<FdbKey, std::net::IpAddr>,
    /// For each peer and address family of pods.
    pub peers: Vec<PeerPaths>,
}

/// How to reach one peer with packets of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPaths {
    /// The name of the peer.
    pub peer: String,
    /// The family of the pods' addresses.
    pub family: Family,
    /// Each path that the peer accepts packets on.
    pub open: BTreeMap<Path, Nexthop>,
    /// The one that is used; one of `open`.
    pub send: Path,
}

/// Bytes that the mode adds to a packet which leaves the node `endpoint`.
pub fn overhead(config: &Config, endpoint: &Endpoint) -> u32 {
    match config.mode {
        weft_crds::Mode::Overlay => overlay::overhead(endpoint),
    }
}

/// The paths from this node to its peers.
pub fn paths(config: &Config, here: &Here, peers: &[Peer]) -> Paths {
    match config.mode {
        weft_crds::Mode::Overlay => overlay::paths(config, here, peers),
    }
}

impl Endpoint {
    /// The address in the underlay and its subnet.
    pub fn underlay(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.ipv4.map(IpNet::from),
            Family::V6 => self.ipv6.map(IpNet::from),
        }
    }

    /// The node pod address.
    pub fn pod_address(&self, family: Family) -> Option<std::net::IpAddr> {
        match family {
            Family::V4 => self.pod_ipv4.map(Into::into),
            Family::V6 => self.pod_ipv6.map(Into::into),
        }
    }

    /// Whether both nodes are in one subnet of the underlay, by the word of both.
    pub fn shares_subnet(&self, other: &Endpoint, family: Family) -> bool {
        fn v4(a: Ipv4Net, b: Ipv4Net) -> bool {
            a.trunc() == b.trunc()
        }
        fn v6(a: Ipv6Net, b: Ipv6Net) -> bool {
            a.trunc() == b.trunc()
        }
        match family {
            Family::V4 => self.ipv4.zip(other.ipv4).is_some_and(|(a, b)| v4(a, b)),
            Family::V6 => self.ipv6.zip(other.ipv6).is_some_and(|(a, b)| v6(a, b)),
        }
    }
}
