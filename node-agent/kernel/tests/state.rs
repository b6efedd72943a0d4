//! The whole state on a real kernel: applied, observed, repaired, removed.

mod common;

use common::{apply_all, converge, sample};
use weft_kernel::testing::{in_netns, sh};
use weft_kernel::{Kernel, Scope, State, observe, plan};

#[test]
fn what_is_applied_is_what_is_observed() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let desired = sample(4);
        converge(&mut kernel, &desired);
        let observed = observe(&mut kernel, &Scope::of(&desired, &[])).unwrap();
        assert_eq!(observed.ours, desired);
        assert!(plan(&desired, &observed.ours).is_empty());
    });
}

#[test]
fn the_empty_state_leaves_nothing() {
    in_netns(|| {
        sh("ip link add eth0 type veth peer name far; ip link set eth0 up; ip link set far up");
        let everything = "ip -d link; ip addr; ip route show table all; ip -6 route show table all; \
            ip rule; ip -6 rule; ip neigh; ip nexthop; nft list ruleset; bridge fdb";
        let before = sh(everything);
        let mut kernel = Kernel::open().unwrap();
        let desired = sample(4);
        converge(&mut kernel, &desired);
        assert_ne!(sh(everything), before);
        let observed = observe(&mut kernel, &Scope::default()).unwrap();
        apply_all(&mut kernel, &plan(&State::default(), &observed.ours));
        assert_eq!(sh(everything), before);
    });
}

#[test]
fn whatever_is_deleted_by_hand_comes_back() {
    let damage = [
        "ip link del weft.vx4",
        "ip link set weft.vx4 down",
        "ip link set weft.vx6 mtu 1280",
        "ip link set weft.vx4 address 02:00:00:00:00:99",
        "ip link set weft.vx4 type vxlan learning",
        "ip addr flush dev lo",
        "ip addr del 10.244.0.1/32 dev lo",
        "ip route flush table 8702",
        "for r in $(ip -6 route show table 8700 | cut -d' ' -f1); do ip -6 route del $r table 8700 || true; done",
        "ip route del 10.244.0.64/26 table 8700",
        "ip route replace 10.244.0.64/26 dev lo table 8700",
        "ip route replace blackhole 10.244.0.64/26 table 8700 proto 87",
        "ip -6 route replace blackhole fd00:10:244:0:0:0:1:0/122 table 8700 proto 87",
        "ip route replace 10.244.0.64/26 nhid 1459617793 table 8700 proto 87 mtu 1300",
        "ip rule del priority 8710",
        "ip -6 rule del priority 8710",
        "ip rule flush; ip rule add priority 32766 table main",
        "ip neigh flush dev weft.vx4 nud permanent",
        "ip neigh replace 10.244.0.65 lladdr 02:00:00:00:00:99 nud permanent dev weft.vx4",
        "bridge fdb del 02:57:00:00:00:01 dev weft.vx4 dst 192.0.2.1",
        "bridge fdb replace 02:57:00:00:00:01 dev weft.vx4 dst 192.0.2.99",
        "ip nexthop flush proto 87",
        "ip nexthop del id 1459617793",
        "ip nexthop replace id 1459617793 via 10.244.0.77 dev weft.vx4 onlink",
        "ip nexthop replace id 1459617793 blackhole proto 87",
        "sysctl -qw net.ipv4.conf.weft/vx4.rp_filter=1",
    ];
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let desired = sample(4);
        converge(&mut kernel, &desired);
        for script in damage {
            sh(script);
            let observed = observe(&mut kernel, &Scope::of(&desired, &[])).unwrap();
            assert_ne!(observed.ours, desired, "{script}: not noticed");
            converge(&mut kernel, &desired);
        }
    });
}
