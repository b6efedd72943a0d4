//! What the nftables table does to packets: host ports, masquerading, and connections that
//! kube-proxy would masquerade.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use common::converge;
use common::lab::{Lab, Node, Path, host_end, pod_address, underlay};
use weft_kernel::nft::{
    HostPort, HostPortKey, HostPortTarget, NftTable, hostports_add, hostports_remove,
};
use weft_kernel::testing::{Netns, bound, sh, udp};
use weft_kernel::{DeviceName, Family, Kernel, Setting, SettingKey, State};

const WAIT: Duration = Duration::from_millis(1500);

fn hostport(protocol: u8, host: Option<IpAddr>, port: u16, address: IpAddr) -> HostPort {
    let family = Family::of(address);
    (
        HostPortKey {
            family,
            protocol,
            host,
            port,
        },
        HostPortTarget { address, port: 80 },
    )
}

/// The state of a node, with the table.
fn desired(lab: &Lab, node: &Node, path: Path) -> State {
    let mut state = lab.desired(node.number, path);
    let number = node.number;
    let mut table = lab.table(number);
    for family in Family::BOTH {
        let pod = pod_address(number, family, 5);
        let host = Some(underlay(number, family));
        let ports = [(6, None, 8080), (17, None, 8080), (17, host, 8081)];
        table
            .hostports
            .extend(ports.map(|(protocol, host, port)| hostport(protocol, host, port, pod)));
    }
    state.nft = Some(table);
    let key = SettingKey {
        device: host_end(),
        setting: Setting::RouteLocalnet,
    };
    state.settings.insert(key, 1);
    state
}

fn start(lab: &Lab, path: Path) -> Vec<Kernel> {
    let start = |node: &Node| {
        let mut kernel = Kernel::open_in(node.ns.as_fd()).unwrap();
        converge(&mut kernel, &desired(lab, node, path));
        kernel
    };
    lab.nodes.iter().map(start).collect()
}

/// The source that a UDP server sees of a datagram, and whether the answer came back.
fn ask(client: &Netns, server: &Netns, bind: SocketAddr, target: SocketAddr) -> Option<IpAddr> {
    let server = server.run(|| udp(bind));
    let any: SocketAddr = if target.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    }
    .parse()
    .unwrap();
    let client = client.run(|| UdpSocket::bind(any).unwrap());
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(WAIT)).unwrap();
    }
    client.send_to(b"who am I", target).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = server.recv_from(&mut buffer).ok()?;
    server.send_to(&buffer[..length], from).unwrap();
    let (_, answered_by) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(answered_by, target, "the answer comes from whom was asked");
    Some(from.ip())
}

#[test]
fn host_ports_lead_to_the_pod_from_everywhere() {
    let lab = Lab::new(2);
    let _kernels = start(&lab, Path::Vxlan(Family::V4));
    let outside = lab.outside();
    let [one, other] = &lab.nodes[..] else {
        panic!("two nodes")
    };
    for family in Family::BOTH {
        let node = underlay(1, family);
        let pod = SocketAddr::new(pod_address(1, family, 5), 80);
        let own = pod_address(1, family, 1);
        let ask = |client: &Netns, target: IpAddr, port: u16| {
            ask(client, &one.pod, pod, SocketAddr::new(target, port))
        };
        assert_eq!(
            ask(&outside, node, 8080),
            Some(underlay(200, family)),
            "from outside"
        );
        assert_eq!(ask(&one.ns, node, 8080), Some(node), "from the node itself");
        assert_eq!(
            ask(&one.ns, own, 8080),
            Some(own),
            "from the node to another of its addresses"
        );
        assert_eq!(
            ask(&one.pod, node, 8080),
            Some(own),
            "from the pod to itself"
        );
        let there = pod_address(2, family, 5);
        assert!(ask(&other.pod, node, 8080).is_some(), "from pod {there}");
        // Only at the address that was named.
        assert_eq!(ask(&outside, node, 8081), Some(underlay(200, family)));
        assert_eq!(ask(&one.ns, own, 8081), None, "not the address named");
    }
    let pod = SocketAddr::new(pod_address(1, Family::V4, 5), 80);
    let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080);
    let source = ask(&one.ns, &one.pod, pod, loopback);
    assert_eq!(
        source,
        Some(pod_address(1, Family::V4, 1)),
        "from 127.0.0.1"
    );
}

/// A client that sends all the time, from one port, learns at once that a host port has
/// come, moved to another pod, and gone.
#[test]
fn udp_clients_follow_a_host_port() {
    let lab = Lab::new(1);
    let mut kernels = start(&lab, Path::Direct(Family::V4));
    let outside = lab.outside();
    let [one] = &lab.nodes[..] else {
        panic!("one node")
    };
    for family in Family::BOTH {
        let (pod, node) = (pod_address(1, family, 5), underlay(1, family));
        let client = outside.run(|| udp((underlay(200, family), 5000)));
        let bind = |ns: &Netns, address, port| {
            let socket = ns.run(|| udp((address, port)));
            socket
                .set_read_timeout(Some(Duration::from_millis(400)))
                .unwrap();
            socket
        };
        let on_node = bind(&one.ns, node, 9000);
        let in_pod = bind(&one.pod, pod, 80);
        let other = bind(&one.pod, pod, 81);
        let reached = || {
            client.send_to(b"x", (node, 9000)).unwrap();
            let mut buffer = [0; 8];
            let servers = [("node", &on_node), ("pod", &in_pod), ("other", &other)];
            let heard = servers
                .into_iter()
                .filter(|(_, socket)| socket.recv(&mut buffer).is_ok());
            heard.map(|(name, _)| name).collect::<String>()
        };
        assert_eq!(reached(), "node");
        let port = hostport(17, None, 9000, pod);
        let moved = (
            port.0,
            HostPortTarget {
                address: pod,
                port: 81,
            },
        );
        let otherwise = NftTable::default();
        hostports_add(&mut kernels[0], &[port], &otherwise).unwrap();
        assert_eq!(reached(), "pod");
        hostports_remove(&mut kernels[0], &[port]).unwrap();
        hostports_add(&mut kernels[0], &[moved], &otherwise).unwrap();
        assert_eq!(reached(), "other");
        hostports_remove(&mut kernels[0], &[moved]).unwrap();
        assert_eq!(reached(), "node");
    }
}

#[test]
fn only_what_leaves_the_cluster_is_masqueraded() {
    let lab = Lab::new(2);
    let _kernels = start(&lab, Path::Direct(Family::V4));
    let outside = lab.outside();
    let [one, other] = &lab.nodes[..] else {
        panic!("two nodes")
    };
    for family in Family::BOTH {
        let (here, there) = (pod_address(1, family, 5), pod_address(2, family, 5));
        let target = SocketAddr::new(there, 80);
        assert_eq!(
            ask(&one.pod, &other.pod, target, target),
            Some(here),
            "pod to pod"
        );
        let target = SocketAddr::new(underlay(200, family), 80);
        assert_eq!(
            ask(&one.pod, &outside, target, target),
            Some(underlay(1, family)),
            "to outside"
        );
        let target = SocketAddr::new(underlay(1, family), 81);
        assert_eq!(
            ask(&one.pod, &one.ns, target, target),
            Some(here),
            "to its own node"
        );
    }
}

/// Packets of pods that go to the loopback network are dropped even where `route_localnet` is set.
#[test]
fn loopback_addresses_do_not_cross_the_wire() {
    let lab = Lab::new(1);
    let _kernels = start(&lab, Path::Direct(Family::V4));
    let [one] = &lab.nodes[..] else {
        panic!("one node")
    };
    let server = one.ns.run(|| udp("127.0.0.1:7777"));
    server
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let send = || {
        one.pod.run(|| {
            sh(
                "ip route replace 127.0.0.0/8 via 169.254.1.1 dev eth0 onlink table 5
                ip rule add priority 0 to 127.0.0.0/8 table 5 2>/dev/null || true
                ip rule del priority 0 table local 2>/dev/null || true
                ip rule add priority 10 table local 2>/dev/null || true
                sysctl -qw net.ipv4.conf.eth0.route_localnet=1",
            );
            let socket = UdpSocket::bind((pod_address(1, Family::V4, 5), 0)).unwrap();
            socket.send_to(b"x", "127.0.0.1:7777").unwrap();
        });
    };
    let mut buffer = [0; 8];
    send();
    assert!(server.recv(&mut buffer).is_err(), "the martian got in");
    // Without the chain it would: the drop is what the test sees.
    one.ns.run(|| sh("nft flush chain inet weft loopback"));
    send();
    assert!(server.recv(&mut buffer).is_ok());
}

/// What kube-proxy does for a NodePort, done by hand: mark, and translate to a pod of the
/// other node.
const NODE_PORT: &str = "
table ip kube {
    chain pre {
        type nat hook prerouting priority dstnat; policy accept;
        tcp dport 30080 meta mark set mark or 0x4000 dnat to 10.244.2.5:80
    }
    chain post {
        type nat hook postrouting priority srcnat; policy accept;
        meta mark & 0x4000 == 0x4000 masquerade
    }
}";

#[test]
fn connections_that_kube_proxy_marks_survive_every_change_of_path() {
    let lab = Lab::new(2);
    let mut kernels = start(&lab, Path::Vxlan(Family::V4));
    let outside = lab.outside();
    let [one, other] = &lab.nodes[..] else {
        panic!("two nodes")
    };
    one.ns
        .run(|| sh(&format!("nft -f - <<'EOF'\n{NODE_PORT}\nEOF")));
    let listener = other
        .pod
        .run(|| bound(|| TcpListener::bind((pod_address(2, Family::V4, 5), 80))));
    let server = thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 {
            stream.write_all(&byte).unwrap();
        }
        peer.ip()
    });
    let node_port = SocketAddr::new(underlay(1, Family::V4), 30080);
    let mut client = outside.run(|| TcpStream::connect(node_port).unwrap());
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut echo = |byte: u8| {
        let mut answer = [0];
        client.write_all(&[byte]).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [byte]);
    };
    echo(0);
    let paths = [
        Path::Direct(Family::V4),
        Path::Vxlan(Family::V6),
        Path::Direct(Family::V6),
        Path::Vxlan(Family::V4),
        Path::Direct(Family::V4),
    ];
    for (byte, path) in (1..).zip(paths) {
        for (node, kernel) in lab.nodes.iter().zip(&mut kernels) {
            converge(kernel, &desired(&lab, node, path));
        }
        echo(byte);
    }
    // Even when the device by which it began is gone.
    for node in &lab.nodes {
        node.ns.run(|| {
            sh(&format!(
                "ip link del {}; ip link del {}",
                DeviceName::VX4,
                DeviceName::VX6
            ))
        });
    }
    echo(99);
    drop(client);
    assert_eq!(
        server.join().unwrap(),
        pod_address(1, Family::V4, 1),
        "the node pod address"
    );
}
