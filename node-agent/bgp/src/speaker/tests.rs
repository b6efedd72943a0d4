//! Speakers among themselves, over a network that can lose connections, in a time of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::policy::{Match, Policy, Rule, Then};
use crate::rib::{Limit, NextHop};
use crate::session::State;

const HOUR: Duration = Duration::from_secs(3600);

fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n as u8 + 1)
}

fn prefix(n: usize) -> IpNet {
    format!("10.0.{n}.0/24").parse().unwrap()
}

fn id(n: usize) -> PeerId {
    PeerId(n as u32)
}

fn originated() -> Attributes {
    Attributes::plain(Ipv4Addr::UNSPECIFIED.into(), &[])
}

fn backoff(first: u64, max: u64) -> Backoff {
    Backoff {
        first: Duration::from_secs(first),
        max: Duration::from_secs(max),
    }
}

fn settings(n: usize) -> Settings {
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
fn config(here: usize, there: usize) -> PeerConfig {
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
        limit: PerFamily::default(),
        own_as_allowed: 0,
        add_path: None,
        keep: Keep::UntilReturn,
    }
}

/// One end of a connection: whose it is, with whom, and its number.
type End = (usize, usize, Connection);

struct Network {
    now: Instant,
    speakers: Vec<Option<Speaker>>,
    /// The other end of each connection.
    ends: BTreeMap<(usize, Connection), End>,
    /// What is on its way, in order.
    mail: VecDeque<(End, Vec<u8>)>,
    /// Pairs that can't reach each other.
    cut: BTreeSet<(usize, usize)>,
    next: u64,
    /// Prefixes that a speaker said it had selected something else for, each with whether it had anything.
    selected: Vec<(usize, IpNet, bool)>,
    notes: Vec<(usize, usize, String)>,
}

impl Network {
    /// So many speakers, each of which speaks with those that `pairs` says.
    fn new(
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

    fn mesh(count: usize) -> Vec<(usize, usize)> {
        (0..count)
            .flat_map(|a| (0..a).map(move |b| (b, a)))
            .collect()
    }

    fn configure(
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

    fn speaker(&mut self, n: usize) -> &mut Speaker {
        self.speakers[n].as_mut().unwrap()
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
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
    fn deliver(&mut self) {
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
    fn obey(&mut self, n: usize) {
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

    fn connect(&mut self, from: usize, to: usize) {
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
    fn close(&mut self, n: usize, connection: Connection) {
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
    fn kill(&mut self, n: usize) {
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

    fn restart(&mut self, n: usize, pairs: &[(usize, usize)]) {
        let mut speaker = Speaker::new(settings(n), Some(Duration::from_secs(60)), self.now);
        self.configure(n, &mut speaker, pairs, &|_, _, _| {});
        self.speakers[n] = Some(speaker);
    }

    /// Both ends find out, and nothing that is on its way arrives.
    fn cut(&mut self, a: usize, b: usize) {
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
    fn route(&mut self, n: usize, prefix: &IpNet) -> Option<IpAddr> {
        let best = self.speaker(n).selected(prefix).first()?;
        best.accepted().map(|attributes| attributes.next_hop)
    }

    fn knows_all(&mut self, n: usize, count: usize) {
        for other in (0..count).filter(|other| *other != n) {
            assert_eq!(
                self.route(n, &prefix(other)),
                Some(address(other).into()),
                "{n} to {other}"
            );
        }
    }

    fn state(&mut self, n: usize, peer: usize) -> State {
        self.speaker(n).status(id(peer)).unwrap().state
    }
}

#[test]
fn in_a_mesh_each_knows_the_way_to_each() {
    let mut network = Network::new(5, &Network::mesh(5), |_, _, _| {});
    for n in 0..5 {
        network.knows_all(n, 5);
        let status = network.speaker(n).status(id((n + 1) % 5)).unwrap();
        assert_eq!(status.prefixes.ipv4, (1, 1));
        assert_eq!(status.last_error, None);
    }
    network.run(24 * HOUR);
    assert!(
        network
            .notes
            .iter()
            .all(|(_, _, text)| text == "established"),
        "{:?}",
        network.notes
    );
}

#[test]
fn a_reflector_passes_routes_on_and_next_hops_with_them() {
    let pairs = [(0, 1), (0, 2), (0, 3)];
    let mut network = Network::new(4, &pairs, |here, _, peer| peer.client = here == 0);
    for n in 0..4 {
        network.knows_all(n, 4);
    }
}

/// A dead agent is no dead node: its node still forwards.
#[test]
fn what_a_silent_peer_has_said_stays_true() {
    let mut network = Network::new(3, &Network::mesh(3), |_, _, _| {});
    network.kill(2);
    network.run(24 * HOUR);
    for n in 0..2 {
        network.knows_all(n, 3);
    }
    assert!(network.selected.iter().all(|(_, _, any)| *any));
    let notes = network.notes.len();
    network.run(24 * HOUR);
    assert_eq!(
        network.notes.len(),
        notes,
        "the same is not said again and again"
    );
}

#[test]
fn routes_go_when_what_was_agreed_on_is_over() {
    let mut network = Network::new(2, &[(0, 1)], |_, _, peer| peer.keep = Keep::AsAgreed);
    network.kill(1);
    network.run(Duration::from_secs(120 + 3600 - 1));
    assert!(network.route(0, &prefix(1)).is_some());
    network.run(Duration::from_secs(2));
    assert_eq!(network.route(0, &prefix(1)), None);
}

/// Neither the others nor the one that restarts is ever without a route.
#[test]
fn a_restart_is_seen_by_nobody() {
    let pairs = Network::mesh(4);
    for wait in [0, 1, 30, 119, 121, 7200] {
        let mut network = Network::new(4, &pairs, |_, _, _| {});
        network.selected.clear();
        network.kill(3);
        network.run(Duration::from_secs(wait));
        network.restart(3, &pairs);
        network.run(Duration::from_secs(120));
        for n in 0..4 {
            network.knows_all(n, 4);
        }
        let lost = network.selected.iter().find(|(_, _, any)| !any);
        assert_eq!(lost, None, "after {wait} s");
        // The one that restarts speaks once, when it knows everything.
        let first: BTreeSet<IpNet> = network
            .selected
            .iter()
            .filter(|(n, _, _)| *n == 3)
            .map(|(_, prefix, _)| *prefix)
            .take(4)
            .collect();
        assert_eq!(first.len(), 4, "after {wait} s");
    }
}

#[test]
fn a_cut_link_heals() {
    let mut network = Network::new(2, &[(0, 1)], |_, _, _| {});
    network.cut(0, 1);
    assert_ne!(network.state(0, 1), State::Established);
    network.run(HOUR);
    network
        .speaker(1)
        .originate([(prefix(7), originated())].into());
    network.cut.clear();
    network.run(Duration::from_secs(120));
    assert_eq!(network.state(0, 1), State::Established);
    assert!(network.route(0, &prefix(7)).is_some());
    assert_eq!(
        network.route(0, &prefix(1)),
        None,
        "what it no longer says is gone"
    );
}

#[test]
fn a_peer_that_announces_too_much_is_left_alone_for_a_while() {
    let limit = Limit { max: 2, warn: 1 };
    let mut network = Network::new(2, &[(0, 1)], |here, _, peer| {
        peer.limit.ipv4 = (here == 0).then_some(limit);
    });
    let many = |count| (1..=count).map(|n| (prefix(n), originated())).collect();
    network.speaker(1).originate(many(2));
    network.run(Duration::from_secs(1));
    assert_eq!(network.state(0, 1), State::Established);
    network.speaker(1).originate(many(3));
    network.run(Duration::from_secs(60));
    assert_ne!(network.state(0, 1), State::Established);
    assert_eq!(
        network.speaker(0).table().count(id(1), Family::Ipv4),
        (0, 0)
    );
    let notes: Vec<&str> = network
        .notes
        .iter()
        .filter(|(n, _, _)| *n == 0)
        .map(|(_, _, text)| &**text)
        .collect();
    assert!(
        notes.iter().any(|text| text.contains("near the most")),
        "{notes:?}"
    );
    assert!(
        notes
            .iter()
            .any(|text| text.contains("more than 2 IPv4 prefixes")),
        "{notes:?}"
    );

    network.speaker(1).originate(many(1));
    network.run(Duration::from_secs(600));
    assert_eq!(network.state(0, 1), State::Established);
    assert!(network.route(0, &prefix(1)).is_some());
}

#[test]
fn a_policy_changes_without_a_new_session() {
    let mut network = Network::new(2, &[(0, 1)], |_, _, _| {});
    let notes = network.notes.len();
    let none = Policy::new(vec![Rule::new(
        vec![Match::Family(Family::Ipv6)],
        Then::Accept,
    )]);
    for (export, import, known) in [
        (Some(none.clone()), None, false),
        (None, None, true),
        (None, Some(none), false),
        (None, None, true),
    ] {
        let now = network.now;
        let teller = PeerConfig {
            export: export.map(Arc::new),
            ..config(1, 0)
        };
        network.speaker(1).set_peer(id(0), teller, now);
        let hearer = PeerConfig {
            import: import.map(Arc::new),
            ..config(0, 1)
        };
        network.speaker(0).set_peer(id(1), hearer, now);
        network.run(Duration::from_secs(1));
        assert_eq!(network.route(0, &prefix(1)).is_some(), known);
    }
    assert_eq!(network.notes.len(), notes);
}

#[test]
fn a_peer_that_is_no_longer_configured_is_forgotten() {
    let mut network = Network::new(3, &Network::mesh(3), |_, _, _| {});
    let now = network.now;
    network.speaker(0).remove_peer(id(1), now);
    network.run(Duration::from_secs(1));
    assert_eq!(network.route(0, &prefix(1)), None);
    assert_eq!(network.speaker(0).status(id(1)), None);
    // Not so seen from the other end, which is still told to speak with it.
    assert!(network.route(1, &prefix(0)).is_some());
}

#[test]
fn unreachable_next_hops_are_not_selected() {
    let mut network = Network::new(3, &Network::mesh(3), |_, _, _| {});
    network.speaker(0).set_reach(Reach {
        costs: [(address(2).into(), 1)].into(),
        ..Reach::default()
    });
    network.run(Duration::from_secs(1));
    assert_eq!(network.route(0, &prefix(1)), None);
    assert!(network.route(0, &prefix(2)).is_some());
}

/// What may happen to a mesh.
#[derive(Clone, Debug)]
enum Fate {
    Kill(usize),
    Restart(usize),
    Cut(usize, usize),
    Heal,
    Originate(usize, usize),
    Wait(u64),
}

fn fate(count: usize) -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0..count).prop_map(Fate::Kill),
        (0..count).prop_map(Fate::Restart),
        (0..count, 0..count).prop_map(|(a, b)| Fate::Cut(a, b)),
        Just(Fate::Heal),
        (0..count, 4..12_usize).prop_map(|(n, prefix)| Fate::Originate(n, prefix)),
        (0..400_u64).prop_map(Fate::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happened: when all are there again, each knows what the others say, and nothing else.
    #[test]
    fn a_mesh_comes_to_rest(fates in prop::collection::vec(fate(4), 1..30)) {
        let pairs = Network::mesh(4);
        let mut network = Network::new(4, &pairs, |_, _, _| {});
        let mut owners: BTreeMap<usize, IpNet> = (0..4).map(|n| (n, prefix(n))).collect();
        for fate in fates {
            match fate {
                Fate::Kill(n) => network.kill(n),
                Fate::Restart(n) => {
                    network.kill(n);
                    network.restart(n, &pairs);
                    owners.insert(n, prefix(n));
                }
                Fate::Cut(a, b) if a != b => network.cut(a, b),
                Fate::Cut(..) => {}
                Fate::Heal => network.cut.clear(),
                Fate::Originate(n, number) => {
                    let free = owners.values().all(|owned| *owned != prefix(number));
                    if let Some(speaker) = network.speakers[n].as_mut().filter(|_| free) {
                        speaker.originate([(prefix(number), originated())].into());
                        owners.insert(n, prefix(number));
                    }
                }
                Fate::Wait(seconds) => network.run(Duration::from_secs(seconds)),
            }
        }
        network.cut.clear();
        for n in 0..4 {
            if network.speakers[n].is_none() {
                network.restart(n, &pairs);
                owners.insert(n, prefix(n));
            }
        }
        network.run(Duration::from_secs(700));
        for n in 0..4 {
            for number in 0..12 {
                let owner = owners.iter().find(|(_, owned)| **owned == prefix(number)).map(|(owner, _)| *owner);
                let expected = owner.map(|owner| if owner == n {
                    IpAddr::from(Ipv4Addr::UNSPECIFIED)
                } else {
                    address(owner).into()
                });
                prop_assert_eq!(network.route(n, &prefix(number)), expected, "{} to {}", n, number);
            }
        }
    }
}
