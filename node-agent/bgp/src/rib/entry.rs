//! The paths to one prefix.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use smallvec::SmallVec;

use super::decision::{Candidate, Source, rank};
use super::peer::PeerId;
use crate::route::Attributes;

/// A path to a prefix.
#[derive(Clone, Debug)]
pub struct Path {
    pub(super) received: Arc<Attributes>,
    pub(super) accepted: Option<Arc<Attributes>>,
    pub(super) from: PeerId,
    pub(super) path_id: u32,
    pub(super) send_id: u32,
    pub(super) mark: Mark,
}

/// How sure a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// As announced in this session, and not asked for again.
    Fresh,
    /// Not confirmed yet.
    Stale,
    /// Not confirmed in the restart time either, and so the last choice.
    Lingering,
}

impl Path {
    /// Whose it is.
    pub fn from(&self) -> PeerId {
        self.from
    }

    /// Its path identifier as received (RFC 7911).
    pub fn path_id(&self) -> u32 {
        self.path_id
    }

    /// Its path identifier where ADD-PATH is sent: not 0, and no other path's of the same prefix.
    pub fn send_id(&self) -> u32 {
        self.send_id
    }

    /// Its attributes as received, but for what an eBGP peer has no say in.
    pub fn received(&self) -> &Arc<Attributes> {
        &self.received
    }

    /// Its attributes after the import policy; `None` if it is refused.
    pub fn accepted(&self) -> Option<&Arc<Attributes>> {
        self.accepted.as_ref()
    }

    /// Whether it waits to be confirmed: by a BGP peer that restarts, or that sends all its routes again.
    pub fn is_stale(&self) -> bool {
        self.mark != Mark::Fresh
    }

    fn key(&self) -> (PeerId, u32) {
        (self.from, self.path_id)
    }
}

/// All paths to a prefix; in order of preference as of the last decision, those that can't be used last.
///
/// Nearly every prefix has one path: it is kept in place.
#[derive(Debug, Default)]
pub(super) struct Entry {
    paths: SmallVec<[Path; 1]>,
    eligible: u32,
    chosen: u16,
    /// Whether a chosen path has gone or changed since the last decision.
    touched: bool,
    /// Whether anything has changed since the last decision.
    pub(super) dirty: bool,
}

/// What is known of a path besides itself.
pub(super) struct Facts {
    pub source: Source,
    pub cost: u32,
    pub router_id: Ipv4Addr,
    pub address: IpAddr,
}

/// What setting a path has changed.
pub(super) enum Set {
    /// It is new.
    Added,
    /// It was the same.
    Confirmed(Path),
    /// It replaces this one.
    Replaced(Path),
}

impl Entry {
    pub(super) fn paths(&self) -> &[Path] {
        &self.paths
    }

    pub(super) fn paths_mut(&mut self) -> &mut [Path] {
        &mut self.paths
    }

    pub(super) fn eligible(&self) -> &[Path] {
        self.paths
            .get(..self.eligible as usize)
            .unwrap_or(&self.paths)
    }

    pub(super) fn chosen(&self) -> &[Path] {
        self.paths
            .get(..usize::from(self.chosen))
            .unwrap_or(&self.paths)
    }

    pub(super) fn find(&self, from: PeerId, path_id: u32) -> Option<usize> {
        self.paths
            .iter()
            .position(|path| path.key() == (from, path_id))
    }

    /// Adds a path at the given place, which is what `find` said, or replaces the one there.
    pub(super) fn set(&mut self, at: Option<usize>, mut path: Path) -> Set {
        let Some((at, old)) = at.and_then(|at| Some((at, self.paths.get_mut(at)?))) else {
            path.send_id = self.free_send_id();
            self.paths.push(path);
            return Set::Added;
        };
        path.send_id = old.send_id;
        let same = old.received == path.received && old.accepted == path.accepted;
        let old = std::mem::replace(old, path);
        if same {
            return Set::Confirmed(old);
        }
        self.touch(at);
        Set::Replaced(old)
    }

    pub(super) fn take(&mut self, at: usize) -> Option<Path> {
        if at >= self.paths.len() {
            return None;
        }
        self.touch(at);
        self.eligible -= u32::from(at < self.eligible as usize);
        self.chosen -= u16::from(at < usize::from(self.chosen));
        Some(self.paths.remove(at))
    }

    /// Remembers that the path at this place is no longer what it was at the last decision.
    pub(super) fn touch(&mut self, at: usize) {
        self.touched |= at < usize::from(self.chosen);
    }

    fn free_send_id(&self) -> u32 {
        let used = |id| self.paths.iter().any(|path| path.send_id == id);
        let last = self.paths.iter().map(|path| path.send_id).max();
        match last.unwrap_or(0).checked_add(1) {
            Some(next) => next,
            None => (1..u32::MAX).find(|id| !used(*id)).unwrap_or(u32::MAX),
        }
    }

    /// Puts the paths in order; `facts` has none for a path that can't be used. Tells whether the chosen ones have
    /// changed.
    pub(super) fn decide(
        &mut self,
        mut facts: impl FnMut(&Path) -> Option<Facts>,
        multipath: NonZeroU16,
    ) -> bool {
        let before: SmallVec<[_; 4]> = self.chosen().iter().map(Path::key).collect();
        self.dirty = false;
        match self.paths.as_slice() {
            // Most prefixes: nothing to compare.
            [only] => {
                let usable = only.accepted.is_some() && facts(only).is_some();
                (self.eligible, self.chosen) = (usable.into(), usable.into());
            }
            _ => self.order(facts, multipath),
        }
        let same = before
            .iter()
            .copied()
            .eq(self.chosen().iter().map(Path::key));
        std::mem::take(&mut self.touched) || !same
    }

    fn order(&mut self, mut facts: impl FnMut(&Path) -> Option<Facts>, multipath: NonZeroU16) {
        let mut usable = Vec::with_capacity(self.paths.len());
        let mut candidates = Vec::with_capacity(self.paths.len());
        for (at, path) in self.paths.iter().enumerate() {
            let Some((attributes, facts)) = path.accepted.as_deref().zip(facts(path)) else {
                continue;
            };
            usable.push(at);
            candidates.push(Candidate {
                attributes,
                source: facts.source,
                cost: facts.cost,
                router_id: facts.router_id,
                address: facts.address,
                path_id: path.path_id,
            });
        }
        let ranking = rank(&candidates);
        self.eligible = u32::try_from(usable.len()).unwrap_or(u32::MAX);
        self.chosen = u16::try_from(ranking.equal)
            .unwrap_or(u16::MAX)
            .min(multipath.get());

        let mut places = vec![usize::MAX; self.paths.len()];
        for (place, candidate) in ranking.order.iter().enumerate() {
            places[usable[*candidate]] = place;
        }
        let mut placed: Vec<_> = places.into_iter().zip(self.paths.drain(..)).collect();
        placed.sort_by_key(|(place, _)| *place);
        self.paths.extend(placed.into_iter().map(|(_, path)| path));
    }
}
