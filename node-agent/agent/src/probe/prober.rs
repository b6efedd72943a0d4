//! Which probe to send when, and what the answers say. No socket and no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_kernel::{DeviceName, Family};

use super::{News, Tally, Verdicts};
use crate::mode::Path;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two probes of one target, while there are few targets.
const INTERVAL: Duration = Duration::from_secs(2);
/// Time between two probes of a target that has yet to answer for the first time.
const EAGER_INTERVAL: Duration = Duration::from_millis(300);
/// All targets together get no more than this many probes a second.
const BUDGET_PER_SECOND: u32 = 250;
/// So many probes in a row without an answer mean silence.
const SILENT_AFTER: u32 = 3;

/// So many probes of the underlay to a peer are remembered.
const PULSES: usize = 16;

/// The least time between two [`Prober::news`]: what they cost, and what follows from them, grows with the
/// number of targets, and that of many peers changes at any time.
const NEWS_INTERVAL: Duration = Duration::from_millis(200);

/// By which way a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// From node pod address to probe address, by this path.
    Path(Path),
    /// The same, at the size that another mode is to carry: evidence for or against that mode.
    Proof(Path),
    /// From node to node, as any packet of the underlay: the control of the experiment. If it is
    /// silent too, the peer is gone, not the path.
    Underlay,
}

/// What is probed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The name of the peer.
    pub peer: String,
    /// The address family.
    pub family: Family,
    /// The way.
    pub channel: Channel,
}

/// Where a probe goes and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The address of the peer.
    pub address: IpAddr,
    /// The device to send through; without one, as any packet.
    pub device: Option<DeviceName>,
    /// Size of the IP packet, in bytes.
    pub size: u32,
    /// Probed as often as one of which nothing is known yet.
    pub eager: bool,
}

/// What is known of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Too few probes so far.
    Unknown,
    /// Probes come back.
    Answers,
    /// Probes don't come back.
    Silent,
    /// Small probes come back, and those of full size don't. Only known of what is to be proven.
    Narrow,
}

/// A probe to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// What it is for.
    pub key: Key,
    /// Where to.
    pub target: Target,
    /// The number by which its answer is known.
    pub sequence: u64,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    due: Instant,
    misses: u32,
    verdict: Verdict,
    awaited: BTreeSet<u64>,
    tally: Tally,
    /// When those were sent that didn't come back, while it isn't known yet whether the peer was there.
    unjudged: Vec<Instant>,
    /// Of a path that is to be proven: a small probe that was sent then has come back.
    small_comes: Option<Instant>,
    /// The last probe was a small one.
    small_last: bool,
}

/// A probe under way.
#[derive(Debug)]
struct Flying {
    key: Key,
    sent: Instant,
    /// It is there to find out whether small ones come.
    small: bool,
}

/// The state of all probing.
#[derive(Debug, Default)]
pub struct Prober {
    entries: BTreeMap<Key, Entry>,
    due: BTreeSet<(Instant, Key)>,
    flying: BTreeMap<u64, Flying>,
    /// By the name of the peer: when probes of the underlay were sent, and whether they came back, if that is known.
    /// The oldest first.
    pulses: BTreeMap<String, VecDeque<(Instant, Option<bool>)>>,
    next_sequence: u64,
    changed: bool,
    /// There are no news before.
    quiet_until: Option<Instant>,
}

impl Prober {
    /// Replaces the targets. What is known of those that stay is kept.
    pub fn set_targets(&mut self, targets: &BTreeMap<Key, Target>, now: Instant) {
        self.changed = true;
        let gone: Vec<Key> = self
            .entries
            .keys()
            .filter(|key| !targets.contains_key(key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(entry) = self.entries.remove(&key) {
                self.due.remove(&(entry.due, key));
                for sequence in entry.awaited {
                    self.flying.remove(&sequence);
                }
            }
        }
        let peers: BTreeSet<&str> = targets.keys().map(|key| key.peer.as_str()).collect();
        self.pulses.retain(|peer, _| peers.contains(peer.as_str()));
        for (key, target) in targets {
            if let Some(entry) = self.entries.get_mut(key) {
                if entry.target.address != target.address {
                    entry.verdict = Verdict::Unknown;
                    entry.misses = 0;
                    entry.unjudged.clear();
                }
                entry.target = *target;
                continue;
            }
            let (misses, verdict) = (0, Verdict::Unknown);
            let awaited = BTreeSet::new();
            let entry = Entry {
                target: *target,
                due: now,
                misses,
                verdict,
                awaited,
                tally: Tally::default(),
                unjudged: Vec::new(),
                small_comes: None,
                small_last: false,
            };
            self.entries.insert(key.clone(), entry);
            self.due.insert((now, key.clone()));
        }
    }

    /// The probes to send now. Unanswered ones whose time is over count as missed first.
    pub fn poll(&mut self, now: Instant) -> Vec<Send> {
        self.expire(now);
        let interval =
            INTERVAL.max(Duration::from_secs(1) * self.entries.len() as u32 / BUDGET_PER_SECOND);
        let mut sends = Vec::new();
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.due.pop_first() else {
                break;
            };
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            let eager = entry.verdict == Verdict::Unknown || entry.target.eager;
            let eager = eager && interval == INTERVAL;
            entry.due = now + if eager { EAGER_INTERVAL } else { interval };
            entry.awaited.insert(sequence);
            self.due.insert((entry.due, key.clone()));
            let mut target = entry.target;
            // Where nothing of full size comes, each other probe is small: whoever looks for the reason wants to know.
            let proof = matches!(key.channel, Channel::Proof(_));
            let small = proof && entry.misses >= SILENT_AFTER && !entry.small_last;
            entry.small_last = small;
            if small {
                target.size = 0;
            }
            let flying = Flying {
                key: key.clone(),
                sent: now,
                small,
            };
            self.flying.insert(sequence, flying);
            if key.channel == Channel::Underlay && entry.target.eager {
                let pulses = self.pulses.entry(key.peer.clone()).or_default();
                pulses.push_back((now, None));
                if pulses.len() > PULSES {
                    pulses.pop_front();
                }
            }
            sends.push(Send {
                key,
                target,
                sequence,
            });
        }
        sends
    }

    /// An answer to the probe of this number came. A late one counts too: the path works.
    pub fn answered(&mut self, sequence: u64) {
        let Some(Flying { key, sent, small }) = self.flying.remove(&sequence) else {
            return;
        };
        if key.channel == Channel::Underlay {
            self.pulse(&key.peer, sent, true);
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.awaited.remove(&sequence);
        if small {
            entry.small_comes.get_or_insert(sent);
            return;
        }
        if entry.verdict != Verdict::Answers {
            // What was lost before the path was there says nothing of it, nor what is under way since then.
            (entry.tally, entry.unjudged) = (Tally::default(), Vec::new());
            for sequence in std::mem::take(&mut entry.awaited) {
                self.flying.remove(&sequence);
            }
        }
        entry.tally.sent += 1;
        entry.misses = 0;
        entry.small_comes = None;
        self.changed |= entry.verdict != Verdict::Answers;
        entry.verdict = Verdict::Answers;
    }

    /// It is known whether a probe of the underlay came back.
    fn pulse(&mut self, peer: &str, sent: Instant, came: bool) {
        let Some(pulses) = self.pulses.get_mut(peer) else {
            return;
        };
        let pulse = pulses
            .iter_mut()
            .find(|(at, known)| *at == sent && known.is_none());
        if let Some((_, known)) = pulse {
            *known = Some(came);
            self.judge(peer);
        }
    }

    /// A probe that is evidence was lost on the way if the peer was there: the probes of the underlay just before and
    /// just after it came back. Else nothing is said of it: the peer may have lost its power, or its agent was away.
    fn judge(&mut self, peer: &str) {
        let Some(pulses) = self.pulses.get(peer) else {
            return;
        };
        let first = Key {
            peer: peer.into(),
            family: Family::V4,
            channel: Channel::Path(Path::Vxlan),
        };
        let of_peer = self.entries.range_mut(first..);
        for (key, entry) in of_peer.take_while(|(key, _)| key.peer == peer) {
            if !matches!(key.channel, Channel::Proof(_)) {
                continue;
            }
            let (mut lost, mut last) = (0, None);
            entry.unjudged.retain(|sent| {
                let before = pulses.iter().rev().find(|(at, _)| at <= sent);
                let after = pulses.iter().find(|(at, _)| at > sent);
                let known = |pulse: Option<&(_, Option<bool>)>| pulse.and_then(|pulse| pulse.1);
                match (known(before), known(after)) {
                    (Some(false), _) | (_, Some(false)) => false,
                    (Some(true), Some(true)) => {
                        lost += 1;
                        last = last.max(Some(*sent));
                        false
                    }
                    // Of what was too long ago to be remembered nothing is said.
                    (None, _) => before.is_some(),
                    (_, None) => true,
                }
            });
            if lost == 0 {
                continue;
            }
            entry.tally.sent += lost;
            entry.tally.lost += lost;
            entry.misses = entry.misses.saturating_add(lost as u32);
            self.changed = true;
            if entry.misses >= SILENT_AFTER {
                // One of full size that was sent after a small one came, and did not: it is the size.
                let narrow = entry.small_comes.is_some_and(|small| last > Some(small));
                entry.verdict = if narrow {
                    Verdict::Narrow
                } else {
                    Verdict::Silent
                };
            }
        }
    }

    /// When [`Prober::poll`] or [`Prober::news`] has something to do again.
    pub fn deadline(&self) -> Option<Instant> {
        let expiry = self
            .flying
            .values()
            .next()
            .map(|flying| flying.sent + PATIENCE);
        let due = self.due.first().map(|(due, _)| *due);
        let news = self.quiet_until.filter(|_| self.changed);
        [expiry, due, news].into_iter().flatten().min()
    }

    /// What is known of every target, if that changed since it was last given and enough time has passed.
    pub fn news(&mut self, now: Instant) -> Option<News> {
        if !self.changed || self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        self.changed = false;
        self.quiet_until = Some(now + NEWS_INTERVAL);
        let (mut verdicts, mut proofs) = (Verdicts::new(), Tally::default());
        for (key, entry) in &self.entries {
            if matches!(key.channel, Channel::Proof(_)) {
                proofs.sent += entry.tally.sent;
                proofs.lost += entry.tally.lost;
            }
            if !verdicts.contains_key(&key.peer) {
                verdicts.insert(key.peer.clone(), BTreeMap::new());
            }
            if let Some(of_peer) = verdicts.get_mut(&key.peer) {
                of_peer.insert((key.family, key.channel), entry.verdict);
            }
        }
        Some(News { verdicts, proofs })
    }

    fn expire(&mut self, now: Instant) {
        // Sequence numbers grow with time, so the oldest probe is the first.
        while let Some(first) = self.flying.first_entry()
            && first.get().sent + PATIENCE <= now
        {
            let (sequence, Flying { key, sent, small }) = first.remove_entry();
            if key.channel == Channel::Underlay {
                self.pulse(&key.peer, sent, false);
            }
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            entry.awaited.remove(&sequence);
            if small {
                entry.small_comes = None;
                continue;
            }
            if matches!(key.channel, Channel::Proof(_)) {
                entry.unjudged.push(sent);
                self.judge(&key.peer);
                continue;
            }
            entry.misses += 1;
            if entry.misses >= SILENT_AFTER {
                self.changed |= entry.verdict != Verdict::Silent;
                entry.verdict = Verdict::Silent;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(peer: &str) -> Key {
        Key {
            peer: peer.into(),
            family: Family::V4,
            channel: Channel::Path(Path::Vxlan),
        }
    }

    fn targets(peers: &[&str]) -> BTreeMap<Key, Target> {
        let target = Target {
            address: "10.244.2.1".parse().unwrap(),
            device: Some(DeviceName::VX4),
            size: 1450,
            eager: false,
        };
        peers.iter().map(|peer| (key(peer), target)).collect()
    }

    impl Prober {
        fn verdict(&self, key: &Key) -> Verdict {
            self.entries[key].verdict
        }
    }

    /// Runs for `seconds`; `alive` says which probes are answered, 10 ms later.
    fn run(prober: &mut Prober, from: Instant, seconds: u64, alive: impl Fn(&Send) -> bool) {
        let mut now = from;
        while now < from + Duration::from_secs(seconds) {
            for send in prober.poll(now) {
                if alive(&send) {
                    prober.answered(send.sequence);
                }
            }
            now += Duration::from_millis(10);
        }
    }

    #[test]
    fn silence_takes_three_misses_and_one_answer_ends_it() {
        let start = Instant::now();
        let mut prober = Prober::default();
        prober.set_targets(&targets(&["b", "c"]), start);
        assert_eq!(prober.verdict(&key("b")), Verdict::Unknown);
        run(&mut prober, start, 10, |send| send.key.peer == "b");
        assert_eq!(prober.verdict(&key("b")), Verdict::Answers);
        assert_eq!(prober.verdict(&key("c")), Verdict::Silent);
        run(&mut prober, start + Duration::from_secs(10), 3, |_| true);
        assert_eq!(prober.verdict(&key("c")), Verdict::Answers);
    }

    /// A path to be proven to b, and the underlay beside it.
    fn proof() -> (Prober, Key, Instant) {
        let start = Instant::now();
        let target = |size| Target {
            address: "10.244.2.1".parse().unwrap(),
            device: None,
            size,
            eager: true,
        };
        let of = |channel| Key {
            channel,
            ..key("b")
        };
        let proof = of(Channel::Proof(Path::Direct));
        let targets = [
            (proof.clone(), target(1500)),
            (of(Channel::Underlay), target(0)),
        ];
        let mut prober = Prober::default();
        prober.set_targets(&targets.into(), start);
        (prober, proof, start)
    }

    #[test]
    fn a_proof_is_lost_only_if_the_peer_is_there() {
        let (mut prober, proof, start) = proof();
        run(&mut prober, start, 5, |_| true);
        assert_eq!(prober.verdict(&proof), Verdict::Answers);
        // The peer loses its power: no path is to blame.
        run(&mut prober, start + Duration::from_secs(5), 10, |_| false);
        assert_eq!(prober.verdict(&proof), Verdict::Answers);
        let (mut prober, proof, start) = self::proof();
        run(&mut prober, start, 5, |_| true);
        let underlay = |send: &Send| send.key.channel == Channel::Underlay;
        run(&mut prober, start + Duration::from_secs(5), 5, underlay);
        assert_eq!(prober.verdict(&proof), Verdict::Silent);
        let news = prober.news(start + Duration::from_secs(20)).unwrap();
        assert!(
            news.proofs.lost >= 3 && news.proofs.sent > news.proofs.lost,
            "{news:?}"
        );
    }

    #[test]
    fn an_agent_that_was_away_for_a_moment_loses_nothing() {
        for away in [300, 700, 1000, 1500, 4000] {
            let (mut prober, proof, start) = proof();
            let mut now = start;
            // Unlike `run`, an answer is there at once or never.
            let until = |millis| start + Duration::from_millis(millis);
            while now < until(12_000) {
                let gone = now >= until(5000) && now < until(5000 + away);
                for send in prober.poll(now) {
                    if !gone {
                        prober.answered(send.sequence);
                    }
                }
                now += Duration::from_millis(10);
            }
            assert_eq!(prober.verdict(&proof), Verdict::Answers, "{away} ms");
            let lost = prober.news(now).unwrap().proofs.lost;
            // Where the peer went and came back between two probes of the underlay, nobody can know.
            assert!(lost <= u64::from(away < 600), "{lost} lost in {away} ms");
        }
    }

    #[test]
    fn a_path_that_carries_only_small_packets_is_told_from_one_that_carries_none() {
        let (mut prober, proof, start) = proof();
        run(&mut prober, start, 10, |send| send.target.size < 1500);
        assert_eq!(prober.verdict(&proof), Verdict::Narrow);
        run(&mut prober, start + Duration::from_secs(10), 3, |_| true);
        assert_eq!(prober.verdict(&proof), Verdict::Answers);
    }

    #[test]
    fn a_path_that_comes_back_was_never_narrow() {
        let (mut prober, proof, start) = proof();
        let underlay = |send: &Send| send.key.channel == Channel::Underlay;
        run(&mut prober, start, 10, underlay);
        assert_eq!(prober.verdict(&proof), Verdict::Silent);
        let mut now = start + Duration::from_secs(10);
        while prober.verdict(&proof) != Verdict::Answers {
            assert_eq!(prober.verdict(&proof), Verdict::Silent);
            for send in prober.poll(now) {
                prober.answered(send.sequence);
            }
            now += Duration::from_millis(10);
        }
        assert_eq!(prober.news(now + NEWS_INTERVAL).unwrap().proofs.lost, 0);
    }

    #[test]
    fn what_is_lost_before_a_path_is_there_is_not_counted() {
        let (mut prober, proof, start) = proof();
        let underlay = |send: &Send| send.key.channel == Channel::Underlay;
        run(&mut prober, start, 1, underlay);
        assert_eq!(prober.verdict(&proof), Verdict::Unknown);
        run(&mut prober, start + Duration::from_secs(1), 5, |_| true);
        assert_eq!(
            prober
                .news(start + Duration::from_secs(6))
                .unwrap()
                .proofs
                .lost,
            0
        );
    }

    #[test]
    fn one_lost_probe_changes_nothing() {
        let start = Instant::now();
        let mut prober = Prober::default();
        prober.set_targets(&targets(&["b"]), start);
        run(&mut prober, start, 20, |send| send.sequence % 3 != 0);
        assert_eq!(prober.verdict(&key("b")), Verdict::Answers);
    }

    #[test]
    fn a_peer_that_changes_its_address_is_unknown_again() {
        let start = Instant::now();
        let mut prober = Prober::default();
        prober.set_targets(&targets(&["b"]), start);
        run(&mut prober, start, 1, |_| true);
        let mut moved = targets(&["b"]);
        moved
            .values_mut()
            .for_each(|target| target.address = "10.244.9.1".parse().unwrap());
        prober.set_targets(&moved, start);
        assert_eq!(prober.verdict(&key("b")), Verdict::Unknown);
    }

    #[test]
    fn many_changes_make_few_news_and_the_last_is_among_them() {
        let start = Instant::now();
        let mut prober = Prober::default();
        let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        prober.set_targets(&targets(&names), start);
        let sends = prober.poll(start);
        let (mut now, mut all) = (start, Vec::new());
        for send in &sends {
            prober.answered(send.sequence);
            all.extend(prober.news(now));
            now += Duration::from_millis(10);
        }
        assert_eq!(all.len(), 5, "100 changes in a second");
        let last = now + NEWS_INTERVAL;
        assert!(prober.deadline().unwrap() <= last, "nobody has to ask");
        let verdicts = prober.news(last).unwrap().verdicts;
        assert_eq!(verdicts.len(), 100);
        let answers = |of_peer: &BTreeMap<_, _>| of_peer.values().all(|v| *v == Verdict::Answers);
        assert!(verdicts.values().all(answers));
        assert_eq!(prober.news(last + NEWS_INTERVAL), None, "nothing is new");
    }

    #[test]
    fn thousands_of_targets_stay_in_the_budget() {
        let start = Instant::now();
        let names: Vec<String> = (0..5000).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut prober = Prober::default();
        prober.set_targets(&targets(&names), start);
        // The first probe of each is sent at once; from then on the budget holds.
        assert_eq!(prober.poll(start).len(), 5000);
        let mut sent = 0;
        for second in 1..=100 {
            sent += prober.poll(start + Duration::from_secs(second)).len();
        }
        assert!(sent as u32 <= 100 * BUDGET_PER_SECOND, "{sent}");
    }

    proptest! {
        #[test]
        fn nothing_is_kept_of_targets_that_went(
            steps in prop::collection::vec((prop::collection::btree_set(0u8..6, 0..6), any::<bool>()), 1..40)
        ) {
            let start = Instant::now();
            let mut prober = Prober::default();
            for (n, (peers, answer)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_millis(700 * n as u64);
                let names: Vec<String> = peers.iter().map(u8::to_string).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                prober.set_targets(&targets(&names), now);
                for send in prober.poll(now) {
                    if answer { prober.answered(send.sequence) }
                }
                prop_assert_eq!(prober.entries.len(), names.len());
                prop_assert_eq!(prober.due.len(), names.len());
                let awaited: usize = prober.entries.values().map(|entry| entry.awaited.len()).sum();
                prop_assert_eq!(prober.flying.len(), awaited);
            }
        }
    }
}
