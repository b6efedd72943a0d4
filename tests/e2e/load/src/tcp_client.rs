//! The client's side of requests over TCP: long-lived connections, and a new one for each.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::frame::{Frame, HEADER, Kind};
use crate::plan::Exchange;
use crate::stream;
use crate::udp_client::random;
use crate::worker::{Trouble, Worker, beat, within};

/// When the `index`th of all connections begins, so that they do not all send at once.
fn offset(exchange: &Exchange, index: usize) -> Duration {
    let interval = Duration::from_millis(exchange.interval_ms);
    interval.mul_f64(index as f64 / exchange.connections.max(1) as f64)
}

/// Keeps one connection open and sends a request over it each interval, until stopped.
pub async fn hold(mut worker: Worker, exchange: Exchange, index: usize) {
    let limit = Duration::from_millis(exchange.timeout_ms);
    let mut requests = Requests::new(exchange.size, limit);
    let mut before = false;
    while let Some(mut connection) = worker.keep_connecting(limit, before).await {
        before = true;
        let interval = Duration::from_millis(exchange.interval_ms);
        let mut beat = beat(offset(&exchange, index), interval);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = worker.stopped() => return,
            }
            let began = Instant::now();
            let outcome = requests.exchange(&mut connection).await;
            if !count(&worker, began, outcome) {
                break;
            }
        }
    }
}

/// Opens a new connection each interval, sends one request, and closes it, until stopped.
pub async fn visit(mut worker: Worker, exchange: Exchange, index: usize) {
    let limit = Duration::from_millis(exchange.timeout_ms);
    let mut requests = Requests::new(exchange.size, limit);
    let mut before = false;
    let interval = Duration::from_millis(exchange.interval_ms);
    let mut beat = beat(offset(&exchange, index), interval);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = worker.stopped() => return,
        }
        let began = Instant::now();
        let outcome = match worker.connect(limit).await {
            Ok(mut connection) => requests.exchange(&mut connection).await,
            Err(trouble) => Err(trouble),
        };
        if !before && outcome.is_err() && worker.tally().patient() {
            continue;
        }
        if count(&worker, began, outcome) && !before {
            before = true;
            worker.tally().part_ready();
        }
    }
}

/// Whether the exchange went well.
fn count(worker: &Worker, began: Instant, outcome: Result<(), Trouble>) -> bool {
    let mut tally = worker.tally();
    tally.stalled(began.elapsed());
    match &outcome {
        Ok(()) => tally.answered(began.elapsed()),
        Err(Trouble::Corrupt(cause)) => tally.corrupt(cause),
        Err(Trouble::Broken(cause)) => tally.broken(cause),
    }
    outcome.is_ok()
}

/// Numbered requests, each with a body of its own.
struct Requests {
    seed: u64,
    number: u64,
    request: Vec<u8>,
    response: Vec<u8>,
    limit: Duration,
}

impl Requests {
    fn new(size: usize, limit: Duration) -> Self {
        Self {
            seed: random(),
            number: 0,
            request: vec![0; HEADER + size],
            response: vec![0; HEADER + size],
            limit,
        }
    }

    async fn exchange(&mut self, connection: &mut TcpStream) -> Result<(), Trouble> {
        self.number += 1;
        let (header, body) = self.request.split_at_mut(HEADER);
        stream::fill(self.seed.wrapping_add(self.number), 0, body);
        header.copy_from_slice(&Frame::with_body(Kind::Request, self.number, body).encode());
        let limit = self.limit;
        within(limit, "a request", async {
            connection.write_all(&self.request).await?;
            connection.read_exact(&mut self.response[..HEADER]).await
        })
        .await?;
        self.check_header()?;
        let body = connection.read_exact(&mut self.response[HEADER..]);
        within(limit, "a response", body).await?;
        match self.response[HEADER..] == self.request[HEADER..] {
            true => Ok(()),
            false => Err(Trouble::Corrupt(
                "a response is not what was sent".to_owned(),
            )),
        }
    }

    fn check_header(&self) -> Result<(), Trouble> {
        let mut header = [0; HEADER];
        header.copy_from_slice(&self.response[..HEADER]);
        let corrupt = |what: String| Err(Trouble::Corrupt(what));
        match Frame::decode(&header) {
            Err(damaged) => corrupt(damaged.to_string()),
            Ok(frame) if frame.kind == Kind::Damaged => {
                corrupt("the server received a damaged request".to_owned())
            }
            Ok(frame)
                if frame.kind == Kind::Response
                    && frame.number == self.number
                    && frame.length as usize == self.request.len() - HEADER =>
            {
                Ok(())
            }
            Ok(frame) => corrupt(format!(
                "the answer to request {} is {:?} {} of {} bytes",
                self.number, frame.kind, frame.number, frame.length
            )),
        }
    }
}
