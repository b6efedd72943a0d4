//! Mode BGP: plain routing. Nodes of one subnet send straight to each other, as the API server says who owns which
//! block; to the others packets go by the routers that announce their blocks.
//!
//! Nothing is forgotten because a session ends: a node whose blocks nobody announces any more is sent to as before,
//! until another way to it is learned. What the speaker believes at all is in [`plan`].

mod plan;
mod routers;
mod topology;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use weft_crds::{Mode, NodeBgp, Problem};
use weft_kernel::{Family, Nexthop};
use weft_peering::{Route, Status, View};

use super::{Here, Path, Paths, PeerPaths, Proof};
use crate::cluster::{Config, OwnNode, Peer};

pub use plan::{Known, plan};

/// How this node takes part.
pub(super) fn own(config: &Config, own: &OwnNode) -> NodeBgp {
    let mut another = config.bgp.node_asns.iter();
    let asn = another
        .find(|node| own.is_selected(&node.node_selector))
        .map_or(config.bgp.asn, |node| node.asn);
    let reflectors = config.bgp.route_reflectors.as_ref();
    NodeBgp {
        asn,
        reflects: reflectors.is_some_and(|all| own.is_selected(&all.node_selector)),
    }
}

/// The paths from this node to its peers, and the routes to elsewhere that it has learned.
pub(super) fn paths(
    config: &Config,
    here: &Here,
    peers: &[Peer],
    view: &View,
    former: &Paths,
) -> Paths {
    let mut paths = Paths {
        held: !view.complete,
        ..Paths::default()
    };
    let mut lost = Vec::new();
    for peer in peers {
        for family in Family::BOTH {
            if peer.endpoint.pod_address(family).is_none() {
                continue;
            }
            let found = direct(here, peer, family)
                .map(|nexthop| (Path::Direct, vec![nexthop]))
                .or_else(|| Some((Path::Routed, learned(here, peer, family, view)?)));
            let known = found.or_else(|| {
                lost.push((peer.name.as_str(), family));
                Some((Path::Routed, as_before(former, peer, family)?))
            });
            if let Some((path, nexthops)) = known {
                paths.peers.push(PeerPaths {
                    peer: peer.name.clone(),
                    family,
                    open: [(path, nexthops)].into(),
                    send: path,
                    mode: Mode::BGP,
                    proof: Proof::None,
                });
            }
        }
    }
    if view.complete {
        paths.problems.extend(unannounced(&lost));
    }
    elsewhere(config, here, peers, view, &mut paths);
    let problem = |message: &String| Problem {
        reason: "BGPNotListening".into(),
        message: message.clone(),
    };
    paths.problems.extend(view.problems.iter().map(problem));
    paths
        .problems
        .extend(view.peers.values().filter_map(refused));
    paths
}

/// What a BGP peer announces and must not.
fn refused(status: &Status) -> Option<Problem> {
    let refused = status.ipv4.refused + status.ipv6.refused;
    let some: Vec<String> = status.refused.iter().map(IpNet::to_string).collect();
    (refused > 0).then(|| Problem {
        reason: "RouteRefused".into(),
        message: format!(
            "{} announces {refused} prefixes that are not let in, such as {}: inside ranges of pods, Services or nodes, a default route, or not among its import.prefixes; see kubectl weft bgp received",
            status.name,
            some.join(", ")
        ),
    })
}

/// Straight to the node, over a subnet that both are on. IPv4 packets may go to an IPv6 address, not the other way
/// round.
fn direct(here: &Here, peer: &Peer, pods: Family) -> Option<Nexthop> {
    let underlays: &[Family] = match pods {
        Family::V4 => &Family::BOTH,
        Family::V6 => &[Family::V6],
    };
    let shared = underlays
        .iter()
        .find(|family| here.endpoint.shares_subnet(&peer.endpoint, **family))?;
    let address = peer.endpoint.underlay(*shared)?.addr();
    Some(Nexthop::onlink(address, here.device))
}

/// By the routers that announce its blocks: first of all the one that holds its node pod address, as all blocks of a
/// node are in one place.
fn learned(here: &Here, peer: &Peer, family: Family, view: &View) -> Option<Vec<Nexthop>> {
    let main = peer.endpoint.pod_address(family);
    let holds = |block: &&IpNet| main.is_some_and(|address| block.contains(&address));
    let mut blocks: Vec<&IpNet> = peer
        .blocks
        .iter()
        .filter(|block| Family::of(block.addr()) == family)
        .collect();
    blocks.sort_by_key(|block| !holds(block));
    blocks
        .into_iter()
        .find_map(|block| gateways(here, view.routes.get(block)?))
}

/// The next hops of a route that are on a subnet of this node, in a fixed order; `None` if none is.
fn gateways(here: &Here, route: &Route) -> Option<Vec<Nexthop>> {
    let mut addresses: Vec<IpAddr> = route
        .next_hops
        .iter()
        .map(|hop| hop.address)
        .filter(|address| is_neighbour(here, *address))
        .collect();
    addresses.sort();
    addresses.dedup();
    let nexthop = |address| Nexthop::onlink(address, here.device);
    (!addresses.is_empty()).then(|| addresses.into_iter().map(nexthop).collect())
}

fn is_neighbour(here: &Here, address: IpAddr) -> bool {
    let subnet = here.endpoint.underlay(Family::of(address));
    subnet.is_some_and(|subnet| subnet.contains(&address) && subnet.addr() != address)
}

fn as_before(former: &Paths, peer: &Peer, family: Family) -> Option<Vec<Nexthop>> {
    let mut of_peer = former.peers.iter();
    let paths = of_peer.find(|paths| paths.peer == peer.name && paths.family == family)?;
    paths.open.get(&Path::Routed).cloned()
}

fn unannounced(lost: &[(&str, Family)]) -> Option<Problem> {
    let (first, family) = lost.first()?;
    let others = match lost.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(Problem {
        reason: "NoRouteLearned".into(),
        message: format!(
            "this node and {first} are on no common {family} subnet, and no BGP peer announces the {family} blocks of {first}{others}; let the routers between the nodes exchange routes with both (BGPPeer), and look at kubectl weft bgp"
        ),
    })
}

/// Routes that lead out of the cluster. What is inside a pool is the nodes' own, and no router's to announce, unless
/// it is the block of a node.
fn elsewhere(config: &Config, here: &Here, peers: &[Peer], view: &View, paths: &mut Paths) {
    let in_pool = |prefix: &IpNet| {
        let mut pools = config.pools.iter();
        pools.any(|pool| pool.cidr.contains(prefix) || prefix.contains(&pool.cidr))
    };
    let blocks: BTreeSet<&IpNet> = peers.iter().flat_map(|peer| &peer.blocks).collect();
    let is_default = |prefix: &IpNet| prefix.prefix_len() == 0;
    let mut strange = Vec::new();
    for (prefix, route) in view.routes.iter() {
        if !in_pool(prefix) || is_default(prefix) {
            if let Some(gateways) = gateways(here, route) {
                paths.routes.insert(*prefix, gateways);
            }
        } else if !blocks.contains(prefix) {
            strange.extend(route.next_hops.first().map(|hop| (prefix, &hop.from)));
        }
    }
    if let Some((prefix, from)) = strange.first() {
        paths.problems.push(Problem {
            reason: "RouteRefused".into(),
            message: format!(
                "{from} announces {prefix}, which is inside a pool and no block of a node ({} such routes); it is not used; look at what the router announces",
                strange.len()
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, here, peer};
    use std::sync::Arc;
    use weft_crds::Encapsulation;
    use weft_peering::NextHop;

    fn view(routes: &[(&str, &[&str])]) -> View {
        let hop = |address: &&str| NextHop {
            address: address.parse().unwrap(),
            from: "BGPPeer rack-a".into(),
        };
        let route = |(prefix, hops): &(&str, &[&str])| {
            let next_hops: Arc<[NextHop]> = hops.iter().map(hop).collect();
            (prefix.parse().unwrap(), Route { next_hops })
        };
        View {
            complete: true,
            routes: Arc::new(routes.iter().map(route).collect()),
            ..View::default()
        }
    }

    fn made(view: &View, former: &Paths) -> Paths {
        let peers = [
            peer("b", 2, "192.0.2.2/24"),
            peer("c", 3, "198.51.100.3/24"),
        ];
        paths(
            &config(Encapsulation::Always),
            &here(1),
            &peers,
            view,
            former,
        )
    }

    fn gateways_to(paths: &Paths, name: &str, family: Family) -> Vec<String> {
        let mut all = paths.peers.iter();
        let of_peer = all.find(|paths| paths.peer == name && paths.family == family);
        let nexthops = of_peer.and_then(|paths| paths.open.get(&paths.send));
        let gateway = |nexthop: &Nexthop| nexthop.gateway.unwrap().to_string();
        nexthops.into_iter().flatten().map(gateway).collect()
    }

    fn reasons(paths: &Paths) -> Vec<&str> {
        let problems = paths.problems.iter();
        problems.map(|problem| problem.reason.as_str()).collect()
    }

    #[test]
    fn a_neighbour_needs_no_session_and_others_need_a_route() {
        let nothing = made(&view(&[]), &Paths::default());
        assert_eq!(gateways_to(&nothing, "b", Family::V4), ["192.0.2.2"]);
        assert!(gateways_to(&nothing, "c", Family::V4).is_empty());
        assert_eq!(reasons(&nothing), ["NoRouteLearned"]);
        assert!(
            nothing.problems[0]
                .message
                .contains("this node and b are on no common IPv6 subnet")
        );
        let one = made(
            &view(&[("10.244.3.0/26", &["192.0.2.254"])]),
            &Paths::default(),
        );
        assert_eq!(gateways_to(&one, "c", Family::V4), ["192.0.2.254"]);
    }

    #[test]
    fn several_routers_share_the_packets_and_strangers_get_none() {
        let hops: &[&str] = &["192.0.2.254", "192.0.2.253", "203.0.113.1", "192.0.2.1"];
        let paths = made(&view(&[("10.244.3.0/26", hops)]), &Paths::default());
        assert_eq!(
            gateways_to(&paths, "c", Family::V4),
            ["192.0.2.253", "192.0.2.254"]
        );
    }

    #[test]
    fn what_is_announced_no_more_stays_until_there_is_another_way() {
        let before = made(
            &view(&[("10.244.3.0/26", &["192.0.2.254"])]),
            &Paths::default(),
        );
        let silent = made(&view(&[]), &before);
        assert_eq!(gateways_to(&silent, "c", Family::V4), ["192.0.2.254"]);
        assert_eq!(reasons(&silent), ["NoRouteLearned"]);
        let moved = made(&view(&[("10.244.3.0/26", &["192.0.2.253"])]), &silent);
        assert_eq!(gateways_to(&moved, "c", Family::V4), ["192.0.2.253"]);
    }

    #[test]
    fn while_a_speaker_waits_nothing_is_a_problem_and_all_is_held() {
        let waiting = View {
            complete: false,
            ..view(&[])
        };
        let paths = made(&waiting, &Paths::default());
        assert!(paths.held && paths.problems.is_empty());
    }

    #[test]
    fn a_router_can_announce_the_world_but_nothing_inside_a_pool() {
        let gateway: &[&str] = &["192.0.2.254"];
        let paths = made(
            &view(&[
                ("0.0.0.0/0", gateway),
                ("203.0.113.0/24", gateway),
                ("10.244.2.0/27", gateway),
                ("10.244.0.0/15", gateway),
                ("10.244.2.0/26", gateway),
            ]),
            &Paths::default(),
        );
        let routes: Vec<String> = paths.routes.keys().map(IpNet::to_string).collect();
        assert_eq!(routes, ["0.0.0.0/0", "203.0.113.0/24"]);
        // The block of a neighbour is nobody else's to announce.
        assert_eq!(gateways_to(&paths, "b", Family::V4), ["192.0.2.2"]);
        let refused = paths.problems.iter().find(|p| p.reason == "RouteRefused");
        assert!(refused.unwrap().message.contains("2 such routes"));
    }

    #[test]
    fn ipv4_goes_to_an_ipv6_address_where_there_is_no_other() {
        let (mut here, mut b) = (here(1), peer("b", 2, "192.0.2.2/24"));
        here.endpoint.ipv4 = None;
        here.endpoint.ipv6 = Some("2001:db8::1/64".parse().unwrap());
        b.endpoint.ipv4 = None;
        b.endpoint.ipv6 = Some("2001:db8::2/64".parse().unwrap());
        let config = config(Encapsulation::Always);
        let paths = paths(&config, &here, &[b], &view(&[]), &Paths::default());
        for family in Family::BOTH {
            assert_eq!(gateways_to(&paths, "b", family), ["2001:db8::2"]);
        }
    }

    #[test]
    fn labels_say_the_as_and_who_reflects() {
        let mut config = config(Encapsulation::Always);
        let selector = |value: &str| [("rack".to_owned(), value.to_owned())].into();
        config.bgp.node_asns = vec![weft_crds::NodeAsn {
            node_selector: selector("b"),
            asn: 64999,
        }];
        config.bgp.route_reflectors = Some(weft_crds::RouteReflectors {
            node_selector: selector("a"),
            cluster_id: "0.0.0.1".into(),
        });
        let node = |rack: &str| OwnNode {
            name: "n".into(),
            uid: "u".into(),
            internal_ips: vec![],
            labels: selector(rack),
        };
        let (a, b) = (own(&config, &node("a")), own(&config, &node("b")));
        assert_eq!((a.asn, a.reflects), (64512, true));
        assert_eq!((b.asn, b.reflects), (64999, false));
    }
}
