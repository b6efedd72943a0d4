//! What a driver tells of, as one value.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use weft_bgp::session::State;

/// How everything is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct View {
    /// False until there is a plan, and while a speaker that has restarted still waits for what its BGP peers know:
    /// routes of before must stay where they are meanwhile.
    pub complete: bool,
    /// The prefixes that BGP peers announce, with the paths selected. What is originated here isn't among them.
    pub routes: Arc<Routes>,
    /// How things are with each BGP peer, by its address.
    pub peers: BTreeMap<IpAddr, Status>,
    /// What goes wrong on this node, in words.
    pub problems: Vec<String>,
}

/// Routes by prefix.
pub type Routes = BTreeMap<IpNet, Route>;

/// How to get to a prefix. Cheap to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Route {
    /// The next hops of all selected paths, that of the best first; at least one.
    pub next_hops: Arc<[NextHop]>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct NextHop {
    /// Where packets go.
    pub address: IpAddr,
    /// The name of the BGP peer that it was learned from.
    pub from: Arc<str>,
}

/// How things are with a BGP peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its name.
    pub name: Arc<str>,
    /// The AS that it must have.
    pub asn: u32,
    /// How far the session is.
    #[serde(serialize_with = "debug")]
    pub state: State,
    /// Since when there has been the session, or none.
    #[serde(serialize_with = "unix_seconds")]
    pub since: SystemTime,
    /// Of IPv4.
    pub ipv4: Prefixes,
    /// Of IPv6.
    pub ipv6: Prefixes,
    /// Some of the prefixes that it has announced and that are never used, in order.
    pub refused: Vec<IpNet>,
    /// Why there is no session, or what is wrong with the one that there is.
    pub last_error: Option<String>,
    /// What was agreed on, while there is a session.
    pub session: Option<Facts>,
}

/// How many prefixes of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prefixes {
    /// The BGP peer has announced, accepted or not.
    pub received: usize,
    /// It has announced, and they are never used.
    pub refused: usize,
    /// It has announced before its session ended, and has not confirmed.
    pub stale: usize,
    /// It was told.
    pub advertised: usize,
}

/// What was agreed on for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The BGP peer's identifier.
    pub router_id: Ipv4Addr,
    /// After so many seconds of silence the session ends; 0: never.
    pub hold_time: u64,
    /// Whether IPv4 routes are exchanged.
    pub ipv4: bool,
    /// Whether IPv6 routes are exchanged.
    pub ipv6: bool,
    /// Whether IPv4 routes may have IPv6 next hops (RFC 8950).
    pub ipv6_next_hops: bool,
    /// For how many seconds its routes stay when it restarts (RFC 4724).
    pub restart_time: Option<u16>,
    /// For how many seconds they stay after that, as the last choice (RFC 9494).
    pub long_lived_time: Option<u32>,
    /// Whether more than one path to a prefix may come (RFC 7911).
    pub receives_paths: bool,
    /// Whether it may be told more than one.
    pub sends_paths: bool,
}

fn debug<S: Serializer>(value: &impl std::fmt::Debug, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:?}"))
}

fn unix_seconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    serializer.serialize_u64(since.unwrap_or_default().as_secs())
}
