//! What the kernel is known to have: read once, then kept up to date by what was done and
//! by notifications.
//!
//! Where a notification leaves doubt, the thing is taken to be missing: setting it once
//! more is harmless, as every action that sets something replaces it too.

use crate::filter;
use crate::kernel::Kernel;
use crate::names::DeviceName;
use crate::netlink::Error;
use crate::nft;
use crate::object::address::Address;
use crate::object::{nexthop, route};
use crate::observe::{self, Names, Observed, Scope, nexthop_of, observe_named, route_of};
use crate::part::Part;
use crate::plan::{without_links, without_members};
use crate::state::{
    FdbKey, NeighbourKey, OwnAddress, PROTOCOL, RouteTarget, Setting, SettingKey, State,
};
use crate::watch::Notice;

/// What the kernel has, as far as it is known.
pub(crate) struct Memory {
    pub(crate) scope: Scope,
    pub(crate) observed: Observed,
    /// Where it may differ from what was desired last; without it, anywhere.
    pub(crate) unsettled: Option<Part>,
    names: Names,
    stale: Stale,
}

/// What has to be read again before it is relied on. All of it is cheap to read.
#[derive(Default)]
struct Stale {
    links: bool,
    nft: bool,
}

impl Memory {
    /// Reads the kernel in full.
    pub(crate) fn read(kernel: &mut Kernel, scope: &Scope) -> Result<Self, Error> {
        let (observed, names) = observe_named(kernel, scope)?;
        Ok(Self {
            scope: scope.clone(),
            observed,
            unsettled: None,
            names,
            stale: Stale::default(),
        })
    }

    /// Reads again what notifications made doubtful. False if it turns out that everything
    /// has to be.
    pub(crate) fn refresh(&mut self, kernel: &mut Kernel) -> Result<bool, Error> {
        let ours = &mut self.observed.ours;
        let stale = std::mem::take(&mut self.stale);
        if stale.links {
            for (name, known) in &mut ours.vxlans {
                match observe::vxlan(kernel, *name)? {
                    // Only while it is up and keeps its MAC does what hangs on it stay.
                    Some(now) if now.up && now.mac == known.mac => *known = now,
                    _ => return Ok(false),
                }
            }
        }
        if stale.nft {
            ours.nft = nft::observe(&mut kernel.netfilter)?;
        }
        Ok(true)
    }

    /// Learns from a notification.
    pub(crate) fn note(&mut self, notice: &Notice) {
        let ours = &mut self.observed.ours;
        let unsettled = &mut self.unsettled;
        match notice {
            Notice::Link {
                link,
                usable,
                present,
            } => {
                self.observed.sources.note_link(link, *present);
                if *present {
                    self.names.insert(link.index, link.name);
                } else {
                    self.names.remove(&link.index);
                }
                if ours.vxlans.contains_key(&link.name) {
                    self.stale.links = true;
                } else if !usable {
                    forget_device(ours, link.name, unsettled);
                }
            }
            Notice::Address { address, present } => {
                if let Some(device) = self.names.get(&address.index)
                    && (*device == DeviceName::LO || device.is_ours())
                {
                    note_address(ours, *device, address, *present, unsettled);
                }
            }
            Notice::Route { route, present } => {
                note_route(ours, route, *present, &self.names);
                if let Some(part) = unsettled {
                    part.routes.insert(route.key);
                }
            }
            Notice::DefaultRoute => {}
            Notice::Nexthop { nexthop, present } => {
                note_nexthop(ours, nexthop, *present, &self.names, unsettled);
            }
            Notice::Neighbour {
                index,
                address,
                mac,
            } => {
                let Some(device) = own_vxlan(ours, &self.names, *index) else {
                    return;
                };
                let key = NeighbourKey {
                    device,
                    address: *address,
                };
                if let Some(part) = unsettled {
                    part.neighbours.insert(key);
                }
                match mac {
                    Some(mac) => ours.neighbours.insert(key, *mac),
                    None => ours.neighbours.remove(&key),
                };
            }
            Notice::Fdb {
                index,
                mac,
                remote,
                present,
            } => {
                let Some(device) = own_vxlan(ours, &self.names, *index) else {
                    return;
                };
                let key = FdbKey { device, mac: *mac };
                if let Some(part) = unsettled {
                    part.fdb.insert(key);
                }
                if *present {
                    ours.fdb.insert(key, *remote);
                } else if ours.fdb.get(&key) == Some(remote) {
                    ours.fdb.remove(&key);
                }
            }
            Notice::Setting {
                index,
                setting,
                value,
            } => {
                if *index == filter::ALL && *setting == Setting::RpFilter {
                    self.observed.sources.note_all(*value);
                }
                let Some(device) = self.names.get(index).copied() else {
                    return;
                };
                if *setting == Setting::RpFilter {
                    self.observed.sources.note_device(device, Some(*value));
                }
                let key = SettingKey {
                    device,
                    setting: *setting,
                };
                if let Some(known) = ours.settings.get_mut(&key) {
                    *known = *value;
                }
            }
            Notice::Nft => self.stale.nft = true,
        }
    }
}

fn own_vxlan(ours: &State, names: &Names, index: u32) -> Option<DeviceName> {
    names
        .get(&index)
        .copied()
        .filter(|name| ours.vxlans.contains_key(name))
}

/// The kernel drops all that goes through a device which is down or gone, and says so of
/// IPv6 routes only.
fn forget_device(ours: &mut State, device: DeviceName, unsettled: &mut Option<Part>) {
    let through = |target: &RouteTarget| matches!(target, RouteTarget::Device { device: used, .. } if *used == device);
    let used = ours
        .nexthops
        .values()
        .any(|nexthop| nexthop.device == device)
        || ours.routes.values().any(|route| through(&route.target))
        || ours.settings.keys().any(|key| key.device == device);
    if used {
        *unsettled = None;
        *ours = without_links(std::mem::take(ours), &[device]);
    }
}

/// With an address go, unannounced, the IPv4 routes that prefer it.
fn note_address(
    ours: &mut State,
    device: DeviceName,
    found: &Address,
    present: bool,
    unsettled: &mut Option<Part>,
) {
    let address = found.address;
    let own = OwnAddress { device, address };
    if present && found.protocol == Some(PROTOCOL) {
        ours.addresses.insert(own);
    } else if !present && ours.addresses.remove(&own) {
        *unsettled = None;
        ours.routes.retain(|_, route| route.source != Some(address));
    }
}

fn note_route(ours: &mut State, found: &route::Observed, present: bool, names: &Names) {
    let route = route_of(found, names);
    if present && found.protocol == PROTOCOL {
        ours.routes.insert(found.key, route);
    } else if present || ours.routes.get(&found.key) == Some(&route) {
        // Taken away, or another's route in its place.
        ours.routes.remove(&found.key);
    }
}

/// With a nexthop object go, unannounced, the routes by it.
fn note_nexthop(
    ours: &mut State,
    found: &nexthop::Observed,
    present: bool,
    names: &Names,
    unsettled: &mut Option<Part>,
) {
    if present && found.protocol == PROTOCOL {
        match &found.group {
            Some(members) => drop(ours.groups.insert(found.id, members.clone())),
            None => drop(ours.nexthops.insert(found.id, nexthop_of(found, names))),
        }
        if let Some(part) = unsettled {
            part.nexthops.insert(found.id);
        }
    } else if ours.nexthops.remove(&found.id).is_some() || ours.groups.remove(&found.id).is_some() {
        *unsettled = None;
        without_members(ours);
    }
}
