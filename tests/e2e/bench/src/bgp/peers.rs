//! The BGP peers of a measured daemon: they say what they are told to, and listen.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use weft_bgp::route::Update;
use weft_bgp::wire::{Framer, Kind, MAX, decode};

use super::messages::{self, RECEIVE};
use super::{DAEMON, address};

const PATIENCE: Duration = Duration::from_secs(60);
/// How many connect at the same time. BIRD lets eight wait, and who comes beyond that tries again a second later.
const TOGETHER: usize = 4;

/// One of them, with its session.
pub struct Peer {
    stream: TcpStream,
    framer: Framer,
}

/// Sessions of so many, all established, in the order of their numbers.
pub async fn connect(count: usize) -> anyhow::Result<Vec<Peer>> {
    stream::iter(0..count)
        .map(|number| Peer::connect(address(number)))
        .buffered(TOGETHER)
        .try_collect()
        .await
}

impl Peer {
    /// Tries again while the daemon is not ready for it.
    async fn connect(own: Ipv4Addr) -> anyhow::Result<Self> {
        let begun = Instant::now();
        loop {
            match Self::try_connect(own).await {
                Err(error) if begun.elapsed() > PATIENCE => {
                    return Err(error).with_context(|| format!("peer {own} gets no session"));
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
                peer => return peer,
            }
        }
    }

    async fn try_connect(own: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(own.into(), 0))?;
        let stream = socket.connect(SocketAddr::new(DAEMON.into(), 179)).await?;
        stream.set_nodelay(true)?;
        let framer = Framer::new(MAX);
        let mut peer = Self { stream, framer };
        timeout(PATIENCE, peer.establish(own)).await??;
        Ok(peer)
    }

    /// Says OPEN and KEEPALIVE, and hears both.
    async fn establish(&mut self, own: Ipv4Addr) -> anyhow::Result<()> {
        self.send(&messages::open(own)).await?;
        self.send(&messages::keepalive()).await?;
        while self.next().await?.0 != Kind::Keepalive {}
        Ok(())
    }

    /// Sends this.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if let Err(error) = self.stream.write_all(bytes).await {
            // It may have said why.
            let why = loop {
                if let Err(why) = self.next().await {
                    break why;
                }
            };
            return Err(why).context(error);
        }
        Ok(())
    }

    /// The updates of the next UPDATE.
    pub async fn updates(&mut self) -> anyhow::Result<Vec<Update>> {
        loop {
            if let (Kind::Update, updates) = self.next().await? {
                return Ok(updates);
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<(Kind, Vec<Update>)> {
        loop {
            let frame = self.framer.pop();
            if let Some(frame) = frame.map_err(|why| anyhow::anyhow!("not BGP: {why:?}"))? {
                if frame.kind == Kind::Notification {
                    bail!("the daemon ends the session: {:?}", frame.body);
                }
                if frame.kind != Kind::Update {
                    return Ok((frame.kind, Vec::new()));
                }
                let decoded = decode(frame.body, &RECEIVE);
                let decoded = decoded.map_err(|why| anyhow::anyhow!("no UPDATE: {why:?}"))?;
                return Ok((Kind::Update, decoded.updates));
            }
            let mut bytes = [0; 16 << 10];
            let read = self.stream.read(&mut bytes).await?;
            ensure!(read > 0, "the daemon has closed the connection");
            self.framer.push(&bytes[..read]);
        }
    }
}
