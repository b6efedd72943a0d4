//! An API server with the definitions of Weft, and what tests put into it.

#![allow(dead_code)]

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use weft_crds::{IPBlock, NetworkConfig, NodeReport};
use weft_e2e::apiserver::ApiServer;
use weft_operator::apply::Executor;
use weft_operator::events::Announcer;
use weft_operator::leader::Leadership;
use weft_operator::metrics::Metrics;
use weft_operator::plan::daemonset::AgentSettings;
use weft_operator::run::Operator;
use weft_operator::watch::Watches;

pub const NAMESPACE: &str = "weft-system";

/// The API server, with definitions and namespace.
pub async fn prepared() -> (ApiServer, Client) {
    let server = ApiServer::start().await.unwrap();
    let manifests = weft_crds::manifests().unwrap().into_iter();
    let manifests: Vec<String> = manifests.map(|(_, yaml)| yaml).collect();
    let applied = server.apply(&manifests.join("---\n")).await.unwrap();
    assert!(applied.success(), "{}", applied.stderr);
    let wait = [
        "wait",
        "--for=condition=established",
        "--timeout=30s",
        "crd",
        "--all",
    ];
    assert!(server.kubectl(wait).await.unwrap().success());
    let made = server
        .kubectl(["create", "namespace", NAMESPACE])
        .await
        .unwrap();
    assert!(made.success(), "{}", made.stderr);
    let client = server.client().await.unwrap();
    (server, client)
}

pub fn agent() -> AgentSettings {
    AgentSettings {
        namespace: NAMESPACE.into(),
        image: "example.org/weft:1".into(),
        pull_policy: "IfNotPresent".into(),
        ..AgentSettings::default()
    }
}

/// An operator that acts whenever `leadership` says so.
pub fn operator(client: &Client, leadership: Leadership) -> Operator {
    let metrics = Metrics::default();
    Operator {
        watches: Watches::start(client, NAMESPACE),
        executor: Executor::new(
            client.clone(),
            NAMESPACE,
            leadership.clone(),
            Announcer::new(client.clone(), "test"),
            metrics.clone(),
        ),
        agent: agent(),
        leadership,
        metrics,
    }
}

/// Lets an operator run.
pub fn start(operator: Operator) -> JoinHandle<()> {
    tokio::spawn(async move { operator.reconcile().await })
}

pub fn config(pools: Value) -> NetworkConfig {
    let spec = json!({"mode": "Overlay", "pools": pools, "ipam": {"blockCooldownSeconds": 0}});
    NetworkConfig::new("default", serde_json::from_value(spec).unwrap())
}

pub async fn create_config(client: &Client, pools: Value) -> NetworkConfig {
    let api: Api<NetworkConfig> = Api::all(client.clone());
    api.create(&PostParams::default(), &config(pools))
        .await
        .unwrap()
}

pub async fn create_node(client: &Client, name: &str) -> Node {
    let api: Api<Node> = Api::all(client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    api.create(&PostParams::default(), &node).await.unwrap()
}

/// What an agent would report: all blocks that the node owns, with so many addresses used of each.
pub async fn report(client: &Client, node: &Node, generation: i64, used: u64) {
    let mine = owned_by(client, &node.name_any()).await;
    let ranges: Vec<String> = mine.into_iter().map(|block| block.spec.cidr).collect();
    report_of(client, node, generation, &ranges, used).await;
}

/// The same of blocks that are known.
pub async fn report_of(
    client: &Client,
    node: &Node,
    generation: i64,
    ranges: &[String],
    used: u64,
) {
    let usage = |cidr: &String| json!({"cidr": cidr, "capacity": 61, "used": used});
    let blocks: Vec<Value> = ranges.iter().map(usage).collect();
    let report = json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "NodeReport",
        "metadata": {"name": node.name_any()},
        "spec": {
            "nodeUID": node.uid(), "observedGeneration": generation, "agentVersion": "test",
            "forwarding": true, "summary": "0/0", "mtu": 1450, "blocks": blocks,
        },
    });
    let api: Api<NodeReport> = Api::all(client.clone());
    let parameters = PatchParams::apply("test").force();
    api.patch(&node.name_any(), &parameters, &Patch::Apply(&report))
        .await
        .unwrap();
}

pub async fn blocks(client: &Client) -> Vec<IPBlock> {
    let api: Api<IPBlock> = Api::all(client.clone());
    api.list(&Default::default()).await.unwrap().items
}

pub async fn owned_by(client: &Client, node: &str) -> Vec<IPBlock> {
    let api: Api<IPBlock> = Api::all(client.clone());
    let only = ListParams::default().fields(&format!("spec.node={node}"));
    api.list(&only).await.unwrap().items
}

/// Waits until something is so; the limit is far beyond what it takes.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut is_so: F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let limited = tokio::time::timeout(Duration::from_secs(90), wait).await;
    assert!(limited.is_ok(), "never: {what}");
}

/// Waits until a condition of the config has a status.
pub async fn until_condition(client: &Client, type_: &str, status: &str) -> NetworkConfig {
    let api: Api<NetworkConfig> = Api::all(client.clone());
    let mut last = None;
    until(&format!("{type_} is {status}"), async || {
        let config = api.get("default").await.unwrap();
        let found = config.status.iter().flat_map(|s| &s.conditions);
        let found = found.into_iter().any(|c| {
            c.type_ == type_
                && c.status == status
                && c.observed_generation == config.metadata.generation
        });
        last = Some(config);
        found
    })
    .await;
    last.unwrap()
}
