//! The NetworkConfig goes and comes back, and pods are born on either side of an edit.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use weft_scenarios::stage::{PATIENCE, Stage, default_config};

use crate::{look, pods, reach, under};

/// Deleted and reapplied. What runs goes on, new pods start meanwhile, blocks stay where they are.
pub async fn reapplied(stage: &Stage) -> anyhow::Result<Value> {
    let before = look::blocks(stage).await?;
    let (ready, sent) = under::lossless(stage, async || {
        stage
            .kubectl(&["delete", "networkconfig", "default", "--timeout=60s"])
            .await?;
        let addresses = pods::start(stage, "without-config", "node3").await?;
        reach::pods(stage, "node1", &addresses).await?;
        // Long enough for whoever would clean up.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let start = Instant::now();
        stage.configure(&default_config()).await?;
        reach::pods(stage, "node1", &addresses).await?;
        pods::delete_own(stage).await?;
        Ok(start.elapsed())
    })
    .await?;
    let after = look::blocks(stage).await?;
    ensure!(
        before == after,
        "blocks changed: {before:?} became {after:?}"
    );
    Ok(json!({"ready_ms": ready.as_millis() as u64, "sent": sent, "lost": 0}))
}

/// Pods born with one encapsulation go on with the other, both ways round.
pub async fn born(stage: &Stage) -> anyhow::Result<Value> {
    let mut sum = 0;
    for (born, then) in [("CrossSubnet", "Always"), ("Always", "CrossSubnet")] {
        stage.encapsulate(born).await?;
        stage.wait_ready(PATIENCE).await?;
        pods::restart_servers(stage).await?;
        let ((), sent) = under::lossless(stage, async || {
            for encapsulation in [then, born, then] {
                stage.encapsulate(encapsulation).await?;
                stage.wait_ready(PATIENCE).await?;
            }
            let addresses = pods::start(stage, "born-after", "node2").await?;
            for place in ["node1", "node2", "node3"] {
                reach::pods(stage, place, &addresses).await?;
            }
            pods::delete_own(stage).await
        })
        .await?;
        sum += sent;
    }
    stage.encapsulate("Always").await?;
    stage.wait_ready(PATIENCE).await?;
    Ok(json!({"edits": 6, "sent": sum, "lost": 0}))
}
