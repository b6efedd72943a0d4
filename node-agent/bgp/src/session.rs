//! The session with one BGP peer (RFC 4271, section 8): what happens goes in through one method each, with the time;
//! what to do comes out of [`Session::poll`].
//!
//! A peer may have two connections for a moment, because both ends open them. Each is a [`link::Link`] with its own
//! handshake; `collision` says which one stays. What comes before any connection is [`Phase`].

mod backoff;
mod collision;
mod ending;
mod event;
mod link;
mod negotiate;
mod received;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use event::{Bytes, Connection, Event, Output, State};
pub use negotiate::Negotiated;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::backoff::{Delays, Jitter};
use self::collision::Direction;
use self::ending::Ending;
use self::link::{Link, Stage};
use crate::route::{Family, Update};
use crate::wire::{
    self, Capabilities, Cease, Kind, Notification, Open, Refresh, RouteRefresh, error,
};

/// What a session is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// This end's AS.
    pub local_as: u32,
    /// The AS that the peer must have.
    pub peer_as: u32,
    /// This end's BGP identifier; not 0.0.0.0.
    pub id: Ipv4Addr,
    /// The hold time that is offered, in seconds: 0 for none, or at least 3.
    pub hold_time: u16,
    /// Waits for the peer to connect.
    pub passive: bool,
    /// Must each path from an eBGP peer begin with its AS?
    pub check_first_as: bool,
    /// What the OPEN says; `as4` should be the local AS.
    pub capabilities: Capabilities,
    /// How long an attempt to connect may take, and how long after its beginning the next one comes.
    pub connect_retry: Backoff,
    /// How long to rest after a session has ended in error. Counted anew once a session has lasted for the longest
    /// such rest.
    pub idle_hold: Backoff,
    /// Makes the jitter differ between sessions and speakers.
    pub seed: u64,
}

/// What is done about getting a connection.
#[derive(Debug)]
enum Phase {
    /// Not until then; not at all if there is no time.
    Idle(Option<Instant>),
    /// An attempt is under way, and is given up then.
    Connect(Instant),
    /// Nothing but waiting for the peer, until then.
    Active(Option<Instant>),
}

/// The session with one peer.
pub struct Session {
    config: Config,
    capabilities: Arc<Capabilities>,
    phase: Phase,
    /// At most two; at most one of them is established.
    links: Vec<Link>,
    connect_delays: Delays,
    idle_delays: Delays,
    jitter: Jitter,
    /// Until then, what comes back is asked for often.
    hurry: Option<Instant>,
    outputs: VecDeque<Output>,
}

/// Both ends may have connected at the same moment.
const MOST_LINKS: usize = 2;
/// For how long a peer is expected back at any moment after its connection was lost, and how often it is tried
/// meanwhile. It keeps the routes that it knows for a restart time, and forgets those that it isn't told again soon.
const HURRY: Duration = Duration::from_secs(120);
const HURRIED: Duration = Duration::from_secs(1);

impl Session {
    /// A session that has not been started.
    pub fn new(config: Config) -> Self {
        Self {
            capabilities: Arc::new(config.capabilities.clone()),
            phase: Phase::Idle(None),
            links: Vec::new(),
            connect_delays: Delays::new(config.connect_retry),
            idle_delays: Delays::new(config.idle_hold),
            jitter: Jitter(config.seed),
            hurry: None,
            outputs: VecDeque::new(),
            config,
        }
    }

    /// The next thing to do, in this order. To be called until there is nothing more after each input.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::advance`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Idle(until) | Phase::Active(until) => until,
            Phase::Connect(until) => Some(until),
        };
        self.links
            .iter()
            .flat_map(|link| [link.hold, link.keepalive])
            .chain([phase])
            .flatten()
            .min()
    }

    /// How far the session is; that of the connection that is furthest.
    pub fn state(&self) -> State {
        let links = self.links.iter().map(|link| match link.stage {
            Stage::OpenSent => State::OpenSent,
            Stage::OpenConfirm(_) => State::OpenConfirm,
            Stage::Established { .. } => State::Established,
        });
        links.max().unwrap_or(match self.phase {
            Phase::Idle(_) => State::Idle,
            Phase::Connect(_) => State::Connect,
            Phase::Active(_) => State::Active,
        })
    }

    /// What was agreed on, while the session is established.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.links
            .iter()
            .find_map(Link::established)
            .map(Arc::as_ref)
    }

    /// What the next OPEN says of this end; the session that there is goes on as it was agreed on.
    pub fn set_capabilities(&mut self, capabilities: Capabilities) {
        self.capabilities = Arc::new(capabilities);
    }

    /// The admin wants the session. Also ends a rest after an error.
    pub fn start(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Idle(_)) && self.links.is_empty() {
            self.connect_delays.reset();
            self.idle_delays.reset();
            self.begin(now);
        }
    }

    /// The admin doesn't want the session, for the reason and with the words that the peer is told.
    pub fn stop(&mut self, cease: Cease, text: &str, now: Instant) {
        while let Some(connection) = self.links.first().map(|link| link.connection) {
            let why = format!("stopped here: {}", cease.notification(text));
            self.end(
                connection,
                Ending::Sent(self.cease(connection, cease, text), why),
                now,
            );
        }
        self.phase = Phase::Idle(None);
    }

    /// The connection that [`Output::Connect`] asked for is there.
    pub fn connected(&mut self, connection: Connection, now: Instant) {
        let wanted = matches!(self.phase, Phase::Connect(_));
        if wanted {
            self.phase = Phase::Active(None);
        }
        if wanted && self.links.len() < MOST_LINKS {
            self.open(connection, Direction::Outgoing, now);
        } else {
            self.outputs.push_back(Output::Close(connection));
        }
    }

    /// The peer has connected.
    pub fn accepted(&mut self, connection: Connection, now: Instant) {
        if let Phase::Idle(_) = self.phase {
            return self.outputs.push_back(Output::Close(connection));
        }
        // A speaker opens one connection at a time: an older one that got nowhere has been given up.
        let older =
            |link: &Link| link.direction == Direction::Incoming && link.established().is_none();
        if let Some(older) = self.links.iter().position(older) {
            let link = self.links.remove(older);
            self.outputs.push_back(Output::Close(link.connection));
        }
        if self.links.len() >= MOST_LINKS {
            // It is the peer's third try: one of the first two is about to be given up.
            return self.outputs.push_back(Output::Close(connection));
        }
        self.open(connection, Direction::Incoming, now);
    }

    /// The connection that [`Output::Connect`] asked for can't be made.
    pub fn connect_failed(&mut self, why: &str) {
        if let Phase::Connect(until) = self.phase {
            self.phase = Phase::Active(Some(until));
            if self.links.is_empty() {
                self.event(Event::Failed(format!("can't connect: {why}")));
            }
        }
    }

    /// The peer has sent this.
    pub fn bytes(&mut self, connection: Connection, bytes: &[u8], now: Instant) {
        if let Some(link) = self.link(connection) {
            link.push(bytes);
        }
        while let Some(link) = self.link(connection) {
            match link.pop() {
                Ok(Some(message)) => {
                    link.heard(now);
                    self.message(connection, message, now);
                }
                Ok(None) => return,
                Err(notification) => {
                    let why = format!("the peer sent what it must not: {notification}");
                    self.end(connection, Ending::Sent(notification, why), now);
                }
            }
        }
    }

    /// The connection is gone, and this end has not closed it.
    pub fn closed(&mut self, connection: Connection, why: &str, now: Instant) {
        self.end(
            connection,
            Ending::Lost(format!("connection closed: {why}")),
            now,
        );
    }

    /// Time has passed. What the peer has sent until then should be put in first.
    pub fn advance(&mut self, now: Instant) {
        let due = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        for connection in self
            .links
            .iter()
            .map(|link| link.connection)
            .collect::<Vec<_>>()
        {
            let Some(link) = self.link(connection) else {
                continue;
            };
            if due(link.hold) {
                let notification = Notification::new(error::HOLD_TIMER_EXPIRED);
                let why = "hold time over: nothing came from the peer".to_owned();
                self.end(connection, Ending::Sent(notification, why), now);
            } else if due(link.keepalive) {
                self.keepalive(connection, now);
            }
        }
        match self.phase {
            Phase::Idle(until) if due(until) => self.begin(now),
            Phase::Connect(until) if due(Some(until)) => self.redial(now),
            Phase::Active(until) if due(until) => self.redial(now),
            _ => {}
        }
    }

    /// Sends updates, if the session is established. Returns how many prefixes can't be announced to this peer, and
    /// were withdrawn instead (see [`wire::encode`]).
    pub fn send(&mut self, updates: &[Update], now: Instant) -> usize {
        self.write_established(now, |negotiated, out| {
            wire::encode(updates, &negotiated.transmit, out)
        })
    }

    /// Sends messages that were encoded for a peer with which the same was agreed on, if the session is established.
    pub fn send_encoded(&mut self, bytes: Bytes, now: Instant) {
        let established = self.links.iter().find(|link| link.established().is_some());
        if let Some(connection) = established.map(|link| link.connection) {
            self.outputs.push_back(Output::Write(connection, bytes));
            self.set_keepalive(connection, now);
        }
    }

    /// Other delays from now on.
    pub fn set_pace(&mut self, connect_retry: Backoff, idle_hold: Backoff) {
        if (self.config.connect_retry, self.config.idle_hold) != (connect_retry, idle_hold) {
            self.config.connect_retry = connect_retry;
            self.config.idle_hold = idle_hold;
            self.connect_delays = Delays::new(connect_retry);
            self.idle_delays = Delays::new(idle_hold);
        }
    }

    /// Says that all routes of a family have been sent (RFC 4724, section 2).
    pub fn send_end_of_rib(&mut self, family: Family, now: Instant) {
        self.write_established(now, |negotiated, out| {
            if *negotiated.families.get(family) {
                wire::end_of_rib(family, out);
            }
        });
    }

    /// Asks for routes again, or says where they begin and end, if the peer understands it.
    pub fn send_refresh(&mut self, refresh: RouteRefresh, now: Instant) {
        self.write_established(now, |negotiated, out| {
            if understood(negotiated, refresh) {
                refresh.encode(out);
            }
        });
    }

    fn begin(&mut self, now: Instant) {
        if self.config.passive {
            self.phase = Phase::Active(None);
        } else {
            self.dial(now);
        }
    }

    fn dial(&mut self, now: Instant) {
        self.phase = Phase::Connect(now + self.delay(now));
        self.outputs.push_back(Output::Connect);
    }

    /// Until the next attempt to connect.
    fn delay(&mut self, now: Instant) -> Duration {
        let hurries = self.hurry.is_some_and(|until| now < until);
        let most = HURRIED.min(self.config.connect_retry.first);
        if hurries {
            self.jitter.on(most)
        } else {
            self.connect_delays.next(&mut self.jitter)
        }
    }

    fn redial(&mut self, now: Instant) {
        if self.links.is_empty() {
            self.dial(now);
        } else {
            self.phase = Phase::Active(None);
        }
    }

    /// Begins the handshake on a new connection.
    fn open(&mut self, connection: Connection, direction: Direction, now: Instant) {
        let open = Open {
            asn: self.config.local_as,
            hold_time: self.config.hold_time,
            id: self.config.id,
            capabilities: Capabilities::clone(&self.capabilities),
        };
        self.write(connection, |out| open.encode(out));
        self.links.push(Link::new(
            connection,
            direction,
            self.capabilities.clone(),
            now,
        ));
    }

    /// Sends a KEEPALIVE, and sets the time of the next: a third of the hold time later (RFC 4271, section 10).
    fn keepalive(&mut self, connection: Connection, now: Instant) {
        self.write(connection, |out| wire::write(out, Kind::Keepalive, |_| {}));
        self.set_keepalive(connection, now);
    }

    fn set_keepalive(&mut self, connection: Connection, now: Instant) {
        let Some(link) = self
            .links
            .iter_mut()
            .find(|link| link.connection == connection)
        else {
            return;
        };
        let hold_time = link
            .negotiated()
            .map_or(Duration::ZERO, |negotiated| negotiated.hold_time);
        link.keepalive = (!hold_time.is_zero()).then(|| now + self.jitter.on(hold_time / 3));
    }

    /// Writes messages on the established connection. They serve as a KEEPALIVE.
    fn write_established<T: Default>(
        &mut self,
        now: Instant,
        encode: impl FnOnce(&Negotiated, &mut Vec<u8>) -> T,
    ) -> T {
        let established = self
            .links
            .iter()
            .find_map(|link| Some((link.connection, link.established()?.clone())));
        let Some((connection, negotiated)) = established else {
            return T::default();
        };
        let mut bytes = Vec::new();
        let result = encode(&negotiated, &mut bytes);
        if !bytes.is_empty() {
            let bytes = Arc::new(bytes);
            self.outputs.push_back(Output::Write(connection, bytes));
            self.set_keepalive(connection, now);
        }
        result
    }

    fn write(&mut self, connection: Connection, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        let bytes = Arc::new(bytes);
        self.outputs.push_back(Output::Write(connection, bytes));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn link(&mut self, connection: Connection) -> Option<&mut Link> {
        self.links
            .iter_mut()
            .find(|link| link.connection == connection)
    }
}

/// May this be said under what was agreed on?
fn understood(negotiated: &Negotiated, RouteRefresh { family, refresh }: RouteRefresh) -> bool {
    *negotiated.families.get(family)
        && match refresh {
            Refresh::Request => negotiated.route_refresh,
            Refresh::Begin | Refresh::End => negotiated.enhanced_route_refresh,
        }
}
