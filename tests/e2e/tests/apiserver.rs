//! The API server fixture, on its own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use weft_e2e::apiserver::ApiServer;

#[tokio::test]
async fn what_was_stored_outlives_a_stop() {
    let server = ApiServer::start().await.expect("starts");
    let client = server.client().await.expect("client");
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("kept".into()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("answer".into(), "42".into())])),
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map)
        .await
        .expect("created");

    server.stop().expect("stops");
    maps.get("kept").await.expect_err("nobody answers");
    server.resume().await.expect("comes back");
    let kept = maps.get("kept").await.expect("still there");
    assert_eq!(kept.data, map.data);
}

#[tokio::test]
async fn impersonation_obeys_rbac_and_two_servers_are_apart() {
    let (one, other) = tokio::join!(ApiServer::start(), ApiServer::start());
    let (one, other) = (one.expect("starts"), other.expect("starts"));
    let nobody = one.client_as("nobody", &[]).await.expect("client");
    let refused = Api::<ConfigMap>::namespaced(nobody, "default")
        .list(&Default::default())
        .await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));

    one.kubectl(["create", "namespace", "here"])
        .await
        .expect("created");
    other
        .kubectl(["get", "namespace", "here"])
        .await
        .expect_err("not in the other");
}
