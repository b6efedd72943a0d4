//! A mode, as a function from (this node, its peers) to paths: the one place where modes are chosen. While the cluster
//! goes from one mode to another a node is in both, and its paths are the union ([`mod@union`]).
//!
//! Everything that does not depend on the path (addresses, policy, masquerade, pods) is elsewhere,
//! in [`crate::network`], and is the same in every mode.

mod bgp;
mod overlay;
mod union;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use weft_crds::{Mode, NodeBgp, Problem};
use weft_kernel::capability::Capability;
use weft_kernel::{DeviceName, Family, FdbKey, Mac, NeighbourKey, Nexthop, Vxlan};
use weft_migration::Orders;
use weft_peering::{Plan, View};

pub use bgp::Known;

use crate::cluster::{Config, Endpoint, OwnNode, Peer};

/// A way for packets to get from this node to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Path {
    /// In VXLAN.
    Vxlan,
    /// By a route to the address of the peer in the underlay.
    Direct,
    /// By way of routers that announce its blocks.
    Routed,
}

impl Path {
    /// Numbers the routes by this path, from 1. Where two paths to a peer share a device, probes by that
    /// device take the one with the smaller number.
    pub fn number(self) -> u8 {
        match self {
            Path::Vxlan => 1,
            Path::Direct => 2,
            Path::Routed => 3,
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
    /// What it is to do about modes.
    pub orders: Orders<Mode>,
}

/// The paths of this node, and the kernel objects under them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// VXLAN devices: the receiving side too.
    pub vxlans: BTreeMap<DeviceName, Vxlan>,
    /// Permanent neighbours on them.
    pub neighbours: BTreeMap<NeighbourKey, Mac>,
    /// Where the VXLAN packets of a link-layer address go.
    pub fdb: BTreeMap<FdbKey, IpAddr>,
    /// For each peer and address family of pods.
    pub peers: Vec<PeerPaths>,
    /// Routes that lead out of the cluster, with the next hops that share their packets.
    pub routes: BTreeMap<IpNet, Vec<Nexthop>>,
    /// What is not known yet may be what the kernel still has: nothing that leads anywhere is removed.
    pub held: bool,
    /// What is wrong, for the admin.
    pub problems: Vec<Problem>,
}

impl Paths {
    /// The routers that packets go by.
    pub fn routers(&self) -> BTreeSet<IpAddr> {
        let of_peers = self
            .peers
            .iter()
            .filter_map(|peer| peer.open.get(&Path::Routed));
        let all = of_peers.chain(self.routes.values()).flatten();
        all.filter_map(|nexthop| nexthop.gateway).collect()
    }
}

/// How to reach one peer with packets of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPaths {
    /// The name of the peer.
    pub peer: String,
    /// The family of the pods' addresses.
    pub family: Family,
    /// Each path that the peer accepts packets on, with the next hops that share them; at least one.
    pub open: BTreeMap<Path, Vec<Nexthop>>,
    /// The one that is used; one of `open`.
    pub send: Path,
    /// The mode that it is used for.
    pub mode: Mode,
    /// What is to be proven before another mode is used.
    pub proof: Proof,
}

/// Whether a path of a mode that is not used yet is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// No.
    None,
    /// This one, which is open.
    Of(Path),
    /// There should be one, and there is none.
    Missing,
}

/// Bytes that a packet which leaves the node `endpoint` grows by at the most, in any of these modes.
pub fn overhead(modes: &BTreeSet<Mode>, endpoint: &Endpoint) -> u32 {
    let each = modes.iter().map(|mode| match mode {
        Mode::Overlay => overlay::overhead(endpoint),
        Mode::BGP => 0,
    });
    each.max().unwrap_or(0)
}

/// The paths from this node to its peers in every mode that it accepts, going by what was learned by BGP, if one of
/// them asks for that. `former` are those of before.
pub fn paths(config: &Config, here: &Here, peers: &[Peer], view: &View, former: &Paths) -> Paths {
    let of_mode = |mode: &Mode| {
        let paths = match mode {
            Mode::Overlay => overlay::paths(config, here, peers),
            Mode::BGP => bgp::paths(config, here, peers, view, former),
        };
        (*mode, paths)
    };
    union::union(&here.orders, here.orders.receive.iter().map(of_mode))
}

/// Whether the paths to a peer follow from configuration, this node and that peer alone: not from the other
/// peers, nor from what was learned or was there before.
pub fn each_by_itself(here: &Here) -> bool {
    here.orders.receive.iter().all(|mode| match mode {
        Mode::Overlay => true,
        Mode::BGP => false,
    })
}

/// How a node takes part in BGP. It is published in every mode, so that a migration to one that needs it doesn't have
/// every node tell every other.
pub fn bgp_of(config: &Config, own: &OwnNode) -> NodeBgp {
    bgp::own(config, own)
}

/// Who to speak BGP with and what to say, if anything; and what is wrong with what was asked for.
pub fn sessions(known: &Known) -> (Option<Plan>, Vec<Problem>) {
    if !known.here.orders.receive.contains(&Mode::BGP) {
        return (None, Vec::new());
    }
    let (plan, problems) = bgp::plan(known);
    (Some(plan), problems)
}

/// What is in the way of a mode on this node, before anything of it is there. `missing` is what the kernel lacks.
pub fn obstacles(mode: Mode, known: &Known, missing: &BTreeMap<Capability, String>) -> Vec<String> {
    match mode {
        Mode::Overlay => overlay::obstacles(known.here, known.peers, missing),
        Mode::BGP => {
            let (_, problems) = bgp::plan(known);
            problems
                .into_iter()
                .map(|problem| problem.message)
                .collect()
        }
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
    pub fn pod_address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.pod_ipv4.map(Into::into),
            Family::V6 => self.pod_ipv6.map(Into::into),
        }
    }

    /// The address to which probes of paths go, and nothing else: the one before the node pod address, which is
    /// the first of a block and never a pod's.
    pub fn probe_address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => {
                let before = u32::from(self.pod_ipv4?).checked_sub(1)?;
                Some(Ipv4Addr::from(before).into())
            }
            Family::V6 => {
                let before = u128::from(self.pod_ipv6?).checked_sub(1)?;
                Some(Ipv6Addr::from(before).into())
            }
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
