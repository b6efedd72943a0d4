//! `weft-operator uninstall` as the hook of the chart runs it, on a real API server. A test plays the
//! kubelets.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use weft_crds::NetworkConfig;
use weft_e2e::apiserver::ApiServer;
use weft_operator::leader::Leadership;

async fn uninstall(server: &ApiServer, force_dead: &str, timeout: &str) -> (bool, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_weft-operator"))
        .args(["uninstall", "--namespace", NAMESPACE])
        .env("KUBECONFIG", server.kubeconfig())
        .env("WEFT_UNINSTALL_FORCE_DEAD", force_dead)
        .env("WEFT_UNINSTALL_TIMEOUT", timeout)
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

async fn set_ready(client: &Client, node: &str) {
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let api: Api<Node> = Api::all(client.clone());
    let patch = Patch::Strategic(&status);
    api.patch_status(node, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Plays kubelet and controllers: when the DaemonSet that cleans appears, so does a ready pod of it; when
/// the DaemonSet is gone, so is the pod.
async fn play_kubelet(client: Client, node: &'static str) {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    until("the DaemonSet that cleans", async || {
        sets.get_opt("weft-cleanup").await.unwrap().is_some()
    })
    .await;
    let set = sets.get("weft-cleanup").await.unwrap();
    let template = set.spec.template.spec.clone().unwrap();
    let pod = json!({
        "metadata": {
            "name": "weft-cleanup-x",
            "labels": {"app.kubernetes.io/name": "weft-cleanup"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "weft-cleanup", "uid": set.uid(),
            }],
        },
        "spec": template,
    });
    let mut pod: Pod = serde_json::from_value(pod).unwrap();
    let spec = pod.spec.as_mut().unwrap();
    spec.node_name = Some(node.into());
    spec.priority_class_name = None;
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let patch = Patch::Strategic(&ready);
    pods.patch_status("weft-cleanup-x", &PatchParams::default(), &patch)
        .await
        .unwrap();
    until("the end of cleaning", async || {
        sets.get_opt("weft-cleanup").await.unwrap().is_none()
    })
    .await;
    pods.delete("weft-cleanup-x", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_refuses_then_names_dead_nodes_then_removes_everything() {
    let (server, client) = prepared().await;
    create_node(&client, "alive").await;
    set_ready(&client, "alive").await;
    let dead = create_node(&client, "dead").await;
    let running = start(operator(&client, Leadership::always()));
    create_config(&client, json!([{"cidr": "10.244.0.0/16"}])).await;
    until("blocks", async || blocks(&client).await.len() == 2).await;
    report(&client, &dead, 1, 0).await;
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    until("agents", async || {
        sets.get_opt("weft-agent").await.unwrap().is_some()
    })
    .await;
    let unavailable = async |name: &str| {
        let node = Api::<Node>::all(client.clone()).get(name).await.unwrap();
        let conditions = node
            .status
            .unwrap_or_default()
            .conditions
            .unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "NetworkUnavailable")
    };
    until("conditions", async || {
        unavailable("alive").await && unavailable("dead").await
    })
    .await;

    let (ok, text) = uninstall(&server, "false", "5").await;
    assert!(
        !ok && text.contains("kubectl delete networkconfig default"),
        "{text}"
    );
    assert!(
        sets.get_opt("weft-agent").await.unwrap().is_some(),
        "it has touched nothing"
    );

    let configs: Api<NetworkConfig> = Api::all(client.clone());
    configs
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let lease = serde_json::from_value(json!({"metadata": {"name": "weft-operator"}})).unwrap();
    leases.create(&PostParams::default(), &lease).await.unwrap();

    let kubelet = play_kubelet(client.clone(), "alive");
    let ((ok, text), ()) = tokio::join!(uninstall(&server, "false", "10"), kubelet);
    assert!(!ok, "{text}");
    for part in [
        "1 of 2 nodes are clean",
        "dead (its kubelet is not ready)",
        "--force-dead",
    ] {
        assert!(text.contains(part), "{part} not in {text}");
    }
    assert!(!text.contains("alive ("), "{text}");
    assert_eq!(
        blocks(&client).await.len(),
        2,
        "objects stay until all nodes are clean"
    );

    let kubelet = play_kubelet(client.clone(), "alive");
    let ((ok, text), ()) = tokio::join!(uninstall(&server, "true", "10"), kubelet);
    assert!(
        ok && text.contains("except for nodes that are not clean: dead"),
        "{text}"
    );
    assert!(blocks(&client).await.is_empty());
    let kinds = "nodereports,nodenetworks,leases,daemonsets";
    let left = ["get", kinds, "--namespace", NAMESPACE, "--no-headers"];
    assert_eq!(server.kubectl(left).await.unwrap().stdout, "");
    assert!(!unavailable("alive").await && !unavailable("dead").await);
    running.abort();
}
