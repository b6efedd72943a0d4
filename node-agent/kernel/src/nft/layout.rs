//! Chains, sets and rules of the tables. Sets are always the same; the text of the rules depends
//! on kube-proxy's mark, the node pod addresses, and whether IPv4 sources are checked here.

use std::net::IpAddr;

use super::expr::{End, REGISTER, Rule};
use super::uapi::Table;
use super::value::NftTable;
use crate::state::Family;

// Types of keys and values, by nft's own numbers, 6 bits each.
const IPV4: u32 = 7;
const IPV6: u32 = 8;
const PROTOCOL: u32 = 12;
const PORT: u32 = 13;

pub(super) const FLAG_INTERVAL: u32 = 4;
pub(super) const FLAG_MAP: u32 = 8;

/// A set or map of the table.
#[derive(Clone, Copy)]
pub(super) struct SetLayout {
    pub(super) name: &'static str,
    pub(super) flags: u32,
    /// nft's type number and length in bytes.
    pub(super) key: (u32, u32),
    pub(super) value: Option<(u32, u32)>,
}

/// Names of the sets of one family.
pub(super) struct SetNames {
    /// The pools.
    pub(super) pools: &'static str,
    /// Host ports on any local address.
    pub(super) ports: &'static str,
    /// Host ports on one address.
    pub(super) ports_of_address: &'static str,
    /// Pods with host ports, as (source, destination): those that talk to themselves.
    pub(super) hairpin: &'static str,
}

pub(super) const fn set_names(family: Family) -> SetNames {
    match family {
        Family::V4 => SetNames {
            pools: "pools4",
            ports: "hostports4",
            ports_of_address: "hostports-of-address4",
            hairpin: "hairpin4",
        },
        Family::V6 => SetNames {
            pools: "pools6",
            ports: "hostports6",
            ports_of_address: "hostports-of-address6",
            hairpin: "hairpin6",
        },
    }
}

/// All sets.
pub(super) fn sets() -> Vec<SetLayout> {
    let of = |family: Family| {
        let (kind, length) = match family {
            Family::V4 => (IPV4, 4),
            Family::V6 => (IPV6, 16),
        };
        let names = set_names(family);
        let target = Some((kind << 6 | PORT, length + 4));
        let port = (PROTOCOL << 6 | PORT, 8);
        let port_of_address = (kind << 12 | PROTOCOL << 6 | PORT, length + 8);
        let pair = (kind << 6 | kind, length * 2);
        [
            set(names.pools, FLAG_INTERVAL, (kind, length), None),
            set(names.ports, FLAG_MAP, port, target),
            set(names.ports_of_address, FLAG_MAP, port_of_address, target),
            set(names.hairpin, 0, pair, None),
        ]
    };
    Family::BOTH.into_iter().flat_map(of).collect()
}

fn set(name: &'static str, flags: u32, key: (u32, u32), value: Option<(u32, u32)>) -> SetLayout {
    SetLayout {
        name,
        flags,
        key,
        value,
    }
}

/// A chain of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainLayout {
    pub(super) table: Table,
    pub(super) name: &'static str,
    /// Type, hook and priority of a base chain.
    pub(super) base: Option<(&'static str, u32, i32)>,
}

const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
/// Ahead of kube-proxy, whose chains are at the usual priorities.
const EARLIER: i32 = 10;
const RAW: i32 = -300;
const FILTER: i32 = 0;
const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;

/// What the names of Weft's devices begin with; those of pods go on in hexadecimal.
const DEVICES: &str = "weft";
/// What the names of devices to other nodes begin with.
const BETWEEN_NODES: &str = "weft.";

const MARTIAN: &str = "martian";
const LOOPBACK: &str = "loopback";
const HOSTPORTS: &str = "hostports";
const HOSTPORT_PRE: &str = "hostport-pre";
const HOSTPORT_OUT: &str = "hostport-out";
// Plain `snat` is a word of nft's language, so no admin could name that chain to nft.
const SNAT: &str = "pod-snat";

/// All chains; one that is jumped to comes before those that jump.
///
/// A packet between two pods comes by none of them once its connection is known, but the IPv6 one by
/// [`MARTIAN`]: a chain that does nothing but return took 2 % of a round trip.
pub(super) fn chains(table: &NftTable) -> Vec<ChainLayout> {
    let martian = ("filter", PREROUTING, RAW);
    let mut chains = vec![
        chain(Table::Inet, HOSTPORTS, None),
        chain(
            Table::Inet,
            HOSTPORT_PRE,
            Some(("nat", PREROUTING, DSTNAT - EARLIER)),
        ),
        chain(
            Table::Inet,
            HOSTPORT_OUT,
            Some(("nat", OUTPUT, DSTNAT - EARLIER)),
        ),
        chain(
            Table::Inet,
            SNAT,
            Some(("nat", POSTROUTING, SRCNAT - EARLIER)),
        ),
        chain(Table::Inet, LOOPBACK, Some(("filter", INPUT, FILTER))),
    ];
    if table.ipv4_sources {
        chains.push(chain(Table::Inet, MARTIAN, Some(martian)));
    }
    chains.push(chain(Table::Ip6, MARTIAN, Some(martian)));
    chains
}

fn chain(table: Table, name: &'static str, base: Option<(&'static str, u32, i32)>) -> ChainLayout {
    ChainLayout { table, name, base }
}

/// A rule: its chain, what it is for, and its expressions.
pub(super) struct RuleLayout {
    pub(super) table: Table,
    pub(super) chain: &'static str,
    pub(super) purpose: &'static str,
    pub(super) expressions: Rule,
}

/// All rules, in the order of each chain.
pub(super) fn rules(table: &NftTable) -> Vec<RuleLayout> {
    let mut rules = Vec::new();
    let mut add = |chain, purpose, expressions| {
        rules.push(RuleLayout {
            table: Table::Inet,
            chain,
            purpose,
            expressions,
        });
    };
    for family in Family::BOTH {
        let names = set_names(family);
        let words = if family == Family::V4 { 1 } else { 4 };
        let key = Rule::new()
            .family(family)
            .address(family, End::Destination, REGISTER);
        let rule = key
            .protocol_and_port(REGISTER + words)
            .mapped(names.ports_of_address);
        add(HOSTPORTS, "host ports of one address", rule.dnat(family));
        let rule = Rule::new()
            .family(family)
            .protocol_and_port(REGISTER)
            .mapped(names.ports);
        add(HOSTPORTS, "host ports of any address", rule.dnat(family));
    }
    let rule = Rule::new().if_to_local(true).jump(HOSTPORTS);
    add(HOSTPORT_PRE, "host ports, from outside", rule);
    let rule = loopback(Rule::new().family(Family::V6), Family::V6, End::Destination);
    add(HOSTPORT_OUT, "::1 cannot leave lo", rule.back());
    let rule = Rule::new().if_to_local(true).jump(HOSTPORTS);
    add(HOSTPORT_OUT, "host ports, from this node", rule);

    for (family, node) in node_addresses(table) {
        snat(family, node, table.masquerade_mark, &mut add);
    }
    for family in Family::BOTH {
        add(
            SNAT,
            "what leaves the cluster",
            leaving(family).masquerade(),
        );
    }
    // The kernel itself drops ::1 on other devices than lo, and 127.0.0.0/8 unless `route_localnet` is set, as
    // it is on devices of pods whose host ports lead from loopback addresses: their answers pass.
    for not_pods in not_pods() {
        add(
            LOOPBACK,
            "only what pods send is looked at",
            not_pods.back(),
        );
    }
    let rule = Rule::new().answering().back();
    add(LOOPBACK, "answers to this node", rule);
    let v4 = Rule::new().family(Family::V4);
    let rule = loopback(v4, Family::V4, End::Destination).drop();
    add(LOOPBACK, "loopback addresses stay on the node", rule);
    if table.ipv4_sources {
        martian(Table::Inet, Family::V4, &mut rules);
    }
    martian(Table::Ip6, Family::V6, &mut rules);
    rules
}

/// Pods send from their own addresses only. Where this is asked, every packet comes by: those that aren't a
/// pod's have to pass quickly.
fn martian(table: Table, family: Family, rules: &mut Vec<RuleLayout>) {
    let mut add = |purpose, expressions| {
        rules.push(RuleLayout {
            table,
            chain: MARTIAN,
            purpose,
            expressions,
        });
    };
    for not_pods in not_pods() {
        add("only what pods send is looked at", not_pods.back());
    }
    let purpose = "pods send from their own addresses only";
    add(purpose, spoofed(family).drop());
}

/// What does not come from a pod.
fn not_pods() -> [Rule; 2] {
    [
        Rule::new().in_through(DEVICES, false),
        Rule::new().in_through(BETWEEN_NODES, true),
    ]
}

/// Sources that have to be the node pod address: whatever path the packet takes, the
/// reply comes back here, and no connection is tied to an outgoing device.
fn snat(
    family: Family,
    node: IpAddr,
    mark: u32,
    add: &mut impl FnMut(&'static str, &'static str, Rule),
) {
    let names = set_names(family);
    let node = match node {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    // The mark is cleared as kube-proxy clears it: it would outlive the encapsulation, and
    // the outer packet would be masqueraded too.
    let rule = Rule::new()
        .family(family)
        .marked(mark)
        .address(family, End::Destination, REGISTER);
    let rule = rule.in_set(names.pools, true).unmark(mark).constant(&node);
    add(SNAT, "what kube-proxy would masquerade", rule.snat(family));
    let words = if family == Family::V4 { 1 } else { 4 };
    let rule = Rule::new()
        .family(family)
        .address(family, End::Source, REGISTER);
    let rule = rule.address(family, End::Destination, REGISTER + words);
    let rule = rule.in_set(names.hairpin, true).constant(&node);
    add(SNAT, "pods that use their own host port", rule.snat(family));
    if family == Family::V4 {
        let rule = loopback(Rule::new().family(family), family, End::Source);
        let rule = rule
            .address(family, End::Destination, REGISTER)
            .in_set(names.pools, true);
        add(
            SNAT,
            "host ports of 127.0.0.1",
            rule.constant(&node).snat(family),
        );
    }
}

/// Packets from a pod whose source isn't routed back to it. IPv6 has no other check of that;
/// IPv4 has `rp_filter`, which others may set. On the devices between nodes it would be wrong
/// to check: there a packet may come by another path than the answer goes.
fn spoofed(family: Family) -> Rule {
    let rule = Rule::new().family(family);
    let rule = match family {
        Family::V4 => rule,
        // Neighbour discovery has such sources (RFC 4861); they are never forwarded.
        Family::V6 => rule
            .address_under(
                family,
                End::Source,
                &leading([0xff, 0xc0]),
                &leading([0xfe, 0x80]),
                false,
            )
            .address_under(family, End::Source, &[0xff; 16], &[0; 16], false),
    };
    rule.routed_elsewhere()
}

/// An IPv6 address, or a mask of one, that begins so and is zero from there on.
fn leading([first, second]: [u8; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    (bytes[0], bytes[1]) = (first, second);
    bytes
}

/// Packets from a pool to outside of every pool that aren't multicast or to this node.
fn leaving(family: Family) -> Rule {
    let names = set_names(family);
    let rule = Rule::new()
        .family(family)
        .address(family, End::Source, REGISTER);
    let rule = rule
        .in_set(names.pools, true)
        .address(family, End::Destination, REGISTER);
    let rule = rule.in_set(names.pools, false);
    let (mask, multicast): (&[u8], &[u8]) = match family {
        Family::V4 => (&[0xf0, 0, 0, 0], &[0xe0, 0, 0, 0]),
        Family::V6 => (&[0xff], &[0xff]),
    };
    rule.address_under(family, End::Destination, mask, multicast, false)
        .if_to_local(false)
}

/// Only packets from or to 127.0.0.0/8 or ::1.
fn loopback(rule: Rule, family: Family, end: End) -> Rule {
    match family {
        Family::V4 => rule.address_under(family, end, &[0xff], &[127], true),
        Family::V6 => {
            let one = std::net::Ipv6Addr::LOCALHOST.octets();
            rule.address_under(family, end, &[0xff; 16], &one, true)
        }
    }
}

fn node_addresses(table: &NftTable) -> impl Iterator<Item = (Family, IpAddr)> {
    let v4 = table.node_v4.map(|v4| (Family::V4, v4.into()));
    let v6 = table.node_v6.map(|v6| (Family::V6, v6.into()));
    [v4, v6].into_iter().flatten()
}
