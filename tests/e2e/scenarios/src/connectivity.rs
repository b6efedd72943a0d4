//! Everything reaches everything that it should, once, in every family.

use serde_json::{Value, json};

use weft_scenarios::stage::Stage;
use weft_scenarios::traffic::{self, Traffic, Volume};

/// A few seconds of every kind of traffic, with both encapsulations: a flow that never works keeps
/// the traffic from starting, and is named.
pub async fn run(stage: &Stage) -> anyhow::Result<Value> {
    let mut flows = 0;
    for encapsulation in ["CrossSubnet", "Always"] {
        stage.encapsulate(encapsulation).await?;
        stage.wait_ready(weft_scenarios::stage::PATIENCE).await?;
        let traffic = Traffic::start(
            stage,
            Volume {
                datagrams: 2_000,
                connections: 100,
                outside_to_pods: true,
                balanced: true,
            },
        )
        .await?;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let reports = traffic.stop(&[]).await?;
        traffic::assert_lossless(&reports)?;
        flows += reports
            .iter()
            .map(|report| report.flows.len())
            .sum::<usize>();
    }
    Ok(json!({"flows": flows}))
}
