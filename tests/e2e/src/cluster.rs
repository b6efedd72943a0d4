//! A whole cluster: bringing it up, taking it down, and all that scenarios ask of it.

mod bring_up;
mod change;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};

use crate::apiserver::client_from;
use crate::command::{Cmd, Output};
use crate::controlplane::{API, CONTROLLERS, ControlPlane};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::plan::{Endpoint, Plan};
use crate::spec::ClusterSpec;
use crate::state::{Saved, StateDir};
use crate::{leftovers, netns, tools, wait};

pub use bring_up::Temporary;

/// A cluster that is up.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: String,
    dir: StateDir,
}

impl Cluster {
    /// A cluster that has been brought up before.
    pub fn attach(name: &str) -> Result<Self> {
        let dir = StateDir::of(name);
        dir.load()?;
        let name = name.to_owned();
        Ok(Self { name, dir })
    }

    /// Removes a cluster, or what is left of one, and checks that nothing remains.
    pub fn down(name: &str) -> Result<()> {
        leftovers::remove(name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its description.
    pub fn spec(&self) -> Result<ClusterSpec> {
        Ok(self.saved()?.spec)
    }

    /// Its names and addresses.
    pub fn plan(&self) -> Result<Plan> {
        Ok(self.saved()?.plan())
    }

    /// Where its files are.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// The administrator's kubeconfig, good on the machine itself.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.kubeconfig()
    }

    /// A client that may do everything.
    pub async fn client(&self) -> Result<Client> {
        client_from(&self.kubeconfig()).await
    }

    /// Runs kubectl.
    pub async fn kubectl<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output> {
        self.tool("kubectl")?.args(args).run().await
    }

    /// Applies manifests, in YAML or JSON, with kubectl.
    pub async fn apply(&self, manifests: &str) -> Result<Output> {
        self.tool("kubectl")?
            .args(["apply", "-f", "-"])
            .stdin(manifests)
            .run()
            .await
    }

    /// Runs helm.
    pub async fn helm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.tool("helm")?.args(args).run().await
    }

    /// kubectl, helm or another built program, told of this cluster.
    pub fn tool(&self, name: &str) -> Result<Cmd> {
        Ok(Cmd::new(tools::built(name)?).env("KUBECONFIG", self.kubeconfig()))
    }

    /// Runs a command in a pod's first container.
    pub async fn pod_exec(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Output> {
        self.kubectl([&["-n", namespace, "exec", pod, "--"][..], argv].concat())
            .await
    }

    /// A node.
    pub fn node(&self, name: &str) -> Result<Node> {
        let plan = self.plan()?;
        let node = plan
            .nodes
            .iter()
            .find(|node| node.name == name)
            .map(|endpoint| Node::new(&self.dir, endpoint));
        node.ok_or_else(|| {
            let known: Vec<_> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
            Error::State(format!(
                "there is no node {name}; there are {}",
                known.join(", ")
            ))
        })
    }

    /// All nodes.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self
            .plan()?
            .nodes
            .iter()
            .map(|endpoint| Node::new(&self.dir, endpoint))
            .collect())
    }

    /// The outside host beyond the router.
    pub fn outside(&self) -> Result<Endpoint> {
        let none = || {
            Error::State(
                "this cluster has no outside host: its description says `outside: false`"
                    .to_owned(),
            )
        };
        self.plan()?.outside.ok_or_else(none)
    }

    /// A command in the network namespace of the outside host, of `control` or of `router`.
    pub fn command_in<S: AsRef<OsStr>>(
        &self,
        endpoint: &str,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<Cmd> {
        let netns = netns::path(&crate::plan::netns(&self.name, endpoint));
        Ok(Cmd::new("nsenter")
            .args([format!("--net={}", netns.display()).as_str(), "--"])
            .args(argv))
    }

    /// Kills the control plane. What is stored stays.
    ///
    /// Its controllers go too, as they do elsewhere: they end when they can't renew their leases. One that
    /// outlived the API server would take all nodes for dead when it is back, going by what it knew before,
    /// and take the endpoints out of Services.
    pub fn stop_api(&self) -> Result<()> {
        let saved = self.saved()?;
        let control = ControlPlane::new(&self.dir, &saved);
        control.kill(&CONTROLLERS)?;
        control.kill(&API)
    }

    /// Starts the control plane again, and waits until its API server is ready.
    pub async fn start_api(&self) -> Result<()> {
        let saved = self.saved()?;
        let control = ControlPlane::new(&self.dir, &saved);
        control.start(&API).await?;
        control.ready().await?;
        control.start(&CONTROLLERS).await
    }

    /// Waits until nodes are Ready (`true`) or are not (`false`).
    pub async fn wait_nodes(&self, names: &[&str], ready: bool, limit: Duration) -> Result<()> {
        let what = format!(
            "{} to be {}",
            names.join(", "),
            if ready { "Ready" } else { "NotReady" }
        );
        let nodes: Api<core::Node> = Api::all(self.client().await?);
        wait::until(what, limit, async || {
            for name in names {
                let node = nodes.get(name).await.map_err(|error| error.to_string())?;
                let (is, why) = readiness(&node);
                if is != ready {
                    return Err(format!(
                        "{name} is {}: {why}",
                        if is { "Ready" } else { "NotReady" }
                    ));
                }
            }
            Ok(())
        })
        .await
    }

    /// Waits until a Deployment or DaemonSet (`deployment/NAME`) has rolled out.
    pub async fn wait_rollout(
        &self,
        namespace: &str,
        workload: &str,
        limit: Duration,
    ) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        let kubectl = self
            .tool("kubectl")?
            .args(["-n", namespace, "rollout", "status", workload, &timeout]);
        kubectl
            .timeout(limit + Duration::from_secs(10))
            .run()
            .await
            .map(|_| ())
    }

    fn saved(&self) -> Result<Saved> {
        self.dir.load()
    }
}

fn readiness(node: &core::Node) -> (bool, String) {
    let conditions = node
        .status
        .iter()
        .filter_map(|status| status.conditions.as_ref())
        .flatten();
    let ready = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Ready");
    ready.map_or((false, "no condition yet".to_owned()), |condition| {
        (
            condition.status == "True",
            condition.message.clone().unwrap_or_default(),
        )
    })
}
