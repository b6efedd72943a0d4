use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{NodeBlock, NodePodAddresses, PodRef, Protocol};

fn node(blocks: &[(&str, bool)]) -> NodeConfig {
    NodeConfig {
        blocks: blocks
            .iter()
            .map(|(cidr, allocatable)| NodeBlock {
                cidr: cidr.parse().unwrap(),
                allocatable: *allocatable,
            })
            .collect(),
        node_pod_addresses: NodePodAddresses::default(),
        mtu: 1450,
        link_mtu: 1450,
    }
}

fn attach(name: u8, addresses: &[IpAddr]) -> Record {
    Record::Attach(Box::new(Attachment {
        id: AttachmentId::new(format!("c{name}"), "eth0"),
        network: "weft".into(),
        netns: "/run/netns/x".into(),
        host_ifname: format!("weft{name}"),
        pod: PodRef::default(),
        addresses: addresses.to_vec(),
        host_ports: Vec::new(),
        since: 0,
        boot: String::new(),
    }))
}

fn detach(name: u8) -> Record {
    Record::Detach {
        id: AttachmentId::new(format!("c{name}"), "eth0"),
        until: 0,
    }
}

fn pick(ledger: &Ledger, node: &NodeConfig) -> Vec<String> {
    let picked = ledger.pick(node).unwrap();
    picked.iter().map(IpAddr::to_string).collect()
}

#[test]
fn never_used_first_then_longest_free() {
    let node = node(&[("10.0.0.0/29", true), ("fd00::/126", true)]);
    let mut ledger = Ledger::default();
    let mut seen = Vec::new();
    for turn in 0..3 {
        let addresses = ledger.pick(&node).unwrap();
        seen.push(addresses[0].to_string());
        ledger.apply(attach(turn, &addresses));
    }
    assert_eq!(seen, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    for turn in [1, 0, 2] {
        ledger.apply(detach(turn));
    }
    // IPv4 has some never used; IPv6 has not, and fd00::2 was freed first.
    assert_eq!(pick(&ledger, &node), ["10.0.0.4", "fd00::2"]);
}

#[test]
fn a_draining_block_gives_nothing() {
    let node = node(&[("10.0.0.0/30", false), ("10.0.0.4/30", true)]);
    assert_eq!(pick(&Ledger::default(), &node), ["10.0.0.5"]);
}

#[test]
fn a_full_family_names_its_blocks() {
    let node = node(&[
        ("10.0.0.0/30", true),
        ("10.0.0.4/30", true),
        ("fd00::/122", false),
    ]);
    let mut ledger = Ledger::default();
    let error = ledger.pick(&node).unwrap_err().to_string();
    assert!(error.contains("IPv6") && error.contains("none"), "{error}");
    let all: Vec<IpAddr> = node
        .blocks
        .iter()
        .flat_map(|block| node.addresses(block.cidr))
        .collect();
    ledger.apply(attach(1, &all));
    let error = ledger.pick(&node).unwrap_err().to_string();
    assert!(error.contains("10.0.0.0/30, 10.0.0.4/30"), "{error}");
    let block = node.blocks[0].cidr;
    assert_eq!(ledger.usage(&node, block), Usage { used: 2, free: 0 });
}

#[test]
fn host_ports_overlap_by_address_and_protocol() {
    let port = |ip: Option<&str>, protocol| HostPort {
        host_ip: ip.map(|ip| ip.parse().unwrap()),
        host_port: 80,
        container_port: 8080,
        protocol,
    };
    let tcp = Protocol::Tcp;
    assert!(port(None, tcp).overlaps(&port(Some("fd00::1"), tcp)));
    assert!(port(Some("0.0.0.0"), tcp).overlaps(&port(Some("10.0.0.1"), tcp)));
    assert!(!port(Some("0.0.0.0"), tcp).overlaps(&port(Some("::"), tcp)));
    assert!(!port(Some("10.0.0.1"), tcp).overlaps(&port(Some("10.0.0.2"), tcp)));
    assert!(!port(None, tcp).overlaps(&port(None, Protocol::Udp)));
}

/// Lines as the store would write them, and lines that no store would.
fn any_record() -> impl Strategy<Value = Record> {
    prop_oneof![
        (0..6u8, proptest::collection::vec(1..9u8, 0..3)).prop_map(|(name, offsets)| {
            let addresses: BTreeSet<IpAddr> = offsets
                .iter()
                .map(|o| IpAddr::from([10, 0, 0, *o]))
                .collect();
            attach(name, &addresses.into_iter().collect::<Vec<_>>())
        }),
        (0..6u8).prop_map(detach),
        proptest::collection::vec(1..9u8, 0..4)
            .prop_map(|o| Record::Freed(o.iter().map(|o| IpAddr::from([10, 0, 0, *o])).collect())),
    ]
}

proptest! {
    #[test]
    fn any_lines_leave_a_consistent_ledger(records in proptest::collection::vec(any_record(), 0..40)) {
        let ledger = Ledger::replay(records);
        let mut owned = BTreeSet::new();
        for attachment in ledger.attachments() {
            for ip in &attachment.addresses {
                prop_assert!(owned.insert(*ip), "{ip} has two owners");
                prop_assert_eq!(ledger.owner(*ip), Some(attachment));
                prop_assert!(!ledger.freed.contains_key(ip));
            }
        }
        prop_assert_eq!(owned.len(), ledger.owner.len());
    }

    #[test]
    fn compaction_changes_no_answer(records in proptest::collection::vec(any_record(), 0..40)) {
        let node = node(&[("10.0.0.0/29", true)]);
        let mut before = Ledger::replay(records);
        let mut after = Ledger::replay(before.compacted(|_| true));
        prop_assert_eq!(&before.live, &after.live);
        for name in 100..110 {
            let (a, b) = (before.pick(&node), after.pick(&node));
            match (a, b) {
                (Ok(a), Ok(b)) => {
                    prop_assert_eq!(&a, &b);
                    before.apply(attach(name, &a));
                    after.apply(attach(name, &b));
                }
                (a, b) => {
                    prop_assert_eq!(a.is_err(), b.is_err());
                    break;
                }
            }
        }
    }
}
