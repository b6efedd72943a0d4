//! A route reflector with many clients: one of them withdraws a prefix, and the last one hears of it.

use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use weft_bgp::route::{Nlri, Update};

use super::daemon::{Daemon, Running};
use super::peers::Peer;
use super::{MANY, address, messages, peers};
use crate::progress;
use crate::report::{Row, Section, Sense};
use crate::stats::percentile;

const ALL: [Daemon; 3] = [Daemon::Weft, Daemon::Bird, Daemon::Frr];
/// Withdrawals in a round.
const TIMES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client hears of the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Announced,
    Withdrawn,
}

/// Measures all daemons in turn.
pub async fn run(rounds: usize) -> anyhow::Result<Section> {
    let mut samples: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        progress(&format!(
            "bgp: {MANY} clients, round {} of {rounds}",
            round + 1
        ));
        for (daemon, samples) in ALL.into_iter().zip(&mut samples) {
            let sample = measure(daemon).await;
            samples.push(sample.with_context(|| format!("{daemon:?}"))?);
        }
    }
    let [weft, bird, frr] = samples;
    let row = |beside: &str, other: &[f64]| {
        Row::new(
            format!("withdrawal:{beside}"),
            "ms",
            Sense::Less,
            &weft,
            other,
        )
    };
    Ok(Section {
        title: format!("BGP: a reflector with {MANY} clients, until the last one knows"),
        rows: vec![row("BIRD", &bird), row("FRR", &frr)],
    })
}

async fn measure(daemon: Daemon) -> anyhow::Result<f64> {
    let running = Running::start(daemon, MANY, true).await?;
    let mut peers = peers::connect(MANY).await?;
    let mut teller = peers.swap_remove(0);
    let listeners = peers.len();
    let (news, mut heard) = mpsc::channel(MANY);
    let listening: Vec<_> = peers
        .into_iter()
        .map(|peer| tokio::spawn(listen(peer, messages::prefix(0), news.clone())))
        .collect();
    let mut times = Vec::new();
    for _ in 0..TIMES {
        teller.send(&messages::announce(0..1, address(0))).await?;
        all_hear(&mut heard, listeners, News::Announced).await?;
        let begun = Instant::now();
        teller.send(&messages::withdraw(0)).await?;
        all_hear(&mut heard, listeners, News::Withdrawn).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    for task in listening {
        task.abort();
    }
    running.stop().await?;
    percentile(&times, 50.0).context("no withdrawals")
}

/// Passes on what comes about a prefix, until nobody wants to know or the session ends.
async fn listen(mut peer: Peer, prefix: IpNet, news: mpsc::Sender<News>) -> anyhow::Result<()> {
    let about = |nlri: &[Nlri]| nlri.iter().any(|nlri| nlri.prefix == prefix);
    loop {
        for Update {
            withdrawn,
            announced,
            ..
        } in peer.updates().await?
        {
            if about(&withdrawn) {
                news.send(News::Withdrawn).await?;
            }
            if announced.is_some_and(|(_, nlri)| about(&nlri)) {
                news.send(News::Announced).await?;
            }
        }
    }
}

async fn all_hear(
    heard: &mut mpsc::Receiver<News>,
    listeners: usize,
    what: News,
) -> anyhow::Result<()> {
    let mut missing = listeners;
    let hearing = async {
        while missing > 0 {
            let news = heard.recv().await.context("nobody listens")?;
            missing -= usize::from(news == what);
        }
        anyhow::Ok(())
    };
    let hearing = timeout(PATIENCE, hearing).await;
    hearing.with_context(|| format!("some clients have not heard: {what:?}"))?
}
