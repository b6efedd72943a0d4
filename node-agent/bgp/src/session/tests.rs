mod collisions;
mod opens;
mod pair;
mod single;
mod updates;

use super::*;
use crate::wire::{AddPath, Framer, GracefulRestart, LongLived, MAX_EXTENDED, PerFamily};

const BOTH: PerFamily<bool> = PerFamily {
    ipv4: true,
    ipv6: true,
};
const CONNECTION: Connection = Connection(1);

fn capabilities(local_as: u32) -> Capabilities {
    Capabilities {
        families: Some(BOTH),
        as4: Some(local_as),
        route_refresh: true,
        enhanced_route_refresh: true,
        ..Capabilities::default()
    }
}

fn config() -> Config {
    Config {
        local_as: 64512,
        peer_as: 64513,
        id: Ipv4Addr::new(10, 0, 0, 1),
        hold_time: 90,
        passive: false,
        check_first_as: true,
        capabilities: capabilities(64512),
        connect_retry: Backoff {
            first: Duration::from_secs(5),
            max: Duration::from_secs(120),
        },
        idle_hold: Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        },
        seed: 7,
    }
}

fn graceful(capabilities: Capabilities, notification: bool) -> Capabilities {
    let families = PerFamily {
        ipv4: Some(true),
        ipv6: Some(false),
    };
    let restart = GracefulRestart {
        restarting: false,
        notification,
        restart_time: 120,
        families,
    };
    Capabilities {
        graceful_restart: Some(restart),
        ..capabilities
    }
}

/// The OPEN of a peer that fits [`config`].
fn peer() -> Open {
    Open {
        asn: 64513,
        hold_time: 30,
        id: Ipv4Addr::new(10, 0, 0, 2),
        capabilities: capabilities(64513),
    }
}

fn open_bytes(open: &Open) -> Vec<u8> {
    let mut bytes = Vec::new();
    open.encode(&mut bytes);
    bytes
}

fn keepalive_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write(&mut bytes, Kind::Keepalive, |_| {});
    bytes
}

fn notification_bytes(notification: &Notification) -> Vec<u8> {
    let mut bytes = Vec::new();
    notification.encode(&mut bytes);
    bytes
}

/// A session, its time, and what it has said since the last look.
struct Bench {
    session: Session,
    now: Instant,
}

/// Everything that came out at once.
#[derive(Default)]
struct Seen {
    connects: usize,
    written: Vec<(Connection, Kind, Vec<u8>)>,
    closed: Vec<Connection>,
    events: Vec<Event>,
}

impl Seen {
    fn kinds(&self, on: Connection) -> Vec<Kind> {
        self.written
            .iter()
            .filter(|(connection, ..)| *connection == on)
            .map(|(_, kind, _)| *kind)
            .collect()
    }

    fn notification(&self) -> Option<Notification> {
        self.written
            .iter()
            .find(|(_, kind, _)| *kind == Kind::Notification)
            .map(|(.., body)| Notification::decode(body))
    }

    /// Why an attempt or a session failed, and whether routes may outlive it.
    fn failure(&self) -> Option<(&str, bool)> {
        self.events.iter().find_map(|event| match event {
            Event::Failed(why) => Some((why.as_str(), false)),
            Event::Down { why, graceful } => Some((why.as_str(), *graceful)),
            _ => None,
        })
    }
}

impl Bench {
    fn new(config: Config) -> Self {
        Self {
            session: Session::new(config),
            now: Instant::now(),
        }
    }

    /// Started, and connected outwards.
    fn connected(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.session.start(bench.now);
        bench.session.connected(CONNECTION, bench.now);
        bench.seen();
        bench
    }

    fn established(config: Config, peer: &Open) -> Self {
        let mut bench = Self::connected(config);
        bench.bytes(&open_bytes(peer));
        bench.bytes(&keepalive_bytes());
        assert_eq!(bench.session.state(), State::Established);
        bench.seen();
        bench
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.session.bytes(CONNECTION, bytes, self.now);
    }

    fn after(&mut self, delay: Duration) {
        self.now += delay;
        self.session.advance(self.now);
    }

    /// Goes to the next deadline; returns how far it was.
    fn next_deadline(&mut self) -> Duration {
        let deadline = self.session.deadline().unwrap();
        let delay = deadline - self.now;
        self.after(delay);
        delay
    }

    fn seen(&mut self) -> Seen {
        let mut seen = Seen::default();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Connect => seen.connects += 1,
                Output::Close(connection) => seen.closed.push(connection),
                Output::Event(event) => seen.events.push(event),
                Output::Write(connection, bytes) => {
                    let mut framer = Framer::new(MAX_EXTENDED);
                    framer.push(&bytes);
                    while let Some(frame) = framer.pop().unwrap() {
                        seen.written
                            .push((connection, frame.kind, frame.body.to_vec()));
                    }
                }
            }
        }
        seen
    }
}
