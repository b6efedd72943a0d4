//! The control plane goes away, and comes back.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use weft_e2e::{Node, wait};
use weft_scenarios::stage::{PATIENCE, Stage};

use crate::{look, pods, reach, under};

/// How long the API server and etcd are down.
const OUTAGE: Duration = Duration::from_secs(60);
/// The file of the pod that starts meanwhile.
const MANIFEST: &str = "pod.json";

/// The control plane is down for a minute; an agent is killed meanwhile, and a pod starts that the
/// kubelet knows from its disk. An edit after the outage is carried out.
pub async fn down(stage: &Stage) -> anyhow::Result<Value> {
    let node = stage.cluster.node("node1")?;
    let outcome = outage(stage, &node).await;
    // Whatever came of it, the stage must be usable again.
    if stage.kubectl(&["get", "--raw=/readyz"]).await.is_err() {
        stage.cluster.start_api().await?;
    }
    let _ = std::fs::remove_file(node.manifests().join(MANIFEST));
    let (figures, sent) = outcome?;
    stage.wait_ready(PATIENCE).await?;
    look::renew(stage, "daemonset/weft-agent", "weft-agent").await?;
    look::addresses_add_up(stage).await?;
    Ok(json!({
        "down_s": OUTAGE.as_secs(), "pod_ms": figures[0].as_millis() as u64,
        "ready_after_edit_ms": figures[1].as_millis() as u64, "sent": sent, "lost": 0,
    }))
}

async fn outage(stage: &Stage, node: &Node) -> anyhow::Result<([Duration; 2], u64)> {
    under::lossless(stage, async || {
        let begin = Instant::now();
        stage.cluster.stop_api()?;
        for killed in ["node1", "node2"] {
            let killed = stage.cluster.node(killed)?;
            killed.kill_program("weft-agent").await?;
        }
        let start = Instant::now();
        let addresses = start_static_pod(node).await?;
        let pod = start.elapsed();
        let agent = "an agent that started without the API server";
        wait::until(agent, PATIENCE, async || {
            stage
                .cluster
                .node("node2")
                .map_err(|error| error.to_string())?
                .exec(["pgrep", "--exact", "weft-agent"])
                .await
                .map_err(|error| error.to_string())
        })
        .await?;
        for place in ["node1", "node2", "node3"] {
            reach::pods_within(stage, place, &addresses, Duration::from_secs(20)).await?;
        }
        tokio::time::sleep(OUTAGE.saturating_sub(begin.elapsed())).await;
        stage.cluster.start_api().await?;
        let edited = Instant::now();
        stage.encapsulate("CrossSubnet").await?;
        stage.wait_ready(PATIENCE).await?;
        let ready = edited.elapsed();
        reach::pods(stage, "node2", &addresses).await?;
        stage.encapsulate("Always").await?;
        stage.wait_ready(PATIENCE).await?;
        Ok([pod, ready])
    })
    .await
}

/// Gives a node a manifest, and waits until its store has the addresses of the pod.
async fn start_static_pod(node: &Node) -> anyhow::Result<Vec<IpAddr>> {
    let mut pod = pods::server("from-disk", node.name());
    pod["metadata"]["namespace"] = "default".into();
    let former = attached(node).await?;
    std::fs::write(node.manifests().join(MANIFEST), pod.to_string())?;
    let what = "a pod to get addresses without the API server";
    let found = wait::until(what, PATIENCE, async || {
        let lines = attached(node).await.map_err(|error| error.to_string())?;
        let new = lines.into_iter().find(|line| !former.contains(line));
        new.ok_or("nothing new in the journal".to_owned())
    })
    .await?;
    // A line is a checksum, a blank, and JSON.
    let json = found.split_once(' ').map_or("", |(_, json)| json);
    let record: Value = serde_json::from_str(json)?;
    let addresses = record["attach"]["addresses"].as_array();
    let addresses = addresses.context("no addresses in the journal")?.iter();
    Ok(addresses
        .filter_map(|ip| ip.as_str()?.parse().ok())
        .collect())
}

/// The lines of a node's journal by which pods of that name got addresses, now or in former runs.
async fn attached(node: &Node) -> anyhow::Result<Vec<String>> {
    let journal = node.exec(["cat", "/var/lib/weft/ipam/journal"]).await?;
    let lines = journal.stdout.lines();
    let ours = lines.filter(|line| line.contains("\"attach\"") && line.contains("\"from-disk-"));
    Ok(ours.map(str::to_owned).collect())
}
