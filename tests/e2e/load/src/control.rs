//! The control port of a run: one line of JSON asks, one line of JSON answers, over TCP.
//!
//! The request is `{"do": "status"}`, `{"do": "reset"}` or `{"do": "stop"}`; the answer is a
//! [`Report`]: the counts so far, the counts that the reset ended, or the final report.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::report::Report;

/// What a client can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Report what has been counted so far.
    Status,
    /// Report, and begin to count anew.
    Reset,
    /// Stop sending, wait for what is in flight, report and end.
    Stop,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    r#do: Command,
}

/// A command, and where its answer goes.
pub type Ask = (Command, oneshot::Sender<Report>);

/// Passes on what is asked at `listener`, for ever.
pub async fn listen(listener: TcpListener, asks: mpsc::Sender<Ask>) {
    loop {
        if let Ok((connection, _)) = listener.accept().await {
            let asks = asks.clone();
            tokio::spawn(async move { converse(connection, &asks).await.ok() });
        }
    }
}

async fn converse(
    connection: tokio::net::TcpStream,
    asks: &mpsc::Sender<Ask>,
) -> anyhow::Result<()> {
    let (read, mut write) = connection.into_split();
    let mut lines = tokio::io::BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let mut answer = match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let (send, receive) = oneshot::channel();
                asks.send((request.r#do, send)).await?;
                serde_json::to_string(&receive.await?)?
            }
            Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
        };
        answer.push('\n');
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Tells the run whose control port is `address` to do something. Blocks for its answer.
pub fn tell(address: SocketAddr, command: Command, limit: Duration) -> anyhow::Result<Report> {
    let reach = || format!("cannot reach the control port {address}: is the run over?");
    let mut connection = TcpStream::connect_timeout(&address, limit).with_context(reach)?;
    connection.set_read_timeout(Some(limit))?;
    let mut line = serde_json::to_string(&Request { r#do: command })?;
    line.push('\n');
    connection.write_all(line.as_bytes()).with_context(reach)?;
    let mut answer = String::new();
    BufReader::new(connection)
        .read_line(&mut answer)
        .with_context(|| format!("no answer from the control port {address}"))?;
    serde_json::from_str(&answer)
        .with_context(|| format!("the control port {address} answered {answer:?}"))
}

/// Waits until every flow of the run is ready.
pub fn wait_ready(address: SocketAddr, limit: Duration) -> anyhow::Result<Report> {
    let began = Instant::now();
    loop {
        let report = tell(address, Command::Status, limit);
        match report {
            Ok(report) if report.ready => return Ok(report),
            Ok(report) if began.elapsed() > limit => {
                let waiting = report.flows.iter().filter(|flow| !flow.ready);
                let waiting: Vec<&str> = waiting.map(|flow| flow.name.as_str()).collect();
                bail!("not ready after {limit:?}: {}", waiting.join(", "));
            }
            Err(error) if began.elapsed() > limit => return Err(error),
            Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
