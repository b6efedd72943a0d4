//! Which sequence numbers have arrived, in what order and with what gaps.
//!
//! No sockets and no clock: the caller gives each number and its time of arrival.

use std::collections::BTreeMap;
use std::time::Duration;

/// What one arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Higher than all before it.
    InOrder,
    /// New, but lower than one that came before it (RFC 4737, type-P-reordered).
    Reordered,
    /// Seen before.
    Duplicate,
}

/// The exact set of the sequence numbers received so far.
///
/// Memory grows with the number of holes, not with the number of packets.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// Ranges below the highest one, by start; ends are exclusive. Neither empty nor touching.
    lower: BTreeMap<u64, u64>,
    /// The highest range; empty (0, 0) before the first arrival.
    highest: (u64, u64),
    unique: u64,
    duplicated: u64,
    reordered: u64,
}

impl Sequence {
    /// Takes note of one number (below `u64::MAX`).
    pub fn receive(&mut self, seq: u64) -> Verdict {
        let verdict = self.place(seq);
        match verdict {
            Verdict::InOrder => self.unique += 1,
            Verdict::Reordered => {
                self.unique += 1;
                self.reordered += 1;
            }
            Verdict::Duplicate => self.duplicated += 1,
        }
        verdict
    }

    fn place(&mut self, seq: u64) -> Verdict {
        let (start, end) = self.highest;
        if seq >= end {
            if seq == end {
                self.highest.1 = end + 1;
            } else {
                if end > start {
                    self.lower.insert(start, end);
                }
                self.highest = (seq, seq + 1);
            }
            return Verdict::InOrder;
        }
        if seq >= start {
            return Verdict::Duplicate;
        }
        let below = self.lower.range(..=seq).next_back().map(|(s, e)| (*s, *e));
        if below.is_some_and(|(_, below_end)| seq < below_end) {
            return Verdict::Duplicate;
        }
        self.fill_hole(seq, below);
        Verdict::Reordered
    }

    fn fill_hole(&mut self, seq: u64, below: Option<(u64, u64)>) {
        let start = match below {
            Some((below_start, below_end)) if below_end == seq => {
                self.lower.remove(&below_start);
                below_start
            }
            _ => seq,
        };
        if seq + 1 == self.highest.0 {
            self.highest.0 = start;
        } else {
            let end = self.lower.remove(&(seq + 1)).unwrap_or(seq + 1);
            self.lower.insert(start, end);
        }
    }

    /// Different numbers received.
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// Arrivals of a number that had been received already.
    pub fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// First arrivals that came after a higher number.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// How many of the numbers below `limit` have not been received.
    pub fn missing_below(&self, limit: u64) -> u64 {
        let within = |start: u64, end: u64| end.min(limit).saturating_sub(start);
        let lower: u64 = self
            .lower
            .range(..limit)
            .map(|(start, end)| within(*start, *end))
            .sum();
        limit - lower - within(self.highest.0, self.highest.1)
    }
}

/// A [`Sequence`] with the longest time that nothing new arrived.
#[derive(Clone, Debug)]
pub struct Arrivals {
    sequence: Sequence,
    interval: Duration,
    last: Duration,
    longest_gap: Duration,
}

impl Arrivals {
    /// Starts at `now` to expect one packet each `interval`.
    pub fn new(now: Duration, interval: Duration) -> Self {
        Self {
            sequence: Sequence::default(),
            interval,
            last: now,
            longest_gap: Duration::ZERO,
        }
    }

    /// Takes note of a packet that arrived at `now`, and that its sender sent `pause` after the
    /// one before it: a sender that was late itself makes no gap.
    pub fn receive(&mut self, seq: u64, now: Duration, pause: Duration) -> Verdict {
        let verdict = self.sequence.receive(seq);
        if verdict != Verdict::Duplicate {
            let due = self.interval.max(pause);
            let gap = now.saturating_sub(self.last).saturating_sub(due);
            self.longest_gap = self.longest_gap.max(gap);
            self.last = self.last.max(now);
        }
        verdict
    }

    /// The numbers received.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// The longest time between two arrivals beyond what the sender intended, counting the time
    /// from the last arrival to `until`, when the sender last sent.
    pub fn longest_gap(&self, until: Duration) -> Duration {
        let open = until
            .saturating_sub(self.last)
            .saturating_sub(self.interval);
        self.longest_gap.max(open)
    }

    /// The longest gap between two arrivals.
    pub fn longest_closed_gap(&self) -> Duration {
        self.longest_gap
    }
}
