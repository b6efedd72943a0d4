//! What of a BGP peer's attributes counts here, and what makes its routes not eligible.

use super::peer::{Kind, Peer, Speaker};
use crate::route::Attributes;

/// Why a route is kept but never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 4271, section 9.1.2.
    #[error("this AS is in its path")]
    AsLoop,
    /// RFC 4456, section 8.
    #[error("it was originated here")]
    OriginatedHere,
    /// RFC 4456, section 8.
    #[error("it was reflected by this cluster before")]
    ClusterLoop,
    /// RFC 8212, section 3.
    #[error("the BGP peer has no import policy")]
    NoPolicy,
    /// By configuration.
    #[error("the import policy rejects it")]
    Policy,
}

/// Why no route with these attributes is eligible, whatever its prefix.
pub(super) fn refusal(us: &Speaker, peer: &Peer, attributes: &Attributes) -> Option<Refusal> {
    if attributes.path_count(us.asn) > usize::from(peer.own_as_allowed) {
        return Some(Refusal::AsLoop);
    }
    if peer.kind == Kind::External {
        return peer.import.is_none().then_some(Refusal::NoPolicy);
    }
    if attributes.originator_id == Some(us.router_id) {
        return Some(Refusal::OriginatedHere);
    }
    let looped = attributes.cluster_list.contains(&us.cluster_id);
    looped.then_some(Refusal::ClusterLoop)
}

/// Drops what an eBGP peer has no say in (RFC 4271, section 5.1.5; RFC 7606, sections 7.9 and 7.10). `None` if there is
/// nothing to drop.
pub(super) fn stripped(kind: Kind, attributes: &Attributes) -> Option<Attributes> {
    let internal = attributes.local_pref.is_some()
        || attributes.originator_id.is_some()
        || !attributes.cluster_list.is_empty();
    (kind == Kind::External && internal).then(|| Attributes {
        local_pref: None,
        originator_id: None,
        cluster_list: Vec::new(),
        ..attributes.clone()
    })
}
