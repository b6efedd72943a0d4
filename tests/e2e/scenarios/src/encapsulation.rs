//! Edits of the encapsulation move every pair of nodes that share a subnet, and lose nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use weft_scenarios::stage::{PATIENCE, Stage};
use weft_scenarios::traffic::{self, Traffic, Volume};

/// Twenty edits, each at another moment of the one before.
pub async fn edits(stage: &Stage) -> anyhow::Result<Value> {
    let traffic = Traffic::start(stage, Volume::MODERATE).await?;
    for edit in 0..20u64 {
        stage
            .encapsulate(if edit % 2 == 0 {
                "CrossSubnet"
            } else {
                "Always"
            })
            .await?;
        // From at once to long after every node has moved.
        tokio::time::sleep(Duration::from_millis(edit * 7919 % 1500)).await;
    }
    let start = Instant::now();
    stage.wait_ready(PATIENCE).await?;
    let settled = start.elapsed();
    let reports = traffic.stop(&[]).await?;
    traffic::assert_lossless(&reports)?;
    Ok(json!({"edits": 20, "settled_ms": settled.as_millis() as u64, "lost": 0, "broken": 0}))
}
