//! Pods send from their own addresses only; whatever path a packet from another node takes, it
//! is let in.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use common::converge;
use common::lab::{Lab, Node, Path, host_end, pod_address};
use rstest::rstest;
use weft_kernel::nft::NftTable;
use weft_kernel::testing::{Netns, sh, udp};
use weft_kernel::{Family, Kernel, Reconciler, Scope, State, Watcher};

/// Who checks the sources of IPv4 packets of pods.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Check {
    /// The chain: the kernel's own check is off.
    Chain,
    /// The kernel: there is no chain.
    Kernel,
}

/// Two nodes, each with its table and its own way to the other.
fn start(paths: [Path; 2], check: Check) -> Lab {
    let lab = Lab::new(2);
    for (node, path) in lab.nodes.iter().zip(paths) {
        let table = NftTable {
            ipv4_sources: check == Check::Chain,
            ..lab.table(node.number)
        };
        let state = State {
            nft: Some(table),
            ..lab.desired(node.number, path)
        };
        converge(&mut Kernel::open_in(node.ns.as_fd()).unwrap(), &state);
        let device = host_end();
        node.ns.run(|| {
            let strict = u8::from(check == Check::Kernel);
            sh(&format!(
                "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{device}.rp_filter={strict}"
            ))
        });
    }
    lab
}

fn send(from: &Netns, source: IpAddr, target: IpAddr, what: &str) {
    let client = from.run(|| UdpSocket::bind((source, 0)).unwrap());
    client.send_to(what.as_bytes(), (target, 9)).unwrap();
}

fn listen(ns: &Netns, address: IpAddr) -> UdpSocket {
    let server = ns.run(|| udp((address, 9)));
    server
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    server
}

fn hear(server: &UdpSocket) -> String {
    let mut buffer = [0; 64];
    let length = server.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// What arrives first at its node when a pod sends under a strange address, then under its own.
fn first(one: &Node, strange: IpAddr) -> String {
    let family = Family::of(strange);
    let (own, target) = (pod_address(1, family, 5), pod_address(1, family, 1));
    let server = listen(&one.ns, target);
    send(&one.pod, own, target, "hello");
    assert_eq!(hear(&server), "hello");
    one.pod.run(|| {
        let bits = if strange.is_ipv4() { "32" } else { "128 nodad" };
        sh(&format!("ip addr add {strange}/{bits} dev eth0"))
    });
    send(&one.pod, strange, target, "strange");
    send(&one.pod, own, target, "own");
    one.pod.run(|| {
        let bits = if strange.is_ipv4() { 32 } else { 128 };
        sh(&format!("ip addr del {strange}/{bits} dev eth0"))
    });
    hear(&server)
}

/// Sources that a pod of node 1 may claim: of its node's block, of another node's pod, of
/// outside.
fn strange() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for family in Family::BOTH {
        all.push(pod_address(1, family, 9));
        all.push(pod_address(2, family, 9));
    }
    all.extend(["203.0.113.9", "2001:db8:9::9"].map(|a| a.parse::<IpAddr>().unwrap()));
    all
}

#[rstest]
fn a_strange_source_is_dropped_and_an_honest_one_passes(
    #[values(Check::Chain, Check::Kernel)] check: Check,
    #[values(0, 1)] route_localnet: u8,
) {
    let lab = start([Path::Vxlan(Family::V4); 2], check);
    let node = &lab.nodes[0];
    let setting = format!("net.ipv4.conf.{}.route_localnet", host_end());
    node.ns
        .run(|| sh(&format!("sysctl -qw {setting}={route_localnet}")));
    for address in strange() {
        assert_eq!(first(node, address), "own", "{address}");
    }
    // Without the check they would get through: the drop is what the test sees.
    node.ns.run(|| {
        sh("nft flush chain ip6 weft martian; nft flush chain inet weft martian || true");
        sh(&format!(
            "sysctl -qw net.ipv4.conf.{}.rp_filter=0",
            host_end()
        ))
    });
    for address in strange() {
        assert_eq!(first(node, address), "strange", "{address}");
    }
}

/// The chain is left out only where the kernel is strict with every pod, and a change is noticed.
#[test]
fn whether_the_kernel_checks_is_known() {
    let lab = Lab::new(1);
    let node = &lab.nodes[0];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let set = |device: &str, value: u8| {
        let setting = format!("net.ipv4.conf.{device}.rp_filter={value}");
        node.ns.run(|| sh(&format!("sysctl -qw {setting}")))
    };
    let device = host_end().to_string();
    set("all", 0);
    set(&device, 1);
    let mut watcher = node.ns.run(|| {
        let _entered = runtime.enter();
        Watcher::open().unwrap()
    });
    let mut reconciler = Reconciler::new(Kernel::open_in(node.ns.as_fd()).unwrap());
    let scope = Scope::default();
    assert!(!reconciler.checks_sources(), "nothing is known yet");
    reconciler.observe(&scope).unwrap();
    assert!(reconciler.checks_sources());
    for (of, value, strict) in [
        ("all", 2, false),
        ("all", 1, true),
        (&device, 2, false),
        (&device, 1, true),
        (&device, 0, false),
        ("eth0", 0, false),
        (&device, 1, true),
    ] {
        set(of, value);
        let changes = runtime.block_on(watcher.changed()).unwrap();
        reconciler.note(&changes);
        assert_eq!(reconciler.checks_sources(), strict, "{of} {value}");
        // Read anew, it is the same.
        reconciler.forget();
        reconciler.observe(&scope).unwrap();
        assert_eq!(reconciler.checks_sources(), strict, "{of} {value}");
    }
    set(&device, 0);
    reconciler.note(&runtime.block_on(watcher.changed()).unwrap());
    assert!(!reconciler.checks_sources());
    node.ns.run(|| sh(&format!("ip link del {device}")));
    reconciler.note(&runtime.block_on(watcher.changed()).unwrap());
    assert!(reconciler.checks_sources(), "it is gone");
}

/// Packets come by one path while answers go by another: in a change of path that is so.
#[test]
fn between_nodes_the_way_back_may_be_another() {
    for paths in [
        [Path::Vxlan(Family::V4), Path::Direct(Family::V4)],
        [Path::Direct(Family::V4), Path::Vxlan(Family::V6)],
        [Path::Vxlan(Family::V6), Path::Vxlan(Family::V4)],
    ] {
        let lab = start(paths, Check::Kernel);
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to): (&Node, &Node) = (&lab.nodes[from], &lab.nodes[to]);
            for family in Family::BOTH {
                let source = pod_address(from.number, family, 5);
                let target = pod_address(to.number, family, 5);
                let server = listen(&to.pod, target);
                send(&from.pod, source, target, "hello");
                assert_eq!(hear(&server), "hello", "{paths:?} {source} {target}");
            }
        }
    }
}

/// Node and pod find each other's link-layer addresses, and the pod may use its link-local
/// address towards the node.
#[test]
fn neighbour_discovery_passes() {
    let lab = start([Path::Vxlan(Family::V4); 2], Check::Chain);
    let node = &lab.nodes[0];
    let host: Ipv6Addr = "fe80::ff:fe00:1".parse().unwrap();
    let forget = || {
        node.ns.run(|| sh("ip -6 neigh flush all"));
        node.pod.run(|| sh("ip -6 neigh flush all nud reachable"));
    };
    // The pod asks for the node, from its link-local address.
    forget();
    let server = node.ns.run(|| {
        let index = interface(host_end().as_str());
        udp(SocketAddrV6::new(host, 9, 0, index))
    });
    server
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    node.pod.run(|| {
        let client = UdpSocket::bind("[::]:0").unwrap();
        let target = SocketAddrV6::new(host, 9, 0, interface("eth0"));
        client.send_to(b"link-local", target).unwrap();
    });
    assert_eq!(hear(&server), "link-local");
    // The node asks for the pod.
    forget();
    let pod = pod_address(1, Family::V6, 5);
    let server = listen(&node.pod, pod);
    send(&node.ns, pod_address(1, Family::V6, 1), pod, "node");
    assert_eq!(hear(&server), "node");
}

/// The index of a device in the network namespace of this thread.
fn interface(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}
