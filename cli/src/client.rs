//! Reading the cluster: every call has a time limit, every failure a plain text.

use std::fmt::Debug;
use std::time::Duration;

use futures::try_join;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, ObjectList};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use weft_crds::{BGPPeer, CONFIG_NAME, IPBlock, NetworkConfig, NodeNetwork, NodeReport};

use crate::args::Connection;
use crate::bgp::{Agent, Path, Question};
use crate::cluster::{AGENT_SELECTOR, Cluster, NAMESPACE};
use crate::error::Error;

/// Objects asked for in one call.
const PAGE: u32 = 500;

/// A connection to an API server.
pub struct Reader {
    pub(crate) client: Client,
    pub(crate) server: String,
    pub(crate) timeout: Duration,
}

/// Which pods to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pods {
    /// Those of the agents.
    OfAgents,
    /// All.
    All,
}

impl Reader {
    /// Finds the cluster. No call is made yet.
    ///
    /// # Errors
    /// The kubeconfig can't be used.
    pub async fn connect(connection: &Connection) -> Result<Self, Error> {
        let mut config = load(connection).await?;
        config.connect_timeout = Some(connection.timeout());
        config.read_timeout = Some(connection.timeout());
        config.default_retry = false;
        let server = config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned();
        let client =
            Client::try_from(config).map_err(|error| Error::Kubeconfig(error.to_string()))?;
        Ok(Self {
            client,
            server,
            timeout: connection.timeout(),
        })
    }

    /// Reads everything that answers follow from.
    ///
    /// # Errors
    /// Something can't be read, or Weft is not there.
    pub async fn cluster(&self, pods: Pods) -> Result<Cluster, Error> {
        // First, alone: whether Weft is there decides what a failure of the rest means.
        let config = self.config().await?;
        let (nodes, blocks, reports, networks, pods) = try_join!(
            self.list(self.all::<Node>(), "nodes", None),
            self.list(self.all::<IPBlock>(), "ipblocks.weft.dev", None),
            self.list(self.all::<NodeReport>(), "nodereports.weft.dev", None),
            self.list(self.all::<NodeNetwork>(), "nodenetworks.weft.dev", None),
            async {
                match pods {
                    Pods::OfAgents => {
                        self.list(self.ours::<Pod>(), "pods", Some(AGENT_SELECTOR))
                            .await
                    }
                    Pods::All => self.list(self.all::<Pod>(), "pods", None).await,
                }
            },
        )?;
        Ok(Cluster {
            now: Timestamp::now(),
            config,
            nodes,
            blocks,
            reports,
            networks,
            pods,
        })
    }

    /// Reads what a migration is seen by: of nodes the metadata alone, and of pods, blocks and addresses nothing.
    ///
    /// # Errors
    /// Something can't be read, or Weft is not there.
    pub async fn migration(&self) -> Result<Cluster, Error> {
        let config = self.config().await?;
        let (nodes, reports) = try_join!(self.names_of_nodes(), self.reports())?;
        Ok(Cluster {
            now: Timestamp::now(),
            config,
            nodes,
            blocks: Vec::new(),
            reports,
            networks: Vec::new(),
            pods: Vec::new(),
        })
    }

    /// The BGPPeers.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn bgp_peers(&self) -> Result<Vec<BGPPeer>, Error> {
        self.list(self.all::<BGPPeer>(), "bgppeers.weft.dev", None)
            .await
    }

    /// The one NetworkConfig.
    ///
    /// # Errors
    /// It can't be read, or Weft or it is not there.
    pub async fn config(&self) -> Result<NetworkConfig, Error> {
        let all = self
            .list(self.all::<NetworkConfig>(), "networkconfigs.weft.dev", None)
            .await?;
        let named = |config: &NetworkConfig| config.metadata.name.as_deref() == Some(CONFIG_NAME);
        all.into_iter().find(named).ok_or(Error::NoConfig)
    }

    /// Reports alone, for the versions of the agents.
    ///
    /// # Errors
    /// They can't be read, or Weft is not there.
    pub async fn reports(&self) -> Result<Vec<NodeReport>, Error> {
        self.list(self.all::<NodeReport>(), "nodereports.weft.dev", None)
            .await
    }

    /// What the agent of a node itself says.
    ///
    /// # Errors
    /// There is none, or it can't be asked.
    pub async fn ask(&self, node: &str, question: Question) -> Result<Vec<Path>, Error> {
        let agents = self
            .list(self.ours::<Pod>(), "pods", Some(AGENT_SELECTOR))
            .await?;
        let on_node = |pod: &&Pod| {
            let spec = pod.spec.as_ref();
            spec.and_then(|spec| spec.node_name.as_deref()) == Some(node)
        };
        let pod = agents.iter().find(on_node);
        let agent = Agent {
            api: self.ours(),
            pod: pod.ok_or_else(|| Error::NoAgent(node.to_owned()))?,
            timeout: self.timeout,
        };
        agent.answer(question).await
    }

    /// The Deployments of Weft's namespace.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn deployments(&self) -> Result<Vec<Deployment>, Error> {
        self.list(self.ours::<Deployment>(), "deployments", None)
            .await
    }

    fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn ours<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn list<K>(
        &self,
        api: Api<K>,
        what: &'static str,
        labels: Option<&str>,
    ) -> Result<Vec<K>, Error>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        self.pages(what, labels, async |parameters| api.list(parameters).await)
            .await
    }

    /// The nodes with nothing but their metadata.
    async fn names_of_nodes(&self) -> Result<Vec<Node>, Error> {
        let api = self.all::<Node>();
        let ask = async |parameters: &ListParams| api.list_metadata(parameters).await;
        let nodes = self.pages("nodes", None, ask).await?;
        let node = |node: PartialObjectMeta<Node>| Node {
            metadata: node.metadata,
            ..Node::default()
        };
        Ok(nodes.into_iter().map(node).collect())
    }

    async fn pages<T: Clone>(
        &self,
        what: &'static str,
        labels: Option<&str>,
        ask: impl AsyncFn(&ListParams) -> kube::Result<ObjectList<T>>,
    ) -> Result<Vec<T>, Error> {
        let mut objects = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        parameters.label_selector = labels.map(Into::into);
        loop {
            let call = tokio::time::timeout(self.timeout, ask(&parameters));
            let page = match call.await {
                Err(_) => return Err(self.timed_out(format!("listing {what}"))),
                // The pages are of one time; the API server keeps that for minutes only.
                Ok(Err(kube::Error::Api(status)))
                    if status.code == 410 && parameters.continue_token.is_some() =>
                {
                    objects.clear();
                    parameters.continue_token = None;
                    parameters.limit = None;
                    continue;
                }
                Ok(page) => page.map_err(|error| Error::of_call(error, what, &self.server))?,
            };
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok(objects),
            }
        }
    }

    /// What a call that was not answered in time comes down to.
    pub fn timed_out(&self, doing: String) -> Error {
        Error::TimedOut {
            server: self.server.clone(),
            doing,
            seconds: self.timeout.as_secs(),
        }
    }
}

async fn load(connection: &Connection) -> Result<Config, Error> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &connection.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path)?;
        return Ok(Config::from_custom_kubeconfig(kubeconfig, &options).await?);
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        // In a pod there is no file; with a context named, one was meant.
        Err(error) if connection.context.is_none() => {
            Config::incluster().map_err(|_| Error::from(error))
        }
        Err(error) => Err(error.into()),
    }
}
