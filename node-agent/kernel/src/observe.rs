//! Reading the kernel: what of it is Weft's, and what stands in its way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use nix::libc;
use serde::{Deserialize, Serialize};

use crate::ethtool;
use crate::filter::SourceFilter;
use crate::kernel::Kernel;
use crate::names::DeviceName;
use crate::netlink::Error;
use crate::nft;
use crate::object::address::Address;
use crate::object::link::Link;
use crate::object::{address, link, neighbour, nexthop, route};
use crate::state::{
    Family, FdbKey, NeighbourKey, Nexthop, OwnAddress, PROTOCOL, Route, RouteKey, RouteTarget,
    SettingKey, State, Vxlan,
};

/// What to look for beside Weft's own tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The cluster's address ranges: whatever else uses them is in the way.
    pub pools: Vec<IpNet>,
    /// VXLAN network identifiers that Weft uses.
    pub vnis: BTreeSet<u32>,
    /// VXLAN ports that Weft uses.
    pub ports: BTreeSet<u16>,
    /// Device settings to read.
    pub settings: BTreeSet<SettingKey>,
}

impl Scope {
    /// What matters to a node that wants `desired` in a cluster with these pools.
    pub fn of(desired: &State, pools: &[IpNet]) -> Self {
        Self {
            pools: pools.to_vec(),
            vnis: desired.vxlans.values().map(|vxlan| vxlan.vni).collect(),
            ports: desired.vxlans.values().map(|vxlan| vxlan.port).collect(),
            settings: desired.settings.keys().copied().collect(),
        }
    }
}

/// What the kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// What bears Weft's tags.
    pub ours: State,
    /// What doesn't, and is in Weft's way. It is reported, never touched.
    pub foreign: Foreign,
    /// Whether the kernel checks the IPv4 sources of pods.
    pub sources: SourceFilter,
}

/// Things of others that conflict with what Weft does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// VXLAN devices with a VNI or a port of ours.
    pub vxlans: Vec<ForeignVxlan>,
    /// Routes inside a pool, whichever table they are in.
    pub routes: Vec<ForeignRoute>,
    /// Addresses inside a pool on devices of the node.
    pub addresses: Vec<ForeignAddress>,
}

/// Another's VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignVxlan {
    /// Its name.
    pub name: DeviceName,
    /// Its network identifier.
    pub vni: u32,
    /// Its UDP port.
    pub port: u16,
}

/// Another's route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignRoute {
    /// Table, destination, metric.
    pub key: RouteKey,
    /// Number of the protocol that made it, as in `/etc/iproute2/rt_protos`.
    pub protocol: u8,
    /// The device it leads through, if it does.
    pub device: Option<DeviceName>,
}

/// An address of a pool that Weft didn't set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignAddress {
    /// The device that has it.
    pub device: DeviceName,
    /// The address, with its prefix length.
    pub address: IpNet,
}

/// Reads what the kernel has, one dump for each kind of object. Changes nothing.
pub fn observe(kernel: &mut Kernel, scope: &Scope) -> Result<Observed, Error> {
    observe_named(kernel, scope).map(|(observed, _)| observed)
}

/// Names of devices by index.
pub(crate) type Names = BTreeMap<u32, DeviceName>;

/// Like [`observe`], with the names of all devices.
pub(crate) fn observe_named(
    kernel: &mut Kernel,
    scope: &Scope,
) -> Result<(Observed, Names), Error> {
    let mut observed = Observed {
        sources: SourceFilter::read(&mut kernel.route)?,
        ..Observed::default()
    };
    let links = kernel.route.dump(&link::dump(), link::parse)?;
    let names: Names = links.iter().map(|l| (l.index, l.name)).collect();
    observe_links(kernel, scope, &links, &mut observed)?;
    let addresses = kernel.route.dump(&address::dump(), address::parse)?;
    sort_addresses(addresses, scope, &names, &mut observed);
    observe_nexthops(kernel, &names, &mut observed.ours)?;
    for family in Family::BOTH {
        let routes = kernel.route.dump(&route::dump(family), route::parse)?;
        for route in routes {
            sort_route(route, scope, &names, &mut observed);
        }
    }
    observed.ours.nft = nft::observe(&mut kernel.netfilter)?;
    Ok((observed, names))
}

/// One VXLAN device of Weft's, if it is there.
pub(crate) fn vxlan(kernel: &mut Kernel, name: DeviceName) -> Result<Option<Vxlan>, Error> {
    let mut found = None;
    match kernel
        .route
        .get(&link::get(name), |message| found = link::parse(message))
    {
        Err(error) if error.is_absent() => return Ok(None),
        outcome => outcome?,
    }
    found.map(|link| own_vxlan(kernel, &link)).transpose()
}

fn observe_links(
    kernel: &mut Kernel,
    scope: &Scope,
    links: &[Link],
    observed: &mut Observed,
) -> Result<(), Error> {
    for link in links {
        observed.sources.note_link(link, true);
        for key in scope.settings.iter().filter(|key| key.device == link.name) {
            if let Some(value) = link.ipv4.get(&key.setting) {
                observed.ours.settings.insert(*key, *value);
            }
        }
        let Some(vxlan) = &link.vxlan else { continue };
        if link.name.is_ours() {
            observed
                .ours
                .vxlans
                .insert(link.name, own_vxlan(kernel, link)?);
            observe_neighbours(kernel, link, &mut observed.ours)?;
            continue;
        }
        let same_port = scope.ports.contains(&vxlan.port);
        if same_port || scope.vnis.contains(&vxlan.vni) && !vxlan.external {
            let (name, vni, port) = (link.name, vxlan.vni, vxlan.port);
            observed
                .foreign
                .vxlans
                .push(ForeignVxlan { name, vni, port });
        }
    }
    Ok(())
}

fn own_vxlan(kernel: &Kernel, link: &Link) -> Result<Vxlan, Error> {
    let info = link.vxlan.as_ref();
    Ok(Vxlan {
        vni: info.map_or(0, |info| info.vni),
        port: info.map_or(0, |info| info.port),
        local: info
            .and_then(|info| info.local)
            .unwrap_or(IpAddr::from([0; 4])),
        mac: link.mac.unwrap_or_default(),
        mtu: link.mtu,
        tx_checksum: ethtool::tx_checksum(kernel.control(), link.name)?,
        up: link.is_up(),
        learning: info.is_some_and(|info| info.learning),
    })
}

fn observe_neighbours(kernel: &mut Kernel, link: &Link, ours: &mut State) -> Result<(), Error> {
    let device = link.name;
    let neighbours = kernel
        .route
        .dump(&neighbour::dump(link.index), neighbour::parse)?;
    let neighbours = neighbours
        .into_iter()
        .filter(|(index, ..)| *index == link.index);
    ours.neighbours
        .extend(neighbours.map(|(_, address, mac)| (NeighbourKey { device, address }, mac)));
    let fdb = kernel
        .route
        .dump(&neighbour::dump_fdb(link.index), neighbour::parse_fdb)?;
    let fdb = fdb.into_iter().filter(|(index, ..)| *index == link.index);
    ours.fdb
        .extend(fdb.map(|(_, mac, remote)| (FdbKey { device, mac }, remote)));
    Ok(())
}

fn sort_addresses(addresses: Vec<Address>, scope: &Scope, names: &Names, observed: &mut Observed) {
    // A kernel that knows who set an address says so of 127.0.0.1 and ::1 too. On an
    // older one whatever address of a pool is on lo has to be taken for ours.
    let tells = addresses.iter().any(|address| address.protocol.is_some());
    for found in addresses {
        let Some(device) = names.get(&found.index).copied() else {
            continue;
        };
        let in_pool = scope.pools.iter().any(|pool| pool.contains(&found.address));
        let whole = found.prefix == if found.address.is_ipv4() { 32 } else { 128 };
        let tagged = found.protocol == Some(PROTOCOL) || !tells && in_pool;
        let place = device == DeviceName::LO || observed.ours.vxlans.contains_key(&device);
        if place && whole && tagged {
            let address = found.address;
            observed
                .ours
                .addresses
                .insert(OwnAddress { device, address });
        } else if in_pool
            && !device.is_ours()
            && let Ok(address) = IpNet::new(found.address, found.prefix)
        {
            let foreign = ForeignAddress { device, address };
            observed.foreign.addresses.push(foreign);
        }
    }
}

fn observe_nexthops(kernel: &mut Kernel, names: &Names, ours: &mut State) -> Result<(), Error> {
    let found = kernel.route.dump(&nexthop::dump(), nexthop::parse)?;
    for nexthop in found.iter().filter(|nexthop| nexthop.protocol == PROTOCOL) {
        match &nexthop.group {
            Some(members) => drop(ours.groups.insert(nexthop.id, members.clone())),
            None => drop(ours.nexthops.insert(nexthop.id, nexthop_of(nexthop, names))),
        }
    }
    Ok(())
}

fn sort_route(found: route::Observed, scope: &Scope, names: &Names, observed: &mut Observed) {
    let device = names.get(&found.index).copied();
    if found.protocol == PROTOCOL {
        observed
            .ours
            .routes
            .insert(found.key, route_of(&found, names));
        return;
    }
    let usual = matches!(
        found.kind,
        libc::RTN_LOCAL | libc::RTN_BROADCAST | libc::RTN_ANYCAST | libc::RTN_MULTICAST
    ) || device.is_some_and(|device| device == DeviceName::LO || device.is_ours());
    let inside = scope
        .pools
        .iter()
        .any(|pool| pool.contains(&found.key.destination));
    if inside && (!usual || found.key.is_ours()) {
        let (key, protocol) = (found.key, found.protocol);
        observed.foreign.routes.push(ForeignRoute {
            key,
            protocol,
            device,
        });
    }
}

/// A nexthop object in our terms. Of a black hole nothing can be said in them; the name of no device
/// makes it differ from whatever is desired.
pub(crate) fn nexthop_of(found: &nexthop::Observed, names: &Names) -> Nexthop {
    let nexthop::Observed {
        family,
        gateway,
        index,
        onlink,
        ..
    } = *found;
    let device = names.get(&index).copied().unwrap_or_default();
    Nexthop {
        family,
        gateway,
        device,
        onlink,
    }
}

/// A route in our terms.
pub(crate) fn route_of(found: &route::Observed, names: &Names) -> Route {
    let route::Observed {
        gateway,
        onlink,
        source,
        mtu,
        ..
    } = *found;
    let device = names.get(&found.index).copied();
    let target = match (found.kind, found.nexthop, device) {
        _ if found.strange => RouteTarget::Other,
        (libc::RTN_UNICAST, Some(id), _) => RouteTarget::Nexthop(id),
        (libc::RTN_UNICAST, None, Some(device)) => RouteTarget::Device {
            device,
            gateway,
            onlink,
        },
        (libc::RTN_BLACKHOLE, ..) => RouteTarget::Blackhole,
        (libc::RTN_UNREACHABLE, ..) => RouteTarget::Unreachable,
        (libc::RTN_PROHIBIT, ..) => RouteTarget::Prohibit,
        _ => RouteTarget::Other,
    };
    Route {
        target,
        source,
        mtu,
    }
}
