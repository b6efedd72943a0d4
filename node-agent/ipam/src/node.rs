//! What the agent tells the plugin about this node.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Family;

/// The contents of `node.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The node's blocks, in the order in which addresses are taken from them.
    pub blocks: Vec<NodeBlock>,
    /// The addresses that the node keeps for itself.
    pub node_pod_addresses: NodePodAddresses,
    /// The largest packet that pods may send, in bytes: the MTU of their routes.
    pub mtu: u32,
    /// The largest packet that pods accept, in bytes: the MTU of their interfaces. Larger than `mtu` while an
    /// MTU is being lowered and packets of the old size are still in flight, else the same.
    pub link_mtu: u32,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBlock {
    /// Its range.
    pub cidr: IpNet,
    /// Whether new pods may get addresses of it. False while it drains.
    pub allocatable: bool,
}

/// The node pod address of each family that the node has blocks of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePodAddresses {
    /// IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

impl NodePodAddresses {
    /// Whether `ip` is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.ipv4 == Some(ip),
            IpAddr::V6(ip) => self.ipv6 == Some(ip),
        }
    }
}

/// The largest block that is walked address by address.
const MAX_BLOCK_BITS: u8 = 20;

impl NodeConfig {
    /// What is wrong with it, if anything.
    pub fn validate(&self) -> Result<(), String> {
        let mut seen: BTreeSet<IpNet> = BTreeSet::new();
        for NodeBlock { cidr, .. } in &self.blocks {
            if *cidr != cidr.trunc() {
                return Err(format!("block {cidr} has host bits set"));
            }
            let bits = cidr.max_prefix_len() - cidr.prefix_len();
            if !(2..=MAX_BLOCK_BITS).contains(&bits) {
                return Err(format!(
                    "block {cidr} must hold between 4 and {} addresses",
                    1u32 << MAX_BLOCK_BITS
                ));
            }
            if let Some(other) = seen
                .iter()
                .find(|other| other.contains(cidr) || cidr.contains(*other))
            {
                return Err(format!("blocks {other} and {cidr} overlap"));
            }
            seen.insert(*cidr);
        }
        let least = if self.families().any(|family| family == Family::V6) {
            1280
        } else {
            576
        };
        if self.mtu < least || self.link_mtu < self.mtu || self.link_mtu > 65535 {
            return Err(format!(
                "MTU {} and link MTU {} must be at least {least}, at most 65535, and the second no less than the first",
                self.mtu, self.link_mtu
            ));
        }
        Ok(())
    }

    /// The families that the node has blocks of, IPv4 first.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        [Family::V4, Family::V6].into_iter().filter(|family| {
            self.blocks
                .iter()
                .any(|block| Family::of(block.cidr.addr()) == *family)
        })
    }

    /// The addresses of `block` that pods may have: not the first, not the node pod address, and not the last
    /// of an IPv4 block.
    pub fn addresses(&self, block: IpNet) -> impl Iterator<Item = IpAddr> + '_ {
        let last = matches!(block, IpNet::V4(_)).then(|| block.broadcast());
        offsets(block)
            .skip(1)
            .filter(move |ip| Some(*ip) != last && !self.node_pod_addresses.contains(*ip))
    }
}

/// All addresses of a block. (`IpNet::hosts` differs by family in what it leaves out.)
fn offsets(block: IpNet) -> Box<dyn Iterator<Item = IpAddr>> {
    match block {
        IpNet::V4(net) => {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            Box::new((first..=last).map(|ip| IpAddr::V4(ip.into())))
        }
        IpNet::V6(net) => {
            let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
            Box::new((first..=last).map(|ip| IpAddr::V6(ip.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn config(blocks: &[&str]) -> NodeConfig {
        NodeConfig {
            blocks: blocks
                .iter()
                .map(|cidr| NodeBlock {
                    cidr: cidr.parse().unwrap(),
                    allocatable: true,
                })
                .collect(),
            node_pod_addresses: NodePodAddresses {
                ipv4: Some(Ipv4Addr::new(10, 244, 0, 1)),
                ipv6: Some("fd00::1".parse().unwrap()),
            },
            mtu: 1450,
            link_mtu: 1450,
        }
    }

    #[rstest]
    #[case("10.244.0.0/26", 61, "10.244.0.2", "10.244.0.62")]
    #[case("10.244.0.64/26", 62, "10.244.0.65", "10.244.0.126")]
    #[case("fd00::/122", 62, "fd00::2", "fd00::3f")]
    #[case("fd00::40/122", 63, "fd00::41", "fd00::7f")]
    fn pods_get_what_is_not_kept(
        #[case] block: &str,
        #[case] count: usize,
        #[case] first: IpAddr,
        #[case] last: IpAddr,
    ) {
        let config = config(&[block]);
        let all: Vec<IpAddr> = config.addresses(block.parse().unwrap()).collect();
        assert_eq!(
            (all.len(), all[0], all[all.len() - 1]),
            (count, first, last)
        );
    }

    #[rstest]
    #[case(&["10.244.0.1/26"], "host bits")]
    #[case(&["10.244.0.0/31"], "between 4")]
    #[case(&["10.0.0.0/8"], "between 4")]
    #[case(&["10.244.0.0/24", "10.244.0.64/26"], "overlap")]
    #[case(&["fd00::/64"], "between 4")]
    fn bad_blocks_are_refused(#[case] blocks: &[&str], #[case] message: &str) {
        let error = config(blocks).validate().unwrap_err();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn mtu_has_limits() {
        let mut low = config(&["fd00::/122"]);
        low.mtu = 1000;
        assert!(low.validate().is_err());
        low.blocks.clear();
        assert!(low.validate().is_ok());
        low.link_mtu = 900;
        assert!(low.validate().is_err());
    }
}
