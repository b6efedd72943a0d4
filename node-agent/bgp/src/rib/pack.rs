//! Changes of many paths as few UPDATEs: those with the same attributes for the same BGP peers are one.

use std::collections::HashMap;
use std::sync::Arc;

use super::Hashing;
use super::peer::PeerId;
use super::view::Delta;
use crate::route::{Attributes, Family, Nlri, Update};

/// An UPDATE, and to whom it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// What they are told; in a batch, each is told of an NLRI once at most. May be longer than a message.
    pub update: Update,
    /// Who is told.
    pub to: Recipients,
}

/// Members of a group. Cheap to copy, however many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients {
    of: Arc<[PeerId]>,
    audience: Audience,
}

/// Which members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Audience {
    But([Option<PeerId>; 2]),
    Only(PeerId),
}

impl Recipients {
    /// One after the other, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = PeerId> {
        let told = |peer: &PeerId| match self.audience {
            Audience::But(not) => !not.contains(&Some(*peer)),
            Audience::Only(one) => *peer == one,
        };
        self.of.iter().copied().filter(move |peer| told(peer))
    }
}

/// UPDATEs in the making.
pub(super) struct Packer {
    members: Arc<[PeerId]>,
    places: HashMap<(Option<*const Attributes>, Audience), usize, Hashing>,
    packs: Vec<(Option<Arc<Attributes>>, Audience, Vec<Nlri>)>,
}

impl Packer {
    pub(super) fn new(members: Arc<[PeerId]>, hashing: &Hashing) -> Self {
        Self {
            members,
            places: HashMap::with_hasher(hashing.clone()),
            packs: Vec::new(),
        }
    }

    /// Tells each member what the change is to it, to whom its own routes don't exist.
    pub(super) fn change(&mut self, delta: Delta) {
        let Delta { nlri, old, new } = delta;
        let member = |from: PeerId| self.members.binary_search(&from).is_ok().then_some(from);
        let from = [old, new].map(|path| path.and_then(|path| member(path.from)));
        let [old_attributes, new_attributes] =
            [old, new].map(|path| path.map(|path| &path.attributes));
        if old_attributes != new_attributes {
            let mut but = from;
            but.sort_unstable();
            self.put(nlri, new_attributes, Audience::But(but));
        }
        let [old_from, new_from] = from;
        if old_from == new_from {
            return;
        }
        // Its own has become another's, or another's its own.
        if let (Some(peer), Some(attributes)) = (old_from, new_attributes) {
            self.put(nlri, Some(attributes), Audience::Only(peer));
        }
        if let (Some(peer), Some(_)) = (new_from, old_attributes) {
            self.put(nlri, None, Audience::Only(peer));
        }
    }

    /// Tells one member.
    pub(super) fn tell(&mut self, peer: PeerId, nlri: Nlri, attributes: Option<&Arc<Attributes>>) {
        self.put(nlri, attributes, Audience::Only(peer));
    }

    fn put(&mut self, nlri: Nlri, attributes: Option<&Arc<Attributes>>, to: Audience) {
        let at = *self
            .places
            .entry((attributes.map(Arc::as_ptr), to))
            .or_insert(self.packs.len());
        match self.packs.get_mut(at) {
            Some((_, _, nlris)) => nlris.push(nlri),
            None => self.packs.push((attributes.cloned(), to, vec![nlri])),
        }
    }

    /// The UPDATEs that somebody gets.
    pub(super) fn finish(self, family: Family) -> impl Iterator<Item = Emission> {
        let emissions = self
            .packs
            .into_iter()
            .map(move |(attributes, audience, nlris)| {
                let (withdrawn, announced) = match attributes {
                    Some(attributes) => (Vec::new(), Some((attributes, nlris))),
                    None => (nlris, None),
                };
                let of = Arc::clone(&self.members);
                Emission {
                    update: Update {
                        family,
                        withdrawn,
                        announced,
                    },
                    to: Recipients { of, audience },
                }
            });
        emissions.filter(|emission| emission.to.iter().next().is_some())
    }
}
