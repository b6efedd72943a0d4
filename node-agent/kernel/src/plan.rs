//! The difference between desired and observed state, as an ordered list of changes.
//!
//! The order is what makes a change of path lossless: what receives comes first, then
//! what a path needs, then the paths themselves, each by one replacement, and only then
//! whatever nothing uses any more goes away.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::Action;
use crate::names::DeviceName;
use crate::nft;
use crate::state::{Family, RouteTarget, State, Vxlan};

/// The changes that turn `observed` into `desired`, in the order to apply them.
///
/// Nothing outside `observed` is deleted. Settings are only ever set. A VXLAN device
/// whose VNI, port or underlay family differs has to be made anew, which is the one
/// change that interrupts what goes through it.
pub fn plan(desired: &State, observed: &State) -> Vec<Action> {
    let remade = remade_links(desired, observed);
    let readdressed = readdressed_links(desired, observed);
    let remaining;
    let observed = if remade.is_empty() && readdressed.is_empty() {
        observed
    } else {
        remaining = without_neighbours(without_links(observed.clone(), &remade), &readdressed);
        &remaining
    };
    let mut actions: Vec<_> = remade.into_iter().map(Action::DeleteLink).collect();
    links(desired, observed, &mut actions);
    settings(desired, observed, &mut actions);
    let new = desired.addresses.difference(&observed.addresses);
    actions.extend(new.copied().map(Action::AddAddress));
    let change = nft::difference(desired.nft.as_ref(), observed.nft.as_ref());
    let (last, change) = (change == Some(nft::Change::Delete), change.map(Action::Nft));
    if !last {
        actions.extend(change.clone());
    }

    let wanted = changes(&desired.fdb, &observed.fdb);
    actions.extend(wanted.map(|(key, remote)| Action::SetFdb(*key, *remote)));
    let wanted = changes(&desired.neighbours, &observed.neighbours);
    actions.extend(wanted.map(|(key, mac)| Action::SetNeighbour(*key, *mac)));

    paths(desired, observed, &mut actions);
    deletions(desired, observed, &mut actions);
    if last {
        actions.extend(change);
    }
    actions
}

/// Devices that exist but cannot be changed into what is desired.
fn remade_links(desired: &State, observed: &State) -> Vec<DeviceName> {
    let fixed = |vxlan: &Vxlan| (vxlan.vni, vxlan.port, Family::of(vxlan.local));
    let differs = |(name, now): &(&DeviceName, &Vxlan)| {
        desired
            .vxlans
            .get(name)
            .is_some_and(|want| fixed(want) != fixed(now))
    };
    observed
        .vxlans
        .iter()
        .filter(differs)
        .map(|(name, _)| *name)
        .collect()
}

/// Devices that get another MAC address.
fn readdressed_links(desired: &State, observed: &State) -> Vec<DeviceName> {
    let differs = |(name, now): &(&DeviceName, &Vxlan)| {
        desired
            .vxlans
            .get(name)
            .is_some_and(|want| want.mac != now.mac)
    };
    observed
        .vxlans
        .iter()
        .filter(differs)
        .map(|(name, _)| *name)
        .collect()
}

/// What the kernel leaves of `state` when these devices get another MAC address.
pub(crate) fn without_neighbours(mut state: State, devices: &[DeviceName]) -> State {
    state
        .neighbours
        .retain(|key, _| !devices.contains(&key.device));
    state
}

/// What the kernel leaves of `state` when these devices are deleted.
pub(crate) fn without_links(mut state: State, gone: &[DeviceName]) -> State {
    state.addresses.retain(|own| !gone.contains(&own.device));
    state.vxlans.retain(|name, _| !gone.contains(name));
    state
        .neighbours
        .retain(|key, _| !gone.contains(&key.device));
    state.fdb.retain(|key, _| !gone.contains(&key.device));
    state.settings.retain(|key, _| !gone.contains(&key.device));
    state
        .nexthops
        .retain(|_, nexthop| !gone.contains(&nexthop.device));
    state.routes.retain(|_, route| match &route.target {
        RouteTarget::Device { device, .. } => !gone.contains(device),
        _ => true,
    });
    without_members(&mut state);
    state
}

/// With a nexthop object go its places in groups, with its last member a group, and with either the
/// routes by it.
pub(crate) fn without_members(state: &mut State) {
    let nexthops = &state.nexthops;
    state.groups.retain(|_, members| {
        members.retain(|id| nexthops.contains_key(id));
        !members.is_empty()
    });
    let groups = &state.groups;
    state.routes.retain(|_, route| match &route.target {
        RouteTarget::Nexthop(id) => nexthops.contains_key(id) || groups.contains_key(id),
        _ => true,
    });
}

fn links(desired: &State, observed: &State, actions: &mut Vec<Action>) {
    for (name, want) in &desired.vxlans {
        let now = observed.vxlans.get(name);
        match now {
            None => actions.push(Action::CreateLink(*name, want.clone())),
            Some(now) => {
                let as_now = Vxlan {
                    tx_checksum: now.tx_checksum,
                    ..want.clone()
                };
                if as_now != *now {
                    let (from, to) = (now.clone(), want.clone());
                    actions.push(Action::ModifyLink {
                        name: *name,
                        from,
                        to,
                    });
                }
            }
        }
        // A new device has its offload on.
        if now.is_none_or(|now| now.tx_checksum) != want.tx_checksum {
            actions.push(Action::SetChecksum(*name, want.tx_checksum));
        }
    }
}

fn settings(desired: &State, observed: &State, actions: &mut Vec<Action>) {
    for (key, value) in changes(&desired.settings, &observed.settings) {
        let previous = observed.settings.get(key).copied();
        actions.push(Action::SetSetting {
            key: *key,
            value: *value,
            previous,
        });
    }
}

/// Nexthops and routes: additions that nothing uses yet, replacements, additions.
fn paths(desired: &State, observed: &State, actions: &mut Vec<Action>) {
    let is_new = |id: &u32| !observed.nexthops.contains_key(id);
    let (new, changed): (Vec<_>, Vec<_>) =
        changes(&desired.nexthops, &observed.nexthops).partition(|(id, _)| is_new(id));
    actions.extend(new.into_iter().map(|(id, to)| Action::AddNexthop(*id, *to)));
    let is_new = |id: &u32| !observed.groups.contains_key(id);
    let (new, regrouped): (Vec<_>, Vec<_>) =
        changes(&desired.groups, &observed.groups).partition(|(id, _)| is_new(id));
    let add = |(id, to): (&u32, &BTreeSet<u32>)| Action::AddGroup(*id, to.clone());
    actions.extend(new.into_iter().map(add));

    let is_new = |key| !observed.routes.contains_key(key);
    let (added, replaced): (Vec<_>, Vec<_>) =
        changes(&desired.routes, &observed.routes).partition(|(key, _)| is_new(key));
    actions.extend(
        replaced
            .into_iter()
            .map(|(key, to)| Action::ReplaceRoute(*key, to.clone())),
    );
    actions.extend(
        changed
            .into_iter()
            .map(|(id, to)| Action::ReplaceNexthop(*id, *to)),
    );
    let replace = |(id, to): (&u32, &BTreeSet<u32>)| Action::ReplaceGroup(*id, to.clone());
    actions.extend(regrouped.into_iter().map(replace));
    actions.extend(
        added
            .into_iter()
            .map(|(key, to)| Action::AddRoute(*key, to.clone())),
    );
}

fn deletions(desired: &State, observed: &State, actions: &mut Vec<Action>) {
    let old = surplus(&desired.routes, &observed.routes);
    actions.extend(old.map(|(key, _)| Action::DeleteRoute(*key)));
    let old = surplus(&desired.groups, &observed.groups);
    actions.extend(old.map(|(id, _)| Action::DeleteGroup(*id)));
    let old = surplus(&desired.nexthops, &observed.nexthops);
    actions.extend(old.map(|(id, _)| Action::DeleteNexthop(*id)));
    // Entries of a device go with it.
    let stays = |device: &DeviceName| desired.vxlans.contains_key(device);
    let old = surplus(&desired.fdb, &observed.fdb).filter(|(key, _)| stays(&key.device));
    actions.extend(old.map(|(key, remote)| Action::DeleteFdb(*key, *remote)));
    let old = surplus(&desired.neighbours, &observed.neighbours);
    let old = old.filter(|(key, _)| stays(&key.device));
    actions.extend(old.map(|(key, _)| Action::DeleteNeighbour(*key)));
    let old = observed.addresses.difference(&desired.addresses);
    let old = old.filter(|own| own.device == DeviceName::LO || stays(&own.device));
    actions.extend(old.copied().map(Action::DeleteAddress));
    let old = surplus(&desired.vxlans, &observed.vxlans);
    actions.extend(old.map(|(name, _)| Action::DeleteLink(*name)));
}

/// Entries of `desired` that `observed` lacks or has with another value.
fn changes<'a, K: Ord, V: PartialEq>(
    desired: &'a BTreeMap<K, V>,
    observed: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    // Both are sorted: walking along is several times faster than looking each key up.
    let mut observed = observed.iter().peekable();
    desired.iter().filter(move |(key, value)| {
        while observed.next_if(|(at, _)| at < key).is_some() {}
        observed.peek() != Some(&(*key, *value))
    })
}

/// Entries of `observed` whose key `desired` lacks.
fn surplus<'a, K: Ord, V>(
    desired: &'a BTreeMap<K, V>,
    observed: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let mut desired = desired.keys().peekable();
    observed.iter().filter(move |(key, _)| {
        while desired.next_if(|at| at < key).is_some() {}
        desired.peek() != Some(key)
    })
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
