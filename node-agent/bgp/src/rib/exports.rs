//! Adj-RIBs-Out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Hashing;
use super::advertise::Export;
use super::pack::{Emission, Packer};
use super::peer::PeerId;
use super::table::{Change, Table};
use super::view::View;
use crate::route::{Attributes, Family, Nlri, Update};

/// What all BGP peers were last told. All changes of one table have to go through [`Exports::apply`].
#[derive(Debug)]
pub struct Exports {
    hashing: Hashing,
    views: BTreeMap<u32, View>,
    view_of: HashMap<(PeerId, Family), u32, Hashing>,
}

impl Exports {
    /// Nobody was told anything. The seed is as that of [`Table::new`].
    pub fn new(seed: u64) -> Self {
        let hashing = Hashing::with_seed(seed);
        Self {
            views: BTreeMap::new(),
            view_of: HashMap::with_hasher(hashing.clone()),
            hashing,
        }
    }

    /// Tells a BGP peer all that this export lets pass; or only what differs from what it was told, if it is told
    /// something already. From then on it is told the changes.
    pub fn join(&mut self, table: &Table, peer: PeerId, export: Export) -> Vec<Update> {
        let family = export.family;
        let old_view = self.view_of.get(&(peer, family)).copied();
        let old = old_view.and_then(|id| self.views.get(&id));
        if old.is_some_and(|view| view.export == export) {
            return Vec::new();
        }
        let mut told = HashMap::with_hasher(self.hashing.clone());
        told.extend(old.into_iter().flat_map(|view| view.sent(peer)));

        let known = self.views.iter().find(|(_, view)| view.export == export);
        let id = match known {
            Some((id, _)) => *id,
            None => (0..)
                .find(|id| !self.views.contains_key(id))
                .unwrap_or(u32::MAX),
        };
        let made = known
            .is_none()
            .then(|| View::new(export, table, &self.hashing));
        let view = made.as_ref().or_else(|| self.views.get(&id));
        let mut packer = Packer::new(Arc::new([peer]), &self.hashing);
        for (nlri, attributes) in view.into_iter().flat_map(|view| view.sent(peer)) {
            if told.remove(&nlri) != Some(attributes) {
                packer.tell(peer, nlri, Some(attributes));
            }
        }
        for nlri in told.into_keys() {
            packer.tell(peer, nlri, None);
        }
        let updates = packer
            .finish(family)
            .map(|emission| emission.update)
            .collect();

        self.views.extend(made.map(|view| (id, view)));
        self.leave(peer, family);
        self.view_of.insert((peer, family), id);
        if let Some(view) = self.views.get_mut(&id) {
            let mut members = view.members.to_vec();
            members.push(peer);
            members.sort_unstable();
            view.members = members.into();
        }
        updates
    }

    /// The session has ended: the BGP peer has forgotten what it was told.
    pub fn leave(&mut self, peer: PeerId, family: Family) {
        let Some(id) = self.view_of.remove(&(peer, family)) else {
            return;
        };
        let Some(view) = self.views.get_mut(&id) else {
            return;
        };
        let stays = view
            .members
            .iter()
            .copied()
            .filter(|member| *member != peer);
        view.members = stays.collect();
        if view.members.is_empty() {
            self.views.remove(&id);
        }
    }

    /// All that a BGP peer was told, once more (RFC 2918).
    pub fn refresh(&self, peer: PeerId, family: Family) -> Vec<Update> {
        let mut packer = Packer::new(Arc::new([peer]), &self.hashing);
        for (nlri, attributes) in self.sent(peer, family) {
            packer.tell(peer, nlri, Some(attributes));
        }
        packer
            .finish(family)
            .map(|emission| emission.update)
            .collect()
    }

    /// Tells everybody what `decide` has just listed.
    pub fn apply(&mut self, table: &Table, changes: &[Change]) -> Vec<Emission> {
        let mut emissions = Vec::new();
        for view in self.views.values_mut() {
            let mut packer = Packer::new(Arc::clone(&view.members), &self.hashing);
            let all = view.export.add_path.is_some();
            let changed = changes.iter().filter(|change| change.best || all);
            let places = changed.map(Change::place);
            view.update(table, places, &self.hashing, |delta| packer.change(delta));
            emissions.extend(packer.finish(view.export.family));
        }
        emissions
    }

    /// How many paths the Adj-RIB-Out of a BGP peer has.
    pub fn count(&self, peer: PeerId, family: Family) -> usize {
        let view = self.view_of.get(&(peer, family));
        let view = view.and_then(|id| self.views.get(id));
        view.map_or(0, |view| view.count(peer))
    }

    /// The Adj-RIB-Out of a BGP peer, in no order.
    pub fn sent(
        &self,
        peer: PeerId,
        family: Family,
    ) -> impl Iterator<Item = (Nlri, &Arc<Attributes>)> {
        let view = self
            .view_of
            .get(&(peer, family))
            .and_then(|id| self.views.get(id));
        view.into_iter().flat_map(move |view| view.sent(peer))
    }
}

#[cfg(test)]
mod tests;
