//! The built-in import guard of a node: which prefixes it believes of whom, whatever else is configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Match, Policy, PrefixRange, Rule, Then};

/// Ranges of the cluster that no router may route elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Of pods.
    pub pools: Vec<IpNet>,
    /// Of services.
    pub services: Vec<IpNet>,
    /// Of the nodes themselves.
    pub nodes: Vec<IpNet>,
}

/// What is believed of another node: prefixes inside the pools.
pub fn from_mesh(pools: &[IpNet]) -> Policy {
    let inside = pools.iter().copied().map(PrefixRange::all_of).collect();
    Policy::new(vec![Rule::new(vec![Match::Within(inside)], Then::Accept)])
}

/// What is believed of a router: what `first` accepts, then what `filter` does, but of this nothing that overlaps a
/// reserved, link-local, loopback or multicast range, and a default route only if `default_route`.
pub fn from_router(
    first: Vec<Rule>,
    reserved: &Reserved,
    default_route: bool,
    filter: Vec<Rule>,
) -> Policy {
    let mut rules = first;
    if !default_route {
        let default = EVERYTHING.map(PrefixRange::only).to_vec();
        rules.push(Rule::new(vec![Match::Within(default)], Then::Reject));
    }
    let mut refused = NEVER_ROUTED.to_vec();
    refused.extend(&reserved.pools);
    refused.extend(&reserved.services);
    refused.extend(&reserved.nodes);
    // A default route overlaps all ranges, and takes nothing from them as long as they have routes of their own.
    // Any other prefix that covers a range is one that somebody chose.
    let all_but_default = EVERYTHING.map(|net| PrefixRange {
        min: 1,
        ..PrefixRange::all_of(net)
    });
    let when = vec![
        Match::Within(all_but_default.to_vec()),
        Match::Overlaps(refused),
    ];
    rules.push(Rule::new(when, Then::Reject));
    rules.extend(filter);
    Policy::new(rules)
}

/// The default routes, which are also all there is.
const EVERYTHING: [IpNet; 2] = [
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
];

/// Link-local, loopback and multicast (RFC 6890, RFC 5771, RFC 4291).
const NEVER_ROUTED: [IpNet; 6] = [
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];
