//! What the flows that are not paced datagrams share: their counts, and when to stop.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::plan::Flow;
use crate::report::FlowReport;
use crate::socket;
use crate::tally::{Tally, lock};

/// Between two attempts to connect.
const RETRY_EACH: Duration = Duration::from_millis(200);

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Trouble {
    /// Bytes arrived that were not sent.
    #[error("{0}")]
    Corrupt(String),
    /// The connection is of no use any more.
    #[error("{0}")]
    Broken(String),
}

impl Trouble {
    /// An error of the kernel while `doing` something.
    pub fn io(doing: &str, error: &io::Error) -> Self {
        Trouble::Broken(match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("{doing}: closed by the other side"),
            _ => format!("{doing}: {error}"),
        })
    }

    /// Nothing happened for `limit` while `doing` something.
    pub fn late(doing: &str, limit: Duration) -> Self {
        Trouble::Broken(format!("{doing}: nothing for {} ms", limit.as_millis()))
    }
}

/// Waits for `what`, for `limit` at most.
pub async fn within<T>(
    limit: Duration,
    doing: &str,
    what: impl Future<Output = io::Result<T>>,
) -> Result<T, Trouble> {
    match timeout(limit, what).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Trouble::io(doing, &error)),
        Err(_) => Err(Trouble::late(doing, limit)),
    }
}

/// One task's hold on its flow.
#[derive(Clone)]
pub struct Worker {
    flow: Arc<Flow>,
    tally: Arc<Mutex<Tally>>,
    stop: watch::Receiver<bool>,
}

impl Worker {
    /// All of `stop`'s holders end their tasks when it becomes true.
    pub fn new(flow: Flow, tally: Tally, stop: watch::Receiver<bool>) -> Self {
        Self {
            flow: Arc::new(flow),
            tally: Arc::new(Mutex::new(tally)),
            stop,
        }
    }

    /// Its flow in the plan.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Its counts.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Whether it is time to stop.
    pub fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when it is time to stop.
    pub async fn stopped(&mut self) {
        // An error means that the run is gone, which is a stop too.
        self.stop.wait_for(|stop| *stop).await.ok();
    }

    /// Sleeps; false when it was time to stop instead.
    pub async fn sleep(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.stopped() => false,
        }
    }

    /// Connects to the target once.
    pub async fn connect(&self, limit: Duration) -> Result<TcpStream, Trouble> {
        let connect = async {
            let socket = socket::unconnected_tcp(&self.flow)?;
            socket.connect(self.flow.target).await
        };
        within(limit, "connecting", connect).await
    }

    /// Connects to the target, again and again. Nothing when it was time to stop instead.
    ///
    /// The first connection has the time that the plan gives for the start before it counts as
    /// broken; `before` says whether there has been one.
    pub async fn keep_connecting(&mut self, limit: Duration, before: bool) -> Option<TcpStream> {
        let mut given_up = before;
        loop {
            match self.connect(limit).await {
                Ok(stream) => {
                    let mut tally = self.tally();
                    if !before {
                        tally.part_ready();
                    }
                    if given_up {
                        tally.reopened();
                    }
                    return Some(stream);
                }
                Err(trouble) => {
                    let mut tally = self.tally();
                    if given_up {
                        tally.cause(&trouble.to_string());
                    } else if !tally.patient() {
                        given_up = true;
                        tally.never_opened(&trouble.to_string());
                    }
                }
            }
            if !self.sleep(RETRY_EACH).await {
                return None;
            }
        }
    }

    /// What has been counted.
    pub fn report(&self) -> FlowReport {
        let tally = self.tally();
        let (counts, causes) = tally.report();
        FlowReport {
            name: self.flow.name.clone(),
            kind: self.flow.kind.name().to_owned(),
            group: self.flow.group().to_owned(),
            target: self.flow.target.to_string(),
            ready: tally.ready(),
            counts,
            causes,
            server: None,
        }
    }
}

/// A regular beat. A beat that comes while the task is busy comes late, not twice.
pub fn beat(start: Duration, interval: Duration) -> tokio::time::Interval {
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + start, interval);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    beat
}
