//! What the node has: devices, addresses, default routes.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::libc;

use crate::kernel::Kernel;
use crate::names::DeviceName;
use crate::netlink::Error;
use crate::object::{address, link, route};
use crate::state::Family;

/// All that a choice depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Devices, in the order in which they were made.
    pub links: Vec<LinkFacts>,
    /// Addresses, in the kernel's order: of IPv4, the primary one of a subnet comes first.
    pub addresses: Vec<AddressFacts>,
    /// Default routes of the main table.
    pub default_routes: Vec<DefaultRoute>,
    /// How the address that is to be reached is reached, if one was asked for.
    pub route: Option<RouteTo>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its name.
    pub name: DeviceName,
    /// Its kind: `veth`, `bridge`, `vxlan`, ...; empty for hardware.
    pub kind: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up, and with carrier.
    pub usable: bool,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFacts {
    /// The device that has it.
    pub device: DeviceName,
    /// The address with its prefix length.
    pub address: IpNet,
    /// `RT_SCOPE_*`: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// Another address of the same subnet came first (IPv4).
    pub secondary: bool,
    /// Made for privacy and soon replaced (IPv6).
    pub temporary: bool,
    /// Not to be used for new connections.
    pub deprecated: bool,
    /// Duplicate detection has not ended, or has found a duplicate (IPv6).
    pub tentative: bool,
    /// It goes away by itself if nobody renews it (DHCP, router advertisements).
    pub expires: bool,
    /// IPv4 label, if it differs from the device's name.
    pub label: Option<String>,
    /// Who set it (`IFA_PROTO`), if that is known.
    pub protocol: Option<u8>,
}

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Its family.
    pub family: Family,
    /// Its device.
    pub device: DeviceName,
    /// Its metric; the least one is used.
    pub metric: u32,
}

/// How an address is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTo {
    /// Through this device.
    pub device: DeviceName,
    /// With this source address.
    pub source: Option<IpAddr>,
}

const MAIN_TABLE: u32 = 254;

/// Reads what the node has, and how `reach` is reached. Changes nothing.
///
/// # Errors
/// The kernel cannot be read. That there is no route to `reach` is no error: then
/// [`Facts::route`] is empty.
pub fn read(kernel: &mut Kernel, reach: Option<IpAddr>) -> Result<Facts, Error> {
    let links = kernel.route.dump(&link::dump(), link::parse)?;
    let name = |index: u32| {
        links
            .iter()
            .find(|link| link.index == index)
            .map(|link| link.name)
    };
    let addresses = kernel.route.dump(&address::dump(), address::parse)?;
    let addresses = addresses
        .into_iter()
        .filter_map(|address| address_facts(name(address.index)?, address))
        .collect();
    let mut facts = Facts {
        addresses,
        ..Facts::default()
    };
    for family in Family::BOTH {
        let routes = kernel
            .route
            .dump(&route::dump_table(family, MAIN_TABLE), route::parse)?;
        let default = routes.into_iter().filter(|route| {
            route.key.destination.prefix_len() == 0 && route.key.table == MAIN_TABLE
        });
        facts.default_routes.extend(default.filter_map(|route| {
            Some(DefaultRoute {
                family,
                device: name(route.index)?,
                metric: route.key.metric,
            })
        }));
    }
    if let Some(destination) = reach {
        let mut found = None;
        let asked = kernel.route.get(&route::get(destination), |message| {
            found = route::parse_lookup(message);
        });
        match asked {
            Err(error) if !unreachable(&error) => return Err(error),
            _ => {}
        }
        facts.route = found.and_then(|(index, source)| {
            Some(RouteTo {
                device: name(index)?,
                source,
            })
        });
    }
    facts.links = links
        .into_iter()
        .map(|link| LinkFacts {
            usable: link.is_up() && link.has_carrier(),
            name: link.name,
            kind: link.kind,
            mtu: link.mtu,
        })
        .collect();
    Ok(facts)
}

fn unreachable(error: &Error) -> bool {
    use nix::errno::Errno::{EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH};
    matches!(
        error.errno(),
        Some(ENETUNREACH | EHOSTUNREACH | EACCES | EINVAL)
    )
}

fn address_facts(device: DeviceName, found: address::Address) -> Option<AddressFacts> {
    let has = |flag: u32| found.flags & flag != 0;
    Some(AddressFacts {
        device,
        address: IpNet::new(found.address, found.prefix).ok()?,
        scope: found.scope,
        secondary: found.is_secondary(),
        temporary: found.address.is_ipv6() && has(libc::IFA_F_TEMPORARY),
        deprecated: has(libc::IFA_F_DEPRECATED),
        tentative: has(libc::IFA_F_TENTATIVE) || has(libc::IFA_F_DADFAILED),
        expires: found.valid != u32::MAX,
        label: found.label.filter(|label| label != device.as_str()),
        protocol: found.protocol,
    })
}
