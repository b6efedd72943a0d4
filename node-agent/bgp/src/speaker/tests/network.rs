//! Speakers and what is between them: a network that can lose connections, in a time of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::rib::{NextHop, PeerId};
use crate::route::Attributes;
use crate::session::{Backoff, Connection, State};
use crate::speaker::{Keep, Output, PeerConfig, Reach, Settings, Speaker};
use crate::wire::PerFamily;

pub(super) fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n as u8 + 1)
}

pub(super) fn prefix(n: usize) -> IpNet {
    format!("10.0.{n}.0/24").parse().unwrap()
}

pub(super) fn id(n: usize) -> PeerId {
    PeerId(n as u32)
}

pub(super) fn originated() -> Attributes {
    Attributes::plain(Ipv4Addr::UNSPECIFIED.into(), &[])
}

pub(super) fn backoff(first: u64, max: u64) -> Backoff {
    Backoff {
        first: Duration::from_secs(first),
        max: Duration::from_secs(max),
    }
}

pub(super) fn settings(n: usize) -> Settings {
    Settings {
        asn: 64512,
        router_id: address(n),
        cluster_id: address(n),
        multipath: NonZeroU16::MIN,
        restart_time: 120,
        long_lived_time: 3600,
        connect_retry: backoff(5, 30),
        idle_hold: backoff(5, 60),
        seed: n as u64,
    }
}

/// How `here` speaks with `there`.
pub(super) fn config(here: usize, there: usize) -> PeerConfig {
    PeerConfig {
        address: address(there).into(),
        asn: 64512,
        client: false,
        passive: false,
        hold_time: 90,
        own_address: PerFamily {
            ipv4: Some(address(here).into()),
            ipv6: None,
        },
        own_link_local: None,
        next_hop: NextHop::OwnUnlessReflected,
        import: None,
        export: None,
        own_as_allowed: 0,
        limit: PerFamily::default(),
        add_path: None,
        keep: Keep::UntilReturn,
    }
}

/// One end of a connection: whose it is, with whom, and its number.
pub(super) type End = (usize, usize, Connection);

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) speakers: Vec<Option<Speaker>>,
    /// The other end of each connection.
    ends: BTreeMap<(usize, Connection), End>,
    /// What is on its way, in order.
    mail: VecDeque<(End, Arc<Vec<u8>>)>,
    /// Pairs that can't reach each other.
    pub(super) cut: BTreeSet<(usize, usize)>,
    next: u64,
    /// Prefixes that a speaker said it had selected something else for, each with whether it had anything.
    pub(super) selected: Vec<(usize, IpNet, bool)>,
    pub(super) notes: Vec<(usize, usize, String)>,
}

impl Network {
    /// So many speakers, each of which speaks with those that `pairs` says.
    pub(super) fn new(
        count: usize,
        pairs: &[(usize, usize)],
        edit: impl Fn(usize, usize, &mut PeerConfig),
    ) -> Self {
        let mut network = Self {
            now: Instant::now(),
            speakers: Vec::new(),
            ends: BTreeMap::new(),
            mail: VecDeque::new(),
            cut: BTreeSet::new(),
            next: 0,
            selected: Vec::new(),
            notes: Vec::new(),
        };
        for n in 0..count {
            let mut speaker = Speaker::new(settings(n), None, network.now);
            network.configure(n, &mut speaker, pairs, &edit);
            network.speakers.push(Some(speaker));
        }
        network.run(Duration::from_secs(60));
        network
    }

    pub(super) fn mesh(count: usize) -> Vec<(usize, usize)> {
        (0..count)
            .flat_map(|a| (0..a).map(move |b| (b, a)))
            .collect()
    }

    pub(super) fn configure(
        &self,
        n: usize,
        speaker: &mut Speaker,
        pairs: &[(usize, usize)],
        edit: &impl Fn(usize, usize, &mut PeerConfig),
    ) {
        speaker.set_reach(Reach {
            costs: (0..16).map(|n| (address(n).into(), 1)).collect(),
            ..Reach::default()
        });
        speaker.originate([(prefix(n), originated())].into());
        for (a, b) in pairs {
            let there = match n {
                n if n == *a => *b,
                n if n == *b => *a,
                _ => continue,
            };
            let mut peer = config(n, there);
            edit(n, there, &mut peer);
            speaker.set_peer(id(there), peer, self.now);
        }
    }

    pub(super) fn speaker(&mut self, n: usize) -> &mut Speaker {
        self.speakers[n].as_mut().unwrap()
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.deliver();
            let deadlines = self.speakers.iter().flatten().filter_map(Speaker::deadline);
            let Some(next) = deadlines.min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            for speaker in self.speakers.iter_mut().flatten() {
                speaker.advance(self.now);
            }
        }
        self.now = end;
    }

    /// Lets everything arrive that is on its way.
    pub(super) fn deliver(&mut self) {
        loop {
            for n in 0..self.speakers.len() {
                self.obey(n);
            }
            let Some(((n, from, connection), bytes)) = self.mail.pop_front() else {
                return;
            };
            let now = self.now;
            if let Some(speaker) = &mut self.speakers[n] {
                speaker.bytes(id(from), connection, &bytes, now);
            }
        }
    }

    /// Does what a speaker asks for.
    pub(super) fn obey(&mut self, n: usize) {
        let now = self.now;
        loop {
            let Some(speaker) = &mut self.speakers[n] else {
                return;
            };
            speaker.settle(now);
            let Some(output) = speaker.poll() else { return };
            match output {
                Output::Connect(PeerId(to)) => self.connect(n, to as usize),
                Output::Write(_, connection, bytes) => {
                    if let Some(end) = self.ends.get(&(n, connection)) {
                        self.mail.push_back((*end, bytes));
                    }
                }
                Output::Close(_, connection) => self.close(n, connection),
                Output::Selected(prefixes) => {
                    for prefix in prefixes {
                        let any = !speaker.selected(&prefix).is_empty();
                        self.selected.push((n, prefix, any));
                    }
                }
                Output::Note(PeerId(peer), text) => self.notes.push((n, peer as usize, text)),
            }
        }
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        let now = self.now;
        let pair = (from.min(to), from.max(to));
        let reachable = !self.cut.contains(&pair) && self.speakers[to].is_some();
        if !reachable {
            self.speaker(from)
                .connect_failed(id(to), "no route to host", now);
            return;
        }
        let [here, there] = [self.next, self.next + 1].map(Connection);
        self.next += 2;
        self.ends.insert((from, here), (to, from, there));
        self.ends.insert((to, there), (from, to, here));
        self.speaker(from).connected(id(to), here, now);
        self.speaker(to).accepted(id(from), there, now);
    }

    /// One end closes: what it has sent arrives, then the other end hears of it.
    pub(super) fn close(&mut self, n: usize, connection: Connection) {
        let Some((peer, _, theirs)) = self.ends.remove(&(n, connection)) else {
            return;
        };
        self.ends.remove(&(peer, theirs));
        let (last, rest): (Vec<_>, Vec<_>) = self
            .mail
            .drain(..)
            .partition(|((to, _, on), _)| *to == peer && *on == theirs);
        self.mail = rest.into();
        let now = self.now;
        if let Some(speaker) = &mut self.speakers[peer] {
            for (_, bytes) in last {
                speaker.bytes(id(n), theirs, &bytes, now);
            }
            speaker.closed(id(n), theirs, "connection reset", now);
        }
    }

    /// A speaker dies without a word; its kernel resets what was open.
    pub(super) fn kill(&mut self, n: usize) {
        self.speakers[n] = None;
        let open: Vec<Connection> = self
            .ends
            .keys()
            .filter(|(of, _)| *of == n)
            .map(|(_, connection)| *connection)
            .collect();
        for connection in open {
            self.close(n, connection);
        }
        self.deliver();
    }

    pub(super) fn restart(&mut self, n: usize, pairs: &[(usize, usize)]) {
        let mut speaker = Speaker::new(settings(n), Some(Duration::from_secs(60)), self.now);
        self.configure(n, &mut speaker, pairs, &|_, _, _| {});
        self.speakers[n] = Some(speaker);
    }

    /// Both ends find out, and nothing that is on its way arrives.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
        let between = |of: usize, to: usize| (of == a && to == b) || (of == b && to == a);
        self.mail.retain(|((to, from, _), _)| !between(*from, *to));
        let now = self.now;
        let open: Vec<(usize, Connection, usize)> = self
            .ends
            .iter()
            .filter(|((of, _), (to, _, _))| between(*of, *to))
            .map(|((of, connection), (to, _, _))| (*of, *connection, *to))
            .collect();
        for (n, connection, peer) in open {
            self.ends.remove(&(n, connection));
            if let Some(speaker) = &mut self.speakers[n] {
                speaker.closed(id(peer), connection, "timed out", now);
            }
        }
        self.deliver();
    }

    /// Where a speaker sends packets for a prefix: the next hop, or nothing.
    pub(super) fn route(&mut self, n: usize, prefix: &IpNet) -> Option<IpAddr> {
        let best = self.speaker(n).selected(prefix).first()?;
        best.accepted().map(|attributes| attributes.next_hop)
    }

    pub(super) fn knows_all(&mut self, n: usize, count: usize) {
        for other in (0..count).filter(|other| *other != n) {
            assert_eq!(
                self.route(n, &prefix(other)),
                Some(address(other).into()),
                "{n} to {other}"
            );
        }
    }

    pub(super) fn state(&mut self, n: usize, peer: usize) -> State {
        self.speaker(n).status(id(peer)).unwrap().state
    }
}
