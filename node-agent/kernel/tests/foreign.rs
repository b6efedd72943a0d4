//! Things of others: reported when they are in the way, never touched.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

mod common;

use std::collections::BTreeSet;

use common::{converge, sample};
use weft_kernel::testing::{in_netns, sh};
use weft_kernel::{Kernel, RouteKey, Scope, State, observe};

const OTHERS: &str = "
    sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip link add eth0 type veth peer name far; ip link set eth0 up; ip link set far up
    ip addr add 192.0.2.9/24 dev eth0
    ip link add flannel.1 type vxlan id 4873 dstport 8472 local 192.0.2.9; ip link set flannel.1 up
    ip link add other up type vxlan id 99 dstport 4789 local 192.0.2.9
    ip link add harmless up type vxlan id 98 dstport 8473 local 192.0.2.9
    ip addr add 10.244.99.1/24 dev eth0; ip addr add fd00:10:244:99::1/64 dev eth0 nodad
    ip addr add 10.99.0.1/24 dev eth0
    ip route add 10.244.98.0/24 via 192.0.2.1; ip route add 10.244.97.0/24 via 192.0.2.1 table 77
    ip route add 10.98.0.0/24 via 192.0.2.1; ip route add 10.97.0.0/24 via 192.0.2.1 metric 87
    ip route add 10.244.0.64/26 via 192.0.2.1; ip -6 route add fd00:10:244::1:0/122 dev eth0
    ip rule add priority 8750 table 77; ip nexthop add id 5 via 192.0.2.1 dev eth0
    ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:07 nud permanent dev eth0
    bridge fdb add 02:00:00:00:00:08 dev flannel.1 dst 192.0.2.8
    nft add table inet other";
const SHOW: &str = "ip -d link show eth0; ip -d link show flannel.1; ip -d link show other
    ip addr show dev eth0; ip route show dev eth0; ip -6 route show dev eth0; ip route show table 77
    ip rule show priority 8750; ip nexthop show id 5
    ip neigh show dev eth0 nud permanent; bridge fdb show dev flannel.1; nft list table inet other";

#[test]
fn what_is_in_the_way_is_named() {
    in_netns(|| {
        sh(OTHERS);
        let mut kernel = Kernel::open().unwrap();
        let desired = sample(2);
        converge_vxlans_elsewhere(&mut kernel, &desired);
        let pools = ["10.244.0.0/16", "fd00:10:244::/48"].map(|pool| pool.parse().unwrap());
        let foreign = observe(&mut kernel, &Scope::of(&desired, &pools))
            .unwrap()
            .foreign;
        let vxlans: Vec<_> = foreign
            .vxlans
            .iter()
            .map(|v| format!("{} {} {}", v.name, v.vni, v.port))
            .collect();
        assert_eq!(vxlans, ["flannel.1 4873 8472", "other 99 4789"]);
        let addresses: Vec<_> = foreign
            .addresses
            .iter()
            .map(|a| format!("{} {}", a.address, a.device))
            .collect();
        assert_eq!(
            addresses,
            ["10.244.99.1/24 eth0", "fd00:10:244:99::1/64 eth0"]
        );
        let routes: BTreeSet<_> = foreign
            .routes
            .iter()
            .map(|route| {
                let RouteKey {
                    destination,
                    table,
                    metric,
                } = route.key;
                format!("{destination} in {table} metric {metric}")
            })
            .collect();
        let expected = [
            "10.244.0.64/26 in 254 metric 0",
            "10.244.97.0/24 in 77 metric 0",
            "10.244.98.0/24 in 254 metric 0",
            "10.244.99.0/24 in 254 metric 0",
            "fd00:10:244::1:0/122 in 254 metric 1024",
            "fd00:10:244:99::/64 in 254 metric 256",
        ];
        assert_eq!(routes, expected.map(String::from).into());
    });
}

/// Another's device with the same VNI and port would keep ours from coming up.
fn converge_vxlans_elsewhere(kernel: &mut Kernel, desired: &State) {
    let mut moved = desired.clone();
    for vxlan in moved.vxlans.values_mut() {
        vxlan.vni = 4000;
        vxlan.port = 4799;
    }
    converge(kernel, &moved);
}

#[test]
fn nothing_of_others_is_touched() {
    in_netns(|| {
        sh(OTHERS);
        let before = sh(SHOW);
        let mut kernel = Kernel::open().unwrap();
        converge_vxlans_elsewhere(&mut kernel, &sample(4));
        converge_vxlans_elsewhere(&mut kernel, &sample(2));
        assert_eq!(sh(SHOW), before);
        converge(&mut kernel, &State::default());
        assert_eq!(sh(SHOW), before);
    });
}
