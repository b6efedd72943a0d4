//! The BGP sessions of this node, as it reports them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use weft_bgp::session::State;
use weft_crds::{BgpSession, BgpState};
use weft_peering::{Status, View};

/// The most sessions that a report lists.
const MOST: usize = 64;
/// The longest text of an error, in bytes.
const LONGEST: usize = 256;

/// The sessions, those that are not established first.
pub fn sessions(view: &View) -> Vec<BgpSession> {
    let mut all: Vec<BgpSession> = view
        .peers
        .iter()
        .map(|(address, status)| session(address.to_string(), status))
        .collect();
    all.sort_by_key(|session| session.state == BgpState::Established);
    all.truncate(MOST);
    all
}

fn session(address: String, status: &Status) -> BgpSession {
    let state = state(status.state);
    let since = status
        .since
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| Timestamp::from_second(since.as_secs().try_into().ok()?).ok());
    let count = |of: fn(&weft_peering::Prefixes) -> usize| {
        u32::try_from(of(&status.ipv4) + of(&status.ipv6)).unwrap_or(u32::MAX)
    };
    let named = |kind: &str| status.name.strip_prefix(kind).map(str::to_owned);
    BgpSession {
        node: named("node "),
        bgp_peer: named("BGPPeer "),
        address,
        asn: status.asn,
        state,
        since: since.filter(|_| state == BgpState::Established).map(Time),
        received: count(|of| of.received - of.refused),
        advertised: count(|of| of.advertised),
        last_error: status.last_error.as_deref().map(shortened),
    }
}

fn state(state: State) -> BgpState {
    match state {
        State::Idle => BgpState::Idle,
        State::Connect => BgpState::Connect,
        State::Active => BgpState::Active,
        State::OpenSent => BgpState::OpenSent,
        State::OpenConfirm => BgpState::OpenConfirm,
        State::Established => BgpState::Established,
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}
