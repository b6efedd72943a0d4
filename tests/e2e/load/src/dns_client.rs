//! DNS queries over UDP, each from a socket of its own as resolvers do, without retry: a query
//! that is lost is seen.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::dns_message::{self, Answer};
use crate::plan::Dns;
use crate::socket;
use crate::udp_client::random;
use crate::worker::{Trouble, Worker, beat, within};

/// Largest answer over UDP without EDNS (RFC 1035, 4.2.1), and then some.
const LARGEST: usize = 4096;

/// Sends queries until stopped, then waits for the answers under way.
pub async fn run(mut worker: Worker, dns: Dns) {
    let mut beat = beat(Duration::ZERO, Duration::from_millis(dns.interval_ms));
    let mut under_way = JoinSet::new();
    for record in dns.records.clone().into_iter().cycle() {
        tokio::select! {
            _ = beat.tick() => {}
            () = worker.stopped() => break,
        }
        let query = dns_message::query(random() as u16, &dns.query, record);
        let limit = Duration::from_millis(dns.timeout_ms);
        let worker = worker.clone();
        under_way.spawn(async move { ask_and_count(&worker, &query, limit).await });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

async fn ask_and_count(worker: &Worker, query: &[u8], limit: Duration) {
    let began = Instant::now();
    let outcome = ask(worker, query, limit).await;
    let mut tally = worker.tally();
    let before = tally.ready();
    if !before && outcome != Ok(Answer::Good) && tally.patient() {
        return;
    }
    tally.stalled(began.elapsed());
    match outcome {
        Ok(Answer::Good) => {
            tally.answered(began.elapsed());
            if !before {
                tally.part_ready();
            }
        }
        Ok(Answer::Code(code)) => tally.broken(&format!("a query: response code {code}")),
        Ok(_) => tally.corrupt("an answer is damaged"),
        Err(trouble) => tally.lost(&trouble.to_string()),
    }
}

async fn ask(worker: &Worker, query: &[u8], limit: Duration) -> Result<Answer, Trouble> {
    within(limit, "a query", async {
        let socket = UdpSocket::from_std(socket::connected_udp(worker.flow())?)?;
        socket.send(query).await?;
        let mut message = [0; LARGEST];
        loop {
            let length = socket.recv(&mut message).await?;
            match dns_message::answer(query, &message[..length]) {
                Answer::Other => {}
                answer => return Ok(answer),
            }
        }
    })
    .await
}
