//! `weft-operator uninstall`: everything that Weft made goes, on every node and in the API.
//!
//! The order matters. Agents go first, or they would put back what is removed. Nodes are cleaned before
//! objects are deleted, so that a run that failed can be repeated. The operator that still runs does
//! nothing meanwhile, because it acts only while a NetworkConfig exists.

pub mod manifest;
mod progress;

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use weft_crds::{CONFIG_NAME, IPBlock, NetworkConfig, NodeNetwork, NodeReport};

use crate::apply::{ApplyError, MANAGER, is_code, limited};
use crate::clock;
use crate::observed::{NETWORK_UNAVAILABLE, NodeFacts};
use crate::plan::daemonset::{AGENT, AgentSettings};
use crate::plan::node_condition;
use crate::run::LEASE;
use crate::settings::{Settings, UninstallSettings};
use manifest::CLEANUP;
use progress::Progress;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Removes everything. What it does is said on standard output, line by line.
///
/// # Errors
/// A NetworkConfig exists; or a node couldn't be cleaned in time; or the API server refuses a call.
/// It can be run again.
pub async fn run(settings: &Settings, own: &UninstallSettings) -> Result<()> {
    let client = weft_client::infer().await?;
    let uninstaller = Uninstaller {
        client,
        agent: settings.agent(),
        deadline: clock::mono() + own.timeout,
    };
    uninstaller.refuse_while_in_use().await?;
    uninstaller.stop_agents().await?;
    let left = uninstaller.clean_nodes().await?;
    if !left.is_empty() && !own.force_dead {
        let nodes: Vec<_> = left.iter().map(|(n, why)| format!("{n} ({why})")).collect();
        bail!(
            "these nodes are not clean: {}. Bring them back and run this again, or delete their Node objects, or pass --force-dead to go on without them",
            nodes.join(", ")
        );
    }
    uninstaller.remove_objects().await?;
    match left.is_empty() {
        true => println!("nothing of Weft is left on the nodes"),
        false => println!(
            "done, except for nodes that are not clean: {}",
            names(&left)
        ),
    }
    Ok(())
}

struct Uninstaller {
    client: Client,
    agent: AgentSettings,
    deadline: Duration,
}

impl Uninstaller {
    async fn refuse_while_in_use(&self) -> Result<()> {
        let api: Api<NetworkConfig> = Api::all(self.client.clone());
        // Without the definition there is no config either.
        let found = match limited(api.get_opt(CONFIG_NAME)).await {
            Err(error) if is_code(&error, 404) => None,
            other => other.context("can't read the NetworkConfig")?,
        };
        if found.is_some() {
            bail!(
                "NetworkConfig {CONFIG_NAME} still exists, so pods use this network. Delete it first (kubectl delete networkconfig {CONFIG_NAME}), then uninstall"
            );
        }
        Ok(())
    }

    /// Deletes the agents and waits until those on nodes that are alive are gone.
    async fn stop_agents(&self) -> Result<()> {
        println!("removing the agents");
        self.delete_daemonset(AGENT).await
    }

    /// Cleans all nodes and returns those that are not clean when the time is over.
    async fn clean_nodes(&self) -> Result<Vec<(String, String)>> {
        println!("cleaning the nodes");
        let api: Api<DaemonSet> = self.in_namespace();
        let mut wanted = manifest::render(&self.agent);
        wanted.metadata.managed_fields = None;
        let parameters = PatchParams::apply(MANAGER).force();
        limited(api.patch(CLEANUP, &parameters, &Patch::Apply(&wanted)))
            .await
            .with_context(|| format!("can't make DaemonSet {CLEANUP}"))?;
        let mut said = String::new();
        let left = loop {
            let (nodes, pods) = (self.nodes().await?, self.pods(CLEANUP).await?);
            let progress = progress::of_cleaning(&nodes, &pods);
            self.say(&mut said, progress.line());
            match progress {
                Progress { waiting, .. } if waiting.is_empty() => break waiting,
                Progress { waiting, .. } if clock::mono() >= self.deadline => break waiting,
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        self.delete_daemonset(CLEANUP).await?;
        Ok(left)
    }

    async fn remove_objects(&self) -> Result<()> {
        println!("removing blocks, reports and conditions");
        self.delete_all::<IPBlock>().await?;
        self.delete_all::<NodeNetwork>().await?;
        self.delete_all::<NodeReport>().await?;
        self.clear_conditions().await?;
        let leases: Api<Lease> = self.in_namespace();
        absent_is_fine(limited(leases.delete(LEASE, &DeleteParams::default())).await)
            .with_context(|| format!("can't delete Lease {LEASE}"))
    }

    async fn delete_daemonset(&self, name: &str) -> Result<()> {
        let api: Api<DaemonSet> = self.in_namespace();
        absent_is_fine(limited(api.delete(name, &DeleteParams::background())).await)
            .with_context(|| format!("can't delete DaemonSet {name}"))?;
        // Cleaning may have used up the time; the pods still get some to end.
        let deadline = self.deadline.max(clock::mono() + Duration::from_secs(60));
        let mut said = String::new();
        loop {
            let running = progress::still_running(&self.nodes().await?, &self.pods(name).await?);
            if running.is_empty() {
                return Ok(());
            }
            let nodes = running.join(", ");
            if clock::mono() >= deadline {
                bail!(
                    "pods of DaemonSet {name} don't end on {nodes}; look at their events, then run this again"
                );
            }
            self.say(
                &mut said,
                format!("waiting for the end of {name} on {nodes}"),
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn delete_all<K>(&self) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let (some, all) = (DeleteParams::default(), ListParams::default());
        absent_is_fine(limited(api.delete_collection(&some, &all)).await)
            .with_context(|| format!("can't delete {}", K::plural(&())))
    }

    /// Takes away the condition that the operator set, from nodes where it is still ours.
    async fn clear_conditions(&self) -> Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Strategic(json!({"status": {"conditions": [
            {"type": NETWORK_UNAVAILABLE, "$patch": "delete"}
        ]}}));
        for node in self.nodes().await? {
            let reason = node.network_unavailable.and_then(|c| c.reason);
            let ours = [node_condition::UP, node_condition::NOT_READY];
            if !reason.is_some_and(|reason| ours.contains(&reason.as_str())) {
                continue;
            }
            let parameters = PatchParams::default();
            let call = api.patch_status(&node.name, &parameters, &patch);
            absent_is_fine(limited(call).await).with_context(|| {
                format!("can't clear {NETWORK_UNAVAILABLE} of node {}", node.name)
            })?;
        }
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeFacts>> {
        let api: Api<Node> = Api::all(self.client.clone());
        let list = listed(&api, &ListParams::default()).await;
        let list = list.context("can't list nodes")?;
        Ok(list.iter().map(NodeFacts::from).collect())
    }

    async fn pods(&self, daemonset: &str) -> Result<Vec<Pod>> {
        let api: Api<Pod> = self.in_namespace();
        let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={daemonset}"));
        let list = listed(&api, &selector).await;
        let list = list.with_context(|| format!("can't list pods of {daemonset}"))?;
        // The Job that this runs in isn't of a DaemonSet, whatever its labels.
        let owned = |pod: &Pod| pod.owner_references().iter().any(|o| o.kind == "DaemonSet");
        Ok(list.into_iter().filter(owned).collect())
    }

    fn in_namespace<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.agent.namespace)
    }

    /// Says a line unless it was the last one too.
    fn say(&self, last: &mut String, line: String) {
        if *last != line {
            println!("{line}");
            *last = line;
        }
    }
}

/// Lists objects; a few failures are passed over.
async fn listed<K>(api: &Api<K>, which: &ListParams) -> Result<Vec<K>, ApplyError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut tries = 5;
    loop {
        match limited(api.list(which)).await {
            Ok(list) => return Ok(list.items),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => tries -= 1,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn absent_is_fine<T>(answer: Result<T, ApplyError>) -> Result<(), ApplyError> {
    match answer {
        Err(error) if is_code(&error, 404) => Ok(()),
        other => other.map(|_| ()),
    }
}

fn names(left: &[(String, String)]) -> String {
    let names: Vec<_> = left.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}
