//! The watches of the operator: they keep a copy of what it has to know, and wake it on a change.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use ipnet::IpNet;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, Error, Resource, ResourceExt};
use kube_runtime::reflector::store::Writer;
use kube_runtime::reflector::{Lookup, Store};
use kube_runtime::{WatchStreamExt, reflector, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tracing::{debug, warn};
use weft_client::retried;
use weft_crds::{BGPPeer, IPBlock, NodeNetwork, NodeReport};

use crate::config;
use crate::observed::{NodeFacts, Observed};
use crate::plan::daemonset::AGENT;

/// How often the ranges of Services are read: they hardly ever change, and some clusters don't have
/// the kind.
const SERVICE_CIDRS_EVERY: Duration = Duration::from_secs(60);
/// The longest that a read of them may take.
const CALL: Duration = Duration::from_secs(10);

/// The copies. Cloning shares them.
#[derive(Clone)]
pub struct Watches {
    configs: Store<DynamicObject>,
    nodes: Store<Node>,
    blocks: Store<IPBlock>,
    reports: Store<NodeReport>,
    networks: Store<NodeNetwork>,
    bgp_peers: Store<BGPPeer>,
    daemonsets: Store<DaemonSet>,
    service_cidrs: Arc<Mutex<Vec<IpNet>>>,
    wake: Arc<Notify>,
}

impl Watches {
    /// Starts all watches, in tasks that end with the runtime.
    pub fn start(client: &Client, namespace: &str) -> Self {
        let wake = Arc::new(Notify::new());
        let plain = watcher::Config::default;
        let configs = Api::all_with(client.clone(), &config::resource());
        let agents = Api::namespaced(client.clone(), namespace);
        let only_agent = plain().fields(&format!("metadata.name={AGENT}"));
        let watches = Watches {
            configs: follow(configs, config::resource(), plain(), &wake, |_| {}),
            nodes: follow(Api::all(client.clone()), (), plain(), &wake, trim_node),
            blocks: follow(Api::all(client.clone()), (), plain(), &wake, |_| {}),
            reports: follow(Api::all(client.clone()), (), plain(), &wake, |_| {}),
            networks: follow(Api::all(client.clone()), (), plain(), &wake, |_| {}),
            bgp_peers: follow(Api::all(client.clone()), (), plain(), &wake, |_| {}),
            daemonsets: follow(agents, (), only_agent, &wake, |_| {}),
            service_cidrs: Arc::default(),
            wake,
        };
        tokio::spawn(watches.clone().read_service_cidrs(client.clone()));
        watches
    }

    /// Waits until every kind has been listed once: before that, what is missing proves nothing.
    pub async fn synced(&self) {
        // The writers live as long as the tasks, which end with the runtime.
        let _ = self.configs.wait_until_ready().await;
        let _ = self.nodes.wait_until_ready().await;
        let _ = self.blocks.wait_until_ready().await;
        let _ = self.reports.wait_until_ready().await;
        let _ = self.networks.wait_until_ready().await;
        let _ = self.bgp_peers.wait_until_ready().await;
        let _ = self.daemonsets.wait_until_ready().await;
    }

    /// Waits until something has changed since the last call.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// The present view.
    pub fn view(&self) -> Observed {
        let (config, unreadable) = match self.configs.find(config::is_the_one) {
            None => (None, None),
            Some(object) => match config::read(&object) {
                Ok(config) => (Some(Arc::new(config)), None),
                Err(unreadable) => (None, Some(unreadable)),
            },
        };
        Observed {
            config,
            unreadable,
            nodes: self
                .nodes
                .state()
                .iter()
                .map(|node| (node.name_any(), NodeFacts::from(node.as_ref())))
                .collect(),
            blocks: by_name(&self.blocks),
            reports: by_name(&self.reports),
            networks: by_name(&self.networks),
            bgp_peers: by_name(&self.bgp_peers),
            daemonset: self.daemonsets.state().into_iter().next(),
            service_cidrs: self
                .service_cidrs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    async fn read_service_cidrs(self, client: Client) {
        let api: Api<ServiceCIDR> = Api::all(client);
        loop {
            match tokio::time::timeout(CALL, api.list(&ListParams::default())).await {
                Ok(Ok(list)) => self.set_service_cidrs(&list.items),
                Ok(Err(Error::Api(status))) if status.code == 404 => {}
                Ok(Err(error)) => {
                    warn!(%error, "can't list ServiceCIDRs; overlaps with pools go unseen")
                }
                Err(_) => warn!("listing ServiceCIDRs timed out; overlaps with pools go unseen"),
            }
            tokio::time::sleep(SERVICE_CIDRS_EVERY).await;
        }
    }

    fn set_service_cidrs(&self, cidrs: &[ServiceCIDR]) {
        let mut ranges: Vec<IpNet> = cidrs
            .iter()
            .filter_map(|cidr| cidr.spec.as_ref()?.cidrs.as_ref())
            .flatten()
            .filter_map(|text| text.parse().ok())
            .collect();
        ranges.sort();
        let mut known = self
            .service_cidrs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *known != ranges {
            *known = ranges;
            self.wake.notify_one();
        }
    }
}

fn by_name<K>(copies: &Store<K>) -> std::collections::BTreeMap<String, Arc<K>>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone + Default,
{
    let copies = copies.state().into_iter();
    copies.map(|object| (object.name_any(), object)).collect()
}

/// Keeps a copy of all objects that a watch tells of.
fn follow<K>(
    api: Api<K>,
    type_: <K as Resource>::DynamicType,
    config: watcher::Config,
    wake: &Arc<Notify>,
    trim: fn(&mut K),
) -> Store<K>
where
    K: Resource + Lookup<DynamicType = <K as Resource>::DynamicType>,
    K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    <K as Resource>::DynamicType: Hash + Eq + Clone + Debug + Unpin + Send + Sync,
{
    let kind = <K as Resource>::kind(&type_).into_owned();
    let writer = Writer::new(type_);
    let reader = writer.as_reader();
    let wake = Arc::clone(wake);
    let stream = retried(watcher(api, config)).modify(move |object| {
        // None, not empty: writing an empty list back would erase who owns which field.
        Resource::meta_mut(object).managed_fields = None;
        trim(object);
    });
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(reflector(writer, stream));
        while let Some(event) = stream.next().await {
            match event {
                Ok(_) => wake.notify_one(),
                Err(error) => warn!(kind, %error, "the watch failed; trying again"),
            }
        }
        debug!(kind, "the watch ended");
    });
    reader
}

/// What is large in a Node, and of no use here.
fn trim_node(node: &mut Node) {
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        status.images = None;
        status.volumes_attached = None;
        status.volumes_in_use = None;
    }
}
