//! The client's side of one UDP flow.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use crc32fast::Hasher;
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

use crate::batch::{BATCH, Batch, LARGEST};
use crate::packet::{self, HEADER, Header, Kind};
use crate::plan::{Flow, Size, Udp};
use crate::report::{Counts, FlowReport};
use crate::sequence::{Arrivals, Verdict};
use crate::sink::Received;
use crate::socket::{self, Stamps};
use crate::tally::{Causes, RoundTrips};

/// Between two attempts to reach the server before the flow begins.
const GREET_EACH: Duration = Duration::from_millis(100);
/// A sender that is later than this leaves out what it should have sent.
const LATEST: Duration = Duration::from_millis(100);
/// How finely it is known which packets are older than the drain time.
const LOG_EACH: Duration = Duration::from_millis(10);
/// How often a flow of size `mtu` looks whether it may send larger ones.
const FIT_EACH: Duration = Duration::from_secs(1);

enum Phase {
    /// Until the server answers, or the time given for it is over.
    Greeting {
        next: Duration,
    },
    Running,
}

/// A flow and its socket. All times are of the clock of the engine that drives it.
pub struct UdpFlow {
    flow: Flow,
    udp: Udp,
    socket: UdpSocket,
    interval: Duration,
    drain: Duration,
    phase: Phase,
    ready: bool,
    /// Sent with each packet; a new one after a reset, so that late echoes are told apart.
    id: u64,
    /// Packets sent, which is the number of the next one.
    next: u64,
    due: Duration,
    last_sent: Duration,
    /// (time, `next` at that time), of the last drain time.
    log: VecDeque<(Duration, u64)>,
    /// Packets sent longer than the drain time ago.
    settled: u64,
    body: Box<[u8]>,
    size: usize,
    body_crc: Hasher,
    fitted: Duration,
    arrivals: Arrivals,
    counts: Counts,
    causes: Causes,
    round_trips: RoundTrips,
    drops: u32,
    drops_before: u32,
    /// The server that answered first.
    instance: Option<u64>,
    server: Option<Received>,
}

impl UdpFlow {
    /// Opens the socket. `id` is random.
    pub fn open(flow: &Flow, udp: &Udp, id: u64, drain: Duration) -> io::Result<Self> {
        let socket = socket::connected_udp(flow)?;
        socket::observe(&socket)?;
        socket::set_df(&socket, flow.target.is_ipv6(), udp.df)?;
        let mut body = vec![0; LARGEST].into_boxed_slice();
        crate::stream::fill(id, 0, &mut body);
        let size = match udp.size {
            Size::Bytes(size) => size,
            Size::Mtu => HEADER,
        };
        let interval = Duration::from_secs(1) / udp.rate.max(1);
        let mut this = Self {
            flow: flow.clone(),
            udp: udp.clone(),
            socket,
            interval,
            drain,
            phase: Phase::Greeting {
                next: Duration::ZERO,
            },
            ready: false,
            id,
            next: 0,
            due: Duration::ZERO,
            last_sent: Duration::ZERO,
            log: VecDeque::new(),
            settled: 0,
            body_crc: packet::body_crc(&body[..size - HEADER]),
            body,
            size,
            fitted: Duration::ZERO,
            arrivals: Arrivals::new(Duration::ZERO, interval),
            counts: Counts::default(),
            causes: Causes::default(),
            round_trips: RoundTrips::default(),
            drops: 0,
            drops_before: 0,
            instance: None,
            server: None,
        };
        this.fit();
        Ok(this)
    }

    /// The time from one packet to the next.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the server has answered, and the flow runs.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Sends what is due at `now`. Begins, ready or not, at `deadline`.
    pub fn send(&mut self, batch: &mut Batch, now: Duration, deadline: Duration) {
        match self.phase {
            Phase::Greeting { .. } if now >= deadline => {
                self.causes
                    .note(now, || "the server has not answered yet".to_owned());
                self.begin(now);
            }
            Phase::Greeting { next } if now >= next => {
                self.query(batch, now);
                let next = now + GREET_EACH;
                self.phase = Phase::Greeting { next };
            }
            Phase::Greeting { .. } => {}
            Phase::Running => self.send_due(batch, now),
        }
    }

    fn begin(&mut self, now: Duration) {
        self.phase = Phase::Running;
        self.due = now;
        self.last_sent = now;
        self.arrivals = Arrivals::new(now, self.interval);
    }

    fn send_due(&mut self, batch: &mut Batch, now: Duration) {
        if self.udp.size == Size::Mtu && now.saturating_sub(self.fitted) > FIT_EACH {
            self.fitted = now;
            self.fit();
        }
        if now.saturating_sub(self.due) > LATEST {
            self.due = now;
        }
        let mut retried = false;
        let mut short = false;
        while self.due <= now {
            let late = now.saturating_sub(self.due);
            let slots = (late.as_nanos() / self.interval.as_nanos()) as usize + 1;
            let slots = slots.min(BATCH);
            for index in 0..slots {
                self.compose(batch, index, now);
            }
            let indices: [usize; BATCH] = std::array::from_fn(|index| index);
            let socket = self.socket.as_fd();
            match batch.send(socket, &indices[..slots], MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => {
                    if short {
                        self.refused_within_batch(now);
                    }
                    short = sent < slots;
                    self.next += sent as u64;
                    self.due += self.interval * sent as u32;
                    self.last_sent = now;
                    retried = false;
                }
                Err(Errno::EAGAIN) => break,
                Err(error) => {
                    short = false;
                    retried = self.refused(error, now, retried);
                }
            }
        }
        self.keep_log(now);
    }

    /// The kernel refused to send. The first time it may be telling of an earlier packet (an ICMP
    /// error that came since), so the same is tried once more. Returns whether that is to be done.
    fn refused(&mut self, error: Errno, now: Duration, again: bool) -> bool {
        if !again {
            let size = self.size;
            self.causes
                .note(now, || format!("sending {size} bytes: {error}"));
        }
        if error == Errno::EMSGSIZE {
            self.counts.emsgsize += 1;
            self.fit();
        }
        let given_up = again || error == Errno::EPERM;
        if given_up {
            self.counts.unsent += 1;
            self.due += self.interval;
        }
        !given_up
    }

    /// The kernel did not send a whole batch, and doesn't say why; that the rest of it could be sent
    /// at once means that something refused one datagram, such as a filter on the way out. The
    /// same number went out with the rest, but the refusal must not be hidden by that.
    fn refused_within_batch(&mut self, now: Duration) {
        self.counts.unsent += 1;
        self.causes
            .note(now, || "sending: one datagram was refused".to_owned());
    }

    fn compose(&self, batch: &mut Batch, index: usize, now: Duration) {
        let pause = match index {
            0 => now.saturating_sub(self.last_sent),
            _ => Duration::ZERO,
        };
        let header = Header {
            kind: Kind::Data,
            df: self.udp.df,
            fit: self.udp.size == Size::Mtu,
            flow: self.id,
            seq: self.next + index as u64,
            sent_ns: now.as_nanos() as u64,
            pause_us: pause.as_micros().try_into().unwrap_or(u32::MAX),
            peer_received: 0,
            interval_us: self.interval.as_micros().try_into().unwrap_or(u32::MAX),
        };
        let datagram = &mut batch.buffer(index)[..self.size];
        datagram[HEADER..].copy_from_slice(&self.body[..self.size - HEADER]);
        packet::seal(datagram, &header, &self.body_crc);
        batch.address_peer(index, self.size);
    }

    /// Makes packets of size `mtu` as large as fit now.
    fn fit(&mut self) {
        if self.udp.size != Size::Mtu {
            return;
        }
        if let Ok(payload) = socket::payload_of_mtu(&self.socket, self.flow.target.is_ipv6()) {
            self.size = payload.clamp(HEADER, LARGEST);
            self.body_crc = packet::body_crc(&self.body[..self.size - HEADER]);
        }
    }

    fn keep_log(&mut self, now: Duration) {
        let newest = self.log.back().map_or(Duration::ZERO, |(at, _)| *at);
        if now.saturating_sub(newest) >= LOG_EACH {
            self.log.push_back((now, self.next));
        }
        while let Some((at, next)) = self.log.front()
            && now.saturating_sub(*at) >= self.drain
        {
            self.settled = *next;
            self.log.pop_front();
        }
    }

    /// Asks the server what it has counted.
    pub fn query(&mut self, batch: &mut Batch, now: Duration) {
        let header = Header {
            kind: Kind::Query,
            df: false,
            fit: false,
            flow: self.id,
            seq: 0,
            sent_ns: now.as_nanos() as u64,
            pause_us: 0,
            peer_received: 0,
            interval_us: 0,
        };
        packet::seal(
            &mut batch.buffer(0)[..HEADER],
            &header,
            &packet::body_crc(&[]),
        );
        batch.address_peer(0, HEADER);
        if let Err(error) = batch.send(self.socket.as_fd(), &[0], MsgFlags::MSG_DONTWAIT)
            && self.ready
        {
            self.causes
                .note(now, || format!("asking the server: {error}"));
        }
    }

    /// Takes in all that has arrived.
    pub fn receive(&mut self, batch: &mut Batch, now: Duration) {
        let stamps = Stamps::at(now);
        loop {
            match batch.receive(self.socket.as_fd(), MsgFlags::MSG_DONTWAIT) {
                Ok(count) => {
                    for index in 0..count {
                        let told = batch.ancillary(index);
                        self.drops = told.drops.unwrap_or(0).max(self.drops);
                        self.take(batch.datagram(index), stamps.convert(told.stamp), now);
                    }
                    if count < BATCH {
                        break;
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(error) => {
                    if self.ready {
                        self.causes.note(now, || format!("receiving: {error}"));
                    }
                    break;
                }
            }
        }
    }

    fn take(&mut self, datagram: &[u8], arrived: Duration, now: Duration) {
        let Ok((header, _)) = packet::open(datagram) else {
            self.counts.corrupt += 1;
            self.causes
                .note(now, || "a damaged packet came back".to_owned());
            return;
        };
        if header.flow != self.id {
            return;
        }
        match header.kind {
            Kind::Echo if header.seq < self.next => {
                let pause = Duration::from_micros(header.pause_us.into());
                let verdict = self.arrivals.receive(header.seq, arrived, pause);
                if verdict != Verdict::Duplicate {
                    let sent = Duration::from_nanos(header.sent_ns);
                    self.round_trips.record(arrived.saturating_sub(sent));
                }
            }
            Kind::Answer => {
                let Ok(received) = serde_json::from_slice::<Received>(&datagram[HEADER..]) else {
                    return;
                };
                if matches!(self.phase, Phase::Greeting { .. }) {
                    self.begin(now);
                }
                self.ready = true;
                self.instance.get_or_insert(received.instance);
                self.server = Some(received);
            }
            Kind::Data | Kind::Query | Kind::Echo => {}
        }
    }

    /// Forgets what the server said, so that [`Self::answered`] tells of a new answer.
    pub fn await_answer(&mut self) {
        self.server = None;
    }

    /// Whether the server has said what it counted.
    pub fn answered(&self) -> bool {
        self.server.is_some()
    }

    /// Begins to count anew, under the flow number `id`.
    pub fn reset(&mut self, id: u64, now: Duration) {
        self.id = id;
        self.next = 0;
        self.log.clear();
        self.settled = 0;
        self.counts = Counts::default();
        self.causes = Causes::default();
        self.round_trips = RoundTrips::default();
        self.drops_before = self.drops;
        if matches!(self.phase, Phase::Running) {
            self.begin(now);
        }
    }

    /// What has been counted so far.
    pub fn report(&self) -> FlowReport {
        let lost = self.arrivals.sequence().missing_below(self.settled);
        self.flow_report(self.counts(lost), None)
    }

    /// The whole account, once the drain time is over.
    pub fn final_report(&self) -> FlowReport {
        let sequence = self.arrivals.sequence();
        let mut counts = self.counts(sequence.missing_below(self.next));
        let mut server = None;
        if let Some(received) = &self.server
            && Some(received.instance) == self.instance
        {
            counts.lost_forward = self.next.saturating_sub(received.received);
            counts.lost_back = received.received.saturating_sub(sequence.unique());
            counts.corrupt += received.corrupt;
            counts.emsgsize += received.shortened;
            counts.unsent += received.unsent;
            server = Some(received.clone());
        }
        self.flow_report(counts, server)
    }

    fn counts(&self, lost: u64) -> Counts {
        let sequence = self.arrivals.sequence();
        let mut counts = Counts {
            sent: self.next,
            received: sequence.unique(),
            lost,
            duplicated: sequence.duplicated(),
            reordered: sequence.reordered(),
            longest_gap_us: self.arrivals.longest_gap(self.last_sent).as_micros() as u64,
            own_drops: (self.drops - self.drops_before).into(),
            ..self.counts.clone()
        };
        self.round_trips.report(&mut counts);
        counts
    }

    fn flow_report(&self, counts: Counts, server: Option<Received>) -> FlowReport {
        FlowReport {
            name: self.flow.name.clone(),
            kind: self.flow.kind.name().to_owned(),
            group: self.flow.group().to_owned(),
            target: self.flow.target.to_string(),
            ready: self.ready,
            counts,
            causes: self.causes.list(),
            server,
        }
    }
}
