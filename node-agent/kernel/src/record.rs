//! What a state becomes by an action that succeeded.

use crate::action::Action;
use crate::nft::Change;
use crate::plan::{without_links, without_neighbours};
use crate::state::{State, Vxlan};

/// Makes `state` what it is after `action`.
pub(crate) fn record(state: &mut State, action: &Action) {
    match action {
        Action::CreateLink(name, vxlan) => {
            // The kernel makes devices with their offload on.
            state.vxlans.insert(
                *name,
                Vxlan {
                    tx_checksum: true,
                    ..vxlan.clone()
                },
            );
        }
        Action::ModifyLink { name, from, to } => {
            state.vxlans.insert(
                *name,
                Vxlan {
                    tx_checksum: from.tx_checksum,
                    ..to.clone()
                },
            );
            if from.mac != to.mac {
                *state = without_neighbours(std::mem::take(state), &[*name]);
            }
        }
        Action::DeleteLink(name) => *state = without_links(std::mem::take(state), &[*name]),
        Action::SetChecksum(name, on) => {
            if let Some(vxlan) = state.vxlans.get_mut(name) {
                vxlan.tx_checksum = *on;
            }
        }
        Action::SetSetting { key, value, .. } => {
            state.settings.insert(*key, *value);
        }
        Action::AddAddress(address) => {
            state.addresses.insert(*address);
        }
        Action::DeleteAddress(address) => {
            state.addresses.remove(address);
        }
        Action::Nft(change) => record_nft(state, change),
        Action::SetFdb(key, remote) => {
            state.fdb.insert(*key, *remote);
        }
        Action::DeleteFdb(key, _) => {
            state.fdb.remove(key);
        }
        Action::SetNeighbour(key, mac) => {
            state.neighbours.insert(*key, *mac);
        }
        Action::DeleteNeighbour(key) => {
            state.neighbours.remove(key);
        }
        Action::AddNexthop(id, nexthop) | Action::ReplaceNexthop(id, nexthop) => {
            state.nexthops.insert(*id, *nexthop);
        }
        Action::DeleteNexthop(id) => {
            state.nexthops.remove(id);
        }
        Action::AddGroup(id, members) | Action::ReplaceGroup(id, members) => {
            state.groups.insert(*id, members.clone());
        }
        Action::DeleteGroup(id) => {
            state.groups.remove(id);
        }
        Action::AddRoute(key, route) | Action::ReplaceRoute(key, route) => {
            state.routes.insert(*key, route.clone());
        }
        Action::DeleteRoute(key) => {
            state.routes.remove(key);
        }
    }
}

fn record_nft(state: &mut State, change: &Change) {
    match (change, &mut state.nft) {
        (Change::Create(table) | Change::Rebuild(table), nft) => *nft = Some(table.clone()),
        (Change::Delete, nft) => *nft = None,
        (
            Change::Update {
                pools, remove, add, ..
            },
            Some(table),
        ) => {
            if let Some(pools) = pools {
                table.pools = pools.iter().copied().collect();
            }
            for (key, _) in remove {
                table.hostports.remove(key);
            }
            table.hostports.extend(add.iter().copied());
        }
        (Change::Update { .. }, None) => {}
    }
}
