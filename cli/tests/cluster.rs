//! The program against a real API server: what the objects are like when they come from there, in
//! more than one page, with TLS and with rights.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;
use std::path::Path;
use std::process::{Command, Output};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_crds::{IPBlock, NetworkConfig, NodeReport, annotation};
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

/// The file of a config in this mode, with more in its spec, and a BGPPeer.
fn file(mode: &str, more: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "apiVersion: weft.dev/v1alpha1\nkind: NetworkConfig\nmetadata: {{name: default}}\nspec:\n  mode: {mode}\n  pools: [{{cidr: 10.244.0.0/16}}]\n{more}---\napiVersion: weft.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: rack-a}}\nspec: {{address: 192.0.2.1, asn: 64900}}\n"
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_change_nothing_and_words_to_a_migration_are_annotations() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await.unwrap();
    let kubeconfig = server.kubeconfig();
    define(&server).await;
    configure(&client).await;
    let configs: Api<NetworkConfig> = Api::all(client.clone());
    let before = configs.get("default").await.unwrap();

    let plan = async |file: &tempfile::NamedTempFile, more: &[&str]| {
        let command = ["plan", "-f", file.path().to_str().unwrap()];
        run(&kubeconfig, &[&command, more].concat())
    };
    let possible = plan(
        &file("BGP", "  overlay: {port: 4790}\n"),
        &["-o", "json", "--generation", "1"],
    )
    .await;
    assert_eq!(possible.status.code(), Some(0), "{possible:?}");
    let report: Value = serde_json::from_slice(&possible.stdout).unwrap();
    let changed: Vec<&str> = report["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["field"].as_str().unwrap())
        .collect();
    assert_eq!(changed, ["spec.mode", "spec.overlay.port"]);
    let needs = report["migration"]["needs"].to_string();
    assert!(needs.contains("rack-a"), "{needs}");

    // What the API server refuses is told in its own words: a rule, and a slip in a name.
    for (more, said) in [
        ("  mtu: 100\n", "spec.mtu"),
        (
            "  overlay: {prot: 4790}\n",
            "unknown field \"spec.overlay.prot\"",
        ),
        (
            "  migration: {canarySelector: {}}\n",
            "needs at least one label",
        ),
    ] {
        let refused = plan(&file("BGP", more), &[]).await;
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
    }
    assert_eq!(configs.get("default").await.unwrap(), before);
    let peers: Api<weft_crds::BGPPeer> = Api::all(client.clone());
    assert_eq!(peers.list(&Default::default()).await.unwrap().items, []);

    // The operator would have begun by now.
    let patch = json!({"spec": {"mode": "BGP", "migration": {"approval": "Manual"}}});
    let parameters = PatchParams::default();
    configs
        .patch("default", &parameters, &Patch::Merge(&patch))
        .await
        .unwrap();
    let migration = json!({"status": {
        "mode": "Overlay", "step": 4, "migration": {"from": "Overlay", "to": "BGP", "phase": "Verify"},
    }});
    configs
        .patch_status("default", &parameters, &Patch::Merge(&migration))
        .await
        .unwrap();
    let spec = configs.get("default").await.unwrap().spec;
    for (command, name, value) in [
        (&["pause"][..], annotation::PAUSED, Some("true")),
        (&["resume"], annotation::PAUSED, None),
        (
            &["approve", "--generation", "2"],
            annotation::APPROVED,
            Some("2"),
        ),
        (&["rollback"], annotation::ROLLBACK, Some("2")),
        (&["resume"], annotation::ROLLBACK, None),
    ] {
        answer(&kubeconfig, &[&["migrate"], command].concat(), 0);
        let config = configs.get("default").await.unwrap();
        let written = config.annotations().get(name).map(String::as_str);
        assert_eq!(written, value, "{command:?}");
        assert_eq!(
            (config.spec, config.metadata.generation),
            (spec.clone(), Some(2))
        );
    }
    let said = refused(&kubeconfig, &["migrate", "approve", "--generation", "1"]);
    assert!(said.contains("generation 2 now, not 1"), "{said}");
}
