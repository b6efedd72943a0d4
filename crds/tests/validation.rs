//! Bad and good objects, fed to a real API server: each refusal names the field and the fix.

#![allow(clippy::unwrap_used)]

mod table;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use weft_crds::{BGPPeer, IPBlock, NetworkConfig, NodeNetwork, NodeReport};
use weft_e2e::apiserver::ApiServer;

/// An API server that knows the definitions.
async fn prepared() -> (ApiServer, Client) {
    let server = ApiServer::start().await.unwrap();
    let manifests: Vec<String> = weft_crds::manifests()
        .unwrap()
        .into_iter()
        .map(|(_, yaml)| yaml)
        .collect();
    let applied = server.apply(&manifests.join("---\n")).await.unwrap();
    assert!(applied.success(), "{}", applied.stderr);
    assert_eq!(
        applied.stderr, "",
        "the API server has something to say against a definition"
    );
    let wait = [
        "wait",
        "--for=condition=established",
        "--timeout=30s",
        "crd",
        "--all",
    ];
    assert!(server.kubectl(wait).await.unwrap().success());
    let client = server.client().await.unwrap();
    (server, client)
}

fn api<K: Resource<DynamicType = ()>>(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<K>(&()))
}

fn object(kind: &str, name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

fn dry() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

fn refusal<T>(answer: Result<T, kube::Error>) -> Option<String> {
    match answer {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code == 422 => Some(status.message),
        Err(other) => Some(format!("not a refusal: {other}")),
    }
}

/// Lays `over` over `base`, as a JSON merge patch (RFC 7386) does; null removes.
fn merged(base: &Value, over: &Value) -> Value {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return over.clone();
    };
    let mut result = base.clone();
    for (key, value) in over {
        if value.is_null() {
            result.remove(key);
        } else {
            let below = result.get(key).unwrap_or(&Value::Null);
            let value = merged(below, value);
            result.insert(key.clone(), value);
        }
    }
    Value::Object(result)
}

/// What was not as it should be, for each line of a table.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn expect(&mut self, case: &str, refusal: Option<String>, parts: &[&str]) {
        match refusal {
            None if parts.is_empty() => {}
            None => self.0.push(format!("{case}: accepted")),
            Some(message) if parts.is_empty() => self.0.push(format!("{case}: refused: {message}")),
            Some(message) => {
                let missing: Vec<_> = parts.iter().filter(|p| !message.contains(*p)).collect();
                if !missing.is_empty() {
                    self.0
                        .push(format!("{case}: {missing:?} not in: {message}"));
                }
            }
        }
    }

    fn check(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

#[tokio::test]
async fn each_refusal_names_the_field_and_the_fix() {
    let (_server, client) = prepared().await;
    let configs = api::<NetworkConfig>(&client);
    let mut failures = Failures::default();
    let base = table::config();

    let bad = table::bad_configs();
    assert!(bad.len() >= 60, "{} bad specs", bad.len());
    for (over, parts) in &bad {
        let config = object("NetworkConfig", "default", &merged(&base, over));
        let answer = configs.create(&dry(), &config).await;
        failures.expect(&format!("create {over}"), refusal(answer), parts);
    }
    for (bgp, parts) in table::bgp::settings() {
        let config = object(
            "NetworkConfig",
            "default",
            &merged(&base, &json!({"bgp": bgp})),
        );
        let answer = configs.create(&dry(), &config).await;
        failures.expect(&format!("create with bgp {bgp}"), refusal(answer), &parts);
    }
    for over in table::good_configs() {
        let config = object("NetworkConfig", "default", &merged(&base, &over));
        let answer = configs.create(&dry(), &config).await;
        failures.expect(&format!("create {over}"), refusal(answer), &[]);
    }
    let named = configs
        .create(&dry(), &object("NetworkConfig", "second", &base))
        .await;
    failures.expect(
        "another name",
        refusal(named),
        &["metadata.name", "change the name to default"],
    );

    for (before, after, parts) in table::config_updates() {
        let case = format!("{before} to {after}");
        let config = object("NetworkConfig", "default", &merged(&base, &before));
        if let Err(error) = configs.create(&PostParams::default(), &config).await {
            failures.0.push(format!("{case}: can't start: {error}"));
            continue;
        }
        let patch = Patch::Merge(json!({"spec": after}));
        let answer = configs
            .patch("default", &PatchParams::default(), &patch)
            .await;
        failures.expect(&case, refusal(answer), &parts);
        configs
            .delete("default", &Default::default())
            .await
            .unwrap();
    }
    failures.check();
}

#[tokio::test]
async fn bgp_peers_blocks_and_what_nodes_publish_are_checked_too() {
    let (_server, client) = prepared().await;
    let mut failures = Failures::default();
    let blocks = api::<IPBlock>(&client);
    for (name, over, parts) in table::blocks() {
        let block = object("IPBlock", name, &merged(&table::block(), &over));
        let answer = blocks.create(&dry(), &block).await;
        failures.expect(&format!("block {name} {over}"), refusal(answer), &parts);
    }
    for (before, after, parts) in table::block_updates() {
        let case = format!("block {before} to {after}");
        let block = object(
            "IPBlock",
            "10-244-0-64-26",
            &merged(&table::block(), &before),
        );
        blocks.create(&PostParams::default(), &block).await.unwrap();
        let patch = Patch::Merge(json!({"spec": after}));
        let answer = blocks
            .patch("10-244-0-64-26", &PatchParams::default(), &patch)
            .await;
        failures.expect(&case, refusal(answer), &parts);
        blocks
            .delete("10-244-0-64-26", &Default::default())
            .await
            .unwrap();
    }
    for (over, parts) in table::bgp::peers() {
        let peer = object("BGPPeer", "rack-a", &merged(&table::bgp::peer(), &over));
        let answer = api::<BGPPeer>(&client).create(&dry(), &peer).await;
        failures.expect(&format!("BGP peer {over}"), refusal(answer), &parts);
    }
    for (spec, parts) in table::networks() {
        let network = object("NodeNetwork", "a", &spec);
        let answer = api::<NodeNetwork>(&client).create(&dry(), &network).await;
        failures.expect(&format!("network {spec}"), refusal(answer), &parts);
    }
    for (spec, parts) in table::reports() {
        let report = object("NodeReport", "a", &spec);
        let answer = api::<NodeReport>(&client).create(&dry(), &report).await;
        failures.expect(&format!("report {spec}"), refusal(answer), &parts);
    }
    failures.check();
}

#[tokio::test]
async fn defaults_are_those_of_the_types() {
    let (server, client) = prepared().await;
    let config = object("NetworkConfig", "default", &table::config());
    let stored = api::<NetworkConfig>(&client)
        .create(&PostParams::default(), &config)
        .await
        .unwrap();
    let typed: NetworkConfig = serde_json::from_value(json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "NetworkConfig",
        "metadata": {"name": "default"}, "spec": table::config(),
    }))
    .unwrap();
    assert_eq!(
        stored.data["spec"],
        serde_json::to_value(&typed.spec).unwrap()
    );

    let explained = server
        .kubectl(["explain", "networkconfig.spec.overlay.encapsulation"])
        .await
        .unwrap();
    assert!(
        explained.stdout.contains("CrossSubnet"),
        "{}",
        explained.stdout
    );
    let columns = server.kubectl(["get", "netcfg"]).await.unwrap().stdout;
    for column in ["MODE", "READY", "NODES", "AGE"] {
        assert!(columns.contains(column), "{columns}");
    }
}
