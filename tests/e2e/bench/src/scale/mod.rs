//! The real agent and the real operator before a real API server that holds a small cluster and a
//! large one: memory, and how long the change of one peer takes from the API to the kernel.

mod fill;
mod lab;

use std::time::Duration;

use anyhow::Context;
use weft_e2e::apiserver::ApiServer;

use self::lab::Lab;
use crate::process;
use crate::progress;
use crate::report::{Aim, Row, Section, Sense};
use crate::stats::percentile;

/// Peers of a small cluster.
const FEW: usize = 3;
/// Peers of a large one.
const MANY: usize = 5000;
/// Changes of one peer in a round.
const CHANGES: usize = 5;

/// A cluster of simulated nodes.
struct Simulated {
    api: ApiServer,
    peers: usize,
    /// Bytes of the objects of one peer, as JSON.
    object_bytes: f64,
}

/// One round's figures.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// KiB resident.
    agent: f64,
    /// KiB resident.
    operator: f64,
    /// Milliseconds from a write of the API until the kernel has it.
    change: f64,
}

/// Measures both clusters in turn.
pub async fn run(rounds: usize) -> anyhow::Result<Section> {
    let lab = Lab::make().await?;
    let few = simulate(FEW).await?;
    let many = simulate(MANY).await?;
    let mut samples: Vec<(Sample, Sample)> = Vec::new();
    for round in 0..rounds {
        progress(&format!("scale: round {} of {rounds}", round + 1));
        let small = measure(&lab, &few).await.context("with 3 peers")?;
        let large = measure(&lab, &many).await.context("with 5,000 peers")?;
        samples.push((small, large));
    }
    Ok(section(&samples, many.object_bytes))
}

/// Removes what a run that was killed has left.
pub fn strike() -> anyhow::Result<()> {
    lab::strike()
}

async fn simulate(peers: usize) -> anyhow::Result<Simulated> {
    progress(&format!("scale: filling an API server with {peers} peers"));
    let api = ApiServer::start().await?;
    let object_bytes = fill::fill(&api, peers).await?;
    Ok(Simulated {
        api,
        peers,
        object_bytes,
    })
}

async fn measure(lab: &Lab, cluster: &Simulated) -> anyhow::Result<Sample> {
    let agent = lab.start_agent(cluster).await?;
    lab.wait_programmed(cluster.peers).await?;
    agent.calm(Duration::from_secs(30)).await?;
    let agent_memory = agent.resident()?;
    let mut changes = Vec::new();
    for number in 0..CHANGES {
        let peer = (cluster.peers / 2) + number % 2;
        changes.push(lab.change_peer(cluster, peer, number).await?);
    }
    drop(agent);
    lab.clean().await?;
    let operator = process::start_operator(&cluster.api)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    operator.calm(Duration::from_secs(60)).await?;
    Ok(Sample {
        agent: agent_memory,
        operator: operator.resident()?,
        change: percentile(&changes, 50.0).context("no changes")?,
    })
}

fn section(samples: &[(Sample, Sample)], object_bytes: f64) -> Section {
    let column = |get: fn(&Sample) -> f64| -> (Vec<f64>, Vec<f64>) {
        let few = samples.iter().map(|(few, _)| get(few)).collect();
        let many = samples.iter().map(|(_, many)| get(many)).collect();
        (few, many)
    };
    let per_peer = |few: &[f64], many: &[f64]| -> Vec<f64> {
        let grown = few
            .iter()
            .zip(many)
            .map(|(few, many)| (many - few) * 1024.0);
        grown.map(|bytes| bytes / (MANY - FEW) as f64).collect()
    };
    let objects = vec![object_bytes; samples.len()];
    let mut rows = Vec::new();
    for (name, get) in [
        ("agent", (|s| s.agent) as fn(&Sample) -> f64),
        ("operator", |s| s.operator),
    ] {
        let (few, many) = column(get);
        let title = format!("{name} 5000 < 3 peers");
        let megabytes = |values: &[f64]| values.iter().map(|v| v / 1024.0).collect::<Vec<_>>();
        rows.push(Row::new(
            title,
            "MiB",
            Sense::Growth,
            &megabytes(&many),
            &megabytes(&few),
        ));
        rows.push(Row::new(
            format!("{name}, a peer < as JSON"),
            "B",
            Sense::Growth,
            &per_peer(&few, &many),
            &objects,
        ));
    }
    let (few, many) = column(|s| s.change);
    let change = Row::new("one of 5000 < of 3", "ms", Sense::Growth, &many, &few);
    rows.push(change.aim(Aim::AtMost(1.5)));
    Section {
        title: "Resident memory, and one peer's change from the API to the kernel".into(),
        rows,
    }
}
