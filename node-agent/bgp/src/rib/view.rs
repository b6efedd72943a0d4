//! What BGP peers with the same export are told.
//!
//! A BGP peer is not told its own routes. So what each member was last sent is the view without what came from the
//! member itself: nothing needs to be kept for each of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::Hashing;
use super::advertise::{self, Export};
use super::entry::Path;
use super::intern::Interner;
use super::peer::PeerId;
use super::table::{Place, Table};
use crate::policy::Edits;
use crate::route::{Attributes, Family, Nlri};

/// An Adj-RIB-Out that its members share.
#[derive(Debug)]
pub(super) struct View {
    pub export: Export,
    /// Sorted.
    pub members: Arc<[PeerId]>,
    routes: HashMap<IpNet, Paths, Hashing>,
    /// How many paths there are.
    count: usize,
    /// How many of them are of each source.
    counts: HashMap<PeerId, usize, Hashing>,
    shared: Interner,
}

/// The paths to one prefix that are told, by path identifier.
type Paths = SmallVec<[Sent; 1]>;

/// A path as it is told, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub attributes: Arc<Attributes>,
    pub from: PeerId,
    pub path_id: u32,
}

/// One path, before and after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'a> {
    pub nlri: Nlri,
    pub old: Option<&'a Sent>,
    pub new: Option<&'a Sent>,
}

impl View {
    /// The view of a table, without members.
    pub(super) fn new(export: Export, table: &Table, hashing: &Hashing) -> Self {
        let mut view = Self {
            export,
            members: Arc::new([]),
            routes: HashMap::with_hasher(hashing.clone()),
            count: 0,
            counts: HashMap::with_hasher(hashing.clone()),
            shared: Interner::new(hashing.clone()),
        };
        view.update(table, table.places(), hashing, |_| {});
        view
    }

    /// Looks again at some prefixes, and hands each path that is not what it was to `changed`.
    pub(super) fn update(
        &mut self,
        table: &Table,
        places: impl Iterator<Item = Place>,
        hashing: &Hashing,
        mut changed: impl FnMut(Delta),
    ) {
        let mut rewriting = Rewriting {
            table,
            export: &self.export,
            shared: &mut self.shared,
            known: HashMap::with_hasher(hashing.clone()),
        };
        for place in places.filter(|place| Family::of(&place.prefix) == self.export.family) {
            let prefix = place.prefix;
            let new = rewriting.told(place);
            self.count += new.len();
            for path in &new {
                *self.counts.entry(path.from).or_default() += 1;
            }
            let old = match self.routes.entry(prefix) {
                Entry::Vacant(_) if new.is_empty() => continue,
                Entry::Vacant(place) => {
                    compare(prefix, &[], place.insert(new), &mut changed);
                    continue;
                }
                Entry::Occupied(old) if new.is_empty() => {
                    compare(prefix, old.get(), &new, &mut changed);
                    old.remove()
                }
                Entry::Occupied(mut old) => {
                    compare(prefix, old.get(), &new, &mut changed);
                    old.insert(new)
                }
            };
            self.count -= old.len();
            for old in old {
                if let Some(count) = self.counts.get_mut(&old.from) {
                    *count -= 1;
                }
                rewriting.shared.release(old.attributes);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    /// How many paths a member was last sent.
    pub(super) fn count(&self, member: PeerId) -> usize {
        self.count - self.counts.get(&member).copied().unwrap_or(0)
    }

    /// What a member was last sent.
    pub(super) fn sent(&self, member: PeerId) -> impl Iterator<Item = (Nlri, &Arc<Attributes>)> {
        let paths = self.routes.iter().flat_map(|(prefix, paths)| {
            let paths = paths.iter();
            paths.map(move |path| (*prefix, path))
        });
        let told = paths.filter(move |(_, path)| path.from != member);
        told.map(|(prefix, path)| (path.nlri(prefix), &path.attributes))
    }
}

impl Sent {
    fn nlri(&self, prefix: IpNet) -> Nlri {
        Nlri {
            prefix,
            path_id: self.path_id,
        }
    }
}

/// Calls `changed` for each path that is in one only, or not the same in both. Both are sorted.
fn compare(prefix: IpNet, old: &[Sent], new: &[Sent], changed: &mut impl FnMut(Delta)) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let first = old.peek().map(|path| path.path_id);
        let path_id = match (first, new.peek().map(|path| path.path_id)) {
            (Some(one), Some(other)) => one.min(other),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return,
        };
        let old = old.next_if(|path| path.path_id == path_id);
        let new = new.next_if(|path| path.path_id == path_id);
        if old != new {
            let nlri = Nlri { prefix, path_id };
            changed(Delta { nlri, old, new });
        }
    }
}

/// How the routes of a table look by an export.
struct Rewriting<'a> {
    table: &'a Table,
    export: &'a Export,
    shared: &'a mut Interner,
    /// What attributes of a BGP peer become by a list of edits. The table holds all of them meanwhile, and so no
    /// address stands for two.
    known: HashMap<(*const Attributes, PeerId, Edits<'a>), Option<Arc<Attributes>>, Hashing>,
}

impl Rewriting<'_> {
    fn told(&mut self, place: Place) -> Paths {
        let Some(entry) = self.table.entry(place) else {
            return Paths::new();
        };
        let prefix = &place.prefix;
        let Some(limit) = self.export.add_path else {
            let best = entry.chosen().first();
            let told = best.and_then(|path| self.path(prefix, path));
            return told
                .map(|path| Sent { path_id: 0, ..path })
                .into_iter()
                .collect();
        };
        let eligible = entry.eligible().iter();
        let told = eligible.filter_map(|path| self.path(prefix, path));
        let mut told: Paths = told.take(limit.get().into()).collect();
        told.sort_unstable_by_key(|path| path.path_id);
        told
    }

    fn path(&mut self, prefix: &IpNet, path: &Path) -> Option<Sent> {
        let attributes = path.accepted()?;
        let source = match path.from() {
            PeerId::LOCAL => None,
            from => Some(self.table.peer(from)?),
        };
        let edits = advertise::permitted(self.export, source, prefix, attributes)?;
        let known = self
            .known
            .entry((Arc::as_ptr(attributes), path.from(), edits));
        let rewritten = match known {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let (_, _, edits) = new.key();
                let us = self.table.speaker();
                let sent = advertise::rewritten(us, self.export, source, attributes, edits);
                let sent = sent.map(|sent| self.shared.intern(&Arc::new(sent)));
                new.insert(sent)
            }
        };
        Some(Sent {
            attributes: Arc::clone(rewritten.as_ref()?),
            from: path.from(),
            path_id: path.send_id(),
        })
    }
}
