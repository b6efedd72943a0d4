//! The whole state on a real kernel: applied, observed, repaired, removed.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

mod common;

use common::{DAMAGE, apply_all, converge, sample};
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
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let desired = sample(4);
        converge(&mut kernel, &desired);
        for script in DAMAGE {
            sh(script);
            let observed = observe(&mut kernel, &Scope::of(&desired, &[])).unwrap();
            assert_ne!(observed.ours, desired, "{script}: not noticed");
            converge(&mut kernel, &desired);
        }
    });
}
