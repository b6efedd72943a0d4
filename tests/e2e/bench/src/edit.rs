//! From `kubectl apply` of another encapsulation until every pair of nodes has moved, beside what
//! the API alone takes: `kubectl apply` of an object until a watch has seen it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use weft_scenarios::stage::{PATIENCE, Stage, default_config};

use crate::network::Path;
use crate::place::Place;
use crate::report::{Row, Section, Sense};
use crate::{progress, stage};

/// The object whose way through the API is measured.
const PROBE: &str = "weft-bench";
/// Between two edits.
const CALM: Duration = Duration::from_secs(1);

/// Measures both in turn; the cluster begins and ends Ready.
pub async fn run(stage: &Stage, rounds: usize) -> anyhow::Result<Section> {
    let mut watch = Nexthops::watch(stage).await?;
    apply_probe(stage, 0).await?;
    let (mut moved, mut seen) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for (turn, path) in [Path::Direct, Path::Vxlan].into_iter().enumerate() {
            progress(&format!("edit: round {} of {rounds}, {path:?}", round + 1));
            seen.push(milliseconds(round_trip(stage, 1 + 2 * round + turn).await?));
            moved.push(milliseconds(edit(stage, &mut watch, path).await?));
            stage.wait_ready(PATIENCE).await?;
            tokio::time::sleep(CALM).await;
        }
    }
    Ok(Section {
        title: "kubectl apply of the encapsulation until every pair of 3 nodes has moved".into(),
        rows: vec![Row::new(
            "moved < API round trip",
            "ms",
            Sense::Growth,
            &moved,
            &seen,
        )],
    })
}

async fn edit(stage: &Stage, watch: &mut Nexthops, path: Path) -> anyhow::Result<Duration> {
    let mut config = default_config();
    config["spec"]["overlay"]["encapsulation"] = path.encapsulation().into();
    watch.drain();
    let start = Instant::now();
    stage.cluster.apply(&config.to_string()).await?;
    let last = tokio::time::timeout(PATIENCE, watch.until(stage::device(path)));
    let last = last.await.context("not every pair of nodes has moved")??;
    Ok(last.saturating_duration_since(start))
}

async fn round_trip(stage: &Stage, number: usize) -> anyhow::Result<Duration> {
    let api: Api<ConfigMap> = Api::default_namespaced(stage.cluster.client().await?);
    let version = api.get(PROBE).await?.metadata.resource_version;
    let only = WatchParams::default().fields(&format!("metadata.name={PROBE}"));
    let events = api.watch(&only, &version.unwrap_or_default()).await?;
    let mut events = events.boxed();
    let start = Instant::now();
    let (applied, seen) = tokio::join!(apply_probe(stage, number), async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(_) = event {
                return anyhow::Ok(start.elapsed());
            }
        }
        bail!("the watch of the ConfigMap {PROBE} ended")
    });
    applied?;
    seen
}

async fn apply_probe(stage: &Stage, number: usize) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": PROBE, "namespace": "default"},
        "data": {"number": number.to_string()},
    });
    stage.cluster.apply(&object.to_string()).await?;
    Ok(())
}

/// The nexthop objects of all nodes, by node and number: their device.
struct Nexthops {
    devices: BTreeMap<(String, String), String>,
    changes: mpsc::UnboundedReceiver<Change>,
    _monitors: Vec<Child>,
}

struct Change {
    node: String,
    line: String,
    at: Instant,
}

impl Nexthops {
    async fn watch(stage: &Stage) -> anyhow::Result<Self> {
        let (sender, changes) = mpsc::unbounded_channel();
        let mut devices = BTreeMap::new();
        let mut monitors = Vec::new();
        for node in stage.cluster.nodes()? {
            let place = Place::named(&node.endpoint().netns);
            let mut monitor = place
                .command("ip")
                .args(["monitor", "nexthop"])
                .stdout(Stdio::piped())
                .spawn()?;
            let stdout = monitor.stdout.take().context("no output")?;
            let (name, sender) = (node.name().to_owned(), sender.clone());
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let (node, at) = (name.clone(), Instant::now());
                    if sender.send(Change { node, line, at }).is_err() {
                        return;
                    }
                }
            });
            monitors.push(monitor);
            for line in place.run("ip", &["nexthop", "show"]).await?.lines() {
                note(&mut devices, node.name(), line);
            }
        }
        // What a monitor misses while it starts is in no list either; nothing changes then.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(Self {
            devices,
            changes,
            _monitors: monitors,
        })
    }

    fn drain(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            note(&mut self.devices, &change.node, &change.line);
        }
    }

    /// Until all of all nodes are on a device. Gives when the last one moved.
    async fn until(&mut self, device: &str) -> anyhow::Result<Instant> {
        let mut last = Instant::now();
        while self.devices.values().any(|at| at != device) {
            let change = self.changes.recv().await.context("no monitor is left")?;
            note(&mut self.devices, &change.node, &change.line);
            last = change.at;
        }
        Ok(last)
    }
}

fn note(devices: &mut BTreeMap<(String, String), String>, node: &str, line: &str) {
    let word_after = |what: &str| {
        let mut words = line.split_whitespace();
        words.find(|word| *word == what)?;
        words.next().map(str::to_owned)
    };
    let Some(id) = word_after("id") else { return };
    let key = (node.to_owned(), id);
    match word_after("dev") {
        Some(device) if !line.starts_with("Deleted") => devices.insert(key, device),
        _ => devices.remove(&key),
    };
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nexthops_are_followed_by_what_the_monitor_says() {
        let mut devices = BTreeMap::new();
        for line in [
            "id 7 via 10.244.0.65 dev weft.vx4 scope link proto 87 onlink ",
            "id 8 via fd00::41 dev weft.vx4 scope link proto 87 onlink ",
            "id 7 via 172.30.1.12 dev eth0 scope link proto 87 onlink ",
            "Deleted id 8 via fd00::41 dev weft.vx4 scope link proto 87 onlink ",
            "a line of another kind",
        ] {
            note(&mut devices, "node1", line);
        }
        let key = ("node1".to_owned(), "7".to_owned());
        assert_eq!(devices, [(key, "eth0".to_owned())].into());
    }
}
