//! A model of the kernel, as far as plans go: what each action needs, and what goes away
//! by itself with something else.

use crate::action::Action;
use crate::names::DeviceName;
use crate::nft::Change;
use crate::plan::{without_links, without_members, without_neighbours};
use crate::state::{OwnAddress, RouteTarget, State};

/// Carries out one action, or says why the kernel would refuse it.
pub(super) fn step(state: &mut State, action: &Action) -> Result<(), String> {
    let check = |fine: bool| {
        if fine {
            Ok(())
        } else {
            Err(format!("cannot {action}"))
        }
    };
    match action {
        Action::CreateLink(name, vxlan) => {
            // The kernel makes devices with their offload on.
            let made = crate::Vxlan {
                tx_checksum: true,
                ..vxlan.clone()
            };
            check(state.vxlans.insert(*name, made).is_none())?;
        }
        Action::ModifyLink { name, from, to } => {
            let now = state.vxlans.get_mut(name).ok_or("no such device")?;
            check(now == from && (from.vni, from.port) == (to.vni, to.port))?;
            check(from.local.is_ipv4() == to.local.is_ipv4())?;
            *now = crate::Vxlan {
                tx_checksum: from.tx_checksum,
                ..to.clone()
            };
            if from.mac != to.mac {
                *state = without_neighbours(state.clone(), &[*name]);
            }
        }
        Action::DeleteLink(name) => {
            check(state.vxlans.contains_key(name))?;
            *state = without_links(state.clone(), &[*name]);
        }
        Action::SetChecksum(name, on) => {
            state
                .vxlans
                .get_mut(name)
                .ok_or("no such device")?
                .tx_checksum = *on;
        }
        Action::SetSetting {
            key,
            value,
            previous,
        } => {
            check(exists(state, key.device))?;
            check(state.settings.insert(*key, *value) == *previous)?;
        }
        Action::AddAddress(address) => check(state.addresses.insert(*address))?,
        Action::DeleteAddress(address) => check(state.addresses.remove(address))?,
        Action::Nft(Change::Create(table)) => check(state.nft.replace(table.clone()).is_none())?,
        Action::Nft(Change::Rebuild(table)) => check(state.nft.replace(table.clone()).is_some())?,
        Action::Nft(Change::Delete) => check(state.nft.take().is_some())?,
        Action::Nft(Change::Update {
            pools, remove, add, ..
        }) => {
            let table = state.nft.as_mut().ok_or("no such table")?;
            if let Some(pools) = pools {
                table.pools = pools.iter().copied().collect();
            }
            for (key, target) in remove {
                check(table.hostports.remove(key) == Some(*target))?;
            }
            for (key, target) in add {
                check(table.hostports.insert(*key, *target).is_none())?;
            }
        }
        Action::SetFdb(key, remote) => {
            check(exists(state, key.device))?;
            state.fdb.insert(*key, *remote);
        }
        Action::DeleteFdb(key, remote) => check(state.fdb.remove(key) == Some(*remote))?,
        Action::SetNeighbour(key, mac) => {
            check(exists(state, key.device))?;
            state.neighbours.insert(*key, *mac);
        }
        Action::DeleteNeighbour(key) => check(state.neighbours.remove(key).is_some())?,
        Action::AddNexthop(id, nexthop) => {
            check(exists(state, nexthop.device))?;
            check(state.nexthops.insert(*id, *nexthop).is_none())?;
        }
        Action::ReplaceNexthop(id, nexthop) => {
            check(exists(state, nexthop.device))?;
            check(state.nexthops.insert(*id, *nexthop).is_some())?;
        }
        Action::DeleteNexthop(id) => {
            check(state.nexthops.remove(id).is_some())?;
            without_members(state);
        }
        Action::AddGroup(id, members) => {
            check(members.iter().all(|id| state.nexthops.contains_key(id)))?;
            check(state.groups.insert(*id, members.clone()).is_none())?;
        }
        Action::ReplaceGroup(id, members) => {
            check(members.iter().all(|id| state.nexthops.contains_key(id)))?;
            check(state.groups.insert(*id, members.clone()).is_some())?;
        }
        Action::DeleteGroup(id) => {
            check(state.groups.remove(id).is_some())?;
            without_members(state);
        }
        Action::AddRoute(key, route) => {
            check(!state.routes.contains_key(key))?;
            state.routes.insert(*key, route.clone());
        }
        Action::ReplaceRoute(key, route) => {
            check(state.routes.insert(*key, route.clone()).is_some())?;
        }
        Action::DeleteRoute(key) => check(state.routes.remove(key).is_some())?,
    }
    Ok(())
}

/// What must hold at every moment of a plan.
pub(super) fn consistent(state: &State) -> Result<(), String> {
    for (id, nexthop) in &state.nexthops {
        if !exists(state, nexthop.device) {
            return Err(format!(
                "nexthop {id} leads through {}, which is gone",
                nexthop.device
            ));
        }
    }
    for (id, members) in &state.groups {
        if members.is_empty() || !members.iter().all(|id| state.nexthops.contains_key(id)) {
            return Err(format!("group {id} has members that are gone"));
        }
    }
    for (key, route) in &state.routes {
        let leads = match &route.target {
            RouteTarget::Nexthop(id) => {
                state.nexthops.contains_key(id) || state.groups.contains_key(id)
            }
            RouteTarget::Device { device, .. } => exists(state, *device),
            _ => true,
        };
        let source = route
            .source
            .is_none_or(|source| state.addresses.contains(&OwnAddress::on_lo(source)));
        if !leads || !source {
            return Err(format!(
                "the route to {} hangs in the air: {route:?}",
                key.destination
            ));
        }
    }
    Ok(())
}

fn exists(state: &State, device: DeviceName) -> bool {
    !device.is_ours() || state.vxlans.contains_key(&device)
}
