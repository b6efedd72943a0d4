//! Watches of the API server, as one stream of inputs.
//!
//! A list that begins a watch arrives whole, so that what was deleted while nobody watched is seen to
//! be missing. While the API server is unreachable nothing arrives, and everything stays as it is.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{Api, Client, Resource, ResourceExt};
use kube_runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use weft_client::{WATCH_SECONDS, retried};
use weft_crds::{BGPPeer, CONFIG_NAME, IPBlock, NetworkConfig, NodeNetwork};

/// What one watch says of its kind.
#[derive(Debug, Clone)]
pub enum Change<K> {
    /// All objects there are.
    All(Vec<K>),
    /// One that is new or changed.
    Applied(K),
    /// One that was deleted.
    Deleted(K),
}

/// What the API server says.
#[derive(Debug, Clone)]
pub enum Input {
    /// Of the NetworkConfig.
    Config(Box<Change<NetworkConfig>>),
    /// Of this node's Node object.
    Own(Box<Change<Node>>),
    /// Of the NodeNetworks.
    Nodes(Change<NodeNetwork>),
    /// Of the IPBlocks.
    Blocks(Change<IPBlock>),
    /// Of the BGPPeers.
    Routers(Change<BGPPeer>),
    /// Of the Secrets in the namespace of Weft.
    Secrets(Change<Secret>),
}

/// Starts all watches. They end when `inputs` is closed.
pub fn start(client: &Client, node: &str, namespace: &str, inputs: &mpsc::Sender<Input>) {
    let config = named(CONFIG_NAME);
    tokio::spawn(pump(
        Api::all(client.clone()),
        config,
        |change| Input::Config(Box::new(change)),
        inputs.clone(),
    ));
    tokio::spawn(pump(
        Api::all(client.clone()),
        named(node),
        |change| Input::Own(Box::new(change)),
        inputs.clone(),
    ));
    let all = watcher::Config::default().timeout(WATCH_SECONDS);
    tokio::spawn(pump(
        Api::all(client.clone()),
        all.clone(),
        Input::Nodes,
        inputs.clone(),
    ));
    tokio::spawn(pump(
        Api::all(client.clone()),
        all.clone(),
        Input::Blocks,
        inputs.clone(),
    ));
    tokio::spawn(pump(
        Api::all(client.clone()),
        all.clone(),
        Input::Routers,
        inputs.clone(),
    ));
    tokio::spawn(pump(
        Api::namespaced(client.clone(), namespace),
        // What Helm keeps there is large, and no password.
        all.fields("type!=helm.sh/release.v1"),
        Input::Secrets,
        inputs.clone(),
    ));
}

fn named(name: &str) -> watcher::Config {
    watcher::Config::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS)
}

async fn pump<K>(
    api: Api<K>,
    config: watcher::Config,
    wrap: fn(Change<K>) -> Input,
    inputs: mpsc::Sender<Input>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut changes = std::pin::pin!(changes(retried(watcher(api, config))));
    while let Some(change) = changes.next().await {
        if inputs.send(wrap(change)).await.is_err() {
            return;
        }
    }
}

/// Gathers the objects of a list into one change, and drops errors after saying them.
fn changes<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
) -> impl Stream<Item = Change<K>>
where
    K: Resource<DynamicType = ()> + Debug,
{
    let mut list = Vec::new();
    events.filter_map(move |event| {
        let change = match event {
            Ok(Event::Init) => {
                list.clear();
                None
            }
            Ok(Event::InitApply(object)) => {
                list.push(object);
                None
            }
            Ok(Event::InitDone) => Some(Change::All(std::mem::take(&mut list))),
            Ok(Event::Apply(object)) => Some(Change::Applied(object)),
            Ok(Event::Delete(object)) => {
                tracing::debug!(kind = %K::kind(&()), name = object.name_any(), "deleted");
                Some(Change::Deleted(object))
            }
            Err(error) => {
                let kind = K::kind(&());
                tracing::warn!(%kind, %error, "cannot watch; what is known stays in force");
                None
            }
        };
        std::future::ready(change)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_crds::NodeNetworkSpec;

    fn node(name: &str) -> NodeNetwork {
        NodeNetwork::new(name, NodeNetworkSpec::default())
    }

    #[tokio::test]
    async fn a_list_arrives_whole_and_an_interrupted_one_not_at_all() {
        let events = futures::stream::iter([
            Ok(Event::Init),
            Ok(Event::InitApply(node("a"))),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Init),
            Ok(Event::InitApply(node("a"))),
            Ok(Event::InitApply(node("b"))),
            Ok(Event::InitDone),
            Ok(Event::Delete(node("b"))),
        ]);
        let changes: Vec<_> = changes(events).collect().await;
        assert_eq!(changes.len(), 2);
        assert!(matches!(&changes[0], Change::All(list) if list.len() == 2));
        assert!(matches!(&changes[1], Change::Deleted(object) if object.name_any() == "b"));
    }
}
