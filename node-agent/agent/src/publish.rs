//! Writing this node's own objects: NodeNetwork for the peers, NodeReport for the operator.
//!
//! A task writes the newest value that it was given, and nothing when that is what the API server
//! has. Each write is conditional on the version that was read.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use weft_crds::{NodeNetwork, NodeNetworkSpec, NodeReport, NodeReportSpec};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Wait after a write that failed.
const RETRY: Duration = Duration::from_secs(2);
/// The shortest time between two writes of one object.
const PACE: Duration = Duration::from_millis(500);

/// An object of this node with a spec that is published.
pub trait Published:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + 'static
{
    /// What is published.
    type Spec: Clone + PartialEq + Send + Sync + 'static;
    /// The object of this node.
    fn of_node(metadata: ObjectMeta, spec: Self::Spec) -> Self;
    /// What was published.
    fn spec(&self) -> &Self::Spec;
}

impl Published for NodeNetwork {
    type Spec = NodeNetworkSpec;
    fn of_node(metadata: ObjectMeta, spec: NodeNetworkSpec) -> Self {
        Self { metadata, spec }
    }
    fn spec(&self) -> &NodeNetworkSpec {
        &self.spec
    }
}

impl Published for NodeReport {
    type Spec = NodeReportSpec;
    fn of_node(metadata: ObjectMeta, spec: NodeReportSpec) -> Self {
        Self { metadata, spec }
    }
    fn spec(&self) -> &NodeReportSpec {
        &self.spec
    }
}

/// A spec, and the UID of the node that it is about.
pub type Wanted<S> = Option<(String, S)>;

/// Publishes whatever `wanted` holds, until it is closed. With nothing in it, nothing is written.
pub async fn run<K: Published>(
    client: Client,
    node: String,
    mut wanted: watch::Receiver<Wanted<K::Spec>>,
) {
    let api: Api<K> = Api::all(client);
    let mut known: Option<K> = None;
    loop {
        let target = wanted.borrow_and_update().clone();
        if let Some((uid, spec)) = target {
            match write(&api, &node, &uid, spec, known.take()).await {
                Ok(object) => {
                    known = Some(object);
                    tokio::time::sleep(PACE).await;
                }
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "cannot publish; trying again");
                    tokio::time::sleep(RETRY).await;
                    if !wanted.has_changed().unwrap_or(true) {
                        wanted.mark_changed();
                    }
                }
            }
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the object be there with this spec and gives it back as it is then.
async fn write<K: Published>(
    api: &Api<K>,
    node: &str,
    uid: &str,
    spec: K::Spec,
    known: Option<K>,
) -> Result<K, String> {
    let present = match known {
        Some(object) => Some(object),
        None => call(api.get_opt(node)).await?,
    };
    let owner = owner(node, uid);
    let Some(present) = present else {
        let metadata = ObjectMeta {
            name: Some(node.into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        };
        return call(api.create(&PostParams::default(), &K::of_node(metadata, spec))).await;
    };
    if *present.spec() == spec && present.owner_references() == [owner.clone()] {
        return Ok(present);
    }
    let mut metadata = present.meta().clone();
    metadata.owner_references = Some(vec![owner]);
    call(api.replace(node, &PostParams::default(), &K::of_node(metadata, spec))).await
}

async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "no answer from the API server within {} s",
            TIMEOUT.as_secs()
        )),
    }
}

/// The object goes with its node, whoever deletes that.
fn owner(node: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.into(),
        uid: uid.into(),
        ..OwnerReference::default()
    }
}
