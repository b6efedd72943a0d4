//! What to probe and whom to answer, as follows from the peers and the paths to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_kernel::Family;

use super::{Channel, Key, Target};
use crate::cluster::{Endpoint, Peer};
use crate::mode::{Paths, Proof};

/// What to probe, and whom to answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assignment {
    /// What to probe.
    pub targets: BTreeMap<Key, Target>,
    /// The addresses whose probes are answered.
    pub peers: BTreeSet<IpAddr>,
}

/// How large probes of full size are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// By paths that are used: as packets of pods are.
    pub used: u32,
    /// By paths that are to be proven: as they may come to be.
    pub proof: u32,
}

impl Assignment {
    /// The underlay to each peer with small probes, each open path to it with probes of full size, and that which
    /// is to be proven with those that it will have to carry.
    pub fn of(peers: &[Peer], paths: &Paths, sizes: Sizes) -> Self {
        let proven: BTreeSet<&str> = paths
            .peers
            .iter()
            .filter(|paths| paths.proof != Proof::None)
            .map(|paths| paths.peer.as_str())
            .collect();
        let both = |peer| Family::BOTH.map(|family| (peer, family));
        let underlay = peers.iter().flat_map(both).filter_map(|(peer, family)| {
            let address = peer.endpoint.underlay(family)?.addr();
            let key = key(&peer.name, family, Channel::Underlay);
            let target = Target {
                address,
                device: None,
                size: 0,
                eager: proven.contains(peer.name.as_str()),
            };
            Some((key, target))
        });
        let endpoints: BTreeMap<&str, &Endpoint> = peers
            .iter()
            .map(|peer| (peer.name.as_str(), &peer.endpoint))
            .collect();
        let open = paths.peers.iter().flat_map(|paths| {
            let endpoint = endpoints.get(paths.peer.as_str());
            let address = endpoint.and_then(|peer| peer.probe_address(paths.family));
            address.into_iter().flat_map(move |address| {
                paths.open.iter().flat_map(move |(path, nexthops)| {
                    let target = |channel, size, eager| {
                        let target = Target {
                            address,
                            device: nexthops.first().map(|nexthop| nexthop.device),
                            size,
                            eager,
                        };
                        (key(&paths.peer, paths.family, channel), target)
                    };
                    let proof = (paths.proof == Proof::Of(*path))
                        .then(|| target(Channel::Proof(*path), sizes.proof, true));
                    [target(Channel::Path(*path), sizes.used, false)]
                        .into_iter()
                        .chain(proof)
                })
            })
        });
        let addresses = peers.iter().flat_map(both).flat_map(|(peer, family)| {
            let underlay = peer.endpoint.underlay(family).map(|net| net.addr());
            underlay
                .into_iter()
                .chain(peer.endpoint.pod_address(family))
        });
        // Collecting at once builds the trees in one go.
        Self {
            targets: underlay.chain(open).collect(),
            peers: addresses.collect(),
        }
    }
}

impl Assignment {
    /// Puts what is to be probed and answered of one peer in the place of what was.
    pub fn replace(&mut self, before: Self, after: Self) {
        for key in before.targets.keys() {
            self.targets.remove(key);
        }
        for address in &before.peers {
            self.peers.remove(address);
        }
        self.targets.extend(after.targets);
        self.peers.extend(after.peers);
    }
}

fn key(peer: &str, family: Family, channel: Channel) -> Key {
    Key {
        peer: peer.into(),
        family,
        channel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::{self, Path};
    use crate::testing::{config, here, peer};
    use weft_crds::Encapsulation;

    #[test]
    fn each_open_path_is_probed_at_full_size_and_the_underlay_beside_it() {
        let peers = [
            peer("b", 2, "192.0.2.2/24"),
            peer("c", 3, "198.51.100.3/24"),
        ];
        let paths = mode::paths(
            &config(Encapsulation::Always),
            &here(1),
            &peers,
            &weft_peering::View::default(),
            &mode::Paths::default(),
        );
        let assignment = Assignment::of(
            &peers,
            &paths,
            Sizes {
                used: 1450,
                proof: 1500,
            },
        );
        let of = |name: &str| {
            let targets = assignment.targets.iter();
            let targets = targets.filter(|(key, _)| key.peer == name);
            targets
                .map(|(key, target)| (key.family, key.channel, target.size))
                .collect::<BTreeSet<_>>()
        };
        let vxlan = Channel::Path(Path::Vxlan);
        let far = BTreeSet::from([
            (Family::V4, Channel::Underlay, 0),
            (Family::V4, vxlan, 1450),
            (Family::V6, vxlan, 1450),
        ]);
        assert_eq!(of("c"), far);
        let direct = (Family::V4, Channel::Path(Path::Direct), 1450);
        assert_eq!(of("b"), &far | &BTreeSet::from([direct]));
        // Two node pod addresses and one of the underlay each.
        assert_eq!(assignment.peers.len(), 6);
    }
}
