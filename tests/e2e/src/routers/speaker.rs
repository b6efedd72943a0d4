//! Who speaks BGP with whom among the routers, and what each is told to say. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::plan::{CORE_ASN, OUTSIDE_ASN, Plan, Router};
use crate::spec::{ClusterSpec, Daemon};

/// The name of the speaker on the router of the cluster.
pub const CORE: &str = "router";
/// The name of the speaker on the outside host.
pub const OUTSIDE: &str = "outside";

/// What scenarios change about a speaker while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Prefixes that nodes are told, and nobody else: whatever is true, the router itself does not go by them.
    pub announced: Vec<IpNet>,
    /// The password of TCP MD5 that nodes must have (RFC 2385).
    pub password: Option<String>,
}

/// A routing daemon and all that its configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its name, which is that of its endpoint.
    pub name: String,
    /// The name of its network namespace.
    pub netns: String,
    /// What it is.
    pub daemon: Daemon,
    /// Its AS number.
    pub asn: u32,
    /// Its identifier.
    pub router_id: Ipv4Addr,
    /// Other routers.
    pub neighbours: Vec<Neighbour>,
    /// Devices whose ranges it announces.
    pub connected: Vec<String>,
    /// Whether it announces default routes to other routers.
    pub default_route: bool,
    /// What concerns nodes, if it speaks with nodes.
    pub nodes: Option<Nodes>,
}

/// Another router that a speaker exchanges routes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The name of its endpoint.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: u32,
}

/// The nodes that may call a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// The ranges that they call from.
    pub ranges: Vec<IpNet>,
    /// What they may announce: prefixes in these ranges.
    pub pools: Vec<IpNet>,
    /// Ranges that they are not told: those of all racks, because nodes have a default route.
    pub untold: Vec<IpNet>,
    /// See [`Settings`].
    pub settings: Settings,
}

/// The speakers of a cluster: that of the cluster's router, that of the outside host, and those of the racks.
/// None if no subnet has routers. `settings` gives what has been changed about a router.
pub fn speakers(
    spec: &ClusterSpec,
    plan: &Plan,
    settings: impl Fn(&str) -> Settings,
) -> Vec<Speaker> {
    if plan.routers.is_empty() {
        return Vec::new();
    }
    let mut speakers = vec![core(plan)];
    speakers.extend(outside(plan));
    for (number, router) in (0..).zip(&plan.routers) {
        let settings = settings(&router.endpoint.name);
        speakers.push(of_rack(spec, plan, number, router, settings));
    }
    speakers
}

fn core(plan: &Plan) -> Speaker {
    let racks = plan.routers.iter().flat_map(|router| {
        neighbours(
            &router.endpoint.name,
            router.asn,
            &ips(&router.uplink.router),
        )
    });
    let outside = plan.outside.iter();
    let outside = outside.flat_map(|host| neighbours(OUTSIDE, OUTSIDE_ASN, &host.ips()));
    let own = plan.subnets.iter().filter(|subnet| !subnet.rack);
    Speaker {
        name: CORE.to_owned(),
        netns: plan.router_netns(),
        daemon: Daemon::Bird,
        asn: CORE_ASN,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        neighbours: racks.chain(outside).collect(),
        connected: own.map(|subnet| subnet.bridge.clone()).collect(),
        default_route: true,
        nodes: None,
    }
}

fn outside(plan: &Plan) -> Option<Speaker> {
    let host = plan.outside.as_ref()?;
    Some(Speaker {
        name: OUTSIDE.to_owned(),
        netns: host.netns.clone(),
        daemon: Daemon::Bird,
        asn: OUTSIDE_ASN,
        router_id: Ipv4Addr::new(192, 0, 2, 2),
        neighbours: neighbours(CORE, CORE_ASN, &host.gateways),
        connected: vec!["eth0".to_owned()],
        default_route: false,
        nodes: None,
    })
}

fn of_rack(
    spec: &ClusterSpec,
    plan: &Plan,
    number: u8,
    router: &Router,
    settings: Settings,
) -> Speaker {
    let here = &router.endpoint;
    let beside = plan
        .routers
        .iter()
        .filter(|other| other.endpoint.bridge == here.bridge && other.asn != router.asn);
    let beside =
        beside.flat_map(|other| neighbours(&other.endpoint.name, other.asn, &other.endpoint.ips()));
    let up = neighbours(CORE, CORE_ASN, &ips(&router.uplink.core));
    let ranges = here.addresses.iter().map(IpNet::trunc).collect();
    let racks = plan.subnets.iter().filter(|subnet| subnet.rack);
    Speaker {
        name: here.name.clone(),
        netns: here.netns.clone(),
        daemon: router.daemon,
        asn: router.asn,
        router_id: Ipv4Addr::new(192, 0, 2, 11 + number),
        neighbours: up.into_iter().chain(beside).collect(),
        connected: vec!["eth0".to_owned()],
        default_route: false,
        nodes: Some(Nodes {
            ranges,
            pools: spec.pool_cidrs.clone(),
            untold: racks
                .flat_map(|subnet| subnet.gateways.iter().map(IpNet::trunc))
                .collect(),
            settings,
        }),
    }
}

fn neighbours(name: &str, asn: u32, addresses: &[IpAddr]) -> Vec<Neighbour> {
    let neighbour = |address: &IpAddr| Neighbour {
        name: name.to_owned(),
        address: *address,
        asn,
    };
    addresses.iter().map(neighbour).collect()
}

fn ips(nets: &[IpNet]) -> Vec<IpAddr> {
    nets.iter().map(IpNet::addr).collect()
}

/// The number of an address family, as names of protocols and tables have it: 4 or 6.
pub(super) fn version(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

/// The families of addresses, each with the values that are of it; families without any are left out.
pub(super) fn by_family<T: Copy>(
    values: impl IntoIterator<Item = T>,
    address: impl Fn(T) -> IpAddr,
) -> Vec<(u8, Vec<T>)> {
    let values: Vec<T> = values.into_iter().collect();
    [4, 6]
        .into_iter()
        .map(|family| {
            let own = values.iter().copied();
            (
                family,
                own.filter(|value| version(address(*value)) == family)
                    .collect::<Vec<T>>(),
            )
        })
        .filter(|(_, values)| !values.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all() -> Vec<Speaker> {
        let spec = ClusterSpec::ecmp("x").validated().expect("valid");
        let plan = Plan::new(&spec, 0);
        speakers(&spec, &plan, |_| Settings::default())
    }

    #[test]
    fn each_session_has_two_ends_that_know_each_other() {
        let speakers = all();
        let mut sessions = BTreeSet::new();
        for speaker in &speakers {
            for neighbour in &speaker.neighbours {
                let there = speakers
                    .iter()
                    .find(|other| other.name == neighbour.name)
                    .expect("there is such a speaker");
                assert_eq!(there.asn, neighbour.asn);
                sessions.insert((&speaker.name, &neighbour.name, version(neighbour.address)));
            }
        }
        for (a, b, family) in &sessions {
            assert!(sessions.contains(&(b, a, *family)), "{b} does not know {a}");
        }
        // Three uplinks, the outside host, and the two routers of rack a, in both families.
        assert_eq!(sessions.len(), 5 * 2 * 2);
    }

    #[test]
    fn nothing_that_tells_speakers_apart_is_given_out_twice() {
        let speakers = all();
        let ids: BTreeSet<_> = speakers.iter().map(|speaker| speaker.router_id).collect();
        let asns: BTreeSet<_> = speakers.iter().map(|speaker| speaker.asn).collect();
        assert_eq!((ids.len(), asns.len()), (speakers.len(), speakers.len()));
    }

    #[test]
    fn a_cluster_without_racks_has_no_speakers() {
        let spec = ClusterSpec::demo("x").validated().expect("valid");
        let plan = Plan::new(&spec, 0);
        assert_eq!(speakers(&spec, &plan, |_| Settings::default()), []);
    }
}
