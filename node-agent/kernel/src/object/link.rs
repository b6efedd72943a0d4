//! Network devices: our VXLAN devices, and what must be known of the others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::libc;

use super::uapi::*;
use crate::names::{DeviceName, Mac};
use crate::netlink::{Attributes, Message, Request};
use crate::state::{Setting, Vxlan};

const UP: u32 = libc::IFF_UP as u32;

/// A device as the kernel shows it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: DeviceName,
    /// `IFF_*`.
    pub(crate) flags: u32,
    pub(crate) mtu: u32,
    pub(crate) mac: Option<Mac>,
    pub(crate) vxlan: Option<VxlanInfo>,
    pub(crate) ipv4: BTreeMap<Setting, u32>,
}

/// The VXLAN part of a device.
#[derive(Clone, Debug)]
pub(crate) struct VxlanInfo {
    pub(crate) vni: u32,
    pub(crate) port: u16,
    pub(crate) local: Option<IpAddr>,
    pub(crate) learning: bool,
    /// Takes any VNI (`external`).
    pub(crate) external: bool,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        self.flags & UP != 0
    }

    pub(crate) fn has_carrier(&self) -> bool {
        self.flags & libc::IFF_LOWER_UP as u32 != 0
    }
}

/// Asks for all devices.
pub(crate) fn dump() -> Request {
    let mut request = Request::new(RTM_GETLINK, 0, &header(0, 0, 0));
    request.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    request
}

/// Asks for one device.
pub(crate) fn get(name: DeviceName) -> Request {
    let mut request = Request::new(RTM_GETLINK, 0, &header(0, 0, 0));
    request
        .text(IFLA_IFNAME, name.as_str())
        .u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    request
}

/// Makes a VXLAN device, down. Its checksum offload is left as the kernel has it.
pub(crate) fn create(name: DeviceName, vxlan: &Vxlan) -> Request {
    let mut request = Request::new(RTM_NEWLINK, CREATE | EXCL, &header(0, 0, 0));
    request.text(IFLA_IFNAME, name.as_str());
    request
        .bytes(IFLA_ADDRESS, &vxlan.mac.0)
        .u32(IFLA_MTU, vxlan.mtu);
    vxlan_data(&mut request, |request| {
        request
            .u32(IFLA_VXLAN_ID, vxlan.vni)
            .be16(IFLA_VXLAN_PORT, vxlan.port);
        local(request, vxlan).u8(IFLA_VXLAN_LEARNING, vxlan.learning.into());
    });
    request
}

/// Keeps the kernel from giving the device an IPv6 address of its own, so that it sends
/// no router solicitations. Has to come before the device is taken up; kernels refuse
/// it together with making the device.
pub(crate) fn no_own_address(index: u32) -> Request {
    let mut request = Request::new(RTM_SETLINK, 0, &header(index, 0, 0));
    request.nest(IFLA_AF_SPEC, |request| {
        request.nest(u16::from(AF_INET6), |request| {
            request.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
        });
    });
    request
}

pub(crate) fn up(index: u32) -> Request {
    Request::new(RTM_SETLINK, 0, &header(index, UP, UP))
}

/// Changes what differs between `from` and `to`, and takes the device up. Naming what
/// stays the same is not harmless: setting the same MAC again flushes neighbours.
pub(crate) fn modify(index: u32, from: &Vxlan, to: &Vxlan) -> Request {
    let mut request = Request::new(RTM_NEWLINK, 0, &header(index, UP, UP));
    if from.mac != to.mac {
        request.bytes(IFLA_ADDRESS, &to.mac.0);
    }
    if from.mtu != to.mtu {
        request.u32(IFLA_MTU, to.mtu);
    }
    if from.local != to.local || from.learning != to.learning {
        vxlan_data(&mut request, |request| {
            local(request, to).u8(IFLA_VXLAN_LEARNING, to.learning.into());
        });
    }
    request
}

fn vxlan_data(request: &mut Request, fill: impl FnOnce(&mut Request)) {
    request.nest(IFLA_LINKINFO, |request| {
        request
            .text(IFLA_INFO_KIND, "vxlan")
            .nest(IFLA_INFO_DATA, fill);
    });
}

fn local<'a>(request: &'a mut Request, vxlan: &Vxlan) -> &'a mut Request {
    let kind = if vxlan.local.is_ipv4() {
        IFLA_VXLAN_LOCAL
    } else {
        IFLA_VXLAN_LOCAL6
    };
    request.ip(kind, vxlan.local)
}

pub(crate) fn delete(index: u32) -> Request {
    Request::new(RTM_DELLINK, 0, &header(index, 0, 0))
}

/// Sets an IPv4 setting of a device.
pub(crate) fn set(index: u32, setting: Setting, value: u32) -> Request {
    let mut request = Request::new(RTM_SETLINK, 0, &header(index, 0, 0));
    request.nest(IFLA_AF_SPEC, |request| {
        request.nest(u16::from(AF_INET), |request| {
            request.nest(IFLA_INET_CONF, |request| {
                request.u32(setting as u16, value);
            });
        });
    });
    request
}

/// Reads one device.
pub(crate) fn parse(message: Message<'_>) -> Option<Link> {
    let (header, attributes) = message.after(16).filter(|_| message.kind == RTM_NEWLINK)?;
    let word = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let info = attributes.nested(IFLA_LINKINFO);
    let is_vxlan = info.text(IFLA_INFO_KIND).as_deref() == Some("vxlan");
    let vxlan = is_vxlan.then(|| parse_vxlan(info.nested(IFLA_INFO_DATA)));
    Some(Link {
        index: word(4)?,
        flags: word(8)?,
        name: attributes.text(IFLA_IFNAME)?.parse().ok()?,
        mtu: attributes.u32(IFLA_MTU).unwrap_or_default(),
        mac: attributes.get(IFLA_ADDRESS).and_then(Mac::from_slice),
        vxlan,
        ipv4: parse_ipv4(attributes),
    })
}

fn parse_vxlan(data: Attributes<'_>) -> VxlanInfo {
    VxlanInfo {
        vni: data.u32(IFLA_VXLAN_ID).unwrap_or_default(),
        port: data.be16(IFLA_VXLAN_PORT).unwrap_or_default(),
        local: data.ip(IFLA_VXLAN_LOCAL).or(data.ip(IFLA_VXLAN_LOCAL6)),
        learning: data.u8(IFLA_VXLAN_LEARNING) == Some(1),
        external: data.u8(IFLA_VXLAN_COLLECT_METADATA) == Some(1),
    }
}

fn parse_ipv4(attributes: Attributes<'_>) -> BTreeMap<Setting, u32> {
    let conf = attributes
        .nested(IFLA_AF_SPEC)
        .nested(u16::from(AF_INET))
        .get(IFLA_INET_CONF);
    let conf = conf.unwrap_or_default();
    let value = |setting: Setting| {
        // An array of 32-bit values; that of setting 1 comes first.
        let at = (setting as usize - 1) * 4;
        let bytes = conf.get(at..at + 4)?.try_into().ok()?;
        Some((setting, u32::from_ne_bytes(bytes)))
    };
    Setting::ALL.into_iter().filter_map(value).collect()
}

/// `struct ifinfomsg`.
fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}
