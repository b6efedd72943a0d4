//! Routes that outlive their session for a while, or wait to be confirmed: graceful restart (RFC 4724, section 4.2; RFC
//! 8538), long-lived graceful restart (RFC 9494, section 4.2) and enhanced route refresh (RFC 7313, section 4.2).
//!
//! All of it is one mark on a path. The timers are the caller's.

use std::sync::Arc;

use super::entry::Mark;
use super::intern::Interner;
use super::peer::PeerId;
use super::table::{Fate, Table};
use crate::route::{Attributes, Family, community};

impl Table {
    /// The session ended, and routes don't outlive it: all are gone.
    pub fn flush(&mut self, from: PeerId, family: Family) {
        self.edit_paths(from, family, |_, _, _| Fate::Gone);
    }

    /// The session ended, and the BGP peer restarts: its routes stay, stale. Those that were stale already, because it
    /// was not yet done with its last restart, are gone, save those that are long-lived: their time is another one.
    pub fn restarting(&mut self, from: PeerId, family: Family) {
        self.edit_paths(from, family, |_, path, _| {
            match path.mark {
                Mark::Stale => return Fate::Gone,
                Mark::Fresh => path.mark = Mark::Stale,
                Mark::Lingering => {}
            }
            Fate::Same
        });
    }

    /// The restart time is over, and the long-lived stale time begins: what is still stale becomes the last choice, or
    /// is gone if it is marked as not to be kept.
    pub fn linger(&mut self, from: PeerId, family: Family) {
        self.edit_paths(from, family, |_, path, shared| {
            if path.mark != Mark::Stale {
                return Fate::Same;
            }
            let accepted = path.accepted.as_ref();
            if has(&path.received, community::NO_LLGR)
                || accepted.is_some_and(|one| has(one, community::NO_LLGR))
            {
                return Fate::Gone;
            }
            path.mark = Mark::Lingering;
            make_last_choice(&mut path.received, shared);
            if let Some(accepted) = &mut path.accepted {
                make_last_choice(accepted, shared);
            }
            Fate::Changed
        });
    }

    /// The BGP peer begins to send all its routes again (BoRR, RFC 7313): they stay, stale.
    pub fn refreshing(&mut self, from: PeerId, family: Family) {
        self.edit_paths(from, family, |_, path, _| {
            if path.mark == Mark::Fresh {
                path.mark = Mark::Stale;
            }
            Fate::Same
        });
    }

    /// All routes were sent (End-of-RIB, EoRR), or the time is over: what is still stale is gone.
    pub fn sweep(&mut self, from: PeerId, family: Family) {
        if self.count(from, family).1 == 0 {
            return;
        }
        self.edit_paths(from, family, |_, path, _| match path.mark {
            Mark::Fresh => Fate::Same,
            Mark::Stale | Mark::Lingering => Fate::Gone,
        });
    }
}

fn has(attributes: &Attributes, community: u32) -> bool {
    attributes.communities.binary_search(&community).is_ok()
}

fn make_last_choice(attributes: &mut Arc<Attributes>, shared: &mut Interner) {
    let Err(at) = attributes.communities.binary_search(&community::LLGR_STALE) else {
        return;
    };
    let mut stale = Attributes::clone(attributes);
    stale.communities.insert(at, community::LLGR_STALE);
    let fresh = std::mem::replace(attributes, shared.intern(&Arc::new(stale)));
    shared.release(fresh);
}

#[cfg(test)]
mod tests;
