//! The plan of a run: a JSON file that lists flows.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::batch::LARGEST;
use crate::packet::HEADER;

/// Datagrams a second of one flow: one each microsecond.
const FASTEST: u32 = 1_000_000;

/// What is wrong with a plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read plan {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The text is not a plan.
    #[error("{path} is not a plan: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why not.
        source: serde_json::Error,
    },
    /// A value makes no sense.
    #[error("flow {flow:?}: {what}")]
    Flow {
        /// The flow's name.
        flow: String,
        /// What to change.
        what: String,
    },
    /// A plan without flows tells nothing.
    #[error("the plan has no flows: list at least one")]
    Empty,
}

/// A run of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whose traffic this is, such as the name of the pod.
    pub name: String,
    /// How long a target may take to answer for the first time before its failures count.
    #[serde(default = "start_timeout_ms")]
    pub start_timeout_ms: u64,
    /// How long after the last datagram echoes may still come.
    #[serde(default = "drain_ms")]
    pub drain_ms: u64,
    /// How often datagrams that are due are sent and those that arrived are read. Flows that send
    /// more often do so in bursts.
    #[serde(default = "tick_us")]
    pub tick_us: u64,
    /// What to send.
    pub flows: Vec<Flow>,
}

fn start_timeout_ms() -> u64 {
    30_000
}

fn drain_ms() -> u64 {
    1_000
}

fn tick_us() -> u64 {
    1_000
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Flow {
    /// Unique in the plan.
    pub name: String,
    /// The line of the table to which it counts; the kind where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Where to.
    pub target: SocketAddr,
    /// The address to send from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The interface to send from (SO_BINDTODEVICE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What is sent.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What a flow sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// Numbered datagrams, echoed by the server.
    Udp(Udp),
    /// Long-lived connections with a checked request each interval.
    Tcp(Exchange),
    /// New connections, with one checked request each.
    Connect(Exchange),
    /// Checked transfers, there and back in turns, over long-lived connections.
    Bulk(Bulk),
    /// Queries over UDP, each from a socket of its own, without retry.
    Dns(Dns),
}

impl Kind {
    /// Its name in plans and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Udp(_) => "udp",
            Kind::Tcp(_) => "tcp",
            Kind::Connect(_) => "connect",
            Kind::Bulk(_) => "bulk",
            Kind::Dns(_) => "dns",
        }
    }
}

/// The size of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// What just fits the MTU of the route, followed when it changes.
    Mtu,
    /// Bytes of UDP payload.
    #[serde(untagged)]
    Bytes(usize),
}

/// See [`Kind::Udp`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Udp {
    /// Datagrams a second.
    pub rate: u32,
    /// Of each.
    pub size: Size,
    /// Whether DF is set, there and back.
    pub df: bool,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            rate: 100,
            size: Size::Bytes(128),
            df: false,
        }
    }
}

/// See [`Kind::Tcp`] and [`Kind::Connect`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exchange {
    /// How many at once.
    pub connections: usize,
    /// Between two requests of one connection.
    pub interval_ms: u64,
    /// Bytes of a request's body, and of its answer's.
    pub size: usize,
    /// A request that takes longer breaks the connection.
    pub timeout_ms: u64,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            connections: 1,
            interval_ms: 100,
            size: 256,
            timeout_ms: 10_000,
        }
    }
}

/// See [`Kind::Bulk`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bulk {
    /// How many at once.
    pub connections: usize,
    /// Bytes of one transfer.
    pub size: u64,
    /// Bytes a second of each connection, both directions together; 0 is as fast as it goes.
    pub rate: u64,
    /// No progress for longer breaks the connection.
    pub timeout_ms: u64,
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            connections: 1,
            size: 1 << 20,
            rate: 4 << 20,
            timeout_ms: 10_000,
        }
    }
}

/// Which addresses to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// IPv4.
    A,
    /// IPv6.
    #[serde(rename = "AAAA")]
    Aaaa,
}

/// See [`Kind::Dns`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The name to ask for.
    pub query: String,
    /// In turns.
    pub records: Vec<Record>,
    /// Between two queries.
    pub interval_ms: u64,
    /// A query without an answer for longer is lost.
    pub timeout_ms: u64,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            query: "kubernetes.default.svc.cluster.local".to_owned(),
            records: vec![Record::A, Record::Aaaa],
            interval_ms: 100,
            timeout_ms: 2_000,
        }
    }
}

/// The parts that all kinds share are taken out first, so that a key that the kind does not know
/// is an error rather than ignored.
impl TryFrom<Map<String, Value>> for Flow {
    type Error = String;

    fn try_from(mut keys: Map<String, Value>) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Shared {
            name: String,
            group: Option<String>,
            target: SocketAddr,
            source: Option<IpAddr>,
            device: Option<String>,
        }
        let named = keys.get("name").cloned().unwrap_or(Value::Null);
        let error = |error: serde_json::Error| format!("flow {named}: {error}");
        let shared = ["name", "group", "target", "source", "device"]
            .into_iter()
            .filter_map(|key| keys.remove_entry(key))
            .collect();
        let shared: Shared = serde_json::from_value(Value::Object(shared)).map_err(error)?;
        Ok(Flow {
            name: shared.name,
            group: shared.group,
            target: shared.target,
            source: shared.source,
            device: shared.device,
            kind: serde_json::from_value(Value::Object(keys)).map_err(error)?,
        })
    }
}

impl Plan {
    /// Reads and checks a plan.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let at = |source| PlanError::Read {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(at)?;
        let plan: Plan = serde_json::from_str(&text).map_err(|source| PlanError::Parse {
            path: path.to_owned(),
            source,
        })?;
        plan.check()?;
        Ok(plan)
    }

    /// Says what makes no sense in it.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.flows.is_empty() {
            return Err(PlanError::Empty);
        }
        let mut names = BTreeSet::new();
        for flow in &self.flows {
            let wrong = if names.insert(&flow.name) {
                flow.check()
            } else {
                Err("another flow has this name too: give each its own".to_owned())
            };
            wrong.map_err(|what| PlanError::Flow {
                flow: flow.name.clone(),
                what,
            })?;
        }
        Ok(())
    }
}

impl Flow {
    /// The line of the table to which it counts.
    pub fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(self.kind.name())
    }

    fn check(&self) -> Result<(), String> {
        if self
            .source
            .is_some_and(|source| source.is_ipv4() != self.target.is_ipv4())
        {
            return Err("source and target are of different families".to_owned());
        }
        let positive = |name: &str, value: u64| match value {
            0 => Err(format!("{name} must be greater than 0")),
            _ => Ok(()),
        };
        match &self.kind {
            Kind::Udp(udp) => {
                if !(1..=FASTEST).contains(&udp.rate) {
                    return Err(format!("rate must be from 1 to {FASTEST}"));
                }
                match udp.size {
                    Size::Bytes(size) if !(HEADER..=LARGEST).contains(&size) => {
                        Err(format!("size must be from {HEADER} to {LARGEST}"))
                    }
                    _ => Ok(()),
                }
            }
            Kind::Tcp(exchange) | Kind::Connect(exchange) => {
                positive("connections", exchange.connections as u64)?;
                positive("interval_ms", exchange.interval_ms)?;
                positive("timeout_ms", exchange.timeout_ms)?;
                match exchange.size <= crate::frame::LARGEST {
                    true => Ok(()),
                    false => Err(format!("size must be at most {}", crate::frame::LARGEST)),
                }
            }
            Kind::Bulk(bulk) => {
                positive("connections", bulk.connections as u64)?;
                positive("size", bulk.size)?;
                positive("timeout_ms", bulk.timeout_ms)
            }
            Kind::Dns(dns) => {
                positive("interval_ms", dns.interval_ms)?;
                positive("timeout_ms", dns.timeout_ms)?;
                positive("the number of records", dns.records.len() as u64)?;
                crate::dns_message::check_name(&dns.query)
            }
        }
    }
}
