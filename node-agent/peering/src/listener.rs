//! Where BGP peers connect to.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use weft_kernel::tcp;

use crate::plan::{Password, Plan};
use crate::words;

/// How long until a listener that can't be made is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How long not to accept when the kernel has no room for a connection.
const NO_ROOM: Duration = Duration::from_millis(200);

/// The addresses whose connections are not refused.
pub(crate) type Welcome = Arc<HashSet<IpAddr>>;

/// All listeners of this node.
pub(crate) struct Listeners {
    open: BTreeMap<SocketAddr, Listener>,
    wanted: Vec<SocketAddr>,
    welcome: watch::Sender<Welcome>,
    passwords: BTreeMap<IpAddr, Password>,
    problems: BTreeMap<SocketAddr, String>,
    /// When to try again what could not be done.
    retry: Option<Instant>,
    accepted: mpsc::Sender<Accepted>,
}

/// A connection that a BGP peer has made.
pub(crate) type Accepted = (TcpStream, SocketAddr);

struct Listener {
    socket: Arc<TcpListener>,
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listeners {
    /// None yet. What they accept goes to `accepted`.
    pub(crate) fn new(accepted: mpsc::Sender<Accepted>) -> Self {
        Self {
            open: BTreeMap::new(),
            wanted: Vec::new(),
            welcome: watch::Sender::default(),
            passwords: BTreeMap::new(),
            problems: BTreeMap::new(),
            retry: None,
            accepted,
        }
    }

    /// Listens where the plan says, for those that it says; nowhere without one.
    pub(crate) fn apply(&mut self, plan: Option<&Plan>) {
        let peers = plan.into_iter().flat_map(|plan| &plan.peers);
        let passwords: BTreeMap<IpAddr, Password> = peers
            .clone()
            .filter_map(|(address, peer)| Some((*address, peer.password.clone()?)))
            .collect();
        self.welcome
            .send_replace(Arc::new(peers.map(|(address, _)| *address).collect()));
        self.wanted = plan.map(|plan| plan.listen.clone()).unwrap_or_default();
        let wanted = &self.wanted;
        self.open.retain(|at, _| wanted.contains(at));
        self.problems.retain(|at, _| wanted.contains(at));
        self.sign(passwords);
        self.bind();
    }

    /// When [`Self::bind`] is to be called again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retry
    }

    /// What can't be done, in words.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &String> {
        self.problems.values()
    }

    /// Makes the listeners that are missing, as far as they can be made.
    pub(crate) fn bind(&mut self) {
        for at in self.wanted.clone() {
            if self.open.contains_key(&at) {
                continue;
            }
            match self.listen(at) {
                Ok(listener) => {
                    self.problems.remove(&at);
                    self.open.insert(at, listener);
                }
                Err(error) => {
                    let place = words::place(at.ip(), at.port());
                    let why = words::error(&error);
                    self.problems
                        .insert(at, format!("can't listen on {place}: {why}"));
                }
            }
        }
        let missing = self.wanted.iter().any(|at| !self.open.contains_key(at));
        self.retry = missing.then(|| Instant::now() + RETRY);
    }

    fn listen(&self, at: SocketAddr) -> io::Result<Listener> {
        let of_family = |address: &IpAddr| address.is_ipv4() == at.is_ipv4();
        let passwords = self.passwords.iter();
        let passwords = passwords.filter(|(address, _)| of_family(address));
        let passwords = passwords.map(|(address, password)| (*address, password.bytes()));
        let socket = Arc::new(TcpListener::from_std(tcp::listen(at, passwords)?)?);
        let welcome = self.welcome.subscribe();
        let accepting = accept(socket.clone(), welcome, self.accepted.clone());
        let task = tokio::spawn(accepting).abort_handle();
        Ok(Listener { socket, task })
    }

    /// Changes the passwords of those listeners that there are. One for which that fails goes, because it would hear
    /// what is not signed; it is made anew.
    fn sign(&mut self, passwords: BTreeMap<IpAddr, Password>) {
        let old = std::mem::replace(&mut self.passwords, passwords);
        let new = &self.passwords;
        let all: HashSet<IpAddr> = old.keys().chain(new.keys()).copied().collect();
        let changed: Vec<IpAddr> = all
            .into_iter()
            .filter(|address| old.get(address) != new.get(address))
            .collect();
        self.open.retain(|at, listener| {
            let of_family = |address: &&IpAddr| address.is_ipv4() == at.is_ipv4();
            changed.iter().filter(of_family).all(|address| {
                let password = new.get(address).map(Password::bytes);
                tcp::set_password(&*listener.socket, *address, password).is_ok()
            })
        });
    }
}

async fn accept(
    listener: Arc<TcpListener>,
    welcome: watch::Receiver<Welcome>,
    accepted: mpsc::Sender<Accepted>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) if welcome.borrow().contains(&from.ip()) => {
                if accepted.send((stream, from)).await.is_err() {
                    return;
                }
            }
            // Reset, so that nothing of it stays in the kernel either.
            Ok((stream, _)) => {
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => sleep(NO_ROOM).await,
        }
    }
}

/// Whether only the connection that was to be accepted is concerned (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted
    )
}
