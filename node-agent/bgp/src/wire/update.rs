//! UPDATE from bytes: what it means, and what of it survives its defects (RFC 4271, section 6.3; RFC 7606).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::attribute::{Attributes, Defect, NEXT_HOP, Remedy};
use super::bytes::Reader;
use super::capability::PerFamily;
use super::notification::error;
use super::{Notification, Receive, nlri};
use crate::route::{self, Family, Update};

/// What an UPDATE says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Usually at most one for each family; to be taken in this order.
    pub updates: Vec<Update>,
    /// All routes of this family have been sent (RFC 4724, section 2).
    pub end_of_rib: Option<Family>,
    /// The gravest defect, if there was any; what had to be done about it has been.
    pub defect: Option<Defect>,
}

/// Decodes the body of an UPDATE. An error is a session reset, and what to say to the peer.
pub fn decode(body: &[u8], receive: &Receive) -> Result<Decoded, Notification> {
    let malformed = || Notification::new(error::MALFORMED_LIST);
    let mut reader = Reader::new(body);
    let withdrawn = reader.part16().ok_or_else(malformed)?;
    let list = reader.part16().ok_or_else(malformed)?;
    let announced = reader.rest();

    let mut attributes = Attributes::read(list, receive)?;
    if let Some(family) = end_of_rib(body, withdrawn, announced, &attributes) {
        return Ok(Decoded {
            end_of_rib: Some(family),
            ..Decoded::default()
        });
    }
    let reachable = !announced.is_empty() || attributes.reachable;
    if reachable {
        find_missing(&mut attributes, !announced.is_empty());
    }
    let withdraw = match &attributes.defect {
        Some(Defect {
            remedy: Remedy::Withdraw,
            notification,
            ..
        }) if !reachable => {
            // What should be withdrawn can't be told (RFC 7606, section 5.2).
            return Err(notification.clone());
        }
        Some(defect) => defect.remedy == Remedy::Withdraw,
        None => false,
    };

    let ipv4 = |bytes| match nlri::read(bytes, Family::Ipv4, receive.add_path.ipv4) {
        None => Err(Notification::new(error::INVALID_NETWORK)),
        Some(_) if !receive.families.ipv4 => Ok(Vec::new()),
        Some(nlri) => Ok(nlri),
    };
    let mut gone = PerFamily {
        ipv4: ipv4(withdrawn)?,
        ipv6: Vec::new(),
    };
    if let Some(unreach) = attributes.unreach.take() {
        gone.get_mut(unreach.family).extend(unreach.nlri);
    }
    let next_hop = attributes.next_hop.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let mut routes = vec![(Family::Ipv4, IpAddr::V4(next_hop), None, ipv4(announced)?)];
    if let Some(reach) = attributes.reach.take() {
        routes.push((reach.family, reach.next_hop, reach.link_local, reach.nlri));
    }
    routes.retain(|(.., nlri)| !nlri.is_empty());

    let defect = attributes.defect.take();
    let mut updates = Vec::new();
    match shared(attributes).filter(|_| !withdraw) {
        Some(shared) => {
            for (family, next_hop, link_local, nlri) in routes {
                let attributes = Arc::new(route::Attributes {
                    next_hop,
                    link_local,
                    ..shared.clone()
                });
                let withdrawn = std::mem::take(gone.get_mut(family));
                updates.push(Update {
                    family,
                    withdrawn,
                    announced: Some((attributes, nlri)),
                });
            }
        }
        None => {
            for (family, .., nlri) in routes {
                gone.get_mut(family).extend(nlri);
            }
        }
    }
    for (family, withdrawn) in [(Family::Ipv4, gone.ipv4), (Family::Ipv6, gone.ipv6)] {
        if !withdrawn.is_empty() {
            updates.push(Update {
                family,
                withdrawn,
                announced: None,
            });
        }
    }
    Ok(Decoded {
        updates,
        end_of_rib: None,
        defect,
    })
}

/// Empty, or with nothing but an empty MP_UNREACH_NLRI (RFC 4724, section 2).
fn end_of_rib(
    body: &[u8],
    withdrawn: &[u8],
    announced: &[u8],
    attributes: &Attributes,
) -> Option<Family> {
    if !withdrawn.is_empty() || !announced.is_empty() || attributes.others {
        return None;
    }
    match &attributes.unreach {
        Some(unreach) => unreach.nlri.is_empty().then_some(unreach.family),
        None => (body.len() == 4).then_some(Family::Ipv4),
    }
}

/// Notes mandatory attributes that aren't there, and next hops that can't be any (RFC 7606, sections 3 (d) and 7.3).
fn find_missing(attributes: &mut Attributes, ipv4: bool) {
    let missing = [
        (attributes.origin.is_none(), "ORIGIN is missing"),
        (attributes.as_path.is_none(), "AS_PATH is missing"),
        (ipv4 && attributes.next_hop.is_none(), "NEXT_HOP is missing"),
    ];
    for (_, what) in missing.into_iter().filter(|(missing, _)| *missing) {
        attributes.add_defect(Remedy::Withdraw, error::MISSING_WELL_KNOWN, what, &[]);
    }
    let classic = attributes.next_hop.filter(|_| ipv4).map(IpAddr::V4);
    let reach = attributes.reach.as_ref().map(|reach| reach.next_hop);
    if classic
        .into_iter()
        .chain(reach)
        .any(|next_hop| !is_host(next_hop))
    {
        attributes.add_defect(
            Remedy::Withdraw,
            error::INVALID_NEXT_HOP,
            "not a host's address",
            &[0, NEXT_HOP],
        );
    }
}

/// Can a packet be sent there?
fn is_host(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
}

/// What all routes of one UPDATE have in common; `None` if what they must have is not there.
fn shared(attributes: Attributes) -> Option<route::Attributes> {
    Some(route::Attributes {
        origin: attributes.origin?,
        as_path: attributes.as_path?,
        next_hop: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        link_local: None,
        med: attributes.med,
        local_pref: attributes.local_pref,
        atomic_aggregate: attributes.atomic_aggregate,
        aggregator: attributes.aggregator,
        communities: attributes.communities,
        large_communities: attributes.large_communities,
        extended_communities: attributes.extended_communities,
        originator_id: attributes.originator_id,
        cluster_list: attributes.cluster_list,
        opaque: attributes.opaque,
    })
}
