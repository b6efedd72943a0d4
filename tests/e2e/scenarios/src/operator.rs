//! Operators that die, and two of them at once.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use weft_e2e::wait;
use weft_scenarios::stage::{NAMESPACE, PATIENCE, Stage};

use crate::{look, under};

const DEPLOYMENT: &str = "deployment/weft-operator";

/// The operator is killed at three moments after an edit. Each edit is carried out, and nothing is lost.
pub async fn killed_in_edit(stage: &Stage) -> anyhow::Result<Value> {
    let (longest, sent) = under::lossless(stage, async || {
        let mut longest = Duration::ZERO;
        let edits = [
            ("CrossSubnet", 0),
            ("Always", 40),
            ("CrossSubnet", 200),
            ("Always", 0),
        ];
        for (encapsulation, pause) in edits {
            let start = Instant::now();
            stage.encapsulate(encapsulation).await?;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if pause > 0 || encapsulation == "CrossSubnet" {
                kill(stage).await?;
            }
            stage.wait_ready(PATIENCE).await?;
            longest = longest.max(start.elapsed());
        }
        Ok(longest)
    })
    .await?;
    look::renew(stage, DEPLOYMENT, "weft-operator").await?;
    Ok(
        json!({"kills": 3, "longest_until_ready_ms": longest.as_millis() as u64, "sent": sent, "lost": 0}),
    )
}

/// Two operators run; the one that leads is killed in the middle of edits. The other goes on, no block
/// has two owners, and none changes its owner.
pub async fn two(stage: &Stage) -> anyhow::Result<Value> {
    stage.helm_upgrade(&["operator.replicas=2"]).await?;
    let outcome = with_two(stage).await;
    stage.helm_upgrade(&[]).await?;
    let (handover, sent) = outcome?;
    Ok(json!({"handover_ms": handover.as_millis() as u64, "sent": sent, "lost": 0}))
}

async fn with_two(stage: &Stage) -> anyhow::Result<(Duration, u64)> {
    let before = look::blocks(stage).await?;
    let (handover, sent) = under::lossless(stage, async || {
        let leader = wait::until("a leader that runs", PATIENCE, async || {
            let leader = leader(stage).await.map_err(|error| format!("{error:#}"))?;
            let pods = stage
                .component("weft-operator")
                .await
                .map_err(|error| format!("{error:#}"))?;
            let pod = pods.iter().find(|(_, pod)| leader.contains(pod.as_str()));
            pod.cloned().map(|pod| (leader.clone(), pod)).ok_or(leader)
        })
        .await?;
        let (holder, (node, _)) = leader;
        stage.encapsulate("CrossSubnet").await?;
        let start = Instant::now();
        let node = stage.cluster.node(&node)?;
        node.kill_program("weft-operator").await?;
        stage.encapsulate("Always").await?;
        let limit = Duration::from_secs(60);
        wait::until("another leader", limit, async || {
            match self::leader(stage).await {
                Ok(now) if now != holder && !now.is_empty() => Ok(()),
                Ok(now) => Err(now),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await?;
        let handover = start.elapsed();
        stage.wait_ready(PATIENCE).await?;
        Ok(handover)
    })
    .await?;
    let after = look::blocks(stage).await?;
    ensure!(
        before == after,
        "blocks changed: {before:?} became {after:?}"
    );
    Ok((handover, sent))
}

async fn leader(stage: &Stage) -> anyhow::Result<String> {
    let lease = stage
        .get(&["lease", "weft-operator", "--namespace", NAMESPACE])
        .await?;
    let holder = lease["spec"]["holderIdentity"].as_str();
    Ok(holder.unwrap_or_default().to_owned())
}

/// Kills the operator.
///
/// # Errors
/// There is none to kill.
pub async fn kill(stage: &Stage) -> anyhow::Result<()> {
    let (node, _) = running_operator(stage).await?;
    let node = stage.cluster.node(&node)?;
    node.kill_program("weft-operator").await?;
    Ok(())
}

/// The operator whose container runs: its node and its pod.
async fn running_operator(stage: &Stage) -> anyhow::Result<(String, String)> {
    let found = wait::until("the operator to run", PATIENCE, async || {
        let pods = stage
            .get(&[
                "pods",
                "--namespace",
                NAMESPACE,
                "--selector=app.kubernetes.io/name=weft-operator",
            ])
            .await
            .map_err(|error| error.to_string())?;
        let running = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|pod| pod["status"]["containerStatuses"][0]["state"]["running"].is_object());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        running
            .map(|pod| {
                (
                    text(&pod["spec"]["nodeName"]),
                    text(&pod["metadata"]["name"]),
                )
            })
            .ok_or("none".to_owned())
    });
    found.await.context("no operator to kill")
}
