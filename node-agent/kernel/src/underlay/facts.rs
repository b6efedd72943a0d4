//! What the node has, as values: devices, addresses, default routes.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::names::DeviceName;
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
