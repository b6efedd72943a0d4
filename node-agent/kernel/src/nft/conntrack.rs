//! Connections that the kernel remembers. A UDP client that keeps sending keeps its
//! remembered translation (or the lack of one) alive, so it would never see that a host
//! port has come, gone or moved. TCP clients start anew.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::libc;

use super::value::HostPortKey;
use crate::netlink::{Attributes, Connection, Error, Message, Request};
use crate::object::family_number;
use crate::state::Family;

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;

// linux/netfilter/nfnetlink_conntrack.h
const TUPLE_ORIGINAL: u16 = 1;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IPV4_DESTINATION: u16 = 2;
const IPV6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;

const UDP: u8 = libc::IPPROTO_UDP as u8;

/// Makes the kernel forget the UDP connections to these host ports.
pub(super) fn forget(netfilter: &mut Connection, ports: &[HostPortKey]) -> Result<(), Error> {
    let udp: BTreeSet<_> = ports.iter().filter(|port| port.protocol == UDP).collect();
    for family in Family::BOTH {
        let udp: Vec<_> = udp.iter().filter(|port| port.family == family).collect();
        if udp.is_empty() {
            continue;
        }
        let get = Request::new(GET, 0, &[family_number(family), 0, 0, 0]);
        let deletions = netfilter.dump(&get, |message| {
            let found = message.after(4)?.1;
            let hit = udp.iter().any(|port| leads_to(found, port));
            hit.then(|| deletion(family, message)).flatten()
        })?;
        for result in netfilter.execute(&deletions) {
            match result {
                Err(error) if error.errno() != Some(Errno::ENOENT) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn leads_to(connection: Attributes<'_>, port: &HostPortKey) -> bool {
    let tuple = connection.nested(TUPLE_ORIGINAL);
    let (ip, protocol) = (tuple.nested(TUPLE_IP), tuple.nested(TUPLE_PROTOCOL));
    let destination = ip.ip(IPV4_DESTINATION).or(ip.ip(IPV6_DESTINATION));
    protocol.u8(PROTOCOL_NUMBER) == Some(port.protocol)
        && protocol.be16(DESTINATION_PORT) == Some(port.port)
        && (port.host.is_none() || port.host == destination)
}

/// Asks to delete the connection, named by its own original tuple.
fn deletion(family: Family, message: Message<'_>) -> Option<Request> {
    let connection = message.after(4)?.1;
    let mut request = Request::new(DELETE, 0, &[family_number(family), 0, 0, 0]);
    let tuple = connection.get(TUPLE_ORIGINAL)?;
    request.nest(TUPLE_ORIGINAL, |nest| {
        nest.raw(tuple);
    });
    if let Some(zone) = connection.get(ZONE) {
        request.bytes(ZONE, zone);
    }
    Some(request)
}
