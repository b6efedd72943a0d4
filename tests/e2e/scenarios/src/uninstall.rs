//! The end: nothing of Weft is left, on any node and in the API.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use weft_e2e::snapshot::{self, Snapshot};
use weft_e2e::{Cluster, ClusterSpec, wait};
use weft_scenarios::stage::{NAMESPACE, PATIENCE, Stage, default_config};

/// A cluster of its own: what there was before Weft has to be known.
const CLUSTER: &str = "residue";

/// Installed, used in every way that leaves traces, and removed: as before.
pub async fn residue() -> anyhow::Result<Value> {
    Cluster::down(CLUSTER)?;
    let stage = Stage::bare(ClusterSpec::demo(CLUSTER)).await?;
    // Its pods are to start when there is a network, and to be gone before there is none.
    let scale = |replicas: &'static str| {
        [
            "scale",
            "deployment/coredns",
            "--namespace=kube-system",
            replicas,
        ]
    };
    stage.kubectl(&scale("--replicas=0")).await?;
    gone(&stage, &["pods", "--namespace=kube-system"]).await?;
    let (before, objects) = settled(&stage).await?;

    stage.install_weft().await?;
    stage.configure(&default_config()).await?;
    stage.kubectl(&scale("--replicas=2")).await?;
    stage.deploy_servers().await?;
    for encapsulation in ["CrossSubnet", "Always", "CrossSubnet"] {
        stage.encapsulate(encapsulation).await?;
        stage.wait_ready(PATIENCE).await?;
    }
    ensure!(
        nodes(&stage).await? != before,
        "Weft did nothing that a snapshot would see"
    );

    stage
        .kubectl(&["delete", "daemonset/server", "service/server"])
        .await?;
    stage.kubectl(&scale("--replicas=0")).await?;
    gone(&stage, &["pods", "--namespace=kube-system"]).await?;
    gone(&stage, &["pods", "--namespace=default"]).await?;
    let early = stage
        .cluster
        .helm(["uninstall", "weft", "--namespace", NAMESPACE])
        .await;
    ensure!(
        early.is_err(),
        "helm uninstall did not mind that there is a NetworkConfig"
    );
    stage
        .kubectl(&["delete", "networkconfig", "default", "--timeout=60s"])
        .await?;
    let start = Instant::now();
    stage
        .cluster
        .helm(["uninstall", "weft", "--namespace", NAMESPACE, "--wait"])
        .await?;
    let took = start.elapsed();
    compare(&stage, &before, &objects).await?;
    Cluster::down(CLUSTER)?;
    Ok(json!({"nodes": before.len(), "uninstall_ms": took.as_millis() as u64, "residue": 0}))
}

/// What is left has a moment to go: kube-proxy and the kubelet tidy up after pods.
async fn compare(
    stage: &Stage,
    before: &[Snapshot],
    objects: &BTreeSet<String>,
) -> anyhow::Result<()> {
    let left = wait::until("zero residue", Duration::from_secs(30), async || {
        let mut left = String::new();
        let after = nodes(stage).await.map_err(|error| format!("{error:#}"))?;
        for (n, (before, after)) in before.iter().zip(&after).enumerate() {
            let difference = before.difference(after);
            if !difference.is_empty() {
                left += &format!("node{}:\n{difference}", n + 1);
            }
        }
        let now = api(stage).await.map_err(|error| format!("{error:#}"))?;
        for object in now.difference(objects) {
            left += &format!("+ {object}\n");
        }
        for object in objects.difference(&now) {
            left += &format!("- {object}\n");
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    if let Err(error) = left.await {
        bail!("residue: {error}");
    }
    Ok(())
}

/// For how long nothing may have changed: controllers of Kubernetes make their objects one after the other.
const QUIET: Duration = Duration::from_secs(15);

/// What there is once the cluster by itself changes no more.
async fn settled(stage: &Stage) -> anyhow::Result<(Vec<Snapshot>, BTreeSet<String>)> {
    let mut found = (nodes(stage).await?, api(stage).await?);
    let mut since = Instant::now();
    wait::until("the cluster to settle", PATIENCE, async || {
        let look = async { anyhow::Ok((nodes(stage).await?, api(stage).await?)) };
        let now = look.await.map_err(|error| format!("{error:#}"))?;
        if now != found {
            found = now;
            since = Instant::now();
        }
        if since.elapsed() < QUIET {
            return Err("it changes".to_owned());
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

async fn gone(stage: &Stage, what: &[&str]) -> anyhow::Result<()> {
    wait::until(format!("{what:?} to be gone"), PATIENCE, async || {
        let list = stage.get(what).await.map_err(|error| error.to_string())?;
        match list["items"].as_array().map_or(0, Vec::len) {
            0 => Ok(()),
            count => Err(format!("{count}")),
        }
    })
    .await?;
    Ok(())
}

async fn nodes(stage: &Stage) -> anyhow::Result<Vec<Snapshot>> {
    let mut all = Vec::new();
    for node in stage.cluster.nodes()? {
        all.push(snapshot::take(&node).await?);
    }
    Ok(all)
}

/// Every object of the API that does not come and go by itself, and what Weft could leave on Nodes.
async fn api(stage: &Stage) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for scope in ["--namespaced=true", "--namespaced=false"] {
        let kinds = stage
            .kubectl(&["api-resources", scope, "--verbs=list", "--output=name"])
            .await?;
        let passing = [
            "events",
            "events.events.k8s.io",
            "leases.coordination.k8s.io",
            "componentstatuses",
        ];
        let kinds: Vec<&str> = kinds
            .lines()
            .filter(|kind| !passing.contains(kind))
            .collect();
        let names = stage
            .kubectl(&[
                "get",
                &kinds.join(","),
                "--all-namespaces",
                "--output=name",
                "--ignore-not-found",
            ])
            .await?;
        // Revisions and ReplicaSets of CoreDNS are Kubernetes' own; the namespace was asked for by name.
        let ours = |name: &&str| {
            !name.contains("coredns")
                && *name != "namespace/weft-system"
                && !name.ends_with("/kube-root-ca.crt")
                && *name != "serviceaccount/default"
        };
        found.extend(names.lines().filter(ours).map(str::to_owned));
    }
    let leases = stage.get(&["leases", "--namespace", NAMESPACE]).await?;
    for lease in leases["items"].as_array().into_iter().flatten() {
        found.insert(format!("lease {}", lease["metadata"]["name"]));
    }
    let nodes = stage.get(&["nodes"]).await?;
    for node in nodes["items"].as_array().into_iter().flatten() {
        let name = &node["metadata"]["name"];
        let conditions = node["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        found.extend(
            conditions.map(|condition| format!("node {name}: condition {}", condition["type"])),
        );
        for kind in ["labels", "annotations"] {
            let keys = node["metadata"][kind].as_object().into_iter().flatten();
            found.extend(keys.map(|(key, _)| format!("node {name}: {kind} {key}")));
        }
    }
    Ok(found)
}
