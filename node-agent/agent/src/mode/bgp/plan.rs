//! What the speaker of a node is to do, as a function from what the API server says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;
use weft_bgp::policy::PrefixRange;
use weft_bgp::policy::ranges::{Reserved, from_mesh};
use weft_bgp::rib::{Limit, NextHop};
use weft_bgp::route::Attributes;
use weft_bgp::speaker::{Keep, PeerConfig};
use weft_bgp::wire::PerFamily;
use weft_crds::{BGPPeerSpec, NodeBgp, Problem};
use weft_kernel::Family;
use weft_peering::{Password, PeerPlan, Plan, Settings};

use super::routers;
use super::topology::{BgpPeer, Inputs, Nodes, Who, topology};
use crate::cluster::{Config, OwnNode, Peer};
use crate::mode::Here;
use crate::secrets::Secrets;

/// Seconds of silence after which a session between nodes is lost.
const NODE_HOLD: u16 = 90;
/// How many paths of equal cost share the packets of a route.
const MULTIPATH: NonZeroU16 = NonZeroU16::new(16).unwrap();
/// The cost of the way to a router that does not answer: it is used if no other is there.
const SILENT: u32 = 1;
/// How often the AS of this node may be in the path of a route to another node. As nothing that is learned from a
/// router is passed on, such a path is no loop: it is that of a cluster with one AS over several racks.
const OWN_AS: u8 = 2;

/// What the plan follows from.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// What the admin says of the cluster.
    pub config: &'a Config,
    /// This node.
    pub here: &'a Here,
    /// Its Node object.
    pub own: &'a OwnNode,
    /// Its blocks.
    pub blocks: &'a [IpNet],
    /// The other nodes.
    pub peers: &'a [Peer],
    /// What the admin says of routers, by the names of the BGPPeers.
    pub routers: &'a BTreeMap<String, BGPPeerSpec>,
    /// Passwords.
    pub secrets: &'a Secrets,
    /// Routers that don't answer.
    pub silent: &'a BTreeSet<IpAddr>,
    /// The plan that is being carried out.
    pub running: Option<&'a Plan>,
}

/// What the speaker of this node is to do, and what is wrong with what was asked for.
pub fn plan(known: &Known) -> (Plan, Vec<Problem>) {
    let own = super::own(known.config, known.own);
    let mut problems = Vec::new();
    let mut routers = Vec::new();
    for (name, spec) in known.routers {
        if known.own.is_selected(&spec.node_selector) {
            match routers::router(name, spec) {
                Ok(router) => routers.push(router),
                Err(message) => problems.push(invalid(message)),
            }
        }
    }
    let bgp = &known.config.bgp;
    let nodes = match (&bgp.route_reflectors, bgp.node_mesh) {
        (Some(_), _) => Nodes::Reflectors,
        (None, true) => Nodes::Mesh,
        (None, false) => Nodes::Apart,
    };
    let topology = topology(&Inputs {
        own,
        endpoint: &known.here.endpoint,
        nodes,
        port: bgp.port,
        peers: known.peers,
        routers: &routers,
    });
    problems.extend(topology.problems.into_iter().map(invalid));
    let believed = Believed::of(known);
    let mut peers = BTreeMap::new();
    for (address, peer) in topology.peers {
        match peer_plan(known, own, &believed, address, &peer) {
            Ok(plan) => drop(peers.insert(address, plan)),
            Err(message) => {
                problems.push(invalid(message));
                // A session that there is goes on as it is.
                let running = known.running.and_then(|plan| plan.peers.get(&address));
                let same = running.filter(|running| running.name == peer.who.to_string());
                peers.extend(same.map(|same| (address, same.clone())));
            }
        }
    }
    let plan = Plan {
        settings: settings(known, own),
        listen: listen(known),
        peers,
        originate: known.blocks.iter().map(originated).collect(),
        links: links(known.here),
        costs: known
            .silent
            .iter()
            .map(|router| (*router, SILENT))
            .collect(),
    };
    (plan, problems)
}

fn invalid(message: String) -> Problem {
    Problem {
        reason: "BGPPeerNotUsed".into(),
        message,
    }
}

fn settings(known: &Known, own: NodeBgp) -> Settings {
    let bgp = &known.config.bgp;
    let id = router_id(known);
    let cluster = bgp.route_reflectors.as_ref();
    Settings {
        cluster_id: cluster
            .and_then(|cluster| cluster.cluster_id.parse().ok())
            .unwrap_or(id),
        multipath: MULTIPATH,
        restart_time: bgp.restart_seconds,
        long_lived_time: bgp.long_lived_seconds,
        ..Settings::new(own.asn, id)
    }
}

/// The IPv4 address of the node; where there is none, a number that follows from its UID (RFC 6286 asks no more than
/// that it is unique in the AS).
fn router_id(known: &Known) -> Ipv4Addr {
    let address = known.here.endpoint.ipv4.map(|net| net.addr());
    address.unwrap_or_else(|| {
        // FNV-1a.
        let hash = known.own.uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Ipv4Addr::from(hash.max(1))
    })
}

fn listen(known: &Known) -> Vec<SocketAddr> {
    let port = known.config.bgp.port;
    let addresses = Family::BOTH
        .into_iter()
        .filter_map(|family| known.here.endpoint.underlay(family));
    let sockets = addresses.map(|net| SocketAddr::new(net.addr(), port));
    sockets.filter(|_| port != 0).collect()
}

fn originated(block: &IpNet) -> (IpNet, Attributes) {
    let unspecified: IpAddr = match block {
        IpNet::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpNet::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    (*block, Attributes::plain(unspecified, &[]))
}

fn links(here: &Here) -> Vec<IpNet> {
    let subnets = Family::BOTH.into_iter();
    subnets
        .filter_map(|family| here.endpoint.underlay(family))
        .collect()
}

/// What is believed of whom, as far as it is the same for all.
struct Believed {
    mesh: Arc<weft_bgp::policy::Policy>,
    /// The prefixes that can be blocks.
    blocks: Vec<PrefixRange>,
    reserved: Reserved,
}

impl Believed {
    fn of(known: &Known) -> Self {
        let pools: Vec<IpNet> = known.config.pools.iter().map(|pool| pool.cidr).collect();
        let nodes = known.peers.iter().map(|peer| &peer.endpoint);
        let addresses = nodes.chain([&known.here.endpoint]).flat_map(|endpoint| {
            Family::BOTH.map(|family| Some(IpNet::from(endpoint.underlay(family)?.addr())))
        });
        let sizes: BTreeSet<(IpNet, u8)> = known
            .peers
            .iter()
            .flat_map(|peer| &peer.blocks)
            .filter_map(|block| {
                let pool = pools.iter().find(|pool| pool.contains(block))?;
                Some((*pool, block.prefix_len()))
            })
            .collect();
        let range = |(net, bits)| PrefixRange {
            net,
            min: bits,
            max: bits,
        };
        Self {
            mesh: Arc::new(from_mesh(&pools)),
            blocks: sizes.into_iter().map(range).collect(),
            reserved: Reserved {
                pools,
                services: known.config.services.clone(),
                nodes: addresses.flatten().collect(),
            },
        }
    }
}

fn peer_plan(
    known: &Known,
    own: NodeBgp,
    believed: &Believed,
    address: IpAddr,
    peer: &BgpPeer,
) -> Result<PeerPlan, String> {
    let spec = match &peer.who {
        Who::Node(_) => None,
        Who::Router(name) => known.routers.get(name),
    };
    let config = PeerConfig {
        address,
        asn: peer.asn,
        client: peer.client,
        passive: spec.is_some_and(|spec| spec.passive),
        hold_time: spec.map_or(NODE_HOLD, |spec| spec.hold_seconds),
        own_address: own_addresses(known.here),
        own_link_local: None,
        next_hop: if peer.asn == own.asn {
            NextHop::OwnUnlessReflected
        } else {
            NextHop::Own
        },
        import: Some(match spec {
            None => believed.mesh.clone(),
            Some(spec) => Arc::new(routers::import(
                &spec.import,
                believed.blocks.clone(),
                &believed.reserved,
            )),
        }),
        export: spec.map(|spec| routers::export(&spec.export, own.asn, known.blocks)),
        own_as_allowed: if spec.is_some() { OWN_AS } else { 0 },
        limit: limits(spec),
        add_path: None,
        keep: if spec.is_some() {
            Keep::AsAgreed
        } else {
            Keep::UntilReturn
        },
    };
    Ok(PeerPlan {
        name: peer.who.to_string(),
        config,
        port: peer.port,
        source: peer.source,
        hops: peer.hops,
        password: password(known, &peer.who, spec)?,
    })
}

/// A BGP peer that is no neighbour passes packets on by itself: it is told this node's address all the same.
fn own_addresses(here: &Here) -> PerFamily<Option<IpAddr>> {
    let of = |family| here.endpoint.underlay(family).map(|net| net.addr());
    PerFamily {
        // IPv4 may have an IPv6 next hop (RFC 8950).
        ipv4: of(Family::V4).or(of(Family::V6)),
        ipv6: of(Family::V6),
    }
}

fn limits(spec: Option<&BGPPeerSpec>) -> PerFamily<Option<Limit>> {
    let limit = spec.map(|spec| {
        let max = usize::try_from(spec.import.max_prefixes).unwrap_or(usize::MAX);
        Limit {
            max,
            warn: max / 5 * 4,
        }
    });
    PerFamily {
        ipv4: limit,
        ipv6: limit,
    }
}

/// Without its password a BGP peer is not spoken with: without one it could be anybody.
fn password(
    known: &Known,
    who: &Who,
    spec: Option<&BGPPeerSpec>,
) -> Result<Option<Password>, String> {
    let Some(wanted) = spec.and_then(|spec| spec.password_secret.as_ref()) else {
        return Ok(None);
    };
    let bytes = known
        .secrets
        .value(&wanted.name, &wanted.key)
        .map_err(|error| format!("{who}: {error}"))?;
    Password::new(bytes).map(Some).map_err(|error| {
        format!(
            "{who}: Secret {}, key {}: {error}; set another password",
            wanted.name, wanted.key
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, here, peer};
    use weft_crds::{BGPPeer, Encapsulation};

    fn router(json: serde_json::Value) -> BGPPeerSpec {
        let mut spec = serde_json::json!({"address": "192.0.2.254", "asn": 64900});
        spec.as_object_mut()
            .unwrap()
            .extend(json.as_object().unwrap().clone());
        let object = serde_json::json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "BGPPeer", "metadata": {"name": "r"}, "spec": spec,
        });
        serde_json::from_value::<BGPPeer>(object).unwrap().spec
    }

    fn made(routers: &[(&str, BGPPeerSpec)], secrets: &Secrets) -> (Plan, Vec<Problem>) {
        made_after(None, routers, secrets)
    }

    fn made_after(
        running: Option<&Plan>,
        routers: &[(&str, BGPPeerSpec)],
        secrets: &Secrets,
    ) -> (Plan, Vec<Problem>) {
        let mut other = peer("b", 2, "192.0.2.2/24");
        other.endpoint.bgp = Some(NodeBgp {
            asn: 64512,
            reflects: false,
        });
        let own = OwnNode {
            name: "a".into(),
            uid: "uid-1".into(),
            internal_ips: vec![],
            labels: [("rack".to_owned(), "a".to_owned())].into(),
        };
        let named = |(name, spec): &(&str, BGPPeerSpec)| ((*name).to_owned(), spec.clone());
        plan(&Known {
            config: &config(Encapsulation::Always),
            here: &here(1),
            own: &own,
            blocks: &["10.244.1.0/26".parse().unwrap()],
            peers: &[other],
            routers: &routers.iter().map(named).collect(),
            secrets,
            silent: &["192.0.2.254".parse().unwrap()].into(),
            running,
        })
    }

    #[test]
    fn nodes_and_the_routers_that_select_this_one_are_spoken_with() {
        let selects = |rack: &str| router(serde_json::json!({"nodeSelector": {"rack": rack}}));
        let (plan, problems) = made(
            &[("rack-a", selects("a")), ("rack-b", selects("b"))],
            &Secrets::default(),
        );
        assert_eq!(problems, []);
        let names: Vec<&str> = plan.peers.values().map(|peer| peer.name.as_str()).collect();
        assert_eq!(names, ["node b", "BGPPeer rack-a"]);
        assert_eq!(
            plan.listen,
            ["192.0.2.1:179".parse::<SocketAddr>().unwrap()]
        );
        assert_eq!(plan.originate.len(), 1);
        // A router that doesn't answer is the last choice.
        assert!(plan.costs.values().eq([&SILENT]));
        // A node that is silent keeps its routes; a router as was agreed on.
        let keep: Vec<Keep> = plan.peers.values().map(|peer| peer.config.keep).collect();
        assert_eq!(keep, [Keep::UntilReturn, Keep::AsAgreed]);
    }

    #[test]
    fn a_router_without_its_password_is_left_out_and_named() {
        let spec = router(serde_json::json!({"passwordSecret": {"name": "bgp"}}));
        let mut secrets = Secrets::default();
        let (plan, problems) = made(&[("rack-a", spec.clone())], &secrets);
        assert_eq!(plan.peers.len(), 1);
        let message = &problems[0].message;
        for part in ["BGPPeer rack-a", "Secret bgp", "password"] {
            assert!(message.contains(part), "{message}");
        }
        secrets.set("bgp", [("password".to_owned(), b"secret".to_vec())].into());
        let (plan, problems) = made(&[("rack-a", spec)], &secrets);
        assert_eq!((plan.peers.len(), problems.len()), (2, 0));
    }

    #[test]
    fn a_session_goes_on_when_the_password_that_it_is_to_have_is_missing() {
        let plain = router(serde_json::json!({}));
        let signed = router(serde_json::json!({"passwordSecret": {"name": "bgp"}}));
        let secrets = Secrets::default();
        let (before, _) = made(&[("rack-a", plain)], &secrets);
        let (after, problems) = made_after(Some(&before), &[("rack-a", signed.clone())], &secrets);
        assert_eq!((&after.peers, problems.len()), (&before.peers, 1));
        // Another BGPPeer of that address is not the one that is spoken with.
        let (after, _) = made_after(Some(&before), &[("rack-b", signed)], &secrets);
        assert_eq!(after.peers.len(), 1);
    }

    #[test]
    fn two_of_one_address_are_named_and_the_first_goes_on() {
        let same = || router(serde_json::json!({}));
        let (plan, problems) = made(
            &[("rack-a", same()), ("rack-b", same())],
            &Secrets::default(),
        );
        assert_eq!(plan.peers.len(), 2);
        assert!(problems[0].message.contains("BGPPeer rack-b"));
    }

    #[test]
    fn what_was_planned_from_the_same_is_the_same() {
        let one = made(&[("r", router(serde_json::json!({})))], &Secrets::default());
        let two = made(&[("r", router(serde_json::json!({})))], &Secrets::default());
        assert_eq!(one.0, two.0);
    }
}
