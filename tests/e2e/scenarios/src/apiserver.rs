//! The control plane goes away, and comes back.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use weft_e2e::{Node, wait};
use weft_scenarios::stage::{PATIENCE, Stage};

use crate::{look, pods, reach, under};

/// How long the API server and etcd are down.
const OUTAGE: Duration = Duration::from_secs(60);
/// Where the kubelet of the node under test looks for pods of its own, in its /etc/kubernetes.
const MANIFESTS: &str = "manifests";

/// API server and etcd are down for a minute; an agent is killed meanwhile, and a pod starts that the
/// kubelet knows from its disk. An edit after the outage is carried out.
pub async fn down(stage: &Stage) -> anyhow::Result<Value> {
    let node = stage.cluster.node("node1")?;
    let config = static_pods(&node).await?;
    let outcome = outage(stage, &node).await;
    // Whatever came of it, the stage must be usable again.
    if stage.kubectl(&["get", "--raw=/readyz"]).await.is_err() {
        stage.cluster.start_api().await?;
    }
    let _ = std::fs::remove_dir_all(node.dir().join("config").join(MANIFESTS));
    std::fs::write(node.dir().join("config/kubelet.json"), config)?;
    restart_kubelet(&node).await?;
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
            killed.signal_program("weft-agent", Signal::SIGKILL).await?;
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

/// Has the kubelet of a node start pods from its disk. Gives its configuration as it was.
async fn static_pods(node: &Node) -> anyhow::Result<String> {
    let path = node.dir().join("config/kubelet.json");
    let former = std::fs::read_to_string(&path)?;
    let mut config: Value = serde_json::from_str(&former)?;
    config["staticPodPath"] = format!("/etc/kubernetes/{MANIFESTS}").into();
    config["fileCheckFrequency"] = "1s".into();
    std::fs::create_dir_all(node.dir().join("config").join(MANIFESTS))?;
    std::fs::write(&path, config.to_string())?;
    restart_kubelet(node).await?;
    Ok(former)
}

async fn restart_kubelet(node: &Node) -> anyhow::Result<()> {
    node.stop_service("kubelet").await?;
    node.start_service("kubelet").await?;
    let healthz = "curl --silent --fail http://127.0.0.1:10248/healthz";
    wait::until("the kubelet to be healthy", PATIENCE, async || {
        node.exec(["sh", "-c", healthz])
            .await
            .map_err(|error| error.to_string())
    })
    .await?;
    Ok(())
}

/// Gives a node a manifest, and waits until its store has the addresses of the pod.
async fn start_static_pod(node: &Node) -> anyhow::Result<Vec<IpAddr>> {
    let mut pod = pods::server("from-disk", node.name());
    pod["metadata"]["namespace"] = "default".into();
    let manifest: PathBuf = node.dir().join("config").join(MANIFESTS).join("pod.json");
    std::fs::write(manifest, pod.to_string())?;
    let what = "a pod to get addresses without the API server";
    let found = wait::until(what, PATIENCE, async || {
        let journal = node
            .exec(["cat", "/var/lib/weft/ipam/journal"])
            .await
            .map_err(|error| error.to_string())?;
        let line = journal
            .stdout
            .lines()
            .rfind(|line| line.contains("\"from-disk-"))
            .map(str::to_owned);
        line.ok_or("nothing in the journal".to_owned())
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
