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
mod tests;
