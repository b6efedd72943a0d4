//! One BGP peer says very much: how long until all is in the table, and what it costs in memory.

use anyhow::Context;
use tokio::time::Instant;

use super::daemon::{Daemon, Running};
use super::{address, messages, peers};
use crate::progress;
use crate::report::{Aim, Row, Section, Sense};

/// How many prefixes come.
const SIZES: [usize; 2] = [10_000, 100_000];
const ALL: [Daemon; 4] = [Daemon::Weft, Daemon::Bird, Daemon::Frr, Daemon::GoBgp];

/// What one daemon made of one feed.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Milliseconds.
    time: f64,
    /// Bytes for a prefix.
    memory: f64,
}

/// Measures all daemons in turn.
pub async fn run(rounds: usize) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    for size in SIZES {
        let feed = messages::announce(0..size, address(0));
        let mut samples: [Vec<Sample>; 4] = Default::default();
        for round in 0..rounds {
            progress(&format!(
                "bgp: {size} prefixes, round {} of {rounds}",
                round + 1
            ));
            for (daemon, samples) in ALL.into_iter().zip(&mut samples) {
                let sample = measure(daemon, size, &feed).await;
                samples.push(sample.with_context(|| format!("{daemon:?}"))?);
            }
        }
        rows.extend(self::rows(size, &samples));
    }
    Ok(Section {
        title: "BGP: prefixes from one session until they are in the table".into(),
        rows,
    })
}

async fn measure(daemon: Daemon, size: usize, feed: &[u8]) -> anyhow::Result<Sample> {
    let mut running = Running::start(daemon, 1, false).await?;
    let mut peers = peers::connect(1).await?;
    let before = running.resident()?;
    let begun = Instant::now();
    for peer in &mut peers {
        peer.send(feed).await?;
        peer.send(&messages::end_of_rib()).await?;
    }
    // Prefixes come in order.
    running.wait_for(messages::prefix(size - 1)).await?;
    let time = begun.elapsed().as_secs_f64() * 1e3;
    running.wait_for_all(size).await?;
    let memory = (running.resident()? - before) / size as f64;
    running.stop().await?;
    Ok(Sample { time, memory })
}

fn rows(size: usize, [weft, bird, frr, gobgp]: &[Vec<Sample>; 4]) -> Vec<Row> {
    let times = |samples: &[Sample]| samples.iter().map(|one| one.time).collect::<Vec<_>>();
    let memory = |samples: &[Sample]| samples.iter().map(|one| one.memory).collect::<Vec<_>>();
    let faster: Vec<f64> = bird
        .iter()
        .zip(frr)
        .map(|(bird, frr)| bird.time.min(frr.time))
        .collect();
    let size = format!("{}k", size / 1000);
    let time = |beside: &str, other: &[f64]| {
        let name = format!("{size}:{beside}");
        Row::new(name, "ms", Sense::Less, &times(weft), other)
    };
    let bytes = |beside: &str, other: &[Sample]| {
        let name = format!("{size}, a prefix:{beside}");
        Row::new(name, "B", Sense::Less, &memory(weft), &memory(other))
    };
    vec![
        time("faster of BIRD, FRR", &faster).aim(Aim::AtLeast(1.0)),
        time("BIRD", &times(bird)),
        time("FRR", &times(frr)),
        time("GoBGP", &times(gobgp)).aim(Aim::AtLeast(3.0)),
        bytes("BIRD", bird),
        bytes("FRR", frr),
        bytes("GoBGP", gobgp),
    ]
}
