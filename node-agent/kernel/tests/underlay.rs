//! What is read of a node's devices and addresses.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

use std::net::IpAddr;

use weft_kernel::Family;
use weft_kernel::testing::{in_netns, sh};
use weft_kernel::underlay::{Facts, Method, choose_address};

/// Reads on this very thread, and so in its network namespace.
fn read(reach: Option<IpAddr>) -> Facts {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime
        .block_on(weft_kernel::underlay::read(reach))
        .unwrap()
}

#[test]
fn a_node_is_read_as_it_is() {
    in_netns(|| {
        sh("ip link add eth0 mtu 1400 type veth peer name far0; ip link set eth0 up; ip link set far0 up
            ip link add eth1 type veth peer name far1; ip link set eth1 up
            ip addr add 192.0.2.7/24 dev eth0; ip addr add 192.0.2.250/32 dev eth0
            ip addr add 192.0.2.8/24 dev eth0; ip addr add 192.0.2.9/24 label eth0:v dev eth0
            ip addr add 2001:db8::7/64 dev eth0 nodad; ip addr add 2001:db8::8/64 dev eth0 nodad valid_lft 900 preferred_lft 0
            ip addr add 198.51.100.1/24 dev eth1
            ip route add default via 192.0.2.1 metric 50; ip route add default via 2001:db8::1 dev eth0
            ip route add 203.0.113.0/24 via 192.0.2.1 src 192.0.2.250");
        let facts = read(Some("203.0.113.5".parse().unwrap()));
        let eth0 = facts
            .links
            .iter()
            .find(|link| link.name.as_str() == "eth0")
            .unwrap();
        assert_eq!(
            (eth0.kind.as_str(), eth0.mtu, eth0.usable),
            ("veth", 1400, true)
        );
        let eth1 = facts
            .links
            .iter()
            .find(|link| link.name.as_str() == "eth1")
            .unwrap();
        assert!(!eth1.usable, "no carrier");
        let address = |text: &str| {
            let address = text.parse().unwrap();
            facts
                .addresses
                .iter()
                .find(|found| found.address == address)
                .unwrap()
        };
        assert!(!address("192.0.2.7/24").secondary);
        assert!(address("192.0.2.8/24").secondary);
        assert_eq!(address("192.0.2.9/24").label.as_deref(), Some("eth0:v"));
        assert!(address("2001:db8::8/64").deprecated && address("2001:db8::8/64").expires);
        assert!(!address("2001:db8::7/64").tentative);
        assert_eq!(address("127.0.0.1/8").scope, 254);
        let defaults: Vec<_> = facts
            .default_routes
            .iter()
            .map(|d| (d.family, d.metric))
            .collect();
        assert_eq!(defaults, [(Family::V4, 50), (Family::V6, 1024)]);
        let route = facts.route.as_ref().unwrap();
        assert_eq!(route.device.as_str(), "eth0");
        assert_eq!(route.source, Some("192.0.2.250".parse().unwrap()));
        let found =
            choose_address(&Method::CanReach("203.0.113.5".parse().unwrap()), &facts).unwrap();
        assert_eq!(found.v4, Some("192.0.2.7/24".parse().unwrap()));
        assert_eq!(found.v6, Some("2001:db8::7/64".parse().unwrap()));
    });
}

#[test]
fn that_there_is_no_route_is_a_fact() {
    in_netns(|| {
        for target in ["192.0.2.1", "2001:db8::1"] {
            let facts = read(Some(target.parse().unwrap()));
            assert_eq!(facts.route, None, "{target}");
        }
    });
}
