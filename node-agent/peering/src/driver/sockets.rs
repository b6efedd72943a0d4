//! The sockets of a driver: listeners, attempts to connect, connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use weft_bgp::rib::PeerId;
use weft_bgp::session::{Bytes, Connection};
use weft_kernel::tcp;

use super::Input;
use crate::connection::Link;
use crate::listener::{Accepted, Listeners};
use crate::plan::{Password, PeerPlan, Plan, Settings};
use crate::words;

/// How many accepted connections one BGP peer may have, those included that are being closed.
const MAX_ACCEPTED: usize = 4;
/// How many accepted connections all BGP peers may have, beside one for each.
const MAX_HALF_OPEN: usize = 1024;
/// How much may wait for a BGP peer that doesn't read, in bytes: more than all there is to say to it.
const MAX_WAITING: usize = 64 << 20;
/// The least time in which something must be written (RFC 9687, section 6).
const SEND_HOLD: Duration = Duration::from_secs(8 * 60);

pub(super) struct Sockets {
    inputs: mpsc::Sender<Input>,
    listeners: Listeners,
    dials: HashMap<PeerId, Dial>,
    links: HashMap<Connection, (PeerId, Link)>,
    accepted: HashMap<PeerId, Arc<AtomicUsize>>,
    all_accepted: Arc<AtomicUsize>,
    next: u64,
}

/// An attempt to connect.
struct Dial {
    number: u64,
    task: AbortHandle,
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts one accepted connection for as long as it lives.
struct Counted([Arc<AtomicUsize>; 2]);

impl Drop for Counted {
    fn drop(&mut self) {
        for count in &self.0 {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Sockets {
    /// None. What comes of those to be goes to `inputs`; what BGP peers open, to `accepted`.
    pub(super) fn new(inputs: mpsc::Sender<Input>, accepted: mpsc::Sender<Accepted>) -> Self {
        Self {
            inputs,
            listeners: Listeners::new(accepted),
            dials: HashMap::new(),
            links: HashMap::new(),
            accepted: HashMap::new(),
            all_accepted: Arc::default(),
            next: 0,
        }
    }

    pub(super) fn listen(&mut self, plan: Option<&Plan>) {
        self.listeners.apply(plan);
    }

    /// When [`Self::retry`] is to be called.
    pub(super) fn deadline(&self) -> Option<tokio::time::Instant> {
        self.listeners.deadline()
    }

    /// Tries again what could not be done, if it is time. True if it was.
    pub(super) fn retry(&mut self) -> bool {
        let now = tokio::time::Instant::now();
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.listeners.bind();
        }
        due
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.listeners.problems().cloned().collect()
    }

    /// Connects to a BGP peer, instead of an attempt that is under way.
    pub(super) fn dial(
        &mut self,
        id: PeerId,
        address: IpAddr,
        peer: &PeerPlan,
        settings: &Settings,
    ) {
        let number = self.number();
        let inputs = self.inputs.clone();
        // The session tries again after at least this part of the time, and must hear before of how this one went.
        let patience = settings.connect_retry.first.mul_f32(0.7);
        let peer = peer.clone();
        let dialling = tokio::spawn(async move {
            let outcome = dial(address, &peer, patience).await;
            let _ = inputs.send(Input::Dialled(id, number, outcome)).await;
        });
        let task = dialling.abort_handle();
        self.dials.insert(id, Dial { number, task });
    }

    /// Whether an attempt that has ended is the last one; there is none any more then.
    pub(super) fn is_current(&mut self, id: PeerId, number: u64) -> bool {
        let current = self
            .dials
            .get(&id)
            .is_some_and(|dial| dial.number == number);
        if current {
            self.dials.remove(&id);
        }
        current
    }

    /// Takes a connection that was made here.
    pub(super) fn connected(
        &mut self,
        id: PeerId,
        peer: &PeerPlan,
        stream: TcpStream,
    ) -> Connection {
        self.open(id, peer, stream, ())
    }

    /// Takes a connection that a BGP peer has made, unless it has too many.
    pub(super) fn accepted(
        &mut self,
        id: PeerId,
        address: IpAddr,
        peer: &PeerPlan,
        stream: TcpStream,
    ) -> Option<Connection> {
        let of_peer = self.accepted.entry(id).or_default().clone();
        let counts = [of_peer, self.all_accepted.clone()];
        let limits = [MAX_ACCEPTED, MAX_HALF_OPEN + self.accepted.len()];
        let has_room =
            |(count, limit): (&Arc<AtomicUsize>, usize)| count.load(Ordering::Relaxed) < limit;
        if !counts.iter().zip(limits).all(has_room) {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return None;
        }
        for count in &counts {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let counted = Counted(counts);
        match set_up(&stream, address, peer) {
            Ok(()) => Some(self.open(id, peer, stream, counted)),
            Err(error) => {
                let why = words::error(&error);
                tracing::warn!(peer = peer.name, %address, "can't set up its connection: {why}");
                None
            }
        }
    }

    fn open(
        &mut self,
        id: PeerId,
        peer: &PeerPlan,
        stream: TcpStream,
        held: impl Send + 'static,
    ) -> Connection {
        let connection = Connection(self.number());
        let inputs = self.inputs.clone();
        let send_hold = SEND_HOLD.max(2 * Duration::from_secs(peer.config.hold_time.into()));
        let link = Link::open(stream, send_hold, held, move |event| {
            let inputs = inputs.clone();
            async move {
                let _ = inputs.send(Input::Connection(id, connection, event)).await;
            }
        });
        self.links.insert(connection, (id, link));
        connection
    }

    /// Whether this connection is of any interest.
    pub(super) fn has(&self, connection: Connection) -> bool {
        self.links.contains_key(&connection)
    }

    /// Sends bytes; an error is why the connection is closed instead.
    pub(super) fn write(&mut self, connection: Connection, bytes: Bytes) -> Result<(), String> {
        let Some((_, link)) = self.links.get(&connection) else {
            return Ok(());
        };
        if link.send(bytes) <= MAX_WAITING {
            return Ok(());
        }
        self.forget(connection);
        let most = MAX_WAITING >> 20;
        Err(format!(
            "the peer reads too slowly: more than {most} MiB wait for it"
        ))
    }

    /// Closes a connection once all has been sent.
    pub(super) fn forget(&mut self, connection: Connection) {
        self.links.remove(&connection);
    }

    /// Goes on with a BGP peer in another way, as far as sockets are concerned. True if an attempt to connect that is
    /// under way was given up for it.
    pub(super) fn adjust(
        &mut self,
        id: PeerId,
        address: IpAddr,
        old: &PeerPlan,
        new: &PeerPlan,
    ) -> bool {
        let links = self.links.values().filter(|(of, _)| *of == id);
        for (_, link) in links {
            let mut outcome = Ok(());
            if old.password != new.password {
                let password = new.password.as_ref().map(Password::bytes);
                outcome = tcp::set_password(link.stream(), address, password);
            }
            if old.hops != new.hops {
                outcome = outcome.and(tcp::limit_hops(link.stream(), address, new.hops));
            }
            if let Err(error) = outcome {
                let why = words::error(&error);
                tracing::warn!(peer = new.name, %address, "can't change its connection: {why}");
            }
        }
        let side = |peer: &PeerPlan| (peer.port, peer.source, peer.hops, peer.password.clone());
        side(old) != side(new) && self.dials.remove(&id).is_some()
    }

    /// Gives up what is done to connect to a BGP peer.
    pub(super) fn abandon(&mut self, id: PeerId) {
        self.dials.remove(&id);
        self.accepted.remove(&id);
    }

    /// Closes all connections once all has been sent, and makes no more.
    pub(super) fn forget_all(&mut self) {
        self.dials.clear();
        self.links.clear();
        self.accepted.clear();
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn set_up(stream: &TcpStream, address: IpAddr, peer: &PeerPlan) -> io::Result<()> {
    stream.set_nodelay(true)?;
    tcp::limit_hops(stream, address, peer.hops)?;
    // It may have been made before the listener knew of the password.
    let password = peer.password.as_ref().map(Password::bytes);
    tcp::set_password(stream, address, password)
}

async fn dial(address: IpAddr, peer: &PeerPlan, patience: Duration) -> Result<TcpStream, String> {
    let place = words::place(address, peer.port);
    let password = peer.password.as_ref().map(Password::bytes);
    let socket = tcp::dial(Some(peer.source), address, peer.hops, password);
    let socket = socket.map_err(|error| {
        let why = words::error(&error);
        format!("from {} to {place}: {why}", peer.source)
    })?;
    let socket = TcpSocket::from_std_stream(socket);
    let there = SocketAddr::new(address, peer.port);
    match timeout(patience, socket.connect(there)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(format!("{place}: {}", words::error(&error))),
        Err(_) => {
            let hint = match peer.password {
                Some(_) => "; a wrong password looks like this too",
                None => "",
            };
            let seconds = patience.as_secs_f32();
            Err(format!("{place}: no answer for {seconds} s{hint}"))
        }
    }
}
