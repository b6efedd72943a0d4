//! UPDATEs to bytes, as few messages as hold them. Announcements and withdrawals never share a message, and MP
//! attributes come first, so that a peer finds the prefixes whatever else it can't read (RFC 7606, section 5.1).

use std::iter::Peekable;
use std::net::IpAddr;
use std::sync::Arc;

use super::attribute::{self as code, EXTENDED, OPTIONAL, PARTIAL, TRANSITIVE};
use super::bytes::part16;
use super::capability::{UNICAST, afi_of};
use super::frame::{self, Kind};
use super::{Transmit, as_path, nlri};
use crate::route::{Attributes, Family, Nlri, Update};

/// Octets of an UPDATE without prefixes and attributes.
const EMPTY: usize = frame::HEADER + 4;
/// Octets before the value of an MP attribute.
const ATTRIBUTE_HEADER: usize = 4;
/// The longest prefix on the wire: an IPv6 host with a path identifier.
const LONGEST_NLRI: usize = 21;

/// Appends messages that say what `updates` say. Updates that follow each other and have the same attributes share
/// messages.
///
/// Returns how many prefixes had to be withdrawn instead of announced: their attributes fit in no message (RFC 4271,
/// section 9.2), or their next hop can't be said to this peer (RFC 8950).
pub fn encode(updates: &[Update], transmit: &Transmit, out: &mut Vec<u8>) -> usize {
    let mut unsendable = 0;
    for run in updates.chunk_by(shares_messages) {
        let agreed = |update: &&Update| *transmit.families.get(update.family);
        let Some(first) = run.first().filter(agreed) else {
            continue;
        };
        withdraw(
            run.iter().flat_map(|update| &update.withdrawn),
            first.family,
            transmit,
            out,
        );
        if let Some((attributes, _)) = run.iter().find_map(|update| update.announced.as_ref()) {
            let announced = || {
                run.iter()
                    .filter_map(|update| update.announced.as_ref())
                    .flat_map(|(_, nlri)| nlri)
            };
            if !announce(attributes, announced(), first.family, transmit, out) {
                withdraw(announced(), first.family, transmit, out);
                unsendable += announced().count();
            }
        }
    }
    unsendable
}

/// Appends an End-of-RIB (RFC 4724, section 2).
pub(crate) fn end_of_rib(family: Family, out: &mut Vec<u8>) {
    frame::write(out, Kind::Update, |out| {
        out.extend([0; 2]);
        part16(out, |out| match family {
            Family::Ipv4 => {}
            Family::Ipv6 => put(
                out,
                OPTIONAL,
                code::MP_UNREACH,
                &[0, afi_of(family) as u8, UNICAST],
            ),
        });
    });
}

/// May the second follow the first in one run: would doing all withdrawals first change nothing?
fn shares_messages(first: &Update, second: &Update) -> bool {
    first.family == second.family
        && match (&first.announced, &second.announced) {
            (None, None) => true,
            (Some((a, _)), Some((b, _))) => {
                second.withdrawn.is_empty() && (Arc::ptr_eq(a, b) || a == b)
            }
            _ => false,
        }
}

fn withdraw<'a>(
    nlri: impl Iterator<Item = &'a Nlri>,
    family: Family,
    transmit: &Transmit,
    out: &mut Vec<u8>,
) {
    let add_path = *transmit.add_path.get(family);
    let room = transmit.max - EMPTY;
    let mut nlri = nlri.peekable();
    while nlri.peek().is_some() {
        frame::write(out, Kind::Update, |out| match family {
            Family::Ipv4 => {
                part16(out, |out| fill(out, &mut nlri, room, add_path));
                out.extend([0; 2]);
            }
            Family::Ipv6 => {
                out.extend([0; 2]);
                part16(out, |out| {
                    out.extend([OPTIONAL | EXTENDED, code::MP_UNREACH]);
                    part16(out, |out| {
                        out.extend([0, afi_of(family) as u8, UNICAST]);
                        fill(out, &mut nlri, room - ATTRIBUTE_HEADER - 3, add_path);
                    });
                });
            }
        });
    }
}

/// False if they can't be announced at all.
fn announce<'a>(
    attributes: &Attributes,
    nlri: impl Iterator<Item = &'a Nlri>,
    family: Family,
    transmit: &Transmit,
    out: &mut Vec<u8>,
) -> bool {
    let reach = match (family, attributes.next_hop) {
        (Family::Ipv4, IpAddr::V4(_)) => None,
        (Family::Ipv4, IpAddr::V6(_)) if !transmit.extended_next_hop => return false,
        (_, IpAddr::V6(global)) => {
            let link_local = attributes.link_local.map(|address| address.octets());
            let next_hop = [
                global.octets().as_slice(),
                link_local
                    .as_ref()
                    .map_or(&[][..], |octets| octets.as_slice()),
            ]
            .concat();
            let head = [0, afi_of(family) as u8, UNICAST, next_hop.len() as u8];
            Some([head.as_slice(), &next_hop, &[0]].concat())
        }
        (Family::Ipv6, IpAddr::V4(_)) => return false,
    };
    let list = attribute_list(attributes, reach.is_none(), transmit);
    let fixed = EMPTY
        + list.len()
        + reach
            .as_ref()
            .map_or(0, |reach| ATTRIBUTE_HEADER + reach.len());
    let Some(room) = transmit
        .max
        .checked_sub(fixed)
        .filter(|room| *room >= LONGEST_NLRI)
    else {
        return false;
    };

    let add_path = *transmit.add_path.get(family);
    let mut nlri = nlri.peekable();
    while nlri.peek().is_some() {
        frame::write(out, Kind::Update, |out| {
            out.extend([0; 2]);
            part16(out, |out| {
                if let Some(reach) = &reach {
                    out.extend([OPTIONAL | EXTENDED, code::MP_REACH]);
                    part16(out, |out| {
                        out.extend(reach);
                        fill(out, &mut nlri, room, add_path);
                    });
                }
                out.extend(&list);
            });
            if reach.is_none() {
                fill(out, &mut nlri, room, add_path);
            }
        });
    }
    true
}

/// Appends as many prefixes as there is room for.
fn fill<'a>(
    out: &mut Vec<u8>,
    all: &mut Peekable<impl Iterator<Item = &'a Nlri>>,
    room: usize,
    add_path: bool,
) {
    let end = out.len() + room;
    let length = |one: &Nlri| {
        1 + usize::from(one.prefix.prefix_len()).div_ceil(8) + if add_path { 4 } else { 0 }
    };
    while let Some(one) = all.next_if(|one| out.len() + length(one) <= end) {
        nlri::write(out, one, add_path);
    }
}

/// All attributes save the MP ones, by code.
fn attribute_list(attributes: &Attributes, with_next_hop: bool, transmit: &Transmit) -> Vec<u8> {
    let width = transmit.width();
    let mut out = Vec::new();
    let mut value = Vec::new();
    put(
        &mut out,
        TRANSITIVE,
        code::ORIGIN,
        &[attributes.origin as u8],
    );
    as_path::write(&mut value, &attributes.as_path, width);
    put(&mut out, TRANSITIVE, code::AS_PATH, &value);
    if let (true, IpAddr::V4(next_hop)) = (with_next_hop, attributes.next_hop) {
        put(&mut out, TRANSITIVE, code::NEXT_HOP, &next_hop.octets());
    }
    if let Some(med) = attributes.med {
        put(&mut out, OPTIONAL, code::MED, &med.to_be_bytes());
    }
    if let Some(local_pref) = attributes.local_pref {
        put(
            &mut out,
            TRANSITIVE,
            code::LOCAL_PREF,
            &local_pref.to_be_bytes(),
        );
    }
    if attributes.atomic_aggregate {
        put(&mut out, TRANSITIVE, code::ATOMIC_AGGREGATE, &[]);
    }
    if let Some(aggregator) = attributes.aggregator {
        value.clear();
        width.write(&mut value, aggregator.asn);
        value.extend(aggregator.id.octets());
        put(&mut out, OPTIONAL | TRANSITIVE, code::AGGREGATOR, &value);
    }
    put_list(
        &mut out,
        OPTIONAL | TRANSITIVE,
        code::COMMUNITIES,
        &attributes.communities,
        |c| c.to_be_bytes(),
    );
    if let Some(id) = attributes.originator_id {
        put(&mut out, OPTIONAL, code::ORIGINATOR_ID, &id.octets());
    }
    put_list(
        &mut out,
        OPTIONAL,
        code::CLUSTER_LIST,
        &attributes.cluster_list,
        |id| id.octets(),
    );
    put_list(
        &mut out,
        OPTIONAL | TRANSITIVE,
        code::EXTENDED_COMMUNITIES,
        &attributes.extended_communities,
        |c| *c,
    );
    if !transmit.as4 {
        put_as4(&mut out, attributes);
    }
    let large: Vec<u32> = attributes
        .large_communities
        .iter()
        .flat_map(|(a, b, c)| [*a, *b, *c])
        .collect();
    put_list(
        &mut out,
        OPTIONAL | TRANSITIVE,
        code::LARGE_COMMUNITIES,
        &large,
        |part| part.to_be_bytes(),
    );
    for opaque in &attributes.opaque {
        put(&mut out, opaque.flags | PARTIAL, opaque.code, &opaque.value);
    }
    out
}

/// What was lost in two octets (RFC 6793, section 4.2.2).
fn put_as4(out: &mut Vec<u8>, attributes: &Attributes) {
    let mut value = Vec::new();
    if as_path::needs_four(&attributes.as_path) {
        as_path::write(&mut value, &attributes.as_path, as_path::Width::Four);
        put(out, OPTIONAL | TRANSITIVE, code::AS4_PATH, &value);
    }
    if let Some(aggregator) = attributes
        .aggregator
        .filter(|aggregator| aggregator.asn > 0xffff)
    {
        value.clear();
        value.extend(aggregator.asn.to_be_bytes());
        value.extend(aggregator.id.octets());
        put(out, OPTIONAL | TRANSITIVE, code::AS4_AGGREGATOR, &value);
    }
}

fn put_list<T, const N: usize>(
    out: &mut Vec<u8>,
    flags: u8,
    code: u8,
    list: &[T],
    octets: impl Fn(&T) -> [u8; N],
) {
    if !list.is_empty() {
        let value: Vec<u8> = list.iter().flat_map(octets).collect();
        put(out, flags, code, &value);
    }
}

/// One attribute. A value whose length can't be said is too long for any message: [`announce`] notices.
fn put(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend([flags, code, length]),
        Err(_) => {
            out.extend([flags | EXTENDED, code]);
            out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend(value);
}
