//! Neighbours, and FDB entries, which the kernel treats as neighbours of family bridge.

use std::net::IpAddr;

use super::uapi::*;
use crate::names::Mac;
use crate::netlink::{Message, Request};

/// Asks for the neighbours (both families) of one device.
pub(crate) fn dump(index: u32) -> Request {
    let mut request = Request::new(RTM_GETNEIGH, 0, &header(AF_UNSPEC, 0, 0, 0));
    request.u32(NDA_IFINDEX, index);
    request
}

/// Asks for the FDB entries of one device.
pub(crate) fn dump_fdb(index: u32) -> Request {
    Request::new(RTM_GETNEIGH, 0, &header(AF_BRIDGE, index, 0, 0))
}

pub(crate) fn set(index: u32, address: IpAddr, mac: Mac) -> Request {
    let header = header(family(address), index, NUD_PERMANENT, 0);
    let mut request = Request::new(RTM_NEWNEIGH, CREATE | REPLACE, &header);
    request.ip(NDA_DST, address).bytes(NDA_LLADDR, &mac.0);
    request
}

pub(crate) fn delete(index: u32, address: IpAddr) -> Request {
    let mut request = Request::new(RTM_DELNEIGH, 0, &header(family(address), index, 0, 0));
    request.ip(NDA_DST, address);
    request
}

pub(crate) fn set_fdb(index: u32, mac: Mac, remote: IpAddr) -> Request {
    let header = header(AF_BRIDGE, index, NUD_PERMANENT | NUD_NOARP, NTF_SELF);
    let mut request = Request::new(RTM_NEWNEIGH, CREATE | REPLACE, &header);
    request.bytes(NDA_LLADDR, &mac.0).ip(NDA_DST, remote);
    request
}

pub(crate) fn delete_fdb(index: u32, mac: Mac, remote: IpAddr) -> Request {
    let mut request = Request::new(RTM_DELNEIGH, 0, &header(AF_BRIDGE, index, 0, NTF_SELF));
    request.bytes(NDA_LLADDR, &mac.0).ip(NDA_DST, remote);
    request
}

/// Reads a permanent neighbour: (device index, address, MAC).
pub(crate) fn parse(message: Message<'_>) -> Option<(u32, IpAddr, Mac)> {
    let (header, attributes) = message.after(12).filter(|_| message.kind == RTM_NEWNEIGH)?;
    let state = u16::from_ne_bytes([header[8], header[9]]);
    if header[0] == AF_BRIDGE || state & NUD_PERMANENT == 0 {
        return None;
    }
    let mac = attributes.get(NDA_LLADDR).and_then(Mac::from_slice)?;
    Some((index_of(header)?, attributes.ip(NDA_DST)?, mac))
}

/// Reads of which address a neighbour is, whatever its state: (device index, address).
pub(crate) fn parse_address(message: Message<'_>) -> Option<(u32, IpAddr)> {
    let (header, attributes) = message.after(12).filter(|_| message.kind == RTM_NEWNEIGH)?;
    if header[0] == AF_BRIDGE {
        return None;
    }
    Some((index_of(header)?, attributes.ip(NDA_DST)?))
}

/// Reads an FDB entry that has a remote node: (device index, MAC, remote).
pub(crate) fn parse_fdb(message: Message<'_>) -> Option<(u32, Mac, IpAddr)> {
    let (header, attributes) = message.after(12).filter(|_| message.kind == RTM_NEWNEIGH)?;
    if header[0] != AF_BRIDGE {
        return None;
    }
    let mac = attributes.get(NDA_LLADDR).and_then(Mac::from_slice)?;
    Some((index_of(header)?, mac, attributes.ip(NDA_DST)?))
}

fn index_of(header: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(header.get(4..8)?.try_into().ok()?))
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// `struct ndmsg`.
fn header(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = family;
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..10].copy_from_slice(&state.to_ne_bytes());
    bytes[10] = flags;
    bytes
}
