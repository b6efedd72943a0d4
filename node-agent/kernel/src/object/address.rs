//! Addresses of the node.

use std::net::IpAddr;

use nix::libc;

use super::uapi::*;
use crate::netlink::{Message, Request};
use crate::state::PROTOCOL;

/// An address as the kernel shows it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
    /// Who set it (`IFA_PROTO`); `None` if the kernel is too old to say or nobody did.
    pub(crate) protocol: Option<u8>,
}

/// Asks for all addresses of both families.
pub(crate) fn dump() -> Request {
    Request::new(RTM_GETADDR, 0, &[0; 8])
}

pub(crate) fn add(index: u32, address: IpAddr) -> Request {
    request(RTM_NEWADDR, CREATE | REPLACE, index, address)
}

pub(crate) fn delete(index: u32, address: IpAddr) -> Request {
    request(RTM_DELADDR, 0, index, address)
}

fn request(kind: u16, flags: i32, index: u32, address: IpAddr) -> Request {
    let (family, prefix) = if address.is_ipv4() {
        (AF_INET, 32)
    } else {
        (AF_INET6, 128)
    };
    // The kernel takes an address for one that may be used anywhere unless told otherwise.
    let link_local = matches!(address, IpAddr::V4(address) if address.is_link_local());
    let scope = if link_local {
        libc::RT_SCOPE_LINK
    } else {
        libc::RT_SCOPE_UNIVERSE
    };
    let mut header = [family, prefix, 0, scope, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let mut request = Request::new(kind, flags, &header);
    request.ip(IFA_LOCAL, address).ip(IFA_ADDRESS, address);
    if kind == RTM_NEWADDR {
        request.u32(IFA_FLAGS, IFA_F_NODAD).u8(IFA_PROTO, PROTOCOL);
    }
    request
}

/// Reads one address.
pub(crate) fn parse(message: Message<'_>) -> Option<Address> {
    let (header, attributes) = message.after(8).filter(|_| message.kind == RTM_NEWADDR)?;
    let local = attributes.ip(IFA_LOCAL);
    let peer = attributes.ip(IFA_ADDRESS);
    let address = local.or(peer)?;
    Some(Address {
        index: u32::from_ne_bytes(header[4..8].try_into().ok()?),
        address,
        prefix: header[1],
        protocol: attributes.u8(IFA_PROTO),
    })
}
