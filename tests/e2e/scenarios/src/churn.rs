//! Many pods come and go.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::ensure;
use serde_json::{Value, json};
use weft_e2e::wait;
use weft_scenarios::stage::{PATIENCE, Stage, condition};

use crate::{look, pods, under};

const PODS: usize = 50;

/// Fifty pods at once, in the middle of edits; no two share an address, and when they are gone no
/// address is left behind.
pub async fn fifty(stage: &Stage) -> anyhow::Result<Value> {
    let (times, sent) = under::lossless(stage, async || {
        let nodes = ["node1", "node2", "node3"];
        let all: Vec<Value> = (0..PODS)
            .map(|n| {
                let mut pod = pods::server(&format!("churn-{n}"), nodes[n % nodes.len()]);
                pod["metadata"]["labels"]["app"] = "churn".into();
                pod
            })
            .collect();
        let start = Instant::now();
        pods::create(stage, &all).await?;
        stage.encapsulate("CrossSubnet").await?;
        let addresses = wait::until("all to be Ready", PATIENCE, async || {
            let list = stage
                .get(&["pods", "--selector", "app=churn"])
                .await
                .map_err(|error| error.to_string())?;
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            let ready: Vec<&Value> = pods
                .iter()
                .filter(|pod| condition(pod, "Ready")["status"] == "True")
                .collect();
            if ready.len() < PODS {
                return Err(format!("{} of {PODS}", ready.len()));
            }
            let ips = ready
                .iter()
                .flat_map(|pod| pod["status"]["podIPs"].as_array().into_iter().flatten());
            Ok(ips.map(|ip| ip["ip"].to_string()).collect::<Vec<_>>())
        })
        .await?;
        let up = start.elapsed();
        let distinct: BTreeSet<&String> = addresses.iter().collect();
        ensure!(
            distinct.len() == 2 * PODS,
            "{PODS} pods have {} addresses",
            distinct.len()
        );
        let start = Instant::now();
        stage.encapsulate("Always").await?;
        pods::delete_own(stage).await?;
        Ok([up, start.elapsed()].map(|time| time.as_millis() as u64))
    })
    .await?;
    look::addresses_add_up(stage).await?;
    stage.wait_ready(PATIENCE).await?;
    Ok(json!({"pods": PODS, "up_ms": times[0], "gone_ms": times[1], "sent": sent, "lost": 0}))
}
