//! Who this node speaks BGP with, as a function from what the API server says: no two of its answers can be of one
//! address, and nothing is guessed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use weft_crds::NodeBgp;
use weft_kernel::Family;
use weft_kernel::tcp::Hops;

use crate::cluster::{Endpoint, Peer};

/// How nodes find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// Each speaks with each.
    Mesh,
    /// Each speaks with those that reflect.
    Reflectors,
    /// None speaks with another.
    Apart,
}

/// A router that this node is told to speak with: a BGPPeer that selects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// The name of the BGPPeer.
    pub name: String,
    /// Its address and TCP port.
    pub address: IpAddr,
    /// See `address`.
    pub port: u16,
    /// Its AS number.
    pub asn: u32,
    /// How far it can be.
    pub hops: Hops,
    /// The address of this node to speak from, if not the one that other nodes know.
    pub source: Option<IpAddr>,
}

/// Who a BGP peer is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The node of this name.
    Node(String),
    /// The router of the BGPPeer of this name.
    Router(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Router(name) => write!(f, "BGPPeer {name}"),
        }
    }
}

/// A BGP peer of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpPeer {
    /// Who it is.
    pub who: Who,
    /// The address to speak from.
    pub source: IpAddr,
    /// The TCP port to connect to.
    pub port: u16,
    /// Its AS number.
    pub asn: u32,
    /// How far it can be.
    pub hops: Hops,
    /// Whether this node passes routes of others on to it (RFC 4456).
    pub client: bool,
}

/// The BGP peers of this node by address, and what is wrong with what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// The BGP peers.
    pub peers: BTreeMap<IpAddr, BgpPeer>,
    /// In words for the admin.
    pub problems: Vec<String>,
}

/// What the topology of a node follows from.
pub struct Inputs<'a> {
    /// This node.
    pub own: NodeBgp,
    /// How others reach it.
    pub endpoint: &'a Endpoint,
    /// How nodes find each other.
    pub nodes: Nodes,
    /// The TCP port of all nodes.
    pub port: u16,
    /// The other nodes.
    pub peers: &'a [Peer],
    /// The routers that this node is told to speak with, in the order of their names.
    pub routers: &'a [Router],
}

/// The topology of a node.
pub fn topology(inputs: &Inputs) -> Topology {
    let mut topology = Topology::default();
    for peer in inputs.peers {
        // It says how it takes part once it does.
        let Some(there) = peer.endpoint.bgp else {
            continue;
        };
        let Some((source, address)) = addresses(inputs.endpoint, &peer.endpoint) else {
            continue;
        };
        if inputs.port != 0 && are_peers(inputs, there) {
            let bgp_peer = BgpPeer {
                who: Who::Node(peer.name.clone()),
                source,
                port: inputs.port,
                asn: there.asn,
                hops: Hops::UpTo(255),
                client: inputs.nodes == Nodes::Reflectors
                    && inputs.own.reflects
                    && !there.reflects
                    && there.asn == inputs.own.asn,
            };
            topology.add(address, bgp_peer);
        }
    }
    for router in inputs.routers {
        let family = Family::of(router.address);
        let known = inputs.endpoint.underlay(family).map(|net| net.addr());
        let Some(source) = router.source.or(known) else {
            topology.problems.push(format!(
                "BGPPeer {}: this node has no {family} address to reach {} from; set sourceAddress, or select other nodes",
                router.name, router.address
            ));
            continue;
        };
        let bgp_peer = BgpPeer {
            who: Who::Router(router.name.clone()),
            source,
            port: router.port,
            asn: router.asn,
            hops: router.hops,
            client: false,
        };
        topology.add(router.address, bgp_peer);
    }
    topology
}

impl Topology {
    /// The first of an address stays: a session can be configured in one way only.
    fn add(&mut self, address: IpAddr, peer: BgpPeer) {
        let Some(first) = self.peers.get(&address) else {
            self.peers.insert(address, peer);
            return;
        };
        self.problems.push(format!(
            "{}: {address} is the address of {} already, which goes on; change address or nodeSelector of one of them",
            peer.who, first.who
        ));
    }
}

/// Whether two nodes speak with each other. It is the same seen from both.
fn are_peers(inputs: &Inputs, there: NodeBgp) -> bool {
    match inputs.nodes {
        Nodes::Mesh => true,
        Nodes::Reflectors => inputs.own.reflects || there.reflects,
        Nodes::Apart => false,
    }
}

/// The addresses of both nodes in the underlay, of the first family that both have.
fn addresses(here: &Endpoint, there: &Endpoint) -> Option<(IpAddr, IpAddr)> {
    Family::BOTH.into_iter().find_map(|family| {
        let (here, there) = (here.underlay(family)?, there.underlay(family)?);
        Some((here.addr(), there.addr()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{endpoint, peer};
    use proptest::prelude::*;

    const PLAIN: NodeBgp = NodeBgp {
        asn: 64512,
        reflects: false,
    };
    const REFLECTS: NodeBgp = NodeBgp {
        reflects: true,
        ..PLAIN
    };

    fn router(name: &str, address: &str) -> Router {
        Router {
            name: name.into(),
            address: address.parse().unwrap(),
            port: 179,
            asn: 64900,
            hops: Hops::One,
            source: None,
        }
    }

    /// The view of the node `here` among nodes of these kinds, numbered from 1.
    fn view(here: usize, kinds: &[NodeBgp], nodes: Nodes, routers: &[Router]) -> Topology {
        let address = |n: usize| format!("192.0.2.{n}/24");
        let speaking = |(n, kind): (usize, &NodeBgp)| {
            let mut peer = peer(&format!("n{n}"), n as u8, &address(n));
            peer.endpoint.bgp = Some(*kind);
            peer
        };
        let others = (1..).zip(kinds).filter(|(n, _)| *n != here);
        let peers: Vec<Peer> = others.map(speaking).collect();
        topology(&Inputs {
            own: kinds[here - 1],
            endpoint: &endpoint(here as u8, &address(here)),
            nodes,
            port: 179,
            peers: &peers,
            routers,
        })
    }

    fn names(topology: &Topology) -> Vec<String> {
        let peers = topology.peers.values();
        peers.map(|peer| peer.who.to_string()).collect()
    }

    #[test]
    fn in_a_mesh_each_speaks_with_each_and_apart_none_does() {
        let kinds = [PLAIN, PLAIN, REFLECTS];
        assert_eq!(
            names(&view(1, &kinds, Nodes::Mesh, &[])),
            ["node n2", "node n3"]
        );
        assert_eq!(view(1, &kinds, Nodes::Apart, &[]), Topology::default());
    }

    #[test]
    fn clients_speak_with_reflectors_and_reflectors_with_all() {
        let kinds = [PLAIN, PLAIN, REFLECTS, REFLECTS];
        let client = view(1, &kinds, Nodes::Reflectors, &[]);
        assert_eq!(names(&client), ["node n3", "node n4"]);
        assert!(client.peers.values().all(|peer| !peer.client));
        let reflector = view(3, &kinds, Nodes::Reflectors, &[]);
        assert_eq!(names(&reflector), ["node n1", "node n2", "node n4"]);
        let clients: Vec<bool> = reflector.peers.values().map(|peer| peer.client).collect();
        assert_eq!(clients, [true, true, false]);
    }

    #[test]
    fn an_address_has_one_session_and_the_second_is_named() {
        let routers = [
            router("rack-a", "192.0.2.2"),
            router("rack-b", "192.0.2.254"),
            router("rack-c", "192.0.2.254"),
        ];
        let topology = view(1, &[PLAIN, PLAIN], Nodes::Mesh, &routers);
        assert_eq!(names(&topology), ["node n2", "BGPPeer rack-b"]);
        assert_eq!(topology.problems.len(), 2);
        for (problem, parts) in topology.problems.iter().zip([
            ["BGPPeer rack-a", "192.0.2.2", "node n2"],
            ["BGPPeer rack-c", "192.0.2.254", "BGPPeer rack-b"],
        ]) {
            assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
        }
    }

    #[test]
    fn a_router_of_a_family_that_the_node_lacks_needs_a_source() {
        let mut lonely = router("rack-a", "2001:db8::1");
        let topology = view(1, &[PLAIN], Nodes::Mesh, &[lonely.clone()]);
        assert!(topology.peers.is_empty());
        assert!(topology.problems[0].contains("set sourceAddress"));
        lonely.source = Some("2001:db8::7".parse().unwrap());
        let topology = view(1, &[PLAIN], Nodes::Mesh, &[lonely]);
        assert_eq!(topology.problems, Vec::<String>::new());
        let source = topology.peers.values().next().unwrap().source;
        assert_eq!(source, "2001:db8::7".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn nodes_that_listen_on_no_port_have_routers_only() {
        let here = endpoint(1, "192.0.2.1/24");
        let mut n2 = peer("n2", 2, "192.0.2.2/24");
        n2.endpoint.bgp = Some(PLAIN);
        let topology = topology(&Inputs {
            own: PLAIN,
            endpoint: &here,
            nodes: Nodes::Mesh,
            port: 0,
            peers: &[n2],
            routers: &[router("rack-a", "192.0.2.254")],
        });
        assert_eq!(names(&topology), ["BGPPeer rack-a"]);
    }

    proptest! {
        /// A session needs both ends to want it, and each to know the other by the address it speaks from.
        #[test]
        fn both_ends_agree(
            kinds in prop::collection::vec((64512..64515_u32, any::<bool>()), 2..9),
            nodes in prop::sample::select(vec![Nodes::Mesh, Nodes::Reflectors, Nodes::Apart]),
        ) {
            let kinds: Vec<NodeBgp> =
                kinds.into_iter().map(|(asn, reflects)| NodeBgp { asn, reflects }).collect();
            let views: Vec<Topology> = (1..=kinds.len()).map(|n| view(n, &kinds, nodes, &[])).collect();
            for (n, here) in (1..).zip(&views) {
                let own: IpAddr = format!("192.0.2.{n}").parse().unwrap();
                for (address, peer) in &here.peers {
                    prop_assert_eq!(peer.source, own);
                    let number = usize::from(address.to_string().rsplit('.').next().unwrap().parse::<u8>().unwrap());
                    let back = views[number - 1].peers.get(&own);
                    prop_assert_eq!(back.map(|back| (&back.who, back.asn)), Some((&Who::Node(format!("n{n}")), kinds[n - 1].asn)));
                    prop_assert!(!(peer.client && back.is_some_and(|back| back.client)));
                }
            }
        }
    }
}
