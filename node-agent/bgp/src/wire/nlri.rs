//! Prefixes as they are written in UPDATEs (RFC 4271, section 4.3; RFC 7911, section 3).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::bytes::Reader;
use crate::route::{Family, Nlri};

/// Reads prefixes to the end; `None` if one is longer than its family allows or than what is left (RFC 7606,
/// section 5.3). Bits beyond a prefix's length are cleared.
pub(super) fn read(bytes: &[u8], family: Family, add_path: bool) -> Option<Vec<Nlri>> {
    let mut reader = Reader::new(bytes);
    let mut nlri = Vec::new();
    while !reader.is_empty() {
        let path_id = if add_path { reader.u32()? } else { 0 };
        let length = reader.u8()?;
        let octets = reader.take(usize::from(length).div_ceil(8))?;
        let prefix = match family {
            Family::Ipv4 => IpNet::V4(
                Ipv4Net::new(Ipv4Addr::from(padded(octets)?), length)
                    .ok()?
                    .trunc(),
            ),
            Family::Ipv6 => IpNet::V6(
                Ipv6Net::new(Ipv6Addr::from(padded(octets)?), length)
                    .ok()?
                    .trunc(),
            ),
        };
        nlri.push(Nlri { prefix, path_id });
    }
    Some(nlri)
}

/// Appends one prefix.
pub(super) fn write(out: &mut Vec<u8>, nlri: &Nlri, add_path: bool) {
    if add_path {
        out.extend(nlri.path_id.to_be_bytes());
    }
    let length = nlri.prefix.prefix_len();
    out.push(length);
    let octets = usize::from(length).div_ceil(8);
    match nlri.prefix {
        IpNet::V4(net) => out.extend(net.network().octets().iter().take(octets)),
        IpNet::V6(net) => out.extend(net.network().octets().iter().take(octets)),
    }
}

fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut address = [0; N];
    address.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(address)
}
