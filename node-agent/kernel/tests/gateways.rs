//! Whether a neighbour is there, on a real kernel.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use weft_kernel::testing::{Netns, sh};
use weft_kernel::underlay::{Gateways, Presence};

/// Looks, and asks as an agent does, until the neighbour is as it should be.
async fn until(gateways: &Gateways, address: IpAddr, wanted: Presence) {
    let device = "eth0".parse().unwrap();
    for _ in 0..100 {
        let known = gateways.look(device).await.unwrap().get(&address).copied();
        if known == Some(wanted) {
            return;
        }
        if known != Some(Presence::Asked) {
            gateways.ask(device, address, known).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{address} never became {wanted:?}");
}

#[test]
fn a_neighbour_that_is_gone_is_silent_and_one_that_is_back_is_known() {
    let (near, far) = (Netns::new(), Netns::new());
    let far_end = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        far.as_fd().as_raw_fd()
    );
    near.run(|| {
        sh(&format!(
            "ip link add eth0 type veth peer name eth0 netns {far_end}; ip link set eth0 up"
        ))
    });
    far.run(|| {
        sh("ip link set eth0 up
            ip addr add 192.0.2.254/24 dev eth0; ip addr add 2001:db8::254/64 dev eth0 nodad")
    });
    near.run(|| sh("ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0 nodad"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            setns(near.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let gateways = Gateways::open().unwrap();
                let both = ["192.0.2.254", "2001:db8::254"].map(|a| a.parse::<IpAddr>().unwrap());
                for address in both {
                    until(&gateways, address, Presence::Known).await;
                }
                // The link stays up: nothing but silence tells of it.
                far.run(|| sh("nft 'add table netdev cut; add chain netdev cut in { type filter hook ingress device eth0 priority 0; policy drop; }'"));
                for address in both {
                    until(&gateways, address, Presence::Silent).await;
                }
                far.run(|| sh("nft delete table netdev cut"));
                for address in both {
                    until(&gateways, address, Presence::Known).await;
                }
                near.run(|| sh("ip neigh replace 192.0.2.254 lladdr 02:00:00:00:00:01 nud permanent dev eth0"));
                until(&gateways, both[0], Presence::Fixed).await;
            });
        });
    });
}
