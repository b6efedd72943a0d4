//! Nexthop objects, and groups of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::uapi::*;
use super::{family_number, family_of};
use crate::netlink::{Message, Request};
use crate::state::{Family, Nexthop, PROTOCOL};

/// A nexthop object as the kernel shows it.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) id: u32,
    pub(crate) protocol: u8,
    pub(crate) family: Family,
    pub(crate) gateway: Option<IpAddr>,
    /// Device index; 0 for a group or a black hole.
    pub(crate) index: u32,
    pub(crate) onlink: bool,
    /// Of a group: the ids of the nexthop objects that share its packets.
    pub(crate) group: Option<BTreeSet<u32>>,
}

/// Asks for all nexthop objects.
pub(crate) fn dump() -> Request {
    Request::new(RTM_GETNEXTHOP, 0, &[0; 8])
}

/// Makes or replaces a nexthop object, as `flags` say.
pub(crate) fn set(flags: i32, id: u32, nexthop: &Nexthop, index: u32) -> Request {
    let mut header = [family_number(nexthop.family), 0, PROTOCOL, 0, 0, 0, 0, 0];
    if nexthop.onlink {
        header[4..].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
    }
    let mut request = Request::new(RTM_NEWNEXTHOP, flags, &header);
    request.u32(NHA_ID, id).u32(NHA_OIF, index);
    if let Some(gateway) = nexthop.gateway {
        request.ip(NHA_GATEWAY, gateway);
    }
    request
}

/// Makes or replaces a group whose members share packets alike, flow by flow.
pub(crate) fn set_group(flags: i32, id: u32, members: &BTreeSet<u32>) -> Request {
    let mut request = Request::new(RTM_NEWNEXTHOP, flags, &[0, 0, PROTOCOL, 0, 0, 0, 0, 0]);
    // `struct nexthop_grp`: the id, then the weight less one and what is reserved.
    let entry = |id: &u32| [id.to_ne_bytes(), [0; 4]].concat();
    let members: Vec<u8> = members.iter().flat_map(entry).collect();
    request.u32(NHA_ID, id).bytes(NHA_GROUP, &members);
    request
}

pub(crate) fn delete(id: u32) -> Request {
    let mut request = Request::new(RTM_DELNEXTHOP, 0, &[0; 8]);
    request.u32(NHA_ID, id);
    request
}

/// Reads one nexthop object.
pub(crate) fn parse(message: Message<'_>) -> Option<Observed> {
    let (header, attributes) = message
        .after(8)
        .filter(|_| message.kind == RTM_NEWNEXTHOP)?;
    let flags = u32::from_ne_bytes(header[4..8].try_into().ok()?);
    Some(Observed {
        id: attributes.u32(NHA_ID)?,
        protocol: header[2],
        family: family_of(header[0]).unwrap_or(Family::V4),
        gateway: attributes.ip(NHA_GATEWAY),
        index: attributes.u32(NHA_OIF).unwrap_or(0),
        onlink: flags & RTNH_F_ONLINK != 0,
        group: attributes.get(NHA_GROUP).map(members),
    })
}

fn members(group: &[u8]) -> BTreeSet<u32> {
    let id = |entry: &[u8; 8]| {
        let [a, b, c, d, ..] = *entry;
        u32::from_ne_bytes([a, b, c, d])
    };
    group.as_chunks().0.iter().map(id).collect()
}
