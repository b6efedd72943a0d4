//! Clusters of one address family.

use serde_json::{Value, json};
use weft_e2e::{Cluster, ClusterSpec};
use weft_scenarios::stage::{Stage, default_config};

use crate::connectivity;

/// Everything that there is of IPv4 works in a cluster that has no IPv6.
pub async fn ipv4_only() -> anyhow::Result<Value> {
    alone("ipv4", "only4", 0).await
}

/// Everything that there is of IPv6 works in a cluster that has no IPv4.
pub async fn ipv6_only() -> anyhow::Result<Value> {
    alone("ipv6", "only6", 1).await
}

async fn alone(preset: &str, name: &str, pool: usize) -> anyhow::Result<Value> {
    Cluster::down(name)?;
    let spec = ClusterSpec::preset(preset, name);
    let spec = spec.ok_or_else(|| anyhow::anyhow!("there is no preset {preset}"))?;
    let stage = Stage::bare(spec).await?;
    stage.install_weft().await?;
    let mut config = default_config();
    config["spec"]["pools"] = json!([config["spec"]["pools"][pool]]);
    stage.configure(&config).await?;
    stage.deploy_servers().await?;
    let figures = connectivity::run(&stage).await?;
    Cluster::down(name)?;
    Ok(figures)
}
