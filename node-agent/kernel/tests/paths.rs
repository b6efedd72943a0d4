//! Packets between nodes: every path carries them, and none is lost when paths change.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::lab::{Lab, Node, Path, gateway, pod_address, underlay};
use common::{apply_all, converge};
use nix::sys::socket::{setsockopt, sockopt};
use weft_kernel::testing::{self, Netns, sh};
use weft_kernel::{
    Action, Family, Kernel, OwnAddress, Route, RouteKey, RouteTarget, State, plan, udp,
};

const PATHS: [Path; 4] = [
    Path::Vxlan(Family::V4),
    Path::Direct(Family::V4),
    Path::Vxlan(Family::V6),
    Path::Direct(Family::V6),
];

/// Every path carries packets of both families, from pods and from the nodes themselves,
/// of full size and without fragments; and it is the path that was asked for.
#[test]
fn every_path_carries_both_families() {
    let lab = Lab::new(3);
    let mut kernels: Vec<_> = lab
        .nodes
        .iter()
        .map(|node| Kernel::open_in(node.ns.as_fd()).unwrap())
        .collect();
    for path in PATHS {
        for (node, kernel) in lab.nodes.iter().zip(&mut kernels) {
            converge(kernel, &lab.desired(node.number, path));
        }
        for from in &lab.nodes {
            for to in lab.nodes.iter().filter(|to| to.number != from.number) {
                for family in Family::BOTH {
                    check_path(from, to, family, path);
                }
            }
        }
    }
}

fn check_path(from: &Node, to: &Node, family: Family, path: Path) {
    let pod = pod_address(to.number, family, 5);
    let node = pod_address(to.number, family, 1);
    let (own_pod, own_node) = (
        pod_address(from.number, family, 5),
        pod_address(from.number, family, 1),
    );
    for (here, there, target, source) in [
        (&from.pod, &to.pod, pod, own_pod),
        (&from.ns, &to.pod, pod, own_node),
        (&from.ns, &to.ns, node, own_node),
        (&from.pod, &to.ns, node, own_pod),
    ] {
        echo(here, there, target, source);
    }
    let shown = from.ns.run(|| sh(&format!("ip route get {pod}")));
    let (device, via) = match (path, family) {
        (Path::Vxlan(Family::V4), family) => ("weft.vx4", gateway(to.number, family)),
        (Path::Vxlan(Family::V6), family) => ("weft.vx6", gateway(to.number, family)),
        (Path::Direct(Family::V4), family) => ("eth0", underlay(to.number, family)),
        (Path::Direct(Family::V6), _) => ("eth0", underlay(to.number, Family::V6)),
    };
    let source = pod_address(from.number, family, 1);
    for word in [
        format!("dev {device}"),
        format!(" {via} "),
        format!("src {source}"),
    ] {
        assert!(
            shown.contains(&word),
            "{path:?}, {family}: {word} is not in {shown}"
        );
    }
}

/// A datagram of full size goes from one namespace to an address in another and back; it
/// arrives with the source address that it should have.
fn echo(from: &Netns, to: &Netns, target: IpAddr, source: IpAddr) {
    let family = Family::of(target);
    let length = if target.is_ipv4() {
        1430 - 28
    } else {
        1430 - 48
    };
    let server = to.run(|| testing::udp((target, 7)));
    let client = from.run(|| udp::probe_socket(family).unwrap());
    client.set_nonblocking(false).unwrap();
    client.send_to(&vec![7; length], (target, 7)).unwrap();
    let mut packet = [0; 2000];
    for socket in [&server, &client] {
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let received = socket.recv_from(&mut packet);
        let (received, peer) = received.unwrap_or_else(|e| panic!("{source} to {target}: {e}"));
        assert_eq!(received, length);
        if peer.ip() != target {
            assert_eq!(peer.ip(), source);
            server.send_to(&packet[..received], peer).unwrap();
        }
    }
}

/// A packet that asks for a device goes by the path through that device, whichever path is in use there
/// and on the way back.
#[test]
fn a_probe_goes_by_the_path_of_its_device() {
    let lab = Lab::new(2);
    let [one, other] = &lab.nodes[..] else {
        panic!("two nodes")
    };
    let by = |number: u8, path: Path| lab.desired(number, path);
    for (there, back) in PATHS.into_iter().flat_map(|a| PATHS.map(|b| (a, b))) {
        let mut state = by(1, there);
        for (index, path) in (1..).zip(PATHS) {
            for (key, route) in by(1, path).routes {
                let RouteTarget::Nexthop(id) = route.target else {
                    continue;
                };
                let nexthop = by(1, path).nexthops[&id];
                let target = RouteTarget::Device {
                    device: nexthop.device,
                    gateway: nexthop.gateway,
                    onlink: nexthop.onlink,
                };
                let probed = pod_address(2, Family::of(key.destination.addr()), 2);
                let key = RouteKey::path(probed.into(), index);
                state.routes.insert(key, Route { target, ..route });
            }
        }
        converge(&mut Kernel::open_in(one.ns.as_fd()).unwrap(), &state);
        let mut answering = by(2, back);
        let probed = Family::BOTH.map(|family| OwnAddress::on_lo(pod_address(2, family, 2)));
        answering.addresses.extend(probed);
        converge(&mut Kernel::open_in(other.ns.as_fd()).unwrap(), &answering);
        for device in ["weft.vx4", "weft.vx6", "eth0"] {
            for family in Family::BOTH {
                probe(one, other, family, device);
            }
        }
    }
}

/// One probe through `device`, which has to be the one that carries it, and its answer.
fn probe(from: &Node, to: &Node, family: Family, device: &str) {
    let target = (pod_address(to.number, family, 2), 4873).into();
    let server = to.ns.run(|| testing::udp(target));
    let client = from.ns.run(|| udp::probe_socket(family).unwrap());
    client.set_nonblocking(false).unwrap();
    let sent = || -> usize {
        let shown = from
            .ns
            .run(|| sh(&format!("ip -j -s link show dev {device}")));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown[0]["stats64"]["tx"]["bytes"].as_u64().unwrap() as usize
    };
    let before = sent();
    let packet = [7; 1380];
    from.ns
        .run(|| udp::send(&client, &packet, target, Some(device.parse().unwrap())).unwrap());
    let mut buffer = [0; 2000];
    for socket in [&server, &client] {
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let received = socket.recv_from(&mut buffer);
        let (length, peer) = received.unwrap_or_else(|e| panic!("{device}, {family}: {e}"));
        if length == packet.len() {
            assert_eq!(peer.ip(), pod_address(from.number, family, 1));
            server.send_to(b"answer", peer).unwrap();
        }
    }
    assert!(sent() >= before + packet.len(), "{device}, {family}");
}

/// What one stream of numbered packets came to.
#[derive(Debug, PartialEq)]
struct Tally {
    sent: usize,
    received: usize,
    lost: usize,
    duplicated: usize,
}

/// Sends numbered packets from one pod to another until `stop`, and counts them.
fn stream(from: &Node, to: &Node, family: Family, stop: &AtomicBool) -> Tally {
    let target = (
        pod_address(to.number, family, 5),
        7000 + u16::from(from.number),
    );
    let receiver = to.pod.run(|| testing::udp(target));
    setsockopt(&receiver, sockopt::RcvBufForce, &(8 << 20)).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let sender = from
        .pod
        .run(|| UdpSocket::bind((pod_address(from.number, family, 5), 0)).unwrap());
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let mut next: u64 = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut packet = [0; 1400 - 48];
                packet[..8].copy_from_slice(&next.to_be_bytes());
                sender.send_to(&packet, target).unwrap();
                next += 1;
                thread::sleep(Duration::from_micros(100));
            }
            next as usize
        });
        let (mut seen, mut received) = (BTreeSet::new(), 0);
        let mut packet = [0; 2000];
        // Whatever has not come a second after the last is lost.
        while receiver.recv(&mut packet).is_ok() {
            seen.insert(packet[..8].to_vec());
            received += 1;
        }
        let sent = sent.join().unwrap();
        Tally {
            sent,
            received,
            lost: sent - seen.len(),
            duplicated: received - seen.len(),
        }
    })
}

/// A thousand changes of path under traffic of both families, both ways: across devices,
/// and, where the underlay is of another family than the pods, across families of the
/// nexthop object.
#[test]
fn a_thousand_changes_of_path_lose_nothing() {
    let lab = Lab::new(2);
    let state = |node: &Node, path| State {
        nft: Some(lab.table(node.number)),
        ..lab.desired(node.number, path)
    };
    let states = |node: &Node| PATHS.map(|path| state(node, path));
    let mut nodes: Vec<(Kernel, [State; 4])> = lab
        .nodes
        .iter()
        .map(|node| (Kernel::open_in(node.ns.as_fd()).unwrap(), states(node)))
        .collect();
    for (kernel, states) in &mut nodes {
        converge(kernel, &states[0]);
    }
    let [one, other] = &lab.nodes[..] else {
        panic!("two nodes")
    };
    let stop = AtomicBool::new(false);
    let tallies = thread::scope(|scope| {
        let streams: Vec<_> = [(one, other), (other, one)]
            .into_iter()
            .flat_map(|(from, to)| Family::BOTH.map(|family| (from, to, family)))
            .map(|(from, to, family)| {
                scope.spawn({
                    let stop = &stop;
                    move || stream(from, to, family, stop)
                })
            })
            .collect();
        let mut at = 0;
        for round in 0..1000 {
            // All twelve ordered pairs of paths occur.
            let next = (at + 1 + round % 3) % PATHS.len();
            for (kernel, states) in &mut nodes {
                let actions = plan(&states[next], &states[at]);
                let replaced = |action: &Action| matches!(action, Action::ReplaceNexthop(..));
                assert!(
                    !actions.is_empty() && actions.iter().all(replaced),
                    "{actions:?}"
                );
                apply_all(kernel, &actions);
            }
            at = next;
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        streams
            .into_iter()
            .map(|stream| stream.join().unwrap())
            .collect::<Vec<_>>()
    });
    for tally in &tallies {
        assert_eq!((tally.lost, tally.duplicated), (0, 0), "{tallies:?}");
        assert!(tally.sent > 1000, "{tallies:?}");
    }
}
