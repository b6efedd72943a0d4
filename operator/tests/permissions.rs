//! What the chart installs is accepted by a real API server, and lets agents and operator do what they
//! have to and nothing else.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use weft_crds::{BGPPeer, IPBlock, NetworkConfig, NodeNetwork, NodeReport};
use weft_e2e::apiserver::ApiServer;
use weft_e2e::command::Cmd;
use weft_operator::leader::Leadership;

const AGENT: &str = "system:serviceaccount:weft-system:weft-agent";
const OPERATOR: &str = "system:serviceaccount:weft-system:weft-operator";

async fn install(server: &ApiServer) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/weft");
    let installed = Cmd::new(weft_e2e::tools::built("helm").unwrap())
        .args([
            "upgrade",
            "--install",
            "weft",
            chart,
            "--namespace",
            NAMESPACE,
        ])
        .args(["--kubeconfig".as_ref(), server.kubeconfig().as_os_str()])
        .output()
        .await
        .unwrap();
    assert!(installed.success(), "{}", installed.stderr);
}

/// A client that is the pod of a ServiceAccount, on a node if one is given.
async fn client_on(server: &ApiServer, user: &str, node: Option<&str>) -> Client {
    let parsed = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(parsed, &options)
        .await
        .unwrap();
    config.auth_info.impersonate = Some(user.into());
    if let Some(node) = node {
        let name = "impersonate-extra-authentication.kubernetes.io%2fnode-name";
        config
            .headers
            .push((name.parse().unwrap(), node.parse().unwrap()));
    }
    Client::try_from(config).unwrap()
}

fn network(node: &str) -> NodeNetwork {
    let spec = json!({"nodeUID": "u", "mac": "02:00:00:00:00:01", "mtu": 1500});
    NodeNetwork::new(node, serde_json::from_value(spec).unwrap())
}

fn node_report(node: &str) -> NodeReport {
    let spec = json!({"nodeUID": "u", "agentVersion": "0", "forwarding": true, "summary": "0/0"});
    NodeReport::new(
        node,
        serde_json::from_value::<weft_crds::NodeReportSpec>(spec).unwrap(),
    )
}

fn refusal<T>(answer: Result<T, kube::Error>) -> String {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => status.message,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was allowed"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_writes_only_about_its_own_node() {
    let server = ApiServer::start().await.unwrap();
    assert!(
        server
            .kubectl(["create", "namespace", NAMESPACE])
            .await
            .unwrap()
            .success()
    );
    install(&server).await;
    let post = PostParams::default();
    let a = client_on(&server, AGENT, Some("a")).await;
    let networks: Api<NodeNetwork> = Api::all(a.clone());
    let reports: Api<NodeReport> = Api::all(a.clone());
    // A policy comes into force a moment after it is made.
    until("the policy", async || {
        networks.create(&post, &network("other")).await.is_err()
    })
    .await;

    let mut own = networks.create(&post, &network("a")).await.unwrap();
    own.spec.mtu = 1400;
    let own = networks.replace("a", &post, &own).await.unwrap();
    reports.create(&post, &node_report("a")).await.unwrap();
    let message = refusal(networks.create(&post, &network("b")).await);
    assert!(message.contains("own node, a"), "{message}");
    refusal(reports.create(&post, &node_report("b")).await);

    let b: Api<NodeNetwork> = Api::all(client_on(&server, AGENT, Some("b")).await);
    refusal(b.replace("a", &post, &own).await);
    let nowhere: Api<NodeNetwork> = Api::all(client_on(&server, AGENT, None).await);
    let message = refusal(nowhere.create(&post, &network("c")).await);
    assert!(message.contains("its token names none"), "{message}");

    let all = ListParams::default();
    Api::<IPBlock>::all(a.clone()).list(&all).await.unwrap();
    Api::<NetworkConfig>::all(a.clone())
        .list(&all)
        .await
        .unwrap();
    let config = config(json!([{"cidr": "10.244.0.0/16"}]));
    refusal(
        Api::<NetworkConfig>::all(a.clone())
            .create(&post, &config)
            .await,
    );
    refusal(networks.delete("a", &Default::default()).await);
    // Passwords of BGP peers are where Weft is; other Secrets are nobody's here.
    let secrets = |namespace: &str| Api::<Secret>::namespaced(a.clone(), namespace);
    secrets(NAMESPACE).list(&all).await.unwrap();
    refusal(secrets(NAMESPACE).create(&post, &Secret::default()).await);
    refusal(secrets("kube-system").list(&all).await);
    Api::<BGPPeer>::all(a).list(&all).await.unwrap();
}

/// The whole of an operator's life with the rights of its ServiceAccount.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_can_do_all_that_it_has_to() {
    let server = ApiServer::start().await.unwrap();
    assert!(
        server
            .kubectl(["create", "namespace", NAMESPACE])
            .await
            .unwrap()
            .success()
    );
    install(&server).await;
    let admin = server.client().await.unwrap();
    let node = create_node(&admin, "a").await;
    let limited = client_on(&server, OPERATOR, None).await;
    let operator = operator(&limited, Leadership::always());
    let metrics = operator.metrics.clone();
    let running = start(operator);
    create_config(&admin, json!([{"cidr": "10.244.0.0/25"}])).await;
    until("a block", async || blocks(&admin).await.len() == 1).await;
    report(&admin, &node, 1, 61).await;
    until("a second block", async || blocks(&admin).await.len() == 2).await;
    until_condition(&admin, "AddressesAvailable", "True").await;
    let edit = [
        "set",
        "image",
        "daemonset/weft-agent",
        "agent=else",
        "-n",
        NAMESPACE,
    ];
    until("agents", async || {
        server.kubectl(edit).await.unwrap().success()
    })
    .await;
    until("events", async || {
        let events = server
            .kubectl(["get", "events", "-A"])
            .await
            .unwrap()
            .stdout;
        events.contains("AgentRepaired")
    })
    .await;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(admin.clone());
    nodes.delete("a", &Default::default()).await.unwrap();
    until("nothing of the node", async || {
        let owned = blocks(&admin)
            .await
            .into_iter()
            .any(|b| b.spec.node.is_some());
        let reports: Api<NodeReport> = Api::all(admin.clone());
        !owned && reports.get_opt("a").await.unwrap().is_none()
    })
    .await;
    let text = metrics.text().unwrap();
    let failed: Vec<&str> = text
        .lines()
        .filter(|l| l.contains("outcome=\"failed\""))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    running.abort();

    let name = "weft-operator";
    let lease: Lease = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let chart: Api<Lease> = Api::namespaced(admin, NAMESPACE);
    chart.delete(name, &Default::default()).await.unwrap();
    let leases: Api<Lease> = Api::namespaced(limited.clone(), NAMESPACE);
    let post = PostParams::default();
    let lease = leases.create(&post, &lease).await.unwrap();
    leases.replace(name, &post, &lease).await.unwrap();
    let configs: Api<NetworkConfig> = Api::all(limited);
    refusal(configs.delete("default", &Default::default()).await);
}
