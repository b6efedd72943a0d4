//! Pods that a scenario makes for itself.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use weft_e2e::wait;
use weft_scenarios::stage::{Stage, condition};

/// How long a pod may take to run, or to be gone.
const LIMIT: Duration = Duration::from_secs(90);

/// A server in a pod on a node, not yet applied.
pub fn server(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"scenario": "own"}},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "server", "image": "localhost/weft-load:dev", "imagePullPolicy": "Never",
                "args": ["serve"],
            }],
        },
    })
}

/// Makes pods and returns at once.
pub async fn create(stage: &Stage, pods: &[Value]) -> anyhow::Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    stage.cluster.apply(&list.to_string()).await?;
    Ok(())
}

/// Waits until a pod runs, and gives its addresses.
pub async fn running(stage: &Stage, name: &str) -> anyhow::Result<Vec<IpAddr>> {
    let found = wait::until(format!("pod {name} to run"), LIMIT, async || {
        let pod = stage
            .get(&["pod", name])
            .await
            .map_err(|error| error.to_string())?;
        let ready = condition(&pod, "Ready");
        let ips = pod["status"]["podIPs"].as_array().into_iter().flatten();
        let addresses: Vec<IpAddr> = ips
            .filter_map(|ip| ip["ip"].as_str()?.parse().ok())
            .collect();
        if ready["status"] == "True" && !addresses.is_empty() {
            Ok(addresses)
        } else {
            Err(format!("{} {}", pod["status"]["phase"], ready["message"]))
        }
    });
    Ok(found.await?)
}

/// Makes a server on a node and waits until it runs; gives its addresses.
pub async fn start(stage: &Stage, name: &str, node: &str) -> anyhow::Result<Vec<IpAddr>> {
    create(stage, &[server(name, node)]).await?;
    running(stage, name).await
}

/// Deletes the pods that a scenario made, and waits until they are gone.
pub async fn delete_own(stage: &Stage) -> anyhow::Result<()> {
    stage
        .kubectl(&[
            "delete",
            "pods",
            "--selector",
            "scenario=own",
            "--timeout=90s",
        ])
        .await?;
    Ok(())
}

/// Recreates the servers of the stage, and waits until there are as many that answer as before and
/// none of the old ones.
pub async fn restart_servers(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.servers().await?;
    stage
        .kubectl(&["rollout", "restart", "daemonset/server"])
        .await?;
    wait::until("the servers to be others", LIMIT, async || {
        let list = stage
            .get(&["pods", "--selector", "app=server"])
            .await
            .map_err(|error| error.to_string())?;
        let mut ready = 0;
        for pod in list["items"].as_array().into_iter().flatten() {
            let name = &pod["metadata"]["name"];
            if before.iter().any(|server| *name == *server.name) {
                return Err(format!("{name} is there still"));
            }
            ready += usize::from(condition(pod, "Ready")["status"] == "True");
        }
        if ready == before.len() {
            Ok(())
        } else {
            Err(format!("{ready} are Ready"))
        }
    })
    .await?;
    Ok(())
}
