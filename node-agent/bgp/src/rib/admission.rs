//! What of a BGP peer's attributes counts here, and what makes its routes not eligible.

use std::sync::Arc;

use ipnet::IpNet;

use super::intern::Interner;
use super::peer::{Kind, Peer, Speaker};
use crate::policy::{Edits, Policy};
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

/// The import of routes that have the same attributes.
pub(super) struct Import<'a> {
    attributes: &'a Arc<Attributes>,
    policy: Option<&'a Policy>,
    refused: bool,
    /// What the attributes become by each list of edits.
    edited: Vec<(Edits<'a>, Arc<Attributes>)>,
}

impl<'a> Import<'a> {
    pub(super) fn new(us: &Speaker, peer: &'a Peer, attributes: &'a Arc<Attributes>) -> Self {
        Self {
            attributes,
            policy: peer.import.as_deref(),
            refused: refusal(us, peer, attributes).is_some(),
            edited: Vec::new(),
        }
    }

    pub(super) fn accepted(
        &mut self,
        prefix: &IpNet,
        shared: &mut Interner,
    ) -> Option<Arc<Attributes>> {
        if self.refused {
            return None;
        }
        let edits = match self.policy {
            Some(policy) => policy.judge(prefix, self.attributes)?,
            None => Edits::default(),
        };
        if edits.is_empty() {
            return Some(Arc::clone(self.attributes));
        }
        if let Some((_, known)) = self.edited.iter().find(|(known, _)| *known == edits) {
            return Some(Arc::clone(known));
        }
        let mut attributes = Attributes::clone(self.attributes);
        edits.apply(&mut attributes);
        let attributes = shared.intern(&Arc::new(attributes));
        self.edited.push((edits, Arc::clone(&attributes)));
        Some(attributes)
    }
}
