//! Against the real kernel: each test is a node in a network namespace of its own, with pods in others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rstest::rstest;

use super::*;

/// A pod's network namespace, removed at the end.
struct Pod(String);

impl Pod {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wc-pod-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        Self(name)
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let netns = Netns::open(&self.path()).unwrap();
        netns.run(|| Ok(work())).unwrap()
    }

    fn ip(&self, args: &str) {
        let mut all = vec!["-n", &self.0];
        all.extend(args.split(' '));
        run("ip", &all);
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn ip(args: &str) -> String {
    run("ip", &args.split(' ').collect::<Vec<_>>())
}

/// Makes the calling thread a node.
fn node() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link set lo up");
    ip("address add 10.9.0.1/32 dev lo");
    ip("address add fd09::1/128 dev lo nodad");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
}

fn link(pod: &Pod, offset: u8) -> PodLink {
    PodLink {
        netns: pod.path(),
        ifname: "eth0".to_owned(),
        host_ifname: host_ifname(&pod.0, "eth0"),
        addresses: vec![
            IpAddr::from([10, 9, 0, offset]),
            format!("fd09::{offset:x}").parse().unwrap(),
        ],
        sources: vec![IpAddr::from([10, 9, 0, 1]), "fd09::1".parse().unwrap()],
        mtu: 1450,
        link_mtu: 1450,
        route_localnet: false,
    }
}

/// Whether a TCP connection from here to a listener in `pod` carries data both ways; gives the client's address.
fn reaches(pod: &Pod, address: IpAddr) -> IpAddr {
    let listener = pod.run(|| TcpListener::bind((address, 0)).unwrap());
    let to: SocketAddr = listener.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
        from.ip()
    });
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10)).unwrap();
    stream.write_all(b"weft").unwrap();
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"weft");
    echo.join().unwrap()
}

#[test]
fn node_and_pods_reach_each_other_at_once() {
    node();
    let (a, b) = (Pod::new(), Pod::new());
    let (link_a, link_b) = (link(&a, 2), link(&b, 3));
    assert_eq!(attach(&link_a).unwrap(), Outcome::Made);
    assert_eq!(attach(&link_b).unwrap(), Outcome::Made);
    for i in 0..2 {
        assert_eq!(reaches(&a, link_a.addresses[i]), link_a.sources[i]);
        let from = a.run(|| reaches(&b, link_b.addresses[i]));
        assert_eq!(from, link_a.addresses[i]);
    }
    assert_eq!(check(&link_a).unwrap(), [""; 0]);
    assert_eq!(check(&link_b).unwrap(), [""; 0]);
    ip("link add other0 type veth peer name other1");
    let mut names = vec![link_a.host_ifname.clone(), link_b.host_ifname.clone()];
    names.sort();
    let mut found = list().unwrap();
    found.sort();
    assert_eq!(found, names);
    assert!(detach(&link_a.host_ifname).unwrap());
    assert!(!detach(&link_a.host_ifname).unwrap());
    assert!(!ip("route show").contains("10.9.0.2"));
    assert!(!ip("-6 route show").contains("fd09::2"));
}

#[test]
fn detaching_without_waiting_leaves_nothing_to_see() {
    node();
    for _ in 0..20 {
        let pod = Pod::new();
        let link = link(&pod, 2);
        attach(&link).unwrap();
        assert!(detach_without_waiting(&link.host_ifname).unwrap());
        assert!(!ip("-o link").contains("weft"));
        assert!(!run("ip", &["-n", &pod.0, "-o", "link"]).contains("eth0"));
        assert!(!detach_without_waiting(&link.host_ifname).unwrap());
    }
}

#[test]
fn nothing_in_the_pod_waits_for_duplicate_detection() {
    node();
    let pod = Pod::new();
    attach(&link(&pod, 2)).unwrap();
    let addresses = run(
        "ip",
        &["-n", &pod.0, "-6", "address", "show", "dev", "eth0"],
    );
    assert!(!addresses.contains("tentative"), "{addresses}");
    assert_eq!(addresses.matches("scope link").count(), 1, "{addresses}");
    let name = host_ifname(&pod.0, "eth0");
    assert_eq!(ip(&format!("-6 address show dev {name}")), "");
}

#[test]
fn attaching_again_is_idempotent_and_completes_what_was_begun() {
    node();
    let pod = Pod::new();
    let link = link(&pod, 2);
    attach(&link).unwrap();
    assert_eq!(attach(&link).unwrap(), Outcome::AlreadyThere);
    pod.ip("address flush dev eth0");
    assert_eq!(attach(&link).unwrap(), Outcome::Made);
    assert_eq!(check(&link).unwrap(), [""; 0]);
    // The other end has gone to another namespace, as with a sandbox made anew.
    let other = Pod::new();
    let moved = PodLink {
        netns: other.path(),
        ..link
    };
    assert_eq!(attach(&moved).unwrap(), Outcome::Made);
    assert_eq!(reaches(&other, moved.addresses[0]), moved.sources[0]);
}

#[test]
fn an_interface_of_another_is_left_alone() {
    node();
    let pod = Pod::new();
    pod.ip("link add eth0 type veth peer name other");
    let before = run("ip", &["-n", &pod.0, "link"]);
    let error = attach(&link(&pod, 2)).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert_eq!(before, run("ip", &["-n", &pod.0, "link"]));
    assert!(!ip("link").contains("weft"));
}

#[test]
fn an_address_in_use_is_not_taken_over() {
    node();
    let (a, b) = (Pod::new(), Pod::new());
    let link_a = link(&a, 2);
    attach(&link_a).unwrap();
    let error = attach(&link(&b, 2)).unwrap_err();
    assert!(matches!(error, Error::AddressInUse(_)), "{error}");
    assert_eq!(check(&link_a).unwrap(), [""; 0]);
    assert_eq!(ip("-o link").matches("weft").count(), 1);
}

#[test]
fn a_missing_namespace_is_named() {
    node();
    let pod = Pod::new();
    let link = PodLink {
        netns: "/run/netns/wc-none".into(),
        ..link(&pod, 2)
    };
    assert!(attach(&link).unwrap_err().is_netns_missing());
    let file = PodLink {
        netns: "/etc/hostname".into(),
        ..link
    };
    assert!(matches!(attach(&file), Err(Error::Kernel { .. })));
    assert!(!ip("link").contains("weft"));
}

#[rstest]
#[case::pod_link_down("pod link set eth0 down", "eth0 is down")]
#[case::pod_lo_down("pod link set lo down", "lo is down")]
#[case::pod_mtu("pod link set eth0 mtu 1400", "MTU 1400")]
#[case::pod_address("pod address del 10.9.0.2/32 dev eth0", "address 10.9.0.2")]
#[case::pod_address6("pod address del fd09::2/128 dev eth0", "address fd09::2")]
#[case::pod_route("pod route del default", "default route by 169.254.1.1")]
#[case::pod_route6("pod -6 route del default", "default route by fe80::1")]
#[case::pod_route_mtu(
    "pod route replace default via 169.254.1.1 dev eth0 onlink mtu 1000",
    "not as it was made"
)]
#[case::pod_neighbour("pod neighbour del 169.254.1.1 dev eth0", "entry of 169.254.1.1")]
#[case::pod_neighbour6("pod neighbour del fe80::1 dev eth0", "entry of fe80::1")]
#[case::pod_mac("pod link set eth0 address 02:00:00:00:00:01", "another MAC")]
#[case::pod_renamed("pod link set eth0 name eth1", "eth0 is missing")]
#[case::pod_ra("pod-sysctl ipv6/conf/eth0/accept_ra=1", "router advertisements")]
#[case::host_down("link set HOST down", "HOST is down")]
#[case::host_mtu("link set HOST mtu 1400", "MTU 1400")]
#[case::host_route("route del 10.9.0.2 metric 87", "route of 10.9.0.2")]
#[case::host_route6("-6 route del fd09::2 metric 87", "route of fd09::2")]
#[case::host_source("route replace 10.9.0.2 dev HOST metric 87", "not as it was made")]
#[case::host_neighbour("neighbour del 10.9.0.2 dev HOST", "entry of 10.9.0.2")]
#[case::host_gone("link del HOST", "HOST is missing")]
#[case::host_filter("sysctl ipv4/conf/HOST/rp_filter=0", "reverse path")]
#[case::host_localnet("sysctl ipv4/conf/HOST/route_localnet=1", "route_localnet")]
fn each_deviation_is_noticed_and_mended(#[case] change: &str, #[case] expected: &str) {
    node();
    let pod = Pod::new();
    let link = link(&pod, 2);
    attach(&link).unwrap();
    let name = link.host_ifname.as_str();
    let change = change.replace("HOST", name);
    let set = |setting: &str| {
        let (path, value) = setting.split_once('=').unwrap();
        std::fs::write(Path::new("/proc/sys/net").join(path), value).unwrap();
    };
    match change.split_once(' ') {
        Some(("pod", change)) => pod.ip(change),
        Some(("pod-sysctl", setting)) => pod.run(|| set(setting)),
        Some(("sysctl", setting)) => set(setting),
        _ => drop(ip(&change)),
    }
    let wrong = check(&link).unwrap();
    let expected = expected.replace("HOST", name);
    assert!(
        wrong.iter().any(|text| text.contains(&expected)),
        "{wrong:?}"
    );
    if change.contains("eth1") {
        // Nothing of the name is in the way, so nothing is known to be wrong with what is there.
        assert!(detach(&link.host_ifname).unwrap());
    }
    attach(&link).unwrap();
    assert_eq!(check(&link).unwrap(), [""; 0]);
}

#[test]
fn the_host_end_can_be_repaired_alone() {
    node();
    let pod = Pod::new();
    let link = link(&pod, 2);
    attach(&link).unwrap();
    let name = &link.host_ifname;
    ip(&format!("link set {name} down"));
    assert!(check(&link).unwrap().len() > 3);
    repair_host(&link).unwrap();
    assert_eq!(check(&link).unwrap(), [""; 0]);
    detach(name).unwrap();
    assert!(
        repair_host(&link)
            .unwrap_err()
            .to_string()
            .contains(name.as_str())
    );
}

#[test]
fn the_mtu_moves_in_both_directions_while_connections_live() {
    node();
    let pod = Pod::new();
    let mut link = link(&pod, 2);
    attach(&link).unwrap();
    for (mtu, link_mtu) in [
        (1400, 1450),
        (1400, 1400),
        (1400, 8950),
        (8950, 8950),
        (1300, 1300),
    ] {
        (link.mtu, link.link_mtu) = (mtu, link_mtu);
        set_pod_mtu(&link).unwrap();
        assert_eq!(check(&link).unwrap(), [""; 0], "{mtu} {link_mtu}");
        assert_eq!(reaches(&pod, link.addresses[1]), link.sources[1]);
    }
}

#[test]
fn a_pod_cannot_send_from_anothers_address() {
    node();
    let (a, b) = (Pod::new(), Pod::new());
    let (link_a, link_b) = (link(&a, 2), link(&b, 3));
    attach(&link_a).unwrap();
    attach(&link_b).unwrap();
    let socket = a.run(|| std::net::UdpSocket::bind("10.9.0.2:0").unwrap());
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let to = socket.local_addr().unwrap();
    let mut bytes = [0; 8];
    b.run(|| {
        std::net::UdpSocket::bind("10.9.0.3:0")
            .unwrap()
            .send_to(b"true", to)
            .unwrap()
    });
    assert_eq!(
        socket.recv_from(&mut bytes).unwrap().1.ip(),
        link_b.addresses[0]
    );
    b.ip("address add 10.9.0.9/32 dev eth0");
    b.run(|| {
        std::net::UdpSocket::bind("10.9.0.9:0")
            .unwrap()
            .send_to(b"false", to)
            .unwrap()
    });
    assert!(socket.recv_from(&mut bytes).is_err());
}
