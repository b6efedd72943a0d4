//! MP_REACH_NLRI and MP_UNREACH_NLRI from bytes (RFC 4760). `None` stands for what doesn't let the prefixes be found.

use std::net::{IpAddr, Ipv6Addr};

use super::bytes::Reader;
use super::capability::family_of;
use super::{Receive, nlri};
use crate::route::{Family, Nlri};

/// MP_REACH_NLRI (RFC 4760, section 3).
pub(super) struct Reach {
    pub(super) family: Family,
    pub(super) next_hop: IpAddr,
    pub(super) link_local: Option<Ipv6Addr>,
    pub(super) nlri: Vec<Nlri>,
}

/// MP_UNREACH_NLRI (RFC 4760, section 4).
pub(super) struct Unreach {
    pub(super) family: Family,
    pub(super) nlri: Vec<Nlri>,
}

/// Whether there are prefixes in it, and what it says if its family was agreed on.
pub(super) fn reach(value: &[u8], receive: &Receive) -> Option<(bool, Option<Reach>)> {
    let mut reader = Reader::new(value);
    let (afi, safi) = (reader.u16()?, reader.u8()?);
    let next_hop = reader.part8()?;
    reader.u8()?;
    let reach = match agreed(afi, safi, receive) {
        None => None,
        Some(family) => {
            let ipv6 = family == Family::Ipv6 || receive.extended_next_hop;
            let (next_hop, link_local) = match next_hop.len() {
                4 if family == Family::Ipv4 => (ipv4_next_hop(next_hop)?, None),
                16 | 32 if ipv6 => ipv6_next_hop(next_hop)?,
                // The prefixes come after it, and so can't be found (RFC 7606, section 7.11).
                _ => return None,
            };
            let nlri = nlri::read(reader.rest(), family, *receive.add_path.get(family))?;
            Some(Reach {
                family,
                next_hop,
                link_local,
                nlri,
            })
        }
    };
    Some((!reader.is_empty(), reach))
}

/// What it says if its family was agreed on.
pub(super) fn unreach(value: &[u8], receive: &Receive) -> Option<Option<Unreach>> {
    let mut reader = Reader::new(value);
    let (afi, safi) = (reader.u16()?, reader.u8()?);
    let Some(family) = agreed(afi, safi, receive) else {
        return Some(None);
    };
    let nlri = nlri::read(reader.rest(), family, *receive.add_path.get(family))?;
    Some(Some(Unreach { family, nlri }))
}

fn agreed(afi: u16, safi: u8, receive: &Receive) -> Option<Family> {
    family_of(afi, safi).filter(|family| *receive.families.get(*family))
}

fn ipv4_next_hop(octets: &[u8]) -> Option<IpAddr> {
    Some(IpAddr::V4(Reader::new(octets).u32()?.into()))
}

/// A global address, with or without a link-local one (RFC 2545, section 3). Where there is no global address, some
/// send `::` in its place.
fn ipv6_next_hop(octets: &[u8]) -> Option<(IpAddr, Option<Ipv6Addr>)> {
    let mut reader = Reader::new(octets);
    let global = Ipv6Addr::from(reader.array::<16>()?);
    let link_local = reader
        .array::<16>()
        .map(Ipv6Addr::from)
        .filter(Ipv6Addr::is_unicast_link_local);
    Some(match link_local {
        Some(link_local) if global.is_unspecified() || global == link_local => {
            (link_local.into(), None)
        }
        _ => (global.into(), link_local),
    })
}
