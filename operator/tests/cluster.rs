//! The operator against a real API server, without nodes' kubelets and without controllers.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::*;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use weft_crds::{IPBlock, NetworkConfig, NodeNetwork, NodeReport};
use weft_operator::leader::Leadership;
use weft_operator::plan::agent_manifest;

fn daemonsets(client: &Client) -> Api<DaemonSet> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// The version of every object that the operator may write.
async fn versions(client: &Client) -> BTreeMap<String, String> {
    async fn of<K>(api: Api<K>, found: &mut BTreeMap<String, String>)
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        for object in api.list(&Default::default()).await.unwrap() {
            let key = format!("{} {}", K::kind(&()), object.name_any());
            found.insert(key, object.resource_version().unwrap());
        }
    }
    let mut found = BTreeMap::new();
    of::<NetworkConfig>(Api::all(client.clone()), &mut found).await;
    of::<IPBlock>(Api::all(client.clone()), &mut found).await;
    of::<NodeNetwork>(Api::all(client.clone()), &mut found).await;
    of::<NodeReport>(Api::all(client.clone()), &mut found).await;
    of::<Node>(Api::all(client.clone()), &mut found).await;
    of::<DaemonSet>(daemonsets(client), &mut found).await;
    found
}

/// Plays the DaemonSet controller: all agents are of the current version.
async fn roll_out(client: &Client) {
    let generation = daemonsets(client)
        .get("weft-agent")
        .await
        .unwrap()
        .metadata
        .generation;
    let status = json!({"status": {
        "observedGeneration": generation, "currentNumberScheduled": 0, "desiredNumberScheduled": 0,
        "numberMisscheduled": 0, "numberReady": 0,
    }});
    let patch = Patch::Merge(&status);
    daemonsets(client)
        .patch_status("weft-agent", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_config_to_ready_and_then_no_write() {
    let (_server, client) = prepared().await;
    let nodes = [
        create_node(&client, "a").await,
        create_node(&client, "b").await,
    ];
    let running = start(operator(&client, Leadership::always()));
    create_config(
        &client,
        json!([{"cidr": "10.244.0.0/16"}, {"cidr": "fd00:10:244::/56"}]),
    )
    .await;
    until("two blocks for each node", async || {
        blocks(&client).await.len() == 4
    })
    .await;
    until("agents", async || {
        daemonsets(&client)
            .get_opt("weft-agent")
            .await
            .unwrap()
            .is_some()
    })
    .await;
    let waiting = until_condition(&client, "Reconciling", "True").await;
    assert_eq!(waiting.status.unwrap().nodes.unwrap().summary, "0/2");

    roll_out(&client).await;
    for node in &nodes {
        report(&client, node, 1, 3).await;
    }
    let config = until_condition(&client, "Ready", "True").await;
    let status = config.status.unwrap();
    assert_eq!(status.nodes.unwrap().summary, "2/2");
    assert_eq!((status.mtu, status.pools[0].allocated), (Some(1450), 2));
    assert!(status.conditions.iter().all(|c| c.type_ != "Reconciling"));
    let columns = _server
        .kubectl(["get", "networkconfig", "--no-headers"])
        .await
        .unwrap()
        .stdout;
    let columns: Vec<&str> = columns.split_whitespace().collect();
    assert_eq!(columns[..4], ["default", "Overlay", "True", "2/2"]);
    let node = Api::<Node>::all(client.clone()).get("a").await.unwrap();
    let conditions = node.status.unwrap().conditions.unwrap();
    let condition = conditions
        .iter()
        .find(|c| c.type_ == "NetworkUnavailable")
        .unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_deref()),
        ("False", Some("WeftIsUp"))
    );

    let before = versions(&client).await;
    // A change that means nothing wakes the operator; and it looks again by itself, too.
    for round in 0..10 {
        let label =
            Patch::Merge(json!({"metadata": {"annotations": {"round": round.to_string()}}}));
        let api: Api<NodeReport> = Api::all(client.clone());
        api.patch("a", &PatchParams::default(), &label)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut after = versions(&client).await;
    after.insert("NodeReport a".into(), before["NodeReport a"].clone());
    assert_eq!(before, after, "something was written in a steady state");

    // A restarted operator has nothing to write either.
    running.abort();
    let again = start(operator(&client, Leadership::always()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut after = versions(&client).await;
    after.insert("NodeReport a".into(), before["NodeReport a"].clone());
    assert_eq!(before, after, "a restart wrote something");
    again.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_put_right_when_edited_or_deleted_but_not_without_a_config() {
    let (server, client) = prepared().await;
    let running = start(operator(&client, Leadership::always()));
    create_config(&client, json!([{"cidr": "10.244.0.0/16"}])).await;
    until("agents", async || {
        daemonsets(&client)
            .get_opt("weft-agent")
            .await
            .unwrap()
            .is_some()
    })
    .await;
    let made = daemonsets(&client).get("weft-agent").await.unwrap();
    let wanted = agent_manifest::render(&agent(), &Default::default());
    assert_eq!(
        made.spec, wanted.spec,
        "the API server fills in a field that the manifest leaves out"
    );

    let edits = [
        json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "evil"}]}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "second", "image": "evil"}]}}}}),
        json!({"spec": {"template": {"spec": {"hostPID": true}}}}),
        json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "else"}}}),
    ];
    for edit in edits {
        let patch = Patch::Strategic(&edit);
        daemonsets(&client)
            .patch("weft-agent", &PatchParams::default(), &patch)
            .await
            .unwrap();
        until(&format!("{edit} is undone"), async || {
            let now = daemonsets(&client).get("weft-agent").await.unwrap();
            now.spec == made.spec && now.metadata.labels == made.metadata.labels
        })
        .await;
    }
    let events = server
        .kubectl(["get", "events", "-A"])
        .await
        .unwrap()
        .stdout;
    assert!(events.contains("AgentRepaired"), "{events}");

    let uid = made.uid();
    daemonsets(&client)
        .delete("weft-agent", &DeleteParams::default())
        .await
        .unwrap();
    until("agents are back", async || {
        let now = daemonsets(&client).get_opt("weft-agent").await.unwrap();
        now.is_some_and(|now| now.uid() != uid)
    })
    .await;

    let configs: Api<NetworkConfig> = Api::all(client.clone());
    configs
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        daemonsets(&client)
            .get_opt("weft-agent")
            .await
            .unwrap()
            .is_some(),
        "agents stay"
    );
    daemonsets(&client)
        .delete("weft-agent", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        daemonsets(&client)
            .get_opt("weft-agent")
            .await
            .unwrap()
            .is_none(),
        "and stay away"
    );
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_deleted_and_applied_again_loses_nothing() {
    let (_server, client) = prepared().await;
    create_node(&client, "a").await;
    let running = start(operator(&client, Leadership::always()));
    let pools = json!([{"cidr": "10.244.0.0/16"}]);
    create_config(&client, pools.clone()).await;
    until("a block", async || blocks(&client).await.len() == 1).await;
    let before = blocks(&client).await;
    let configs: Api<NetworkConfig> = Api::all(client.clone());
    configs
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    create_config(&client, pools).await;
    until_condition(&client, "Reconciling", "True").await;
    assert_eq!(blocks(&client).await, before);

    configs
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    create_config(&client, json!([{"cidr": "10.9.0.0/16"}])).await;
    let stalled = until_condition(&client, "Stalled", "True").await;
    let conditions = stalled.status.unwrap().conditions;
    let stall = conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!(stall.reason, "PoolMissing");
    assert!(stall.message.contains("10.244.0.0/16"), "{}", stall.message);
    let of_old_pool = blocks(&client)
        .await
        .into_iter()
        .find(|b| b.spec.pool == "10.244.0.0/16");
    assert_eq!(
        of_old_pool.unwrap().spec,
        before[0].spec,
        "what runs is not touched"
    );
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_and_go_with_nodes_and_exhaustion_is_told() {
    let (server, client) = prepared().await;
    let a = create_node(&client, "a").await;
    let b = create_node(&client, "b").await;
    let running = start(operator(&client, Leadership::always()));
    create_config(&client, json!([{"cidr": "10.244.0.0/25"}])).await;
    until("a block for each", async || {
        blocks(&client).await.len() == 2
    })
    .await;
    until_condition(&client, "AddressesAvailable", "True").await;

    report(&client, &a, 1, 60).await;
    let short = until_condition(&client, "AddressesAvailable", "False").await;
    let conditions = short.status.unwrap().conditions;
    let message = &conditions
        .iter()
        .find(|c| c.status == "False" && c.type_ == "AddressesAvailable")
        .unwrap()
        .message;
    assert!(
        message.contains("10.244.0.0/25") && message.contains("nearly full: a"),
        "{message}"
    );
    until("an event", async || {
        let events = server
            .kubectl(["get", "events", "-A"])
            .await
            .unwrap()
            .stdout;
        events.contains("PoolExhausted") && events.contains("10.244.0.0/25")
    })
    .await;

    // The node goes: its block is released and, there being no cool-down here, given to the other.
    report(&client, &b, 1, 1).await;
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.delete("b", &DeleteParams::default()).await.unwrap();
    until("the block of b goes to a", async || {
        owned_by(&client, "a").await.len() == 2
    })
    .await;
    until_condition(&client, "AddressesAvailable", "True").await;
    let reports: Api<NodeReport> = Api::all(client.clone());
    until("the report of b is gone", async || {
        reports.get_opt("b").await.unwrap().is_none()
    })
    .await;
    assert!(reports.get_opt("a").await.unwrap().is_some());
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_over_the_range_of_services_stalls() {
    let (_server, client) = prepared().await;
    create_node(&client, "a").await;
    let running = start(operator(&client, Leadership::always()));
    create_config(&client, json!([{"cidr": "10.96.128.0/20"}])).await;
    let stalled = until_condition(&client, "Stalled", "True").await;
    let conditions = stalled.status.unwrap().conditions;
    let stall = conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!(stall.reason, "PoolOverlapsServices");
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_that_this_version_cannot_read_stalls_and_changes_nothing() {
    let (server, client) = prepared().await;
    create_node(&client, "a").await;
    let running = start(operator(&client, Leadership::always()));
    create_config(&client, json!([{"cidr": "10.244.0.0/16"}])).await;
    until("a block", async || blocks(&client).await.len() == 1).await;
    let before = blocks(&client).await;

    // A newer definition, which knows another mode and lets modes change.
    let known = server
        .kubectl(["get", "crd", "networkconfigs.weft.dev", "-o", "json"])
        .await
        .unwrap();
    let newer = known
        .stdout
        .replace("\"Overlay\"", "\"Overlay\", \"Pigeon\"")
        .replace("self == oldSelf", "true");
    assert!(server.apply(&newer).await.unwrap().success());
    let edit = r#"{"spec": {"mode": "Pigeon"}}"#;
    until("the newer definition", async || {
        let patch = [
            "patch",
            "networkconfig",
            "default",
            "--type=merge",
            "--patch",
            edit,
        ];
        server
            .kubectl(patch)
            .await
            .is_ok_and(|output| output.success())
    })
    .await;
    until("a stall that names the field", async || {
        let path = "-o=jsonpath={.status.conditions[?(@.type==\"Stalled\")].message}";
        let told = server
            .kubectl(["get", "networkconfig", "default", path])
            .await
            .unwrap()
            .stdout;
        told.contains("spec.mode: unknown variant `Pigeon`")
    })
    .await;
    assert_eq!(blocks(&client).await, before);

    let edit = r#"{"spec": {"mode": "Overlay"}}"#;
    let patch = [
        "patch",
        "networkconfig",
        "default",
        "--type=merge",
        "--patch",
        edit,
    ];
    assert!(server.kubectl(patch).await.unwrap().success());
    until_condition(&client, "Reconciling", "True").await;
    running.abort();
}
