//! Evidence that this node forwards: probes of full size, unfragmented, by each path, chosen by its
//! device, from node pod address to the probe addresses of the peers; and small ones by the underlay beside them, which
//! tell a broken path from a dead peer.

mod assignment;
mod packet;
mod prober;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use weft_kernel::{Family, udp};

pub use assignment::{Assignment, Sizes};
pub use prober::{Channel, Key, Target, Verdict};

use prober::Prober;

/// UDP port on which agents answer probes.
pub const PORT: u16 = 4873;

/// Bytes of the IP and UDP headers.
pub const fn headers(family: Family) -> u32 {
    match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// What is known of every target, by the name of the peer.
pub type Verdicts = BTreeMap<String, BTreeMap<(Family, Channel), Verdict>>;

/// Probes that are evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answered or lost.
    pub sent: u64,
    /// Lost, to peers that were there.
    pub lost: u64,
}

/// What the probes say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Of every target.
    pub verdicts: Verdicts,
    /// Of all paths that are to be proven.
    pub proofs: Tally,
}

/// Starts probing and answering; both end when `assignment` is closed.
///
/// # Errors
/// A socket can't be made, or the port is taken: then nothing runs.
pub fn start(assignment: watch::Receiver<Assignment>) -> io::Result<watch::Receiver<Arc<News>>> {
    let (answers, answered) = mpsc::channel(1024);
    let mut senders = BTreeMap::new();
    let run = run_number()?;
    for family in Family::BOTH {
        let Ok(responder) = udp::bind(family, PORT) else {
            // A kernel without this family has nobody to answer in it.
            continue;
        };
        tokio::spawn(respond(UdpSocket::from_std(responder)?, assignment.clone()));
        let socket = Arc::new(UdpSocket::from_std(udp::probe_socket(family)?)?);
        tokio::spawn(listen(socket.clone(), run, answers.clone()));
        senders.insert(family, socket);
    }
    if senders.is_empty() {
        udp::bind(Family::V4, PORT)?;
    }
    let (news, receiver) = watch::channel(Arc::new(News::default()));
    tokio::spawn(probe(senders, run, assignment, answered, news));
    Ok(receiver)
}

/// A number that no answer to an earlier run of this agent has.
fn run_number() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

async fn probe(
    sockets: BTreeMap<Family, Arc<UdpSocket>>,
    run: u64,
    mut assignment: watch::Receiver<Assignment>,
    mut answered: mpsc::Receiver<u64>,
    news: watch::Sender<Arc<News>>,
) {
    let mut prober = Prober::default();
    loop {
        for send in prober.poll(Instant::now()) {
            let Some(socket) = sockets.get(&send.key.family) else {
                continue;
            };
            let length = send.target.size.saturating_sub(headers(send.key.family)) as usize;
            let packet = packet::probe(run, send.sequence, length);
            let to = SocketAddr::new(send.target.address, PORT);
            // A probe that can't be sent is one that doesn't come back: that is what counts.
            let sent = socket.try_io(Interest::WRITABLE, || {
                udp::send(socket, &packet, to, send.target.device)
            });
            if let Err(error) = sent {
                tracing::debug!(peer = send.key.peer, %to, %error, "probe not sent");
            }
        }
        if let Some(latest) = prober.news(Instant::now()) {
            news.send_replace(Arc::new(latest));
        }
        let deadline = prober.deadline().map(tokio::time::Instant::from_std);
        tokio::select! {
            changed = assignment.changed() => {
                if changed.is_err() {
                    return;
                }
                let targets = assignment.borrow_and_update().targets.clone();
                prober.set_targets(&targets, Instant::now());
            }
            sequence = answered.recv() => {
                let Some(sequence) = sequence else { return };
                prober.answered(sequence);
            }
            () = sleep_until(deadline) => {}
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn listen(socket: Arc<UdpSocket>, run: u64, answers: mpsc::Sender<u64>) {
    let mut buffer = [0; packet::HEADER + 1];
    while !answers.is_closed() {
        let Ok((length, _)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some(packet::Packet::Answer { run: of, sequence }) = packet::parse(&buffer[..length])
            && of == run
            && answers.send(sequence).await.is_err()
        {
            return;
        }
    }
}

async fn respond(socket: UdpSocket, mut assignment: watch::Receiver<Assignment>) {
    let mut buffer = vec![0; 65536];
    loop {
        tokio::select! {
            changed = assignment.changed() => {
                if changed.is_err() {
                    return;
                }
                assignment.mark_unchanged();
            }
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, from)) = received else { continue };
                let known = assignment.borrow().peers.contains(&from.ip());
                if let Some(answer) = packet::answer(&buffer[..length]).filter(|_| known)
                    && let Err(error) = socket.try_send_to(&answer, from)
                {
                    tracing::debug!(%from, %error, "answer not sent");
                }
            }
        }
    }
}
