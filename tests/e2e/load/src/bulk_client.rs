//! The client's side of bulk transfers.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::frame::{Frame, HEADER, Kind};
use crate::plan::Bulk;
use crate::stream;
use crate::tcp_server::CHUNK;
use crate::udp_client::random;
use crate::worker::{Trouble, Worker, within};

/// Keeps one connection open and transfers over it, there and back in turns, until stopped.
pub async fn run(mut worker: Worker, bulk: Bulk) {
    let limit = Duration::from_millis(bulk.timeout_ms);
    let mut before = false;
    while let Some(connection) = worker.keep_connecting(limit, before).await {
        before = true;
        let mut transfers = Transfers {
            worker: worker.clone(),
            pace: Pace::new(bulk.rate),
            bulk: bulk.clone(),
            limit,
            connection,
            buffer: Vec::new(),
        };
        if transfers.alternate().await.is_ok() {
            return;
        }
    }
}

struct Transfers {
    worker: Worker,
    pace: Pace,
    bulk: Bulk,
    limit: Duration,
    connection: TcpStream,
    buffer: Vec<u8>,
}

impl Transfers {
    /// Until stopped; an error when the connection is of no use any more.
    async fn alternate(&mut self) -> Result<(), Trouble> {
        for there in [true, false].into_iter().cycle() {
            if self.worker.stopping() {
                break;
            }
            let began = Instant::now();
            let outcome = match there {
                true => self.put(random()).await,
                false => self.get(random()).await,
            };
            let mut tally = self.worker.tally();
            match &outcome {
                Ok(()) => {
                    tally.answered(began.elapsed());
                    tally.bytes(self.bulk.size);
                }
                Err(Trouble::Corrupt(cause)) => tally.corrupt(cause),
                Err(Trouble::Broken(cause)) => tally.broken(cause),
            }
            drop(tally);
            outcome?;
        }
        Ok(())
    }

    async fn put(&mut self, seed: u64) -> Result<(), Trouble> {
        self.say(Frame::bare(Kind::Put, seed, self.bulk.size))
            .await?;
        let mut offset = 0;
        while offset < self.bulk.size {
            self.buffer
                .resize(CHUNK.min((self.bulk.size - offset) as usize), 0);
            stream::fill(seed, offset, &mut self.buffer);
            let began = Instant::now();
            let write = self.connection.write_all(&self.buffer);
            within(self.limit, "sending in bulk", write).await?;
            self.progressed(began, &mut offset).await;
        }
        let mut header = [0; HEADER];
        let began = Instant::now();
        let read = self.connection.read_exact(&mut header);
        within(self.limit, "the end of a transfer", read).await?;
        self.worker.tally().stalled(began.elapsed());
        match Frame::decode(&header) {
            Ok(frame) if frame.kind == Kind::Checked && frame.number == u64::MAX => Ok(()),
            Ok(frame) if frame.kind == Kind::Checked => Err(Trouble::Corrupt(format!(
                "the server received a wrong byte at {} of {}",
                frame.number, self.bulk.size
            ))),
            Ok(_) | Err(_) => {
                let what = "the answer to a transfer is damaged".to_owned();
                Err(Trouble::Corrupt(what))
            }
        }
    }

    async fn get(&mut self, seed: u64) -> Result<(), Trouble> {
        self.say(Frame::bare(Kind::Get, seed, self.bulk.size))
            .await?;
        let mut offset = 0;
        while offset < self.bulk.size {
            self.buffer
                .resize(CHUNK.min((self.bulk.size - offset) as usize), 0);
            let began = Instant::now();
            let read = self.connection.read_exact(&mut self.buffer);
            within(self.limit, "receiving in bulk", read).await?;
            if let Some(at) = stream::first_difference(seed, offset, &self.buffer) {
                return Err(Trouble::Corrupt(format!(
                    "received a wrong byte at {} of {}",
                    offset + at as u64,
                    self.bulk.size
                )));
            }
            self.progressed(began, &mut offset).await;
        }
        Ok(())
    }

    async fn say(&mut self, frame: Frame) -> Result<(), Trouble> {
        let bytes = frame.encode();
        let write = self.connection.write_all(&bytes);
        within(self.limit, "beginning a transfer", write).await
    }

    async fn progressed(&mut self, began: Instant, offset: &mut u64) {
        self.worker.tally().stalled(began.elapsed());
        let bytes = self.buffer.len() as u64;
        *offset += bytes;
        // What has begun ends at full speed once it is time to stop.
        if let Some(wait) = self.pace.after(bytes, Instant::now())
            && !self.worker.stopping()
        {
            self.worker.sleep(wait).await;
        }
    }
}

/// How long to wait between chunks.
struct Pace {
    rate: u64,
    due: Option<Instant>,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, due: None }
    }

    /// After `bytes` more. Time lost by a stall is not made up for.
    fn after(&mut self, bytes: u64, now: Instant) -> Option<Duration> {
        if self.rate == 0 {
            return None;
        }
        let time = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let due = self.due.unwrap_or(now).max(now) + time;
        self.due = Some(due);
        due.checked_duration_since(now)
            .filter(|wait| !wait.is_zero())
    }
}
