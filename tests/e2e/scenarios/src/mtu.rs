//! Packets get smaller and larger while they flow.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_scenarios::stage::Stage;

use crate::{look, under};

/// What pods have on links of 1500 bytes: VXLAN over IPv4 takes 50.
const USUAL: u64 = 1450;
const LIMIT: Duration = Duration::from_secs(90);

/// An admin lowers `spec.mtu`, then the link of a node; later raises both again. Nothing is lost,
/// neither of datagrams that fill the MTU nor of others.
pub async fn announced(stage: &Stage) -> anyhow::Result<Value> {
    look::pod_mtu(stage, USUAL, LIMIT).await?;
    let (times, sent) = under::lossless(stage, async || {
        let start = Instant::now();
        stage.edit(&json!({"mtu": 1340})).await?;
        look::pod_mtu(stage, 1340, LIMIT).await?;
        let lowered = start.elapsed();
        stage.cluster.set_mtu("node2", 1400).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        stage.cluster.set_mtu("node2", 1500).await?;
        let start = Instant::now();
        stage.edit(&json!({"mtu": null})).await?;
        look::pod_mtu(stage, USUAL, LIMIT).await?;
        Ok([lowered, start.elapsed()].map(|time| time.as_millis() as u64))
    })
    .await?;
    Ok(json!({"lowered_ms": times[0], "raised_ms": times[1], "sent": sent, "lost": 0}))
}

/// The link of a node becomes narrow without a word, and wide again. Pods follow by themselves, and
/// once they have, nothing is lost.
pub async fn unannounced(stage: &Stage) -> anyhow::Result<Value> {
    look::pod_mtu(stage, USUAL, LIMIT).await?;
    let start = Instant::now();
    stage.cluster.set_mtu("node2", 1400).await?;
    let followed = look::pod_mtu(stage, USUAL - 100, LIMIT).await;
    let took = start.elapsed().as_millis() as u64;
    let narrow = under::lossless(stage, async || {
        followed?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.cluster.set_mtu("node2", 1500).await?;
        look::pod_mtu(stage, USUAL, LIMIT).await
    })
    .await;
    stage.cluster.set_mtu("node2", 1500).await?;
    Ok(json!({"followed_ms": took, "sent": narrow?.1, "lost": 0}))
}
