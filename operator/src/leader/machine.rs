//! Leader election as a struct without clock and socket.
//!
//! All times are on the monotonic clock of this process; clocks of others are never compared. A leader
//! may act until its lease runs out counted from *before* it sent the write that was accepted, less a
//! margin. Another candidate takes over when the record hasn't changed for the whole lease counted from
//! *after* it read it. So the first is over before the second starts, as long as the rates of two clocks
//! differ by less than margin / lease and no request of the leader takes longer than the margin.
//!
//! Somebody who deletes the record by hand defeats this for a candidate that never saw it. What must be
//! true even then (no block is given out twice) doesn't rest on the lease.

use std::time::Duration;

/// Durations of the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For how long a record that doesn't change is respected.
    pub lease: Duration,
    /// How much earlier than that the leader stops.
    pub margin: Duration,
    /// How often the leader writes.
    pub renew: Duration,
    /// How often a candidate reads, and how soon a failed call is tried again.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            lease: Duration::from_secs(15),
            margin: Duration::from_secs(5),
            renew: Duration::from_secs(3),
            retry: Duration::from_secs(1),
        }
    }
}

/// What the record says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Who holds it. Empty: nobody.
    pub holder: String,
    /// For how long it is to be respected.
    pub lease: Duration,
    /// How often the holder has changed.
    pub transitions: i32,
}

/// A record as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The record.
    pub record: Record,
    /// Its resourceVersion.
    pub version: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The answer to a read. None: there is no record.
    Read(Option<Seen>),
    /// A write was accepted.
    Wrote(Seen),
    /// A write was refused: the record is no longer the one that it was to replace.
    Refused,
    /// There was no answer, or one that tells nothing. A write may have happened or not.
    Failed,
    /// Give up the lease, for good. All actions have ended.
    Stop,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Read the record.
    Read,
    /// Write the record. `replaces`: the version that it must have; None: it must not be there.
    Write {
        /// The new content.
        record: Record,
        /// What it replaces.
        replaces: Option<String>,
    },
}

/// One candidate.
#[derive(Debug)]
pub struct Machine {
    me: String,
    timing: Timing,
    /// What was last read or written. None: nothing yet.
    seen: Option<Option<Seen>>,
    /// When `seen` became what it is. None: there has never been a record, so nobody has held one.
    seen_since: Option<Duration>,
    /// When the request that is under way was sent.
    sent: Option<Duration>,
    held_until: Option<Duration>,
    next: Duration,
    /// The record may not be as it was last seen.
    doubtful: bool,
    stopped: bool,
}

impl Machine {
    /// `me` has to differ from that of every other process, earlier ones included.
    pub fn new(me: String, timing: Timing) -> Self {
        Machine {
            me,
            timing,
            seen: None,
            seen_since: None,
            sent: None,
            held_until: None,
            next: Duration::ZERO,
            doubtful: true,
            stopped: false,
        }
    }

    /// Until when this candidate may act. None: it may not.
    pub fn held_until(&self) -> Option<Duration> {
        self.held_until
    }

    /// Who holds the record, as last seen.
    pub fn holder(&self) -> Option<&str> {
        let seen = self.seen.as_ref()?.as_ref()?;
        Some(&seen.record.holder)
    }

    /// When to call again with [`Input::Tick`], if nothing else comes.
    pub fn deadline(&self) -> Duration {
        self.next
    }

    /// Takes what happened, and returns what to send. At most one request is under way at a time.
    pub fn handle(&mut self, input: Input, now: Duration) -> Option<Request> {
        if self.held_until.is_some_and(|until| now >= until) {
            self.held_until = None;
        }
        match input {
            Input::Tick => self.tick(now),
            Input::Read(seen) => {
                self.sent = None;
                self.doubtful = false;
                self.note(seen, now);
                self.decide(now)
            }
            Input::Wrote(seen) => {
                let sent = self.sent.take().unwrap_or(now);
                self.doubtful = false;
                if seen.record.holder == self.me && !self.stopped {
                    let until = (sent + self.timing.lease).saturating_sub(self.timing.margin);
                    self.held_until = (now < until).then_some(until);
                    self.next = sent + self.timing.renew;
                }
                self.note(Some(seen), now);
                None
            }
            Input::Refused => {
                self.sent = None;
                self.held_until = None;
                self.doubtful = true;
                self.next = now;
                self.tick(now)
            }
            Input::Failed => {
                self.sent = None;
                self.doubtful = true;
                self.next = now + self.timing.retry;
                None
            }
            Input::Stop => self.stop(now),
        }
    }

    fn tick(&mut self, now: Duration) -> Option<Request> {
        if self.stopped || self.sent.is_some() || now < self.next {
            return None;
        }
        if self.doubtful || self.held_until.is_none() {
            return self.send(Request::Read, now);
        }
        self.decide(now)
    }

    /// What to do about a record that is known.
    fn decide(&mut self, now: Duration) -> Option<Request> {
        if self.stopped {
            return None;
        }
        let expired = |lease: Duration| self.seen_since.is_none_or(|since| now >= since + lease);
        let seen = self.seen.clone().flatten();
        let take = match &seen {
            // A record that was there and is gone was deleted while somebody may hold it.
            None => expired(self.timing.lease),
            Some(seen) if seen.record.holder.is_empty() || seen.record.holder == self.me => true,
            Some(seen) => expired(seen.record.lease.max(self.timing.retry)),
        };
        if !take {
            self.next = now + self.timing.retry;
            return None;
        }
        let before = seen.as_ref().map(|seen| &seen.record);
        let transitions = match before {
            Some(record) if record.holder == self.me => record.transitions,
            Some(record) => record.transitions.saturating_add(1),
            None => 0,
        };
        let record = Record {
            holder: self.me.clone(),
            lease: self.timing.lease,
            transitions,
        };
        let replaces = seen.map(|seen| seen.version);
        self.send(Request::Write { record, replaces }, now)
    }

    fn stop(&mut self, now: Duration) -> Option<Request> {
        self.stopped = true;
        self.held_until = None;
        let seen = self.seen.clone().flatten()?;
        if seen.record.holder != self.me {
            return None;
        }
        let record = Record {
            holder: String::new(),
            ..seen.record
        };
        let replaces = Some(seen.version);
        self.send(Request::Write { record, replaces }, now)
    }

    fn send(&mut self, request: Request, now: Duration) -> Option<Request> {
        self.sent = Some(now);
        Some(request)
    }

    /// Remembers the record, and since when it has been so.
    fn note(&mut self, seen: Option<Seen>, now: Duration) {
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        let never = self.seen.is_none() && seen.is_none();
        self.seen_since = (!never).then_some(now);
        self.seen = Some(seen);
    }
}
