//! The counting that all kinds of flows share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::report::{CAUSES, Cause, Counts};

/// Round trips, to two significant figures.
pub struct RoundTrips(Histogram<u64>);

/// Longest round trip that is told apart from longer ones, in microseconds.
const LONGEST_US: u64 = 120_000_000;

impl Default for RoundTrips {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 2).expect("constant bounds that are valid"))
    }
}

impl RoundTrips {
    /// Takes note of one.
    pub fn record(&mut self, rtt: Duration) {
        self.0.saturating_record(rtt.as_micros() as u64);
    }

    /// Writes the quantiles into `counts`.
    pub fn report(&self, counts: &mut Counts) {
        counts.rtt_p50_us = self.0.value_at_quantile(0.5);
        counts.rtt_p99_us = self.0.value_at_quantile(0.99);
        counts.rtt_p999_us = self.0.value_at_quantile(0.999);
        counts.rtt_max_us = self.0.max();
    }
}

/// The first [`CAUSES`] causes of trouble.
#[derive(Clone, Debug, Default)]
pub struct Causes(Vec<Cause>);

impl Causes {
    /// Keeps `what` if there is still room.
    pub fn note(&mut self, since_start: Duration, what: impl FnOnce() -> String) {
        if self.0.len() < CAUSES {
            let at_ms = since_start.as_millis() as u64;
            self.0.push(Cause {
                at_ms,
                what: what(),
            });
        }
    }

    /// Those kept.
    pub fn list(&self) -> Vec<Cause> {
        self.0.clone()
    }
}

/// The counts of a flow over connections or single exchanges.
pub struct Tally {
    counts: Counts,
    causes: Causes,
    round_trips: RoundTrips,
    started: Instant,
    patience: Duration,
    waiting: usize,
}

impl Tally {
    /// A flow of `parts` connections, each of which has `patience` from `started` on to work for
    /// the first time before its failures count.
    pub fn new(started: Instant, patience: Duration, parts: usize) -> Self {
        Self {
            counts: Counts::default(),
            causes: Causes::default(),
            round_trips: RoundTrips::default(),
            started,
            patience,
            waiting: parts,
        }
    }

    /// Takes note that one of the parts has worked for the first time.
    pub fn part_ready(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Whether all parts have worked.
    pub fn ready(&self) -> bool {
        self.waiting == 0
    }

    /// Whether a part that has never worked may still fail without being counted.
    pub fn patient(&self) -> bool {
        self.started.elapsed() < self.patience
    }

    /// A unit that took `rtt`.
    pub fn answered(&mut self, rtt: Duration) {
        self.counts.sent += 1;
        self.counts.received += 1;
        self.round_trips.record(rtt);
    }

    /// Bytes that were transferred and checked.
    pub fn bytes(&mut self, bytes: u64) {
        self.counts.bytes += bytes;
    }

    /// Something that took `time` to make progress.
    pub fn stalled(&mut self, time: Duration) {
        let us = time.as_micros() as u64;
        self.counts.longest_gap_us = self.counts.longest_gap_us.max(us);
    }

    /// A unit that was never answered.
    pub fn lost(&mut self, cause: &str) {
        self.counts.sent += 1;
        self.counts.lost += 1;
        self.cause(cause);
    }

    /// A unit that was damaged on the way.
    pub fn corrupt(&mut self, cause: &str) {
        self.counts.corrupt += 1;
        self.lost(cause);
    }

    /// A unit whose connection broke.
    pub fn broken(&mut self, cause: &str) {
        self.counts.broken += 1;
        self.lost(cause);
    }

    /// A connection that could not be made in the time given for it.
    pub fn never_opened(&mut self, cause: &str) {
        self.counts.broken += 1;
        self.cause(cause);
    }

    /// A broken connection that was established again.
    pub fn reopened(&mut self) {
        self.counts.reopened += 1;
    }

    /// Keeps a cause without counting anything.
    pub fn cause(&mut self, cause: &str) {
        self.causes
            .note(self.started.elapsed(), || cause.to_owned());
    }

    /// Forgets all counts and causes.
    pub fn reset(&mut self) {
        self.counts = Counts::default();
        self.causes = Causes::default();
        self.round_trips = RoundTrips::default();
    }

    /// Counts and causes so far.
    pub fn report(&self) -> (Counts, Vec<Cause>) {
        let mut counts = self.counts.clone();
        self.round_trips.report(&mut counts);
        (counts, self.causes.list())
    }
}

/// Locks, also after a panic of another holder: counts are valid after every statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
