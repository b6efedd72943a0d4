//! Asks the agent of a node itself, through the API server and the kubelet: a report has no room for routes, and
//! agents listen on the loopback of their node only.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use super::Path;
use crate::error::Error;

/// Where agents listen.
const PORT: u16 = 9473;
/// The most that is read of an answer, in bytes.
const LONGEST: usize = 1 << 30;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Question {
    /// The routes that are used, and those that could be; all, or those to one prefix.
    Routes(Option<IpNet>),
    /// What a BGP peer has announced.
    Received(IpAddr),
    /// What a BGP peer was told.
    Advertised(IpAddr),
}

impl Question {
    fn path(self) -> String {
        match self {
            Self::Routes(None) => "/bgp/routes".into(),
            Self::Routes(Some(prefix)) => format!("/bgp/routes/{prefix}"),
            Self::Received(peer) => format!("/bgp/received/{peer}"),
            Self::Advertised(peer) => format!("/bgp/advertised/{peer}"),
        }
    }
}

/// The agent of a node.
pub struct Agent<'a> {
    /// The pods of Weft's namespace.
    pub api: Api<Pod>,
    /// Its pod.
    pub pod: &'a Pod,
    /// The longest that the answer may take.
    pub timeout: Duration,
}

impl Agent<'_> {
    /// Its answer.
    ///
    /// # Errors
    /// It can't be reached, or knows no such BGP peer.
    pub async fn answer(&self, question: Question) -> Result<Vec<Path>, Error> {
        let pod = self.pod.name_any();
        let failed = |message: String| Error::Agent {
            pod: pod.clone(),
            message,
        };
        let seconds = self.timeout.as_secs();
        let answer = tokio::time::timeout(self.timeout, self.ask(&question.path())).await;
        let (status, body) = answer
            .map_err(|_| failed(format!("no answer within {seconds} s")))?
            .map_err(|error| failed(error.to_string()))?;
        let text = || String::from_utf8_lossy(&body).trim().to_owned();
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
            }
            _ => Err(failed(text())),
        }
    }

    async fn ask(
        &self,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let mut forwarder = self.api.portforward(&self.pod.name_any(), &[PORT]).await?;
        let stream = forwarder
            .take_stream(PORT)
            .ok_or("the port is not forwarded")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(path)
            .header("host", "localhost")
            .body(Empty::<Bytes>::new())?;
        let answer = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await?;
            Ok((status, body.to_bytes()))
        };
        tokio::select! {
            answer = answer => answer,
            ended = connection => Err(ended.err().map_or("the connection was closed".into(), Into::into)),
        }
    }
}
