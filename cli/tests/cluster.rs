//! The program against a real API server: what the objects are like when they come from there, in
//! more than one page, with TLS and with rights.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;
use std::path::Path;
use std::process::{Command, Output};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_crds::{IPBlock, NetworkConfig, NodeReport};
use weft_e2e::apiserver::ApiServer;

/// More than one page of a list.
const MANY: u32 = 620;

fn run(kubeconfig: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-weft"))
        .env("KUBECONFIG", kubeconfig)
        .args(arguments)
        .output()
        .unwrap()
}

fn refused(kubeconfig: &Path, arguments: &[&str]) -> String {
    let output = run(kubeconfig, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

fn answer(kubeconfig: &Path, arguments: &[&str], code: i32) -> Value {
    let output = run(kubeconfig, &[arguments, &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + Serialize + DeserializeOwned + Debug,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

async fn define(server: &ApiServer) {
    let manifests: Vec<String> = weft_crds::manifests()
        .unwrap()
        .into_iter()
        .map(|(_, yaml)| yaml)
        .collect();
    assert!(
        server
            .apply(&manifests.join("---\n"))
            .await
            .unwrap()
            .success()
    );
    let wait = [
        "wait",
        "--for=condition=established",
        "--timeout=30s",
        "crd",
        "--all",
    ];
    assert!(server.kubectl(wait).await.unwrap().success());
}

async fn configure(client: &Client) {
    let config = json!({
        "metadata": {"name": "default"},
        "spec": {"mode": "Overlay", "pools": [{"cidr": "10.244.0.0/16"}]},
    });
    create(&Api::<NetworkConfig>::all(client.clone()), config).await;
}

/// A node with many blocks and a report about the first.
async fn add_node(client: &Client) {
    let node = create(
        &Api::<Node>::all(client.clone()),
        json!({"metadata": {"name": "node-1"}}),
    )
    .await;
    let uid = node.metadata.uid.unwrap();
    let blocks: Api<IPBlock> = Api::all(client.clone());
    let create_block = async |number: u32| {
        let (third, fourth) = (number / 4, number % 4 * 64);
        let block = json!({
            "metadata": {"name": format!("10-244-{third}-{fourth}-26")},
            "spec": {
                "cidr": format!("10.244.{third}.{fourth}/26"), "pool": "10.244.0.0/16",
                "node": "node-1", "nodeUID": uid,
            },
        });
        create(&blocks, block).await;
    };
    stream::iter(0..MANY)
        .for_each_concurrent(32, create_block)
        .await;
    let report = json!({
        "metadata": {"name": "node-1"},
        "spec": {
            "nodeUID": uid, "agentVersion": "0.1.0", "forwarding": true, "summary": "0/0",
            "observedGeneration": 1, "mtu": 1450,
            "blocks": [{"cidr": "10.244.0.0/26", "capacity": 61, "used": 1}],
        },
    });
    create(&Api::<NodeReport>::all(client.clone()), report).await;
}

async fn add_pod(client: &Client, name: &str, address: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": "node-1", "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i"}],
        },
    });
    create(&pods, pod).await;
    let status =
        json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
}

/// The same kubeconfig, for a user who may nothing.
fn nobody(kubeconfig: &Path) -> tempfile::NamedTempFile {
    let mut content = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    for user in &mut content.auth_infos {
        user.auth_info.as_mut().unwrap().impersonate = Some("nobody".into());
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(file.as_file(), &content).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_bare_cluster_to_a_conflict() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let kubeconfig = server.kubeconfig();

    let said = refused(&kubeconfig, &["status"]);
    assert!(
        said.contains("Weft is not installed") && said.contains(&server.url()),
        "{said}"
    );

    define(&server).await;
    let said = refused(&kubeconfig, &["status"]);
    assert!(said.contains("no NetworkConfig named default"), "{said}");

    configure(&client).await;
    add_node(&client).await;
    add_pod(&client, "web-1", "10.244.0.2").await;

    let status = answer(&kubeconfig, &["status"], 0);
    assert_eq!(status["nodes"][0]["ready"], true, "{status}");
    let shown = answer(&kubeconfig, &["ipam", "show"], 0);
    assert_eq!(shown["blocks"].as_array().unwrap().len(), MANY as usize);
    let checked = answer(&kubeconfig, &["ipam", "check"], 0);
    assert_eq!(checked["compared"]["blocks"], MANY, "{checked}");
    assert_eq!(checked["compared"]["pods"], 1, "{checked}");

    add_pod(&client, "web-2", "10.244.0.2").await;
    let checked = answer(&kubeconfig, &["ipam", "check"], 1);
    assert_eq!(
        checked["findings"][0]["reason"], "AddressConflict",
        "{checked}"
    );

    let said = refused(nobody(&kubeconfig).path(), &["status"]);
    assert!(
        said.contains("not allowed to list networkconfigs.weft.dev"),
        "{said}"
    );
    assert!(said.contains("nobody"), "{said}");
}
