//! Routes.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::libc;

use super::uapi::*;
use super::{family_number, family_of};
use crate::netlink::{Attributes, Message, Request};
use crate::state::{Family, PROTOCOL, Route, RouteKey, RouteTarget};

/// A route as the kernel shows it.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) key: RouteKey,
    pub(crate) protocol: u8,
    /// `RTN_*`.
    pub(crate) kind: u8,
    pub(crate) nexthop: Option<u32>,
    /// Device index, 0 if there isn't one.
    pub(crate) index: u32,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) onlink: bool,
    pub(crate) source: Option<IpAddr>,
    pub(crate) mtu: Option<u32>,
    /// It has something that Weft never uses: several paths, an encapsulation, a
    /// gateway of the other family.
    pub(crate) strange: bool,
}

/// Asks for all routes of a family.
pub(crate) fn dump(family: Family) -> Request {
    let mut header = [0; 12];
    header[0] = family_number(family);
    Request::new(RTM_GETROUTE, 0, &header)
}

/// Makes or replaces a route, as `flags` say. `index` is that of the target's device.
pub(crate) fn set(flags: i32, key: &RouteKey, route: &Route, index: Option<u32>) -> Request {
    let (kind, onlink, scope) = match &route.target {
        RouteTarget::Device { gateway: None, .. } => {
            (libc::RTN_UNICAST, false, libc::RT_SCOPE_LINK)
        }
        RouteTarget::Device { onlink, .. } => (libc::RTN_UNICAST, *onlink, libc::RT_SCOPE_UNIVERSE),
        RouteTarget::Blackhole => (libc::RTN_BLACKHOLE, false, libc::RT_SCOPE_UNIVERSE),
        RouteTarget::Unreachable => (libc::RTN_UNREACHABLE, false, libc::RT_SCOPE_UNIVERSE),
        RouteTarget::Prohibit => (libc::RTN_PROHIBIT, false, libc::RT_SCOPE_UNIVERSE),
        RouteTarget::Nexthop(_) | RouteTarget::Other => {
            (libc::RTN_UNICAST, false, libc::RT_SCOPE_UNIVERSE)
        }
    };
    let mut header = header(key, PROTOCOL, scope, kind);
    if onlink {
        header[8..].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
    }
    let mut request = Request::new(RTM_NEWROUTE, flags, &header);
    identify(&mut request, key);
    match &route.target {
        RouteTarget::Nexthop(id) => {
            request.u32(RTA_NH_ID, *id);
        }
        RouteTarget::Device {
            gateway: Some(gateway),
            ..
        } => {
            if gateway.is_ipv4() == key.destination.addr().is_ipv4() {
                request.ip(RTA_GATEWAY, *gateway);
            } else {
                request.bytes(RTA_VIA, &via(*gateway));
            }
        }
        _ => {}
    }
    if let Some(index) = index {
        request.u32(RTA_OIF, index);
    }
    if let Some(source) = route.source {
        request.ip(RTA_PREFSRC, source);
    }
    if let Some(mtu) = route.mtu {
        request.nest(RTA_METRICS, |request| {
            request.u32(RTAX_MTU, mtu);
        });
    }
    request
}

/// Deletes our route with this key.
pub(crate) fn delete(key: &RouteKey) -> Request {
    let header = header(key, PROTOCOL, libc::RT_SCOPE_NOWHERE, 0);
    let mut request = Request::new(RTM_DELROUTE, 0, &header);
    identify(&mut request, key);
    request
}

/// Reads one route; `None` for those that are only cached.
pub(crate) fn parse(message: Message<'_>) -> Option<Observed> {
    let (header, attributes) = message.after(12).filter(|_| message.kind == RTM_NEWROUTE)?;
    let family = family_of(header[0])?;
    let flags = u32::from_ne_bytes(header[8..12].try_into().ok()?);
    if flags & libc::RTM_F_CLONED != 0 {
        return None;
    }
    let zero = match family {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0; 16]),
    };
    let destination = IpNet::new(attributes.ip(RTA_DST).unwrap_or(zero), header[1]).ok()?;
    let key = RouteKey {
        table: attributes.u32(RTA_TABLE).unwrap_or(header[4].into()),
        destination,
        metric: attributes.u32(RTA_PRIORITY).unwrap_or(0),
    };
    let has = |kind| attributes.get(kind).is_some();
    Some(Observed {
        key,
        protocol: header[5],
        kind: header[7],
        nexthop: attributes.u32(RTA_NH_ID),
        index: attributes.u32(RTA_OIF).unwrap_or(0),
        gateway: attributes.ip(RTA_GATEWAY).or_else(|| parse_via(attributes)),
        onlink: flags & RTNH_F_ONLINK != 0,
        source: attributes.ip(RTA_PREFSRC),
        mtu: attributes.nested(RTA_METRICS).u32(RTAX_MTU),
        // Of a route by a group the kernel shows what the group comes to as well.
        strange: header[3] != 0 || (has(RTA_MULTIPATH) && !has(RTA_NH_ID)) || has(RTA_ENCAP),
    })
}

fn identify(request: &mut Request, key: &RouteKey) {
    request
        .ip(RTA_DST, key.destination.addr())
        .u32(RTA_TABLE, key.table);
    request.u32(RTA_PRIORITY, key.metric);
}

/// `struct rtvia`: a gateway of another family than the destination's.
fn via(gateway: IpAddr) -> Vec<u8> {
    let family = u16::from(family_number(Family::of(gateway))).to_ne_bytes();
    match gateway {
        IpAddr::V4(v4) => [&family[..], &v4.octets()].concat(),
        IpAddr::V6(v6) => [&family[..], &v6.octets()].concat(),
    }
}

fn parse_via(attributes: Attributes<'_>) -> Option<IpAddr> {
    crate::netlink::ip_address(attributes.get(RTA_VIA)?.get(2..)?)
}

/// `struct rtmsg`.
fn header(key: &RouteKey, protocol: u8, scope: u8, kind: u8) -> [u8; 12] {
    let family = family_number(Family::of(key.destination.addr()));
    // Tables above 255 are named by an attribute.
    let table = u8::try_from(key.table).unwrap_or(0);
    [
        family,
        key.destination.prefix_len(),
        0,
        0,
        table,
        protocol,
        scope,
        kind,
        0,
        0,
        0,
        0,
    ]
}
