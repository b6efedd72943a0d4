//! The cluster that is measured: three nodes on one subnet, Weft, and an idle pod on each node.

use anyhow::ensure;
use serde_json::{Value, json};
use weft_e2e::{Cluster, ClusterSpec};
use weft_scenarios::stage::{PATIENCE, Stage, default_config};

use crate::network::Path;
use crate::place::Place;

/// The name of the cluster.
pub const CLUSTER: &str = "bench";

/// Brings it up.
pub async fn set() -> anyhow::Result<Stage> {
    let mut spec = ClusterSpec::flat(CLUSTER, 3);
    spec.dns = false;
    spec.outside = false;
    spec.images.clear();
    let stage = Stage::bare(spec).await?;
    stage.install_weft().await?;
    stage.configure(&default_config()).await?;
    stage.cluster.apply(&pods().to_string()).await?;
    stage
        .cluster
        .wait_rollout("default", "daemonset/server", PATIENCE)
        .await?;
    Ok(stage)
}

/// Removes it, or what is left of one.
pub fn strike() -> anyhow::Result<()> {
    Ok(Cluster::down(CLUSTER)?)
}

/// A pod on each node that does nothing by itself.
fn pods() -> Value {
    let labels = json!({"app": "server"});
    let container = json!({
        "name": "idle", "image": "localhost/weft:dev", "imagePullPolicy": "Never",
        "command": ["/weft-agent", "pause"],
    });
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "server"},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        }},
    })
}

/// Checks that the kernels of all nodes send by a path.
pub async fn check_sends(stage: &Stage, path: Path) -> anyhow::Result<()> {
    for node in stage.cluster.nodes()? {
        let place = Place::named(&node.endpoint().netns);
        let shown = place
            .run("ip", &["nexthop", "show", "protocol", "87"])
            .await?;
        let device = format!("dev {} ", device(path));
        let astray = shown.lines().find(|line| !line.contains(&device));
        ensure!(
            astray.is_none() && !shown.is_empty(),
            "{} does not send by {device}: {shown}",
            node.name()
        );
    }
    Ok(())
}

/// The device by which packets leave a node.
pub fn device(path: Path) -> &'static str {
    match path {
        Path::Direct => "eth0",
        Path::Vxlan => "weft.vx4",
    }
}
