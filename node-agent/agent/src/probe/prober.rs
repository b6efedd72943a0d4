//! Which probe to send when, and what the answers say. No socket and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_kernel::{DeviceName, Family};

use super::Verdicts;
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

/// The least time between two [`Prober::news`]: what they cost, and what follows from them, grows with the
/// number of targets, and that of many peers changes at any time.
const NEWS_INTERVAL: Duration = Duration::from_millis(200);

/// By which way a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// From node pod address to probe address, by this path.
    Path(Path),
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
}

/// The state of all probing.
#[derive(Debug, Default)]
pub struct Prober {
    entries: BTreeMap<Key, Entry>,
    due: BTreeSet<(Instant, Key)>,
    flying: BTreeMap<u64, (Key, Instant)>,
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
        for (key, target) in targets {
            if let Some(entry) = self.entries.get_mut(key) {
                if entry.target.address != target.address {
                    entry.verdict = Verdict::Unknown;
                    entry.misses = 0;
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
            let fresh = entry.verdict == Verdict::Unknown && interval == INTERVAL;
            entry.due = now + if fresh { EAGER_INTERVAL } else { interval };
            entry.awaited.insert(sequence);
            self.due.insert((entry.due, key.clone()));
            self.flying.insert(sequence, (key.clone(), now + PATIENCE));
            sends.push(Send {
                key,
                target: entry.target,
                sequence,
            });
        }
        sends
    }

    /// An answer to the probe of this number came. A late one counts too: the path works.
    pub fn answered(&mut self, sequence: u64) {
        if let Some((key, _)) = self.flying.remove(&sequence)
            && let Some(entry) = self.entries.get_mut(&key)
        {
            entry.awaited.remove(&sequence);
            entry.misses = 0;
            self.changed |= entry.verdict != Verdict::Answers;
            entry.verdict = Verdict::Answers;
        }
    }

    /// When [`Prober::poll`] or [`Prober::news`] has something to do again.
    pub fn deadline(&self) -> Option<Instant> {
        let expiry = self.flying.values().next().map(|(_, until)| *until);
        let due = self.due.first().map(|(due, _)| *due);
        let news = self.quiet_until.filter(|_| self.changed);
        [expiry, due, news].into_iter().flatten().min()
    }

    /// What is known of every target, if that changed since it was last given and enough time has passed.
    pub fn news(&mut self, now: Instant) -> Option<Verdicts> {
        if !self.changed || self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        self.changed = false;
        self.quiet_until = Some(now + NEWS_INTERVAL);
        let mut verdicts = Verdicts::new();
        for (key, entry) in &self.entries {
            if !verdicts.contains_key(&key.peer) {
                verdicts.insert(key.peer.clone(), BTreeMap::new());
            }
            if let Some(of_peer) = verdicts.get_mut(&key.peer) {
                of_peer.insert((key.family, key.channel), entry.verdict);
            }
        }
        Some(verdicts)
    }

    fn expire(&mut self, now: Instant) {
        // Sequence numbers grow with time, so the oldest probe is the first.
        while let Some(first) = self.flying.first_entry()
            && first.get().1 <= now
        {
            let (sequence, (key, _)) = first.remove_entry();
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.awaited.remove(&sequence);
                entry.misses += 1;
                if entry.misses >= SILENT_AFTER {
                    self.changed |= entry.verdict != Verdict::Silent;
                    entry.verdict = Verdict::Silent;
                }
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
        let verdicts = prober.news(last).unwrap();
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
