//! Attributes that are equal are one allocation.

use std::collections::HashSet;
use std::sync::Arc;

use super::Hashing;
use crate::route::Attributes;

/// One `Arc` for each distinct value in use.
#[derive(Debug)]
pub(super) struct Interner {
    known: HashSet<Arc<Attributes>, Hashing>,
    sweep_at: usize,
}

/// The fewest values for which it is worth while to look for unused ones.
const SWEEP_MIN: usize = 64;

impl Interner {
    pub(super) fn new(hashing: Hashing) -> Self {
        Self {
            known: HashSet::with_hasher(hashing),
            sweep_at: SWEEP_MIN,
        }
    }

    /// The one `Arc` of this value.
    pub(super) fn intern(&mut self, value: &Arc<Attributes>) -> Arc<Attributes> {
        if let Some(known) = self.known.get(value) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.sweep();
        }
        self.known.insert(Arc::clone(value));
        Arc::clone(value)
    }

    /// Gives one up; the last one frees the value. One that is still held elsewhere, as by an UPDATE on its way, is
    /// found by a sweep when as many have come as were in use at the last one.
    pub(super) fn release(&mut self, value: Arc<Attributes>) {
        if Arc::strong_count(&value) == 2 {
            self.known.remove(&value);
        }
    }

    fn sweep(&mut self) {
        self.known.retain(|value| Arc::strong_count(value) > 1);
        self.sweep_at = (2 * self.known.len()).max(SWEEP_MIN);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
