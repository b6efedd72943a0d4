//! Full mesh of a large cluster, seen from one node: a session with each other node, ten prefixes from each.

use anyhow::Context;
use tokio::time::Instant;

use super::daemon::{Daemon, Running};
use super::{MANY, address, messages, peers};
use crate::progress;
use crate::report::{Row, Section, Sense};

/// Prefixes of a node.
const EACH: usize = 10;
const ALL: [Daemon; 3] = [Daemon::Weft, Daemon::Bird, Daemon::Frr];

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Milliseconds until all sessions are established.
    established: f64,
    /// Milliseconds until all prefixes are in the table too.
    converged: f64,
    /// MiB resident.
    memory: f64,
}

/// Measures all daemons in turn.
pub async fn run(rounds: usize) -> anyhow::Result<Section> {
    let mut samples: [Vec<Sample>; 3] = Default::default();
    for round in 0..rounds {
        progress(&format!(
            "bgp: {MANY} sessions, round {} of {rounds}",
            round + 1
        ));
        for (daemon, samples) in ALL.into_iter().zip(&mut samples) {
            let sample = measure(daemon).await;
            samples.push(sample.with_context(|| format!("{daemon:?}"))?);
        }
    }
    Ok(Section {
        title: format!("BGP: {MANY} sessions with {EACH} prefixes each"),
        rows: rows(&samples),
    })
}

async fn measure(daemon: Daemon) -> anyhow::Result<Sample> {
    let mut running = Running::start(daemon, MANY, false).await?;
    let begun = Instant::now();
    let mut peers = peers::connect(MANY).await?;
    let established = begun.elapsed().as_secs_f64() * 1e3;
    let telling = peers
        .iter_mut()
        .enumerate()
        .map(|(number, peer)| async move {
            let own = number * EACH..(number + 1) * EACH;
            let all = messages::announce(own, address(number));
            peer.send(&all).await?;
            peer.send(&messages::end_of_rib()).await
        });
    futures::future::try_join_all(telling).await?;
    running.wait_for_all(MANY * EACH).await?;
    let sample = Sample {
        established,
        converged: begun.elapsed().as_secs_f64() * 1e3,
        memory: running.resident()? / f64::from(1 << 20),
    };
    running.stop().await?;
    Ok(sample)
}

fn rows([weft, bird, frr]: &[Vec<Sample>; 3]) -> Vec<Row> {
    let column = |samples: &[Sample], get: fn(&Sample) -> f64| -> Vec<f64> {
        samples.iter().map(get).collect()
    };
    let mut rows = Vec::new();
    for (name, unit, get) in [
        (
            "established",
            "ms",
            (|one| one.established) as fn(&Sample) -> f64,
        ),
        ("converged", "ms", |one| one.converged),
        ("memory", "MiB", |one| one.memory),
    ] {
        for (beside, other) in [("BIRD", bird), ("FRR", frr)] {
            let (weft, other) = (column(weft, get), column(other, get));
            rows.push(Row::new(
                format!("{name}:{beside}"),
                unit,
                Sense::Less,
                &weft,
                &other,
            ));
        }
    }
    rows
}
