//! A cluster with Weft on it and pods that answer: where every scenario begins.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use weft_e2e::timeline::Timeline;
use weft_e2e::{Cluster, ClusterSpec, wait};

use crate::bgp;

/// How long a cluster of a few nodes may take to be as it should be.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The namespace of the components of Weft.
pub const NAMESPACE: &str = "weft-system";
/// The port of the servers in pods, and the one of the Service before them.
pub const SERVICE_PORT: u16 = 4700;
/// The port of that Service on every node.
pub const NODE_PORT: u16 = 30470;
/// The images that a scenario needs.
const IMAGES: [&str; 2] = ["weft", "weft-load"];

/// The cluster, Weft, and the pods.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
}

/// A server in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The name of the pod.
    pub name: String,
    /// The node that it is on.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its container, as containerd knows it.
    pub container: String,
}

impl Server {
    /// The pod's network namespace, found by its container on its node: a path in the node's own /proc,
    /// seen from outside, so that no process has to join the node's other namespaces.
    ///
    /// # Errors
    /// The node is off, or does not run the container.
    pub async fn netns(&self, stage: &Stage) -> anyhow::Result<PathBuf> {
        let node = stage.cluster.node(&self.node)?;
        let list = ["ctr", "--namespace", "k8s.io", "tasks", "list"];
        let tasks = node.exec(list).await?.stdout;
        let pid = tasks
            .lines()
            .find(|line| line.starts_with(&self.container))
            .and_then(|line| line.split_whitespace().nth(1))
            .with_context(|| format!("pod {} has no task on {}", self.name, self.node))?;
        let pid1 = node
            .pid1()
            .with_context(|| format!("node {} is off", self.node))?;
        Ok(format!("/proc/{}/root/proc/{pid}/ns/net", pid1.pid).into())
    }
}

impl Stage {
    /// The cluster of this name, brought up unless it is there, with Weft and the servers: in mode BGP if it
    /// has racks, else in mode Overlay.
    pub async fn set(spec: ClusterSpec) -> anyhow::Result<Self> {
        let routed = spec.routed();
        let stage = Self::bare(spec).await?;
        stage.install_weft().await?;
        let config = if routed {
            bgp::racks(&stage.cluster)?
        } else {
            default_config()
        };
        stage.configure(&config).await?;
        stage.deploy_servers().await?;
        Ok(stage)
    }

    /// The cluster alone.
    pub async fn bare(spec: ClusterSpec) -> anyhow::Result<Self> {
        let cluster = match Cluster::attach(&spec.name) {
            Ok(cluster) => cluster,
            Err(_) => Cluster::up(spec, &Timeline::loud()).await?,
        };
        cluster.load_images(&IMAGES).await?;
        Ok(Self { cluster })
    }

    /// Installs or upgrades Weft from the chart of this checkout.
    pub async fn install_weft(&self) -> anyhow::Result<()> {
        self.helm_upgrade(&[]).await
    }

    /// The same with more values, each as `NAME=VALUE`.
    pub async fn helm_upgrade(&self, values: &[&str]) -> anyhow::Result<()> {
        let chart = checkout().join("charts/weft");
        let mut arguments = vec!["upgrade", "--install", "weft"];
        let chart = chart.to_string_lossy();
        arguments.extend([
            &*chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
        ]);
        let fixed = [
            "image.repository=localhost/weft",
            "image.tag=dev",
            "image.pullPolicy=Never",
        ];
        for value in fixed.iter().chain(values) {
            arguments.extend(["--set", value]);
        }
        self.cluster
            .helm(arguments)
            .await
            .context("cannot install Weft")?;
        Ok(())
    }

    /// Applies a NetworkConfig, or a list of one and its BGPPeers, and waits until every node does what it says.
    pub async fn configure(&self, config: &Value) -> anyhow::Result<()> {
        self.cluster.apply(&config.to_string()).await?;
        self.wait_ready(PATIENCE).await
    }

    /// Changes the spec of the NetworkConfig and returns at once.
    pub async fn edit(&self, spec: &Value) -> anyhow::Result<()> {
        let patch = json!({"spec": spec}).to_string();
        self.kubectl(&[
            "patch",
            "networkconfig",
            "default",
            "--type=merge",
            "--patch",
            &patch,
        ])
        .await?;
        Ok(())
    }

    /// Sets the encapsulation and returns at once.
    pub async fn encapsulate(&self, encapsulation: &str) -> anyhow::Result<()> {
        self.edit(&json!({"overlay": {"encapsulation": encapsulation}}))
            .await
    }

    /// Waits until the NetworkConfig is Ready at its present generation.
    pub async fn wait_ready(&self, limit: Duration) -> anyhow::Result<()> {
        wait::until("the NetworkConfig to be Ready", limit, async || {
            let config = self
                .get(&["networkconfig", "default"])
                .await
                .map_err(|e| e.to_string())?;
            let generation = &config["metadata"]["generation"];
            let ready = condition(&config, "Ready");
            if ready["status"] == "True" && ready["observedGeneration"] == *generation {
                return Ok(());
            }
            Err(format!("generation {generation}, condition {ready}"))
        })
        .await?;
        Ok(())
    }

    /// Deploys a server on every node, with a Service before them, and waits until they answer.
    pub async fn deploy_servers(&self) -> anyhow::Result<()> {
        self.cluster.apply(&servers().to_string()).await?;
        self.cluster
            .wait_rollout("default", "daemonset/server", PATIENCE)
            .await?;
        Ok(())
    }

    /// The servers, by the name of their node.
    pub async fn servers(&self) -> anyhow::Result<Vec<Server>> {
        let pods = self.get(&["pods", "--selector", "app=server"]).await?;
        let mut servers = Vec::new();
        for pod in pods["items"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let ips = pod["status"]["podIPs"].as_array().into_iter().flatten();
            let container = text(&pod["status"]["containerStatuses"][0]["containerID"]);
            servers.push(Server {
                name: text(&pod["metadata"]["name"]),
                node: text(&pod["spec"]["nodeName"]),
                addresses: ips
                    .filter_map(|ip| ip["ip"].as_str()?.parse().ok())
                    .collect(),
                container: container.trim_start_matches("containerd://").to_owned(),
            });
        }
        servers.sort_by(|a, b| a.node.cmp(&b.node));
        ensure!(!servers.is_empty(), "no server pods");
        Ok(servers)
    }

    /// The addresses of a Service.
    pub async fn service(&self, namespace: &str, name: &str) -> anyhow::Result<Vec<IpAddr>> {
        let service = self
            .get(&["service", name, "--namespace", namespace])
            .await?;
        let addresses = service["spec"]["clusterIPs"]
            .as_array()
            .into_iter()
            .flatten();
        Ok(addresses
            .filter_map(|ip| ip.as_str()?.parse().ok())
            .collect())
    }

    /// What `kubectl get ... --output=json` says.
    pub async fn get(&self, what: &[&str]) -> anyhow::Result<Value> {
        let arguments = [&["get", "--output=json"], what].concat();
        Ok(serde_json::from_str(&self.kubectl(&arguments).await?)?)
    }

    /// Runs kubectl and gives what it prints.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        Ok(self.cluster.kubectl(arguments).await?.stdout)
    }

    /// Waits until a DaemonSet or Deployment of Weft has rolled out.
    pub async fn wait_component(&self, name: &str) -> anyhow::Result<()> {
        self.cluster.wait_rollout(NAMESPACE, name, PATIENCE).await?;
        Ok(())
    }

    /// The pods of a component of Weft (`weft-agent`, `weft-operator`) and the nodes that they are on.
    pub async fn component(&self, app: &str) -> anyhow::Result<Vec<(String, String)>> {
        let pods = self.get(&["pods", "--namespace", NAMESPACE]).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut found: Vec<(String, String)> = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pod| {
                (
                    text(&pod["spec"]["nodeName"]),
                    text(&pod["metadata"]["name"]),
                )
            })
            .filter(|(_, name)| name.starts_with(app))
            .collect();
        found.sort();
        if found.is_empty() {
            bail!("there is no pod of {app}");
        }
        Ok(found)
    }
}

/// A condition of an object, or null.
pub fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten();
    conditions
        .into_iter()
        .find(|condition| condition["type"] == kind)
        .cloned()
        .unwrap_or_default()
}

/// The NetworkConfig that scenarios begin with.
pub fn default_config() -> Value {
    json!({
        "apiVersion": "weft.dev/v1alpha1",
        "kind": "NetworkConfig",
        "metadata": {"name": "default"},
        "spec": {
            "mode": "Overlay",
            "pools": [
                {"cidr": "10.244.0.0/16", "blockSize": 26},
                {"cidr": "fd00:10:244::/56", "blockSize": 122},
            ],
            "overlay": {"encapsulation": "Always"},
        },
    })
}

/// A server on every node, and a Service of both families before them, on a port of the nodes too.
fn servers() -> Value {
    let labels = json!({"app": "server"});
    let port = |protocol: &str| {
        json!({
            "name": protocol.to_lowercase(), "protocol": protocol, "port": SERVICE_PORT,
            "targetPort": weft_load::PORT, "nodePort": NODE_PORT,
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "server"},
            "spec": {"selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "server", "image": "localhost/weft-load:dev", "imagePullPolicy": "Never",
                    "args": ["serve"],
                }]},
            }},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
            "spec": {
                "type": "NodePort", "selector": labels, "ipFamilyPolicy": "PreferDualStack",
                "ports": [port("TCP"), port("UDP")],
            },
        },
    ]})
}

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}
