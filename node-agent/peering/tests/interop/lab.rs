//! A link between two network namespaces: ours, with up to two speakers of our own, and theirs, with a daemon.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use weft_kernel::testing::{Netns, sh};

/// Where our first speaker is.
pub const A: Ends = Ends(1);
/// Where the daemon is.
pub const DAEMON: Ends = Ends(2);
/// Where our second speaker is.
pub const B: Ends = Ends(3);

/// The addresses of one speaker.
#[derive(Clone, Copy, Debug)]
pub struct Ends(u8);

impl Ends {
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self.0)
    }

    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, self.0.into())
    }

    /// That of the family in which sessions are.
    pub fn address(self, ipv6: bool) -> IpAddr {
        if ipv6 {
            self.v6().into()
        } else {
            self.v4().into()
        }
    }
}

pub struct Lab {
    pub ours: Netns,
    pub theirs: Netns,
}

impl Lab {
    pub fn new() -> Self {
        let (ours, theirs) = (Netns::new(), Netns::new());
        let other = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            theirs.as_fd().as_raw_fd()
        );
        let addresses = |device, ends: &[Ends]| {
            let add = |ends: &Ends| {
                let (v4, v6) = (ends.v4(), ends.v6());
                format!(
                    "ip addr add {v4}/24 dev {device}
                     ip addr add {v6}/64 dev {device} nodad"
                )
            };
            let all: Vec<String> = ends.iter().map(add).collect();
            format!("{}\nip link set {device} up", all.join("\n"))
        };
        ours.run(|| {
            sh(&format!(
                "ip link add here type veth peer name there netns {other}"
            ));
            sh(&addresses("here", &[A, B]));
        });
        theirs.run(|| sh(&addresses("there", &[DAEMON])));
        Self { ours, theirs }
    }
}

/// Waits until something is so; panics with `otherwise` if it takes too long.
pub fn until(what: &str, is_so: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{what}: not so\n{}",
            otherwise()
        );
        thread::sleep(Duration::from_millis(50));
    }
}
