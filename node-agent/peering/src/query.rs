//! Questions of people, and the answers as values.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Where to ask. Cheap to copy.
#[derive(Clone, Debug)]
pub struct Queries(pub(crate) mpsc::Sender<Query>);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Routes(Option<IpNet>),
    Received(IpAddr),
    Advertised(IpAddr),
}

#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) question: Question,
    pub(crate) answer: oneshot::Sender<Option<Vec<Path>>>,
}

/// One path to a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// The prefix.
    pub prefix: IpNet,
    /// Which of the paths of the same BGP peer (RFC 7911); 0 where there is only one.
    pub path_id: u32,
    /// The name of the BGP peer that it came from or goes to; none if it is originated here.
    pub peer: Option<String>,
    /// The next hop; unspecified if it is originated here.
    pub next_hop: IpAddr,
    /// The ASes in the order in which they were crossed, the last crossed first; sets in braces.
    pub as_path: String,
    /// `IGP`, `EGP` or `incomplete`.
    pub origin: String,
    /// The local preference, within an AS.
    pub local_pref: Option<u32>,
    /// The multi-exit discriminator.
    pub med: Option<u32>,
    /// The communities: `64512:100`, or the names of those that are well known.
    pub communities: Vec<String>,
    /// The large communities: `64512:1:2`.
    pub large_communities: Vec<String>,
    /// It is the best.
    pub best: bool,
    /// It shares the traffic, as the best or besides it.
    pub selected: bool,
    /// It was announced in a session that has ended, and has not been confirmed.
    pub stale: bool,
    /// Why it is not used, in words.
    pub refused: Option<String>,
}

impl Queries {
    /// The paths to each prefix that has a selected one, or to one alone: those that can be used, best first.
    ///
    /// `None` if there is no speaker.
    pub async fn routes(&self, prefix: Option<IpNet>) -> Option<Vec<Path>> {
        self.ask(Question::Routes(prefix)).await
    }

    /// What a BGP peer has announced, accepted or not. `None` if there is none with this address.
    pub async fn received(&self, peer: IpAddr) -> Option<Vec<Path>> {
        self.ask(Question::Received(peer)).await
    }

    /// What a BGP peer was told. `None` if there is none with this address.
    pub async fn advertised(&self, peer: IpAddr) -> Option<Vec<Path>> {
        self.ask(Question::Advertised(peer)).await
    }

    async fn ask(&self, question: Question) -> Option<Vec<Path>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Query { question, answer }).await.ok()?;
        answered.await.ok()?
    }
}
