//! Which routes a BGP peer is told, and what they look like to it.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;

use super::decision::LOCAL_PREF;
use super::peer::{Kind, Peer, Speaker};
use crate::policy::{Edits, Policy};
use crate::route::{Attributes, Family, community};

/// All that decides what a BGP peer is told in one family. BGP peers for whom it is the same share one view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The family.
    pub family: Family,
    /// What the BGP peer is to this speaker.
    pub to: Kind,
    /// What passes. Without one: all over iBGP, over eBGP only what is originated here (RFC 8212).
    pub policy: Option<Arc<Policy>>,
    /// Which next hop it is told; the policy has the last word.
    pub next_hop: NextHop,
    /// This speaker's address as next hop.
    pub own_address: IpAddr,
    /// The link-local address beside it, for a BGP peer on the same link (RFC 2545, section 3).
    pub own_link_local: Option<Ipv6Addr>,
    /// Whether IPv4 routes may have IPv6 next hops (RFC 8950).
    pub ipv6_next_hops: bool,
    /// Whether it knows what long-lived stale routes are; if not, it is told of none (RFC 9494, section 4.3).
    pub llgr: bool,
    /// How many paths to a prefix it is told if ADD-PATH was negotiated (RFC 7911).
    pub add_path: Option<NonZeroU16>,
}

/// Which next hop a BGP peer is told (RFC 4271, section 5.1.3).
///
/// A next hop that nobody else could use, because it is unspecified or link-local, is always replaced by this speaker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// This speaker; the rule for eBGP.
    Own,
    /// This speaker for what came over eBGP or is originated here, but not for what is reflected.
    OwnUnlessReflected,
    /// The one that it came with; the rule for iBGP.
    Kept,
}

/// What has to be changed in a route before it is sent; `None` if it is not sent. No `source`: originated here.
pub(super) fn permitted<'a>(
    export: &'a Export,
    source: Option<&Peer>,
    prefix: &IpNet,
    attributes: &Attributes,
) -> Option<Edits<'a>> {
    let has = |community| attributes.communities.binary_search(&community).is_ok();
    let told = reflection(source.map(|peer| peer.kind), export.to)
        && !has(community::NO_ADVERTISE)
        && (export.llgr || !has(community::LLGR_STALE));
    if !told {
        return None;
    }
    if export.to == Kind::External {
        let stays_inside = has(community::NO_EXPORT) || has(community::NO_EXPORT_SUBCONFED);
        if stays_inside || (export.policy.is_none() && source.is_some()) {
            return None;
        }
    }
    match &export.policy {
        Some(policy) => policy.judge(prefix, attributes),
        None => Some(Edits::default()),
    }
}

/// Whether a route goes from one to the other at all (RFC 4271, section 9.2; RFC 4456, section 6).
fn reflection(from: Option<Kind>, to: Kind) -> bool {
    match (from, to) {
        (Some(Kind::Internal { client: from }), Kind::Internal { client: to }) => from || to,
        _ => true,
    }
}

/// A route as it is sent; `None` if its next hop can't be told.
pub(super) fn rewritten(
    us: &Speaker,
    export: &Export,
    source: Option<&Peer>,
    attributes: &Attributes,
    edits: &Edits,
) -> Option<Attributes> {
    let mut sent = attributes.clone();
    set_next_hop(export, source, &mut sent);
    for opaque in &mut sent.opaque {
        opaque.flags |= PARTIAL;
    }
    match export.to {
        Kind::External => {
            // A neighbour's preference is not for others; what is originated here has this speaker's own.
            if source.is_some() {
                sent.med = None;
            }
            sent.originator_id = None;
            sent.cluster_list = Vec::new();
            let transitive = |value: &[u8; 8]| value[0] & NON_TRANSITIVE == 0;
            sent.extended_communities.retain(transitive);
            edits.apply(&mut sent);
            sent.local_pref = None;
            sent.prepend(us.asn);
        }
        Kind::Internal { .. } => {
            if let Some(source) = source.filter(|peer| peer.kind != Kind::External) {
                sent.originator_id.get_or_insert(source.router_id);
                sent.cluster_list.insert(0, us.cluster_id);
            }
            edits.apply(&mut sent);
            sent.local_pref.get_or_insert(LOCAL_PREF);
        }
    }
    let tellable = match export.family {
        Family::Ipv4 => sent.next_hop.is_ipv4() || export.ipv6_next_hops,
        Family::Ipv6 => sent.next_hop.is_ipv6(),
    };
    tellable.then_some(sent)
}

/// The flag of an attribute that somebody on the way did not know (RFC 4271, section 4.3).
const PARTIAL: u8 = 0x20;

/// The bit of an extended community's type that keeps it in its AS (RFC 4360, section 2).
const NON_TRANSITIVE: u8 = 0x40;

fn set_next_hop(export: &Export, source: Option<&Peer>, sent: &mut Attributes) {
    let reflected = source.is_some_and(|peer| peer.kind != Kind::External);
    let own = match export.next_hop {
        NextHop::Own => true,
        NextHop::OwnUnlessReflected => !reflected,
        NextHop::Kept => false,
    };
    if own || is_unusable(sent.next_hop) {
        sent.next_hop = export.own_address;
        sent.link_local = export.own_link_local;
    } else {
        // It means nothing off the link that it is of.
        sent.link_local = None;
    }
}

fn is_unusable(next_hop: IpAddr) -> bool {
    match next_hop {
        IpAddr::V4(address) => address.is_unspecified() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unspecified() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
