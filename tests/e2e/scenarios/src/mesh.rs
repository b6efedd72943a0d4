//! Mode BGP where no router speaks it: all nodes are on one subnet, and tell each other.

use serde_json::{Value, json};
use weft_e2e::{Cluster, ClusterSpec, wait};
use weft_scenarios::bgp;
use weft_scenarios::stage::{PATIENCE, Stage};

use crate::{agents, under};

const NAME: &str = "bgpmesh";
/// The node that reflects routes, when one does.
const REFLECTOR: &str = "node2";

/// Each node speaks with each; then all with a route reflector; and back. Agents are killed.
pub async fn run() -> anyhow::Result<Value> {
    Cluster::down(NAME)?;
    let stage = Stage::bare(ClusterSpec::flat(NAME, 3)).await?;
    stage.install_weft().await?;
    stage.configure(&bgp::config(json!({}))).await?;
    stage.deploy_servers().await?;
    sessions(&stage, &[("node1", 2), ("node2", 2), ("node3", 2)]).await?;
    let ((), sent) = under::lossless(&stage, async || {
        let label = ["label", "node", REFLECTOR, "reflector=yes"];
        stage.kubectl(&label).await?;
        let reflected = json!({"nodeSelector": {"reflector": "yes"}, "clusterID": "192.0.2.7"});
        let edit = json!({"bgp": {"nodeMesh": false, "routeReflectors": reflected}});
        stage.edit(&edit).await?;
        sessions(&stage, &[("node1", 1), ("node2", 2), ("node3", 1)]).await?;
        stage.wait_ready(PATIENCE).await?;
        let edit = json!({"bgp": {"nodeMesh": true, "routeReflectors": null}});
        stage.edit(&edit).await?;
        sessions(&stage, &[("node1", 2), ("node2", 2), ("node3", 2)]).await?;
        stage.wait_ready(PATIENCE).await
    })
    .await?;
    let killed = agents::killed(&stage).await?;
    Cluster::down(NAME)?;
    Ok(json!({"edits": 2, "sent": sent, "lost": 0, "killed": killed}))
}

/// Waits until each node has so many sessions, all of them established.
async fn sessions(stage: &Stage, expected: &[(&str, usize)]) -> anyhow::Result<()> {
    for (node, count) in expected {
        wait::until(
            format!("{node} to have {count} sessions"),
            PATIENCE,
            async || {
                let report = stage.get(&["nodereport", node]).await;
                let report = report.map_err(|error| error.to_string())?;
                let sessions = report["spec"]["sessions"].as_array();
                let sessions: Vec<&Value> = sessions.into_iter().flatten().collect();
                let up = |session: &&Value| session["state"] == "Established";
                if sessions.len() == *count && sessions.iter().all(up) {
                    Ok(())
                } else {
                    Err(report["spec"]["sessions"].to_string())
                }
            },
        )
        .await?;
    }
    Ok(())
}
