//! Damaged files, a disk without room, and input that nobody can read.

use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use weft_e2e::{Node, wait};
use weft_scenarios::stage::{PATIENCE, Stage};

use crate::{look, pods, reach, under};

const NODE: &str = "node1";
const STATE: &str = "/var/lib/weft/agent.json";
const JOURNAL: &str = "/var/lib/weft/ipam/journal";

/// The agent's saved state and the end of the journal are damaged: both are set aside and named in an
/// event, the rest goes on, and nothing is lost. The plugin says what it cannot read.
pub async fn corrupt(stage: &Stage) -> anyhow::Result<Value> {
    let node = stage.cluster.node(NODE)?;
    let ((), sent) = under::lossless(stage, async || {
        let kept = attachments(&node).await?;
        shell(
            &node,
            &format!("printf '{{\"cluster\": {{\"config\"' > {STATE}"),
        )
        .await?;
        // A line that a power cut tore, and one that was never ours.
        shell(
            &node,
            &format!("printf 'garbage\\n00000000 {{\"att' >> {JOURNAL}"),
        )
        .await?;
        node.kill_program("weft-agent").await?;
        look::event(stage, "SavedStateCorrupt", STATE).await?;
        look::event(stage, "StoreCorrupt", JOURNAL).await?;
        wait::until(
            "the saved state to be written again",
            PATIENCE,
            async || {
                let text = shell(&node, &format!("cat {STATE}"))
                    .await
                    .map_err(|error| format!("{error:#}"))?;
                let state: Value =
                    serde_json::from_str(&text).map_err(|error| error.to_string())?;
                let nodes = state["cluster"]["nodes"]
                    .as_object()
                    .map_or(0, |nodes| nodes.len());
                if nodes == 3 {
                    Ok(())
                } else {
                    Err(format!("{nodes} nodes"))
                }
            },
        )
        .await?;
        ensure!(attachments(&node).await? == kept, "attachments were lost");
        let addresses = pods::start(stage, "after-damage", NODE).await?;
        reach::pods(stage, "node2", &addresses).await?;
        pods::delete_own(stage).await?;
        // As the messages say: look, then remove the files.
        look::addresses_add_up(stage).await?;
        shell(&node, &format!("rm {STATE}*.corrupt-* {JOURNAL}.corrupt-*")).await?;
        Ok(())
    })
    .await?;
    unreadable(&node).await?;
    look::renew(stage, "daemonset/weft-agent", "weft-agent").await?;
    look::problem(stage, NODE, "StoreCorrupt", false, PATIENCE).await?;
    Ok(json!({"sent": sent, "lost": 0}))
}

/// The plugin on input that is no JSON, no configuration, or not all there: an error as the
/// specification wants it, and nothing happens.
async fn unreadable(node: &Node) -> anyhow::Result<()> {
    let before = shell(node, "ls /sys/class/net; cat /var/lib/weft/ipam/journal").await?;
    let environment = "CNI_COMMAND=ADD CNI_CONTAINERID=bad CNI_NETNS=/run/netns/none CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin";
    for input in [
        "",
        "{",
        "[]",
        "\\377\\000",
        "{\"cniVersion\": \"1.1.0\"}",
        "{\"cniVersion\": 7, \"name\": \"weft\"}",
    ] {
        let run = format!("printf '{input}' | env {environment} /opt/cni/bin/weft-cni");
        let output = node.command(["sh", "-c", &run])?.output().await?;
        let error: Value = serde_json::from_str(&output.stdout)
            .with_context(|| format!("on {input:?} the plugin said {:?}", output.stdout))?;
        ensure!(
            output.code != 0 && error["code"].as_u64().is_some() && error["msg"].is_string(),
            "on {input:?} the plugin ended with {} and said {error}",
            output.code
        );
    }
    let after = shell(node, "ls /sys/class/net; cat /var/lib/weft/ipam/journal").await?;
    ensure!(
        before == after,
        "bad input changed something: {before}\nbecame\n{after}"
    );
    Ok(())
}

/// The runtime's notes of what plugins said are on the same disk, and containerd 1.6 never gets over
/// one that it could not write. So these get room elsewhere.
const ROOM_FOR_RUNTIME: &str = "mkdir -p /var/lib/cni /var/lib/kubelet/cni
cp -a /var/lib/cni/. /var/lib/kubelet/cni/
mount --bind /var/lib/kubelet/cni /var/lib/cni";
const AS_BEFORE: &str = "umount /var/lib/cni
rm -rf /var/lib/cni
mv /var/lib/kubelet/cni /var/lib/cni";

/// The disk of a node is full: what runs goes on and follows edits; a new pod says why it cannot start,
/// and starts once there is room.
pub async fn full_disk(stage: &Stage) -> anyhow::Result<Value> {
    let node = stage.cluster.node("node2")?;
    let (took, sent) = under::lossless(stage, async || {
        shell(&node, ROOM_FOR_RUNTIME).await?;
        node.fill_disk()?;
        let outcome = without_room(stage).await;
        node.free_disk()?;
        shell(&node, AS_BEFORE).await?;
        outcome?;
        let start = Instant::now();
        for name in crowd() {
            let addresses = pods::running(stage, &name).await?;
            reach::pods(stage, "node1", &addresses).await?;
        }
        let took = start.elapsed();
        pods::delete_own(stage).await?;
        look::problem(stage, "node2", "StateNotSaved", false, PATIENCE).await?;
        Ok(took)
    })
    .await?;
    look::addresses_add_up(stage).await?;
    Ok(json!({"starts_after_ms": took.as_millis() as u64, "sent": sent, "lost": 0}))
}

/// More pods than the journal's last page has room for: a full disk still takes what fits there.
fn crowd() -> impl Iterator<Item = String> {
    (0..10).map(|n| format!("no-room-{n}"))
}

async fn without_room(stage: &Stage) -> anyhow::Result<()> {
    let pods: Vec<Value> = crowd().map(|name| pods::server(&name, "node2")).collect();
    pods::create(stage, &pods).await?;
    look::event(stage, "FailedCreatePodSandBox", "the disk is full").await?;
    for encapsulation in ["CrossSubnet", "Always"] {
        stage.encapsulate(encapsulation).await?;
        stage.wait_ready(PATIENCE).await?;
    }
    look::problem(stage, "node2", "StateNotSaved", true, PATIENCE).await?;
    Ok(())
}

/// The attachments that the journal ends with, as lines without their checksums.
async fn attachments(node: &Node) -> anyhow::Result<Vec<String>> {
    let text = shell(node, &format!("cat {JOURNAL}")).await?;
    let records = text.lines().filter_map(|line| {
        let (_, json) = line.split_once(' ')?;
        serde_json::from_str::<Value>(json).ok()
    });
    let mut present: Vec<Value> = Vec::new();
    for record in records {
        let id = |value: &Value| value["container_id"].clone();
        if record["attach"].is_object() {
            present.retain(|other| id(other) != id(&record["attach"]));
            present.push(record["attach"].clone());
        } else if record["detach"].is_object() {
            present.retain(|other| id(other) != id(&record["detach"]));
        }
    }
    let mut lines: Vec<String> = present.iter().map(Value::to_string).collect();
    lines.sort();
    Ok(lines)
}

async fn shell(node: &Node, commands: &str) -> anyhow::Result<String> {
    let commands = format!("set -e\n{commands}");
    Ok(node.exec(["sh", "-c", &commands]).await?.stdout)
}
