//! The server's side of UDP flows: counts what arrives of each and makes the echoes.
//!
//! No sockets and no clock: the driver gives each datagram and its time of arrival.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::packet::{self, HEADER, Header, Kind};
use crate::sequence::Arrivals;

/// A flow that has been silent for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);

/// What a server has counted of one flow: the forward half of the round trip.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// A random number of this server process: another one means that it was restarted, or that
    /// another server answers at the address.
    pub instance: u64,
    /// Different sequence numbers received intact.
    pub received: u64,
    /// Arrivals of a number seen before.
    pub duplicated: u64,
    /// First arrivals after a higher number.
    pub reordered: u64,
    /// Damaged datagrams from the address of this flow.
    pub corrupt: u64,
    /// Damaged datagrams from addresses of no known flow.
    pub stray: u64,
    /// Longest time between two arrivals beyond what the client intended, in microseconds, by the
    /// kernel's time of arrival.
    pub longest_gap_us: u64,
    /// Echoes that the server's kernel refused to send.
    pub unsent: u64,
    /// Echoes that were too big for the server's route and were sent without a body instead.
    pub shortened: u64,
    /// Datagrams that arrived and found the server's socket buffer full, over all flows.
    pub own_drops: u64,
}

/// What to send back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Bytes of the buffer to send.
    pub length: usize,
    /// Whether with DF set.
    pub df: bool,
    /// Whether it may be shortened, by [`shorten`].
    pub fit: bool,
    /// The flow, for [`Sink::unsent`].
    pub flow: u64,
}

struct Flow {
    arrivals: Arrivals,
    source: SocketAddr,
    heard: Duration,
    corrupt: u64,
    unsent: u64,
    shortened: u64,
}

/// Takes the body out of an echo, and returns the length of what remains.
pub fn shorten(buffer: &mut [u8], length: usize) -> usize {
    if let Ok((header, _)) = packet::open(&buffer[..length]) {
        packet::seal(buffer, &header, &packet::body_crc(&[]));
    }
    HEADER
}

/// All flows that one socket receives.
pub struct Sink {
    instance: u64,
    flows: HashMap<u64, Flow>,
    by_source: HashMap<SocketAddr, u64>,
    stray: u64,
    own_drops: u64,
}

impl Sink {
    /// A sink that knows no flow yet.
    pub fn new(instance: u64) -> Self {
        Self {
            instance,
            flows: HashMap::new(),
            by_source: HashMap::new(),
            stray: 0,
            own_drops: 0,
        }
    }

    /// Takes the first `length` bytes of `buffer` as a datagram, and leaves the answer in `buffer`.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        length: usize,
        source: SocketAddr,
        now: Duration,
    ) -> Option<Reply> {
        let Ok((header, body)) = packet::open(&buffer[..length]) else {
            self.damaged(source);
            return None;
        };
        let length = match header.kind {
            Kind::Data => {
                let peer_received = self.count(&header, source, now);
                let echo = Header {
                    kind: Kind::Echo,
                    peer_received,
                    ..header
                };
                packet::seal(buffer, &echo, &body);
                length
            }
            Kind::Query => self.answer(buffer, &header)?,
            Kind::Echo | Kind::Answer => return None,
        };
        Some(Reply {
            length,
            df: header.df,
            fit: header.fit,
            flow: header.flow,
        })
    }

    fn count(&mut self, header: &Header, source: SocketAddr, now: Duration) -> u64 {
        let interval = Duration::from_micros(header.interval_us.into());
        let flow = self.flows.entry(header.flow).or_insert_with(|| {
            self.by_source.insert(source, header.flow);
            Flow {
                arrivals: Arrivals::new(now, interval),
                source,
                heard: now,
                corrupt: 0,
                unsent: 0,
                shortened: 0,
            }
        });
        if flow.source != source {
            self.by_source.remove(&flow.source);
            self.by_source.insert(source, header.flow);
            flow.source = source;
        }
        flow.heard = now;
        let pause = Duration::from_micros(header.pause_us.into());
        flow.arrivals.receive(header.seq, now, pause);
        flow.arrivals.sequence().unique()
    }

    fn damaged(&mut self, source: SocketAddr) {
        let flow = self.by_source.get(&source);
        match flow.and_then(|flow| self.flows.get_mut(flow)) {
            Some(flow) => flow.corrupt += 1,
            None => self.stray += 1,
        }
    }

    fn answer(&self, buffer: &mut [u8], header: &Header) -> Option<usize> {
        let body = serde_json::to_vec(&self.received(header.flow)).ok()?;
        let length = HEADER + body.len();
        buffer.get_mut(HEADER..length)?.copy_from_slice(&body);
        let answer = Header {
            kind: Kind::Answer,
            ..*header
        };
        packet::seal(&mut buffer[..length], &answer, &packet::body_crc(&body));
        Some(length)
    }

    /// What has been counted of `flow`; zeros for one that is not known.
    pub fn received(&self, flow: u64) -> Received {
        let common = Received {
            instance: self.instance,
            stray: self.stray,
            own_drops: self.own_drops,
            ..Received::default()
        };
        let Some(flow) = self.flows.get(&flow) else {
            return common;
        };
        let sequence = flow.arrivals.sequence();
        Received {
            received: sequence.unique(),
            duplicated: sequence.duplicated(),
            reordered: sequence.reordered(),
            corrupt: flow.corrupt,
            longest_gap_us: flow.arrivals.longest_closed_gap().as_micros() as u64,
            unsent: flow.unsent,
            shortened: flow.shortened,
            ..common
        }
    }

    /// Takes note that the kernel refused to send an answer of `flow`.
    pub fn unsent(&mut self, flow: u64) {
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.unsent += 1;
        }
    }

    /// Takes note that an answer of `flow` was shortened.
    pub fn shortened(&mut self, flow: u64) {
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.shortened += 1;
        }
    }

    /// Takes note of how many datagrams the socket has dropped for want of buffer so far.
    pub fn own_drops(&mut self, drops: u64) {
        self.own_drops = self.own_drops.max(drops);
    }

    /// Forgets flows that have long been silent.
    pub fn forget_silent(&mut self, now: Duration) {
        self.flows
            .retain(|_, flow| now.saturating_sub(flow.heard) < FORGET_AFTER);
        self.by_source
            .retain(|_, flow| self.flows.contains_key(flow));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: ([u8; 4], u16) = ([10, 0, 0, 1], 999);

    fn data(kind: Kind, flow: u64, seq: u64) -> Vec<u8> {
        let header = Header {
            kind,
            df: false,
            fit: true,
            flow,
            seq,
            sent_ns: 0,
            pause_us: 0,
            peer_received: 0,
            interval_us: 1000,
        };
        let mut datagram = vec![0; 512];
        let body = packet::body_crc(&datagram[HEADER..]);
        packet::seal(&mut datagram, &header, &body);
        datagram
    }

    fn give(sink: &mut Sink, mut datagram: Vec<u8>, now_ms: u64) -> Option<Vec<u8>> {
        let length = datagram.len();
        let now = Duration::from_millis(now_ms);
        let reply = sink.receive(&mut datagram, length, SOURCE.into(), now)?;
        datagram.truncate(reply.length);
        Some(datagram)
    }

    #[test]
    fn an_echo_carries_what_has_been_received() {
        let mut sink = Sink::new(1);
        give(&mut sink, data(Kind::Data, 5, 0), 0);
        let echo = give(&mut sink, data(Kind::Data, 5, 2), 1).expect("an echo");
        let (header, _) = packet::open(&echo).expect("intact");
        assert_eq!(
            (header.kind, header.seq, header.peer_received),
            (Kind::Echo, 2, 2)
        );
    }

    #[test]
    fn a_query_is_answered_with_the_counts() {
        let mut sink = Sink::new(77);
        for seq in [0, 1, 1, 4, 3] {
            give(&mut sink, data(Kind::Data, 5, seq), 0);
        }
        let mut damaged = data(Kind::Data, 5, 9);
        damaged[300] ^= 1;
        assert_eq!(give(&mut sink, damaged, 0), None);
        let answer = give(&mut sink, data(Kind::Query, 5, 0), 0).expect("an answer");
        packet::open(&answer).expect("intact");
        let received: Received = serde_json::from_slice(&answer[HEADER..]).expect("JSON");
        let want = Received {
            instance: 77,
            received: 4,
            duplicated: 1,
            reordered: 1,
            corrupt: 1,
            ..Received::default()
        };
        assert_eq!(received, want);
    }

    #[test]
    fn an_answer_that_does_not_fit_the_buffer_is_not_given() {
        let mut sink = Sink::new(1);
        let mut query = data(Kind::Query, 5, 0);
        query.truncate(HEADER);
        let (mut header, _) = packet::open(&data(Kind::Query, 5, 0)).expect("intact");
        header.flow = 6;
        packet::seal(&mut query, &header, &packet::body_crc(&[]));
        assert_eq!(give(&mut sink, query, 0), None);
    }

    #[test]
    fn a_shortened_echo_opens_and_says_the_same() {
        let mut sink = Sink::new(1);
        let mut echo = give(&mut sink, data(Kind::Data, 5, 3), 0).expect("an echo");
        let (whole, _) = packet::open(&echo).expect("intact");
        let length = shorten(&mut echo, 512);
        let (short, _) = packet::open(&echo[..length]).expect("intact");
        assert_eq!((short, length), (whole, HEADER));
    }

    #[test]
    fn silent_flows_are_forgotten_and_their_damage_is_stray() {
        let mut sink = Sink::new(1);
        give(&mut sink, data(Kind::Data, 5, 0), 0);
        sink.forget_silent(FORGET_AFTER);
        assert_eq!(sink.received(5).received, 0);
        give(&mut sink, vec![0; 10], 0);
        assert_eq!(sink.received(5).stray, 1);
    }

    #[test]
    fn the_forward_gap_is_measured_beyond_the_interval() {
        let mut sink = Sink::new(1);
        for (seq, at) in [(0, 10), (1, 11), (2, 42)] {
            give(&mut sink, data(Kind::Data, 5, seq), at);
        }
        assert_eq!(sink.received(5).longest_gap_us, 30_000);
    }
}
