//! Adj-RIBs-In and Loc-RIB.
//!
//! A hash map by prefix: the longest match is the kernel's business, here a prefix is only a key. An update is a lookup
//! for each prefix and no allocation but the map's own growth; attributes are interned once for all prefixes of an
//! UPDATE. Nothing is decided on the way: what is withdrawn and announced again before the next [`Table::decide`] was
//! never gone.
//!
//! The entries are in one array, about in the order in which they came. What goes over many of them, as a decision
//! after a feed does, remembers their places there, and so goes straight through memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use indexmap::IndexMap;
use ipnet::IpNet;

use super::Hashing;
use super::admission::{self, Import, Refusal};
use super::decision::Source;
use super::entry::{Entry, Facts, Mark, Path, Set};
use super::intern::Interner;
use super::peer::{Known, LimitEvent, Peer, PeerId, Speaker};
use crate::route::{Attributes, Family, Nlri, Update};

/// All routes of all BGP peers, and which of them are used.
#[derive(Debug)]
pub struct Table {
    pub(super) us: Speaker,
    pub(super) peers: HashMap<PeerId, Known, Hashing>,
    pub(super) routes: IndexMap<IpNet, Entry, Hashing>,
    pub(super) shared: Interner,
    pub(super) dirty: Vec<Place>,
}

/// A prefix, and where its entry is unless one that was removed has moved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub prefix: IpNet,
    index: usize,
}

/// A prefix that has other paths than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The prefix.
    pub prefix: IpNet,
    /// Whether the selected paths are others; if not, it's only what ADD-PATH sends besides them.
    pub best: bool,
    index: usize,
}

impl Change {
    pub(super) fn place(&self) -> Place {
        Place {
            prefix: self.prefix,
            index: self.index,
        }
    }
}

impl Table {
    /// An empty table. The seed is for its hashes: any number that the outside can't guess.
    pub fn new(us: Speaker, seed: u64) -> Self {
        let hashing = Hashing::with_seed(seed);
        Self {
            us,
            peers: HashMap::with_hasher(hashing.clone()),
            routes: IndexMap::with_hasher(hashing.clone()),
            shared: Interner::new(hashing),
            dirty: Vec::new(),
        }
    }

    /// Makes a BGP peer known, or known as something else: its routes are then judged anew.
    pub fn set_peer(&mut self, id: PeerId, peer: Peer) {
        if id == PeerId::LOCAL {
            return;
        }
        let Some(known) = self.peers.get_mut(&id) else {
            self.peers.insert(id, Known::new(peer));
            return;
        };
        let old = std::mem::replace(&mut known.peer, peer.clone());
        if old == peer {
            return;
        }
        let us = self.us;
        let alike = old.rank() == peer.rank();
        for family in Family::ALL {
            self.edit_paths(id, family, |prefix, path, shared| {
                let accepted = Import::new(&us, &peer, &path.received).accepted(prefix, shared);
                let old = std::mem::replace(&mut path.accepted, accepted);
                let same = alike && old == path.accepted;
                old.into_iter().for_each(|old| shared.release(old));
                if same { Fate::Same } else { Fate::Changed }
            });
        }
    }

    /// Forgets a BGP peer and all that came from it.
    pub fn forget_peer(&mut self, id: PeerId) {
        for family in Family::ALL {
            self.flush(id, family);
        }
        self.peers.remove(&id);
    }

    /// What is known of a BGP peer.
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(&id).map(|known| &known.peer)
    }

    /// Takes in an UPDATE of a BGP peer; one that is not known is ignored.
    pub fn update(&mut self, from: PeerId, update: &Update) -> Option<LimitEvent> {
        let peer = self.peers.get(&from)?.peer.clone();
        for nlri in &update.withdrawn {
            self.withdraw(from, nlri);
        }
        let mut event = None;
        if let Some((attributes, announced)) = &update.announced {
            let attributes = match admission::stripped(peer.kind, attributes) {
                Some(stripped) => self.shared.intern(&Arc::new(stripped)),
                None => self.shared.intern(attributes),
            };
            let mut import = Import::new(&self.us, &peer, &attributes);
            for nlri in announced {
                let accepted = import.accepted(&nlri.prefix, &mut self.shared);
                event = self.announce(from, nlri, &attributes, accepted).or(event);
            }
            drop(import);
            self.shared.release(attributes);
        }
        event.or_else(|| self.peers.get_mut(&from)?.warning(update.family))
    }

    /// Makes this speaker the origin of a prefix. An unspecified next hop is the one that each BGP peer is to be told.
    pub fn originate(&mut self, prefix: IpNet, attributes: Attributes) {
        let nlri = Nlri { prefix, path_id: 0 };
        let attributes = self.shared.intern(&Arc::new(attributes));
        let accepted = Some(Arc::clone(&attributes));
        self.announce(PeerId::LOCAL, &nlri, &attributes, accepted);
        self.shared.release(attributes);
    }

    /// Undoes [`Table::originate`].
    pub fn retract(&mut self, prefix: IpNet) {
        self.withdraw(PeerId::LOCAL, &Nlri { prefix, path_id: 0 });
    }

    /// Lets the next decision look again at all paths whose next hop is one of these, because what `decide` is told of
    /// their cost has changed.
    pub fn next_hops_changed(&mut self, mut changed: impl FnMut(IpAddr) -> bool) {
        for (index, (prefix, entry)) in self.routes.iter_mut().enumerate() {
            let mut accepted = entry.paths().iter().filter_map(Path::accepted);
            if accepted.any(|attributes| changed(attributes.next_hop)) {
                mark(&mut self.dirty, entry, prefix, index);
            }
        }
    }

    /// Shares the traffic among so many paths. True if that were not so many before.
    pub fn set_multipath(&mut self, multipath: NonZeroU16) -> bool {
        let changed = std::mem::replace(&mut self.us.multipath, multipath) != multipath;
        if changed {
            self.next_hops_changed(|_| true);
        }
        changed
    }

    /// Decides on all prefixes of which anything has changed, and lists them. `cost` is the IGP cost to a next hop that
    /// a BGP peer has announced; `None` if it is unreachable, or is this speaker itself.
    pub fn decide(&mut self, mut cost: impl FnMut(PeerId, IpAddr) -> Option<u32>) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.dirty.len());
        for place in std::mem::take(&mut self.dirty) {
            let Some(index) = self.find(place) else {
                continue;
            };
            let Some((_, entry)) = self.routes.get_index_mut(index) else {
                continue;
            };
            let (us, peers) = (&self.us, &self.peers);
            let facts = |path: &Path| facts(us, peers, path, &mut cost);
            let best = entry.decide(facts, us.multipath);
            let prefix = place.prefix;
            changes.push(Change {
                prefix,
                best,
                index,
            });
            if entry.paths().is_empty() {
                self.routes.swap_remove_index(index);
            }
        }
        changes
    }

    /// The selected paths to a prefix as of the last decision, the best one first.
    pub fn best(&self, prefix: &IpNet) -> &[Path] {
        self.routes.get(prefix).map_or(&[], Entry::chosen)
    }

    /// All paths to a prefix that can be used as of the last decision, the best one first.
    pub fn eligible(&self, prefix: &IpNet) -> &[Path] {
        self.routes.get(prefix).map_or(&[], Entry::eligible)
    }

    /// All paths to a prefix, in order as of the last decision.
    pub(super) fn entry(&self, place: Place) -> Option<&Entry> {
        let (_, entry) = self.routes.get_index(self.find(place)?)?;
        Some(entry)
    }

    fn find(&self, Place { prefix, index }: Place) -> Option<usize> {
        match self.routes.get_index(index) {
            Some((there, _)) if *there == prefix => Some(index),
            _ => self.routes.get_index_of(&prefix),
        }
    }

    /// The Loc-RIB: prefixes that have a selected path, and all their selected paths, in no order.
    pub fn routes(&self) -> impl Iterator<Item = (&IpNet, &[Path])> {
        let routes = self.routes.iter();
        routes
            .map(|(prefix, entry)| (prefix, entry.chosen()))
            .filter(|(_, chosen)| !chosen.is_empty())
    }

    /// The Adj-RIB-In of a BGP peer, in no order.
    pub fn received(&self, from: PeerId) -> impl Iterator<Item = (&IpNet, &Path)> {
        let paths = self.routes.iter().flat_map(|(prefix, entry)| {
            let paths = entry.paths().iter();
            paths.map(move |path| (prefix, path))
        });
        paths.filter(move |(_, path)| path.from == from)
    }

    /// How many routes of a family a BGP peer has announced, and how many of them are stale.
    pub fn count(&self, from: PeerId, family: Family) -> (usize, usize) {
        let count = self.peers.get(&from).map(|known| known.counted(family));
        count.map_or((0, 0), |count| (count.routes, count.stale))
    }

    /// How many of them are never used; see [`Table::refusal`].
    pub fn refused(&self, from: PeerId, family: Family) -> usize {
        let count = self.peers.get(&from).map(|known| known.counted(family));
        count.map_or(0, |count| count.refused)
    }

    /// Why a path is not eligible; an unreachable next hop is no reason here.
    pub fn refusal(&self, path: &Path) -> Option<Refusal> {
        if path.accepted.is_some() {
            return None;
        }
        let peer = self.peer(path.from)?;
        admission::refusal(&self.us, peer, &path.received).or(Some(Refusal::Policy))
    }

    pub(super) fn speaker(&self) -> &Speaker {
        &self.us
    }

    /// All prefixes of which there are paths, in no order.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let prefixes = self.routes.keys().copied().enumerate();
        prefixes.map(|(index, prefix)| Place { prefix, index })
    }

    fn announce(
        &mut self,
        from: PeerId,
        nlri: &Nlri,
        received: &Arc<Attributes>,
        accepted: Option<Arc<Attributes>>,
    ) -> Option<LimitEvent> {
        let entry = self.routes.entry(nlri.prefix);
        let family = Family::of(&nlri.prefix);
        let mut known = self.peers.get_mut(&from);
        let index = entry.index();
        let entry = entry.or_default();
        let at = entry.find(from, nlri.path_id);
        if at.is_none()
            && let Some(Err(event)) = known.as_mut().map(|known| known.has_room(family))
        {
            accepted
                .into_iter()
                .for_each(|one| self.shared.release(one));
            if entry.paths().is_empty() {
                // Else an entry without paths would stay: only `decide` removes those.
                mark(&mut self.dirty, entry, &nlri.prefix, index);
            }
            return Some(event);
        }
        let refused = accepted.is_none();
        let path = Path {
            received: Arc::clone(received),
            accepted,
            from,
            path_id: nlri.path_id,
            send_id: 0,
            mark: Mark::Fresh,
        };
        let set = entry.set(at, path);
        if !matches!(set, Set::Confirmed(_)) {
            mark(&mut self.dirty, entry, &nlri.prefix, index);
        }
        let old = match set {
            Set::Added => None,
            Set::Confirmed(old) | Set::Replaced(old) => Some(old),
        };
        if let Some(known) = known {
            let count = known.count(family);
            count.routes += usize::from(old.is_none());
            count.stale -= usize::from(old.as_ref().is_some_and(|old| old.is_stale()));
            count.refused += usize::from(refused);
            count.refused -= usize::from(old.as_ref().is_some_and(|old| old.accepted.is_none()));
        }
        old.into_iter()
            .for_each(|old| release(&mut self.shared, old));
        None
    }

    fn withdraw(&mut self, from: PeerId, nlri: &Nlri) {
        let Some((index, _, entry)) = self.routes.get_full_mut(&nlri.prefix) else {
            return;
        };
        let Some(path) = entry.find(from, nlri.path_id).and_then(|at| entry.take(at)) else {
            return;
        };
        mark(&mut self.dirty, entry, &nlri.prefix, index);
        if let Some(known) = self.peers.get_mut(&from) {
            let count = known.count(Family::of(&nlri.prefix));
            count.routes -= 1;
            count.stale -= usize::from(path.is_stale());
            count.refused -= usize::from(path.accepted.is_none());
        }
        release(&mut self.shared, path);
    }

    /// Goes over all paths of a BGP peer in a family.
    pub(super) fn edit_paths(
        &mut self,
        from: PeerId,
        family: Family,
        mut edit: impl FnMut(&IpNet, &mut Path, &mut Interner) -> Fate,
    ) {
        let Some(known) = self.peers.get_mut(&from) else {
            return;
        };
        let count = known.count(family);
        if count.routes == 0 {
            return;
        }
        for (index, (prefix, entry)) in self.routes.iter_mut().enumerate() {
            if Family::of(prefix) != family {
                continue;
            }
            let mut at = 0;
            while let Some(path) = entry.paths_mut().get_mut(at) {
                let (was_stale, was_refused) = (path.is_stale(), path.accepted.is_none());
                if path.from != from {
                    at += 1;
                    continue;
                }
                let fate = edit(prefix, path, &mut self.shared);
                count.stale += usize::from(path.is_stale());
                count.stale -= usize::from(was_stale);
                count.refused += usize::from(path.accepted.is_none());
                count.refused -= usize::from(was_refused);
                match fate {
                    Fate::Same => at += 1,
                    Fate::Changed => {
                        entry.touch(at);
                        mark(&mut self.dirty, entry, prefix, index);
                        at += 1;
                    }
                    Fate::Gone => {
                        mark(&mut self.dirty, entry, prefix, index);
                        if let Some(path) = entry.take(at) {
                            count.routes -= 1;
                            count.stale -= usize::from(path.is_stale());
                            count.refused -= usize::from(path.accepted.is_none());
                            release(&mut self.shared, path);
                        }
                    }
                }
            }
        }
    }
}

/// What becomes of a path.
pub(super) enum Fate {
    Same,
    Changed,
    Gone,
}

fn mark(dirty: &mut Vec<Place>, entry: &mut Entry, prefix: &IpNet, index: usize) {
    if !std::mem::replace(&mut entry.dirty, true) {
        let prefix = *prefix;
        dirty.push(Place { prefix, index });
    }
}

fn release(shared: &mut Interner, path: Path) {
    path.accepted
        .into_iter()
        .for_each(|one| shared.release(one));
    shared.release(path.received);
}

fn facts(
    us: &Speaker,
    peers: &HashMap<PeerId, Known, Hashing>,
    path: &Path,
    cost: &mut impl FnMut(PeerId, IpAddr) -> Option<u32>,
) -> Option<Facts> {
    if path.from == PeerId::LOCAL {
        return Some(Facts {
            source: Source::Local,
            cost: 0,
            router_id: us.router_id,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        });
    }
    let peer = &peers.get(&path.from)?.peer;
    Some(Facts {
        source: peer.kind.source(),
        cost: cost(path.from, path.accepted.as_ref()?.next_hop)?,
        router_id: peer.router_id,
        address: peer.address,
    })
}

#[cfg(test)]
mod tests;
