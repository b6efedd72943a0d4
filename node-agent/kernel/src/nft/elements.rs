//! Elements of the table's sets and maps, as bytes and back.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};

use super::layout::set_names;
use super::uapi::*;
use super::value::{HostPort, HostPortKey, HostPortTarget};
use crate::netlink::{Attributes, Request, ip_address};
use crate::state::Family;

/// An element of a set or map.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) set: &'static str,
    pub(super) key: Vec<u8>,
    /// The value of an element of a map.
    pub(super) value: Option<Vec<u8>>,
    /// The key is the first address behind an interval.
    pub(super) interval_end: bool,
    /// The element in words.
    pub(super) about: String,
}

impl Element {
    pub(super) fn write(&self, list: &mut Request, with_value: bool) {
        list.nest(LIST_ELEMENT, |element| {
            if self.interval_end {
                element.be32(ELEMENT_FLAGS, ELEMENT_INTERVAL_END);
            }
            element.nest(ELEMENT_KEY, |key| {
                key.bytes(DATA_VALUE, &self.key);
            });
            if let (Some(value), true) = (&self.value, with_value) {
                element.nest(ELEMENT_DATA, |data| {
                    data.bytes(DATA_VALUE, value);
                });
            }
        });
    }
}

/// Key, value, and whether it ends an interval.
pub(super) type Raw = (Vec<u8>, Option<Vec<u8>>, bool);

/// Reads one element.
pub(super) fn read(element: Attributes<'_>) -> Option<Raw> {
    let key = element.nested(ELEMENT_KEY).get(DATA_VALUE)?.to_vec();
    let value = element
        .nested(ELEMENT_DATA)
        .get(DATA_VALUE)
        .map(<[u8]>::to_vec);
    let flags = element.be32(ELEMENT_FLAGS).unwrap_or(0);
    Some((key, value, flags & ELEMENT_INTERVAL_END != 0))
}

/// Elements of the pool sets: each range is an address where it begins and one where
/// it has ended.
pub(super) fn ranges(pools: &[IpNet]) -> Vec<Element> {
    let mut elements: Vec<Element> = Vec::new();
    for pool in pools {
        let set = set_names(Family::of(pool.addr())).pools;
        let mut add = |address: IpAddr, interval_end| {
            let (key, about) = (octets(address), pool.to_string());
            elements.push(Element {
                set,
                key,
                value: None,
                interval_end,
                about,
            });
        };
        add(pool.network(), false);
        // Nothing comes after the last address of a family.
        if let Some(next) = successor(pool.broadcast()) {
            add(next, true);
        }
    }
    elements
}

/// The ranges that these elements of a pool set mean.
pub(super) fn read_ranges(mut elements: Vec<Raw>) -> Vec<IpNet> {
    // Where one range ends and the next begins, the end comes first.
    elements.sort_by(|one, other| (&one.0, !one.2).cmp(&(&other.0, !other.2)));
    let mut found = Vec::new();
    let mut open: Option<IpAddr> = None;
    for (key, _, interval_end) in elements {
        let Some(address) = ip_address(&key) else {
            continue;
        };
        if let (true, Some(start), Some(last)) = (interval_end, open.take(), predecessor(address)) {
            found.extend(subnets(start, last));
        }
        if !interval_end {
            open = Some(address);
        }
    }
    match open {
        Some(start @ IpAddr::V4(_)) => found.extend(subnets(start, [255; 4].into())),
        Some(start @ IpAddr::V6(_)) => found.extend(subnets(start, [255; 16].into())),
        None => {}
    }
    IpNet::aggregate(&found)
}

/// The element of a host port.
pub(super) fn of_hostport((key, target): &HostPort) -> Element {
    let names = set_names(key.family);
    let mut bytes = key.host.map(octets).unwrap_or_default();
    bytes.extend_from_slice(&[key.protocol, 0, 0, 0]);
    bytes.extend_from_slice(&padded(key.port));
    let value = [&octets(target.address)[..], &padded(target.port)].concat();
    let host = key.host.map(|host| format!("{host} ")).unwrap_or_default();
    Element {
        set: if key.host.is_some() {
            names.ports_of_address
        } else {
            names.ports
        },
        key: bytes,
        value: Some(value),
        interval_end: false,
        about: format!("host port {host}{} of protocol {}", key.port, key.protocol),
    }
}

/// Reads the element of a host port.
pub(super) fn read_hostport(family: Family, (key, value, _): &Raw) -> Option<HostPort> {
    let word = if family == Family::V4 { 4 } else { 16 };
    let (host, rest) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let host = if host.is_empty() {
        None
    } else {
        Some(ip_address(host)?)
    };
    let (protocol, port) = (
        *rest.first()?,
        u16::from_be_bytes([*rest.get(4)?, *rest.get(5)?]),
    );
    let (address, to) = value.as_ref()?.split_at_checked(word)?;
    let target = HostPortTarget {
        address: ip_address(address)?,
        port: u16::from_be_bytes([*to.first()?, *to.get(1)?]),
    };
    Some((
        HostPortKey {
            family,
            protocol,
            host,
            port,
        },
        target,
    ))
}

/// The element of a pod which may talk to itself through a host port.
pub(super) fn hairpin(pod: IpAddr) -> Element {
    Element {
        set: set_names(Family::of(pod)).hairpin,
        key: octets(pod).repeat(2),
        value: None,
        interval_end: false,
        about: format!("pod {pod}"),
    }
}

/// Parts of a concatenated key fill whole words.
fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).checked_add(1)?.into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).checked_add(1)?.into()),
    })
}

fn predecessor(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).checked_sub(1)?.into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).checked_sub(1)?.into()),
    })
}

fn subnets(first: IpAddr, last: IpAddr) -> Vec<IpNet> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0)
            .map(|net: Ipv4Net| net.into())
            .collect(),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0)
            .map(|net: Ipv6Net| net.into())
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(elements: Vec<Element>) -> Vec<Raw> {
        elements
            .into_iter()
            .map(|e| (e.key, e.value, e.interval_end))
            .collect()
    }

    proptest! {
        #[test]
        fn ranges_are_read_as_they_were_written(nets in proptest::collection::vec((any::<u32>(), 0..=32u8), 0..6)) {
            let nets: Vec<_> = nets.into_iter()
                .map(|(address, bits)| IpNet::new(IpAddr::V4(address.into()), bits).unwrap().trunc())
                .collect();
            let nets = IpNet::aggregate(&nets);
            prop_assert_eq!(read_ranges(raw(ranges(&nets))), nets);
        }
    }

    #[test]
    fn hostports_are_read_as_they_were_written() {
        for (family, host, pod) in [
            (Family::V4, None, "10.244.0.5"),
            (Family::V4, Some("192.0.2.1"), "10.244.0.5"),
            (Family::V6, None, "fd00::5"),
            (Family::V6, Some("2001:db8::1"), "fd00::5"),
        ] {
            let host = host.map(|host| host.parse().unwrap());
            let key = HostPortKey {
                family,
                protocol: 17,
                host,
                port: 5353,
            };
            let target = HostPortTarget {
                address: pod.parse().unwrap(),
                port: 53,
            };
            let element = of_hostport(&(key, target));
            let read = read_hostport(family, &(element.key, element.value, false));
            assert_eq!(read, Some((key, target)));
        }
    }
}
