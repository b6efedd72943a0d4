//! Packets do not depend on agents: whatever happens to these, everything that runs goes on, and
//! new pods start.

use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use weft_e2e::{Node, wait};
use weft_scenarios::stage::{NAMESPACE, PATIENCE, Stage};

use crate::{look, pods, reach, under};

pub const DAEMONSET: &str = "daemonset/weft-agent";
/// The image of Weft, and another name of it.
pub const IMAGE: &str = "localhost/weft:dev";
pub const NEXT: &str = "localhost/weft:next";

/// The agent of every node is killed; each is started again and changes nothing.
pub async fn killed(stage: &Stage) -> anyhow::Result<Value> {
    let (back, sent) = under::lossless(stage, async || {
        let before = stage.component("weft-agent").await?;
        let mut restarts = Vec::new();
        for (_, pod) in &before {
            restarts.push(look::restarts(stage, pod).await?);
        }
        let start = Instant::now();
        for node in stage.cluster.nodes()? {
            node.kill_program("weft-agent").await?;
        }
        for ((_, pod), count) in before.iter().zip(restarts) {
            wait::until(format!("{pod} to be started again"), PATIENCE, async || {
                match look::restarts(stage, pod).await {
                    Ok(now) if now > count => Ok(()),
                    Ok(now) => Err(format!("{now} restarts")),
                    Err(error) => Err(format!("{error:#}")),
                }
            })
            .await?;
        }
        stage.wait_component(DAEMONSET).await?;
        stage.wait_ready(PATIENCE).await?;
        Ok(start.elapsed())
    })
    .await?;
    look::renew(stage, DAEMONSET, "weft-agent").await?;
    Ok(json!({"agents_back_ms": back.as_millis() as u64, "sent": sent, "lost": 0}))
}

/// The agent of a node is killed each second, so that the kubelet waits ever longer before it starts
/// it again; meanwhile a pod is started there, and one is deleted.
pub async fn crash_loop(stage: &Stage) -> anyhow::Result<Value> {
    let ((kills, ready_ms), sent) = under::lossless(stage, async || {
        let node = stage.cluster.node("node1")?;
        pods::start(stage, "before-crashes", "node1").await?;
        let (start, mut kills, mut ready_ms) = (Instant::now(), 0, 0);
        while start.elapsed() < Duration::from_secs(20) {
            // Without a process there is none to kill: the kubelet waits.
            kills += u32::from(
                node.signal_program("weft-agent", Signal::SIGKILL)
                    .await
                    .is_ok(),
            );
            if kills == 2 && ready_ms == 0 {
                let begin = Instant::now();
                let addresses = pods::start(stage, "amid-crashes", "node1").await?;
                ready_ms = begin.elapsed().as_millis() as u64;
                // Peers know the block, not the pod: nothing has to be told to reach it.
                reach::pods(stage, "node3", &addresses).await?;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        pods::delete_own(stage).await?;
        Ok((kills, ready_ms))
    })
    .await?;
    ensure!(ready_ms > 0, "the agent was killed less than twice in 20 s");
    look::renew(stage, DAEMONSET, "weft-agent").await?;
    look::addresses_add_up(stage).await?;
    Ok(json!({"kills": kills, "pod_ready_ms": ready_ms, "sent": sent, "lost": 0}))
}

/// Agents are rolled to another image, and back.
pub async fn rolled(stage: &Stage) -> anyhow::Result<Value> {
    tag_next(stage).await?;
    let (took, sent) = under::lossless(stage, async || {
        let start = Instant::now();
        set_image(stage, json!(NEXT), NEXT).await?;
        stage.wait_component(DAEMONSET).await?;
        let took = start.elapsed();
        // An edit while agents are being rolled back reaches them all.
        set_image(stage, Value::Null, IMAGE).await?;
        stage.encapsulate("CrossSubnet").await?;
        stage.wait_component(DAEMONSET).await?;
        stage.wait_ready(PATIENCE).await?;
        stage.encapsulate("Always").await?;
        stage.wait_ready(PATIENCE).await?;
        Ok(took)
    })
    .await?;
    Ok(json!({"rolled_ms": took.as_millis() as u64, "sent": sent, "lost": 0}))
}

/// Agents are rolled to an image that cannot run: the roll stops at one node, on which pods still
/// start, and the config says so. Taking it back mends everything.
pub async fn bad_image(stage: &Stage) -> anyhow::Result<Value> {
    let (ready_ms, sent) = under::lossless(stage, async || {
        set_image(stage, json!("localhost/tools:dev"), "localhost/tools:dev").await?;
        let node = wait::until("an agent that cannot run", PATIENCE, async || {
            let pods = stage
                .get(&[
                    "pods",
                    "--namespace",
                    NAMESPACE,
                    "--selector=app.kubernetes.io/name=weft-agent",
                ])
                .await
                .map_err(|error| error.to_string())?;
            let failed = pods["items"].as_array().into_iter().flatten().find(|pod| {
                let status = &pod["status"]["containerStatuses"][0];
                pod["spec"]["containers"][0]["image"] == "localhost/tools:dev"
                    && (status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                        || status["state"]["waiting"]["reason"] == "RunContainerError"
                        || status["lastState"]["terminated"].is_object())
            });
            let name = failed.and_then(|pod| pod["spec"]["nodeName"].as_str());
            name.map(str::to_owned).ok_or("none".to_owned())
        })
        .await?;
        let start = Instant::now();
        let addresses = pods::start(stage, "without-agent", &node).await?;
        let ready_ms = start.elapsed().as_millis() as u64;
        for other in stage.cluster.nodes()? {
            reach::pods(stage, other.name(), &addresses).await?;
        }
        let config = stage.get(&["networkconfig", "default"]).await?;
        let reconciling = weft_scenarios::stage::condition(&config, "Reconciling");
        ensure!(
            reconciling["status"] == "True",
            "an agent cannot run, and the condition is {reconciling}"
        );
        pods::delete_own(stage).await?;
        set_image(stage, Value::Null, IMAGE).await?;
        stage.wait_component(DAEMONSET).await?;
        stage.wait_ready(PATIENCE).await?;
        Ok(ready_ms)
    })
    .await?;
    Ok(json!({"pod_ready_ms": ready_ms, "sent": sent, "lost": 0}))
}

/// Gives the image of Weft another name on every node.
pub async fn tag_next(stage: &Stage) -> anyhow::Result<()> {
    for node in stage.cluster.nodes()? {
        images(&node, &["tag", "--force", IMAGE, NEXT]).await?;
    }
    Ok(())
}

/// Runs `ctr images` on a node.
pub async fn images(node: &Node, words: &[&str]) -> anyhow::Result<()> {
    let ctr = ["ctr", "--namespace", "k8s.io", "images"];
    node.exec([&ctr[..], words].concat()).await?;
    Ok(())
}

/// Sets the image in the config and waits until the DaemonSet has `expected`.
pub async fn set_image(stage: &Stage, image: Value, expected: &str) -> anyhow::Result<()> {
    stage.edit(&json!({"agent": {"image": image}})).await?;
    wait::until(
        format!("the DaemonSet to have {expected}"),
        PATIENCE,
        async || {
            let set = stage
                .get(&[DAEMONSET, "--namespace", NAMESPACE])
                .await
                .map_err(|error| error.to_string())?;
            let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
            if image == expected {
                Ok(())
            } else {
                Err(image.to_string())
            }
        },
    )
    .await?;
    Ok(())
}
