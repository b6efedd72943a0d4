//! A session to which anything happens, in any order, with time passing: it never panics, and asks for no more than
//! follows from what happened.
//!
//! The first byte says whether another session shakes hands first. Then follow events: a byte that says which, a byte
//! that says how much, and as many bytes as that if it is something that the peer has sent.
#![no_main]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use weft_bgp::session::{Backoff, Config, Connection, Output, Session};
use weft_bgp::wire::{AddPath, Capabilities, Cease, GracefulRestart, LongLived, PerFamily};

const ON: Connection = Connection(1);

fn session(n: u8) -> Session {
    let both = |value| PerFamily {
        ipv4: value,
        ipv6: value,
    };
    let add_path = AddPath {
        send: true,
        receive: true,
    };
    let long_lived = LongLived {
        forwarding: true,
        stale_time: 60,
    };
    let pace = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
    };
    Session::new(Config {
        local_as: 64512,
        peer_as: 64512,
        id: Ipv4Addr::new(192, 0, 2, n),
        hold_time: 90,
        passive: false,
        check_first_as: true,
        capabilities: Capabilities {
            families: Some(PerFamily {
                ipv4: true,
                ipv6: true,
            }),
            as4: Some(64512),
            route_refresh: true,
            enhanced_route_refresh: true,
            extended_message: true,
            extended_next_hop: true,
            add_path: PerFamily {
                ipv4: add_path,
                ipv6: add_path,
            },
            graceful_restart: Some(GracefulRestart {
                restarting: false,
                notification: true,
                restart_time: 120,
                families: both(Some(true)),
            }),
            long_lived: PerFamily {
                ipv4: Some(long_lived),
                ipv6: Some(long_lived),
            },
        },
        connect_retry: pace,
        idle_hold: pace,
        seed: n.into(),
    })
}

/// Both ends, with all that one says going to the other.
fn shake_hands(here: &mut Session, now: Instant) {
    let mut there = session(2);
    there.start(now);
    there.accepted(ON, now);
    here.connected(ON, now);
    for _ in 0..4 {
        while let Some(output) = here.poll() {
            if let Output::Write(_, bytes) = output {
                there.bytes(ON, &bytes, now);
            }
        }
        while let Some(output) = there.poll() {
            if let Output::Write(_, bytes) = output {
                here.bytes(ON, &bytes, now);
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((first, mut rest)) = input.split_first() else {
        return;
    };
    let mut now = Instant::now();
    let mut session = session(1);
    session.start(now);
    if first & 1 == 1 {
        shake_hands(&mut session, now);
    }
    while let [what, much, more @ ..] = rest {
        rest = more;
        let on = Connection(u64::from(what >> 4));
        match what & 7 {
            0..3 => {
                let (bytes, more) = rest.split_at(rest.len().min((*much).into()));
                rest = more;
                session.bytes(on, bytes, now);
            }
            3 => session.connected(on, now),
            4 => session.accepted(on, now),
            5 => session.closed(on, "reset", now),
            6 => session.connect_failed("refused"),
            _ if *much == 255 => session.stop(Cease::Shutdown, "over", now),
            _ if *much == 254 => session.start(now),
            _ => {
                now += Duration::from_secs((*much).into());
                session.advance(now);
            }
        }
        let mut outputs = 0;
        while session.poll().is_some() {
            outputs += 1;
            assert!(outputs < 4096, "it goes on for ever");
        }
    }
});
