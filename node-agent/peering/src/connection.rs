//! One connection: a task that reads and writes.
//!
//! What the BGP peer sends waits in the kernel while the driver is busy: the channel to it is bounded. What is sent to
//! the BGP peer waits here, and the driver ends a session for which too much waits; or this task does, when nothing at
//! all could be written for the send hold time (RFC 9687).

use std::future::pending;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use weft_bgp::session::Bytes;

use crate::words;

/// The most that is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// How long the last words may take, once this end has closed the connection.
const FAREWELL: Duration = Duration::from_secs(5);

/// This end of a connection. Dropping it closes the connection once what was queued has been sent.
pub(crate) struct Link {
    stream: Arc<TcpStream>,
    queue: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
    /// Dropped with this, which the task notices.
    _leave: oneshot::Sender<()>,
}

/// What comes of a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// The BGP peer has sent this.
    Bytes(Vec<u8>),
    /// It is gone, for the reason in these words.
    Closed(String),
}

impl Link {
    /// Begins to read and write. `tell` takes what comes, and is slow when it has no time. `held` lives as long as the
    /// task.
    pub(crate) fn open<Tell>(
        stream: TcpStream,
        send_hold: Duration,
        held: impl Send + 'static,
        tell: impl Fn(Event) -> Tell + Send + Sync + 'static,
    ) -> Self
    where
        Tell: Future<Output = ()> + Send + 'static,
    {
        let stream = Arc::new(stream);
        let (queue, queued) = mpsc::unbounded_channel();
        let (leave, leaving) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            stream: stream.clone(),
            queue: queued,
            current: Bytes::default(),
            at: 0,
            waiting: waiting.clone(),
        };
        tokio::spawn(async move {
            run(writer, leaving, send_hold, tell).await;
            drop(held);
        });
        Self {
            stream,
            queue,
            waiting,
            _leave: leave,
        }
    }

    /// Sends this after what was queued before. Returns how many bytes wait now.
    pub(crate) fn send(&self, bytes: Bytes) -> usize {
        let length = bytes.len();
        let before = self.waiting.fetch_add(length, Ordering::Relaxed);
        // If the task has ended, it has said so.
        let _ = self.queue.send(bytes);
        before + length
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

async fn run<Tell: Future<Output = ()>>(
    mut writer: Writer,
    leaving: oneshot::Receiver<()>,
    send_hold: Duration,
    tell: impl Fn(Event) -> Tell,
) {
    let stream = writer.stream.clone();
    let reading = async {
        loop {
            match read(&stream).await {
                Ok(bytes) if bytes.is_empty() => return "the peer has closed it".to_owned(),
                Ok(bytes) => tell(Event::Bytes(bytes)).await,
                Err(error) => return words::error(&error),
            }
        }
    };
    let why = tokio::select! {
        why = reading => why,
        why = writer.write_for_ever(send_hold) => why,
        _ = leaving => {
            let _ = timeout(FAREWELL, say_goodbye(writer)).await;
            return;
        }
    };
    tell(Event::Closed(why)).await;
}

/// Sends what is queued, then waits for the peer to close too: closing with anything unread would reset the connection,
/// and the peer might lose what it was sent last.
async fn say_goodbye(mut writer: Writer) -> io::Result<()> {
    writer.write_rest().await?;
    socket2::SockRef::from(&*writer.stream).shutdown(std::net::Shutdown::Write)?;
    while !read(&writer.stream).await?.is_empty() {}
    Ok(())
}

async fn read(stream: &TcpStream) -> io::Result<Vec<u8>> {
    loop {
        stream.readable().await?;
        let mut bytes = Vec::with_capacity(CHUNK);
        match stream.try_read_buf(&mut bytes) {
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// What waits to be written. It can be stopped at any await, and goes on where it was.
struct Writer {
    stream: Arc<TcpStream>,
    queue: mpsc::UnboundedReceiver<Bytes>,
    current: Bytes,
    /// How many bytes of `current` are written.
    at: usize,
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    /// Writes what comes. Returns why it no longer can.
    async fn write_for_ever(&mut self, send_hold: Duration) -> String {
        loop {
            if let Err(error) = self.write_current(send_hold).await {
                return words::error(&error);
            }
            match self.queue.recv().await {
                Some(next) => (self.current, self.at) = (next, 0),
                None => pending().await,
            }
        }
    }

    async fn write_rest(&mut self) -> io::Result<()> {
        loop {
            self.write_current(FAREWELL).await?;
            match self.queue.recv().await {
                Some(next) => (self.current, self.at) = (next, 0),
                None => return Ok(()),
            }
        }
    }

    /// Fails if nothing at all can be written for so long.
    async fn write_current(&mut self, patience: Duration) -> io::Result<()> {
        while let Some(rest) = self.current.get(self.at..).filter(|rest| !rest.is_empty()) {
            match self.stream.try_write(rest) {
                Ok(written) => {
                    self.at += written;
                    self.waiting.fetch_sub(written, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let writable = timeout(patience, self.stream.writable()).await;
                    writable.unwrap_or_else(|_| {
                        let time = patience.as_secs_f32();
                        let why = format!("the peer has read nothing for {time} s");
                        Err(io::Error::new(ErrorKind::TimedOut, why))
                    })?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
