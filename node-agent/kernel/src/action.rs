//! One change of kernel state, and its words.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::names::{DeviceName, Mac};
use crate::nft;
use crate::state::{
    FdbKey, NeighbourKey, Nexthop, OwnAddress, Route, RouteKey, RouteTarget, Setting, SettingKey,
    Vxlan,
};

/// One change. A change of something that is there is a single replacement.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make a VXLAN device.
    CreateLink(DeviceName, Vxlan),
    /// Change a VXLAN device in place: MTU, MAC, local address, learning, up. A new MAC
    /// makes the kernel forget the device's neighbours.
    ModifyLink {
        /// The device.
        name: DeviceName,
        /// What it is like now.
        from: Vxlan,
        /// What it is to be like.
        to: Vxlan,
    },
    /// Delete a VXLAN device of ours.
    DeleteLink(DeviceName),
    /// Switch transmit checksum offload of a device on or off.
    SetChecksum(DeviceName, bool),
    /// Set an IPv4 setting of a device.
    SetSetting {
        /// Device and setting.
        key: SettingKey,
        /// The new value.
        value: u32,
        /// The value it had, to be restored at the end.
        previous: Option<u32>,
    },
    /// Add an address to a device.
    AddAddress(OwnAddress),
    /// Delete an address from a device.
    DeleteAddress(OwnAddress),
    /// Change the nftables table.
    Nft(nft::Change),
    /// Add or replace an FDB entry.
    SetFdb(FdbKey, IpAddr),
    /// Delete the FDB entry to this remote node.
    DeleteFdb(FdbKey, IpAddr),
    /// Add or replace a permanent neighbour.
    SetNeighbour(NeighbourKey, Mac),
    /// Delete a neighbour.
    DeleteNeighbour(NeighbourKey),
    /// Make a nexthop object.
    AddNexthop(u32, Nexthop),
    /// Replace a nexthop object: all routes by it move at once.
    ReplaceNexthop(u32, Nexthop),
    /// Delete a nexthop object.
    DeleteNexthop(u32),
    /// Make a group of nexthop objects.
    AddGroup(u32, BTreeSet<u32>),
    /// Replace a group: all routes by it move at once.
    ReplaceGroup(u32, BTreeSet<u32>),
    /// Delete a group.
    DeleteGroup(u32),
    /// Add a route.
    AddRoute(RouteKey, Route),
    /// Replace a route in one step.
    ReplaceRoute(RouteKey, Route),
    /// Delete a route.
    DeleteRoute(RouteKey),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateLink(name, vxlan) => write!(f, "create {}", Device(name, vxlan)),
            Self::ModifyLink { name, to, .. } => write!(f, "change {}", Device(name, to)),
            Self::DeleteLink(name) => write!(f, "delete VXLAN device {name}"),
            Self::SetChecksum(name, on) => {
                let on = if *on { "on" } else { "off" };
                write!(f, "switch transmit checksum offload of {name} {on}")
            }
            Self::SetSetting { key, value, .. } => {
                let setting = match key.setting {
                    Setting::Forwarding => "forwarding",
                    Setting::RpFilter => "rp_filter",
                    Setting::RouteLocalnet => "route_localnet",
                };
                write!(f, "set {setting} of {} to {value}", key.device)
            }
            Self::AddAddress(address) => {
                write!(f, "add address {} to {}", address.address, address.device)
            }
            Self::DeleteAddress(address) => write!(
                f,
                "delete address {} from {}",
                address.address, address.device
            ),
            Self::Nft(change) => write!(f, "{change}"),
            Self::SetFdb(key, remote) => {
                write!(
                    f,
                    "set FDB entry {} of {} to node {remote}",
                    key.mac, key.device
                )
            }
            Self::DeleteFdb(key, remote) => {
                write!(
                    f,
                    "delete FDB entry {} of {} to node {remote}",
                    key.mac, key.device
                )
            }
            Self::SetNeighbour(key, mac) => {
                write!(
                    f,
                    "set neighbour {} on {} to {mac}",
                    key.address, key.device
                )
            }
            Self::DeleteNeighbour(key) => {
                write!(f, "delete neighbour {} on {}", key.address, key.device)
            }
            Self::AddNexthop(id, nexthop) => write!(f, "add nexthop {id} {}", Words(nexthop)),
            Self::ReplaceNexthop(id, nexthop) => {
                write!(f, "replace nexthop {id}, now {}", Words(nexthop))
            }
            Self::DeleteNexthop(id) => write!(f, "delete nexthop {id}"),
            Self::AddGroup(id, members) => write!(f, "add group {id} of {}", Words(members)),
            Self::ReplaceGroup(id, members) => {
                write!(f, "replace group {id}, now of {}", Words(members))
            }
            Self::DeleteGroup(id) => write!(f, "delete group {id}"),
            Self::AddRoute(key, route) => write!(f, "add {} {}", Words(key), Words(route)),
            Self::ReplaceRoute(key, route) => {
                write!(f, "replace {}, now {}", Words(key), Words(route))
            }
            Self::DeleteRoute(key) => write!(f, "delete {}", Words(key)),
        }
    }
}

/// A value in words, for messages.
struct Words<'a, T>(&'a T);
struct Device<'a>(&'a DeviceName, &'a Vxlan);

impl fmt::Display for Device<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, vxlan) = self;
        let Vxlan {
            vni,
            port,
            local,
            mac,
            mtu,
            ..
        } = vxlan;
        write!(
            f,
            "VXLAN device {name} (VNI {vni}, port {port}, local {local}, {mac}, MTU {mtu})"
        )
    }
}

impl fmt::Display for Words<'_, RouteKey> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "route to {} with metric {} in table {}",
            self.0.destination, self.0.metric, self.0.table
        )
    }
}

impl fmt::Display for Words<'_, Route> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.target {
            RouteTarget::Nexthop(id) => write!(f, "by nexthop {id}"),
            RouteTarget::Device {
                device,
                gateway: Some(gateway),
                ..
            } => {
                write!(f, "via {gateway} on {device}")
            }
            RouteTarget::Device { device, .. } => write!(f, "through {device}"),
            RouteTarget::Blackhole => write!(f, "dropped"),
            RouteTarget::Unreachable => write!(f, "unreachable"),
            RouteTarget::Prohibit => write!(f, "prohibited"),
            RouteTarget::Other => write!(f, "of a kind that Weft does not make"),
        }
    }
}

impl fmt::Display for Words<'_, Nexthop> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gateway) = self.0.gateway {
            write!(f, "via {gateway} ")?;
        }
        write!(f, "on {}", self.0.device)
    }
}

impl fmt::Display for Words<'_, BTreeSet<u32>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.0.iter().map(u32::to_string).collect();
        write!(f, "nexthops {}", ids.join(", "))
    }
}
