//! The way to the API server, for programs that run for months.
//!
//! A connection can die without a word: the API server's machine loses power, or the address that this end
//! has goes away with a renumbering. A watch is silent for minutes by nature, so that only the transport can
//! tell: it asks the other end whether it is still there.

mod retry;

pub use retry::retried;

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::ServiceBuilder;

/// For how long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// After this much silence the other end is asked, and asked again after each [`AGAIN`].
const SILENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(5);
/// Without an answer for this long, to data or to being asked, the connection is dead (tcp(7),
/// TCP_USER_TIMEOUT, which for the latter stands in for a count of attempts).
const DEAD: Duration = Duration::from_secs(20);
/// An API server that answers on the transport and yet says nothing for so long is stuck. Longer than
/// [`WATCH_SECONDS`].
const READ: Duration = Duration::from_secs(295);

/// For how long to have the API server keep a watch open, at the most: one that says nothing for longer
/// is taken for dead.
pub const WATCH_SECONDS: u32 = 240;

/// A client of the cluster that the environment names: `KUBECONFIG`, or else that of the pod.
///
/// # Errors
/// Neither names one, or what they name can't be used.
pub async fn infer() -> Result<Client, Error> {
    let config = Config::infer().await.map_err(Error::Environment)?;
    connect(config).map_err(Error::Config)
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment names no cluster.
    #[error("no way to the API server: set KUBECONFIG, or run in a pod: {0}")]
    Environment(kube::config::InferConfigError),
    /// What it names can't be used.
    #[error("the way to the API server can't be used; check certificates and tokens: {0}")]
    Config(kube::Error),
}

fn connect(config: Config) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(SILENCE));
    tcp.set_keepalive_interval(Some(AGAIN));
    tcp.set_tcp_user_timeout(Some(DEAD));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let mut timed = TimeoutConnector::new(tls);
    timed.set_read_timeout(Some(READ));
    timed.set_write_timeout(Some(DEAD));
    let http = HttpClient::builder(TokioExecutor::new()).build::<_, Body>(timed);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
