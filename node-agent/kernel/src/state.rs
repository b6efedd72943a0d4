//! Kernel network state as a value: what Weft wants to be there, and what of it is.
//! Desired and observed state have the same type, so that they can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::names::{DeviceName, Mac};
use crate::nft::NftTable;

/// Protocol number by which routes, nexthops and addresses are marked as Weft's.
pub const PROTOCOL: u8 = 87;
/// The table that every packet looks into. Weft has no rules: as soon as there is one, the kernel asks all
/// rules for every packet, and once more for its source (`fib4_has_custom_rules`, net/ipv4/fib_frontend.c).
pub const MAIN_TABLE: u32 = 254;
/// The metric of the routes by which pods' packets go. It is nobody else's usual one, so that a replacement
/// never hits another's route; and less than what the kernel and `ip` give IPv6 routes (256 and 1024).
pub const SEND_METRIC: u32 = 87;
/// The metric that the kernel gives IPv6 routes without one.
pub(crate) const IPV6_METRIC: u32 = 1024;
/// The metrics of Weft's routes in the main table: up to 8 paths follow the one in use.
pub(crate) const METRICS: std::ops::RangeInclusive<u32> = SEND_METRIC..=SEND_METRIC + 8;
/// An address that a VXLAN device has so that it has one. Loose reverse-path filtering is strict on a
/// device without an IPv4 address (`__fib_validate_source`, net/ipv4/fib_frontend.c): it would drop
/// what a peer still sends by this path when the reverse route uses another already.
pub const FILTER_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 87, 1);

/// Everything of Weft in one kernel. The empty value means: nothing of Weft.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// VXLAN devices by name.
    pub vxlans: BTreeMap<DeviceName, Vxlan>,
    /// Addresses, each with full prefix length: the node pod addresses on `lo`, and one on each of
    /// our VXLAN devices (see [`FILTER_ADDRESS`]).
    pub addresses: BTreeSet<OwnAddress>,
    /// Permanent neighbours on our VXLAN devices.
    #[serde(with = "pairs")]
    pub neighbours: BTreeMap<NeighbourKey, Mac>,
    /// FDB entries of our VXLAN devices: the node (VTEP) to send to.
    #[serde(with = "pairs")]
    pub fdb: BTreeMap<FdbKey, IpAddr>,
    /// Nexthop objects by id.
    pub nexthops: BTreeMap<u32, Nexthop>,
    /// Groups of nexthop objects by id: the ids of the members, which share the packets. A group and
    /// a nexthop object never have the same id.
    pub groups: BTreeMap<u32, BTreeSet<u32>>,
    /// Routes.
    #[serde(with = "pairs")]
    pub routes: BTreeMap<RouteKey, Route>,
    /// Per-device IPv4 settings. They are set, never unset: what is not wanted any more
    /// keeps its value until someone restores the previous one.
    #[serde(with = "pairs")]
    pub settings: BTreeMap<SettingKey, u32>,
    /// The nftables table `inet weft`.
    pub nft: Option<NftTable>,
}

/// A VXLAN device. It never learns and never floods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// Network identifier, 24 bits. Cannot be changed in place.
    pub vni: u32,
    /// UDP destination port. Cannot be changed in place.
    pub port: u16,
    /// Source address on the underlay. Its family cannot be changed in place.
    pub local: IpAddr,
    /// MAC address of the device.
    pub mac: Mac,
    /// MTU of the device in bytes (of the inner IP packet).
    pub mtu: u32,
    /// Whether the device leaves inner checksums to hardware (transmit offload).
    pub tx_checksum: bool,
    /// Administratively up. Always wanted; observed false when somebody took it down.
    #[serde(default = "yes")]
    pub up: bool,
    /// Learning of addresses from packets. Never wanted.
    #[serde(default)]
    pub learning: bool,
}

fn yes() -> bool {
    true
}

/// An address of the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnAddress {
    /// The device that has it.
    pub device: DeviceName,
    /// The address.
    pub address: IpAddr,
}

impl OwnAddress {
    /// On the loopback device.
    pub fn on_lo(address: IpAddr) -> Self {
        Self {
            device: DeviceName::LO,
            address,
        }
    }
}

/// A neighbour: an address on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NeighbourKey {
    /// The device.
    pub device: DeviceName,
    /// The address whose MAC is given.
    pub address: IpAddr,
}

/// An FDB entry: a MAC address behind a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FdbKey {
    /// The VXLAN device.
    pub device: DeviceName,
    /// The MAC address behind it.
    pub mac: Mac,
}

/// A nexthop object. Routes name it by id, so that replacing it moves all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nexthop {
    /// Address family. An IPv4 route may use an IPv6 nexthop, not the other way round.
    pub family: Family,
    /// Gateway, of that family; none for a directly connected device.
    pub gateway: Option<IpAddr>,
    /// The device to send through.
    pub device: DeviceName,
    /// Take the gateway to be on the link even if no route says so.
    pub onlink: bool,
}

impl Nexthop {
    /// By way of `gateway`, which the kernel is told to be on the link of `device`.
    pub fn onlink(gateway: IpAddr, device: DeviceName) -> Self {
        Self {
            family: Family::of(gateway),
            gateway: Some(gateway),
            device,
            onlink: true,
        }
    }

    /// By way of `gateway`, which has to be reachable on `device` by its own routes.
    pub fn via(gateway: IpAddr, device: DeviceName) -> Self {
        Self {
            onlink: false,
            ..Self::onlink(gateway, device)
        }
    }
}

/// What the kernel tells routes apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteKey {
    /// Number of the routing table.
    pub table: u32,
    /// Destination.
    pub destination: IpNet,
    /// Metric; the least one wins.
    pub metric: u32,
}

impl RouteKey {
    /// The route by which packets to `destination` go.
    pub fn send(destination: IpNet) -> Self {
        Self::path(destination, 0)
    }

    /// The route to `destination` by path number `path`, from 1, for packets that ask for its device.
    pub fn path(destination: IpNet, path: u8) -> Self {
        Self {
            table: MAIN_TABLE,
            destination: destination.trunc(),
            metric: SEND_METRIC + u32::from(path),
        }
    }

    /// Whether only Weft has routes with such a key.
    pub(crate) fn is_ours(&self) -> bool {
        self.table == MAIN_TABLE && METRICS.contains(&self.metric)
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// What happens to packets.
    pub target: RouteTarget,
    /// Address that packets of this node itself get, if they have none yet.
    pub source: Option<IpAddr>,
    /// MTU of the path in bytes.
    pub mtu: Option<u32>,
}

/// What a route does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteTarget {
    /// As the nexthop object, or the group, of this id says.
    Nexthop(u32),
    /// Send through a device.
    Device {
        /// The device.
        device: DeviceName,
        /// Gateway, if the destination isn't on the link itself.
        gateway: Option<IpAddr>,
        /// Take the gateway to be on the link.
        onlink: bool,
    },
    /// Drop silently.
    Blackhole,
    /// Drop, and tell the sender that it is unreachable.
    Unreachable,
    /// Drop, and tell the sender that it is forbidden.
    Prohibit,
    /// Something that Weft never makes: only ever observed.
    Other,
}

impl From<RouteTarget> for Route {
    fn from(target: RouteTarget) -> Self {
        Self {
            target,
            source: None,
            mtu: None,
        }
    }
}

impl RouteTarget {
    /// Straight through `device`.
    pub fn device(device: DeviceName) -> Self {
        Self::Device {
            device,
            gateway: None,
            onlink: false,
        }
    }
}

/// An IPv4 setting of one device (`net.ipv4.conf.DEVICE.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SettingKey {
    /// The device.
    pub device: DeviceName,
    /// The setting.
    pub setting: Setting,
}

/// Which setting of a device, by its number in `linux/ip.h` (`IPV4_DEVCONF_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u16)]
pub enum Setting {
    /// `forwarding`.
    Forwarding = 1,
    /// `rp_filter`: 0 none, 1 strict, 2 loose.
    RpFilter = 8,
    /// `route_localnet`.
    RouteLocalnet = 26,
}

impl Setting {
    /// All settings.
    pub const ALL: [Self; 3] = [Self::Forwarding, Self::RpFilter, Self::RouteLocalnet];
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Maps whose keys aren't strings, as lists of pairs: JSON has no such keys.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}
