//! Keeping the kernel at what is desired, without reading all of it each time, nor comparing
//! all of it: a change of one peer costs that peer, however many there are.

use crate::action::Action;
use crate::apply::{Failure, apply, failures};
use crate::filter::SourceFilter;
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::netlink::Error;
use crate::observe::{Foreign, Scope};
use crate::part::Part;
use crate::plan::plan;
use crate::record::record;
use crate::state::State;
use crate::watch::Changes;

/// Brings the kernel to the desired state and remembers what it has.
pub struct Reconciler {
    kernel: Kernel,
    memory: Option<Memory>,
}

/// What one round did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was done or tried, in order.
    pub actions: Vec<Action>,
    /// What of it failed.
    pub failures: Vec<Failure>,
    /// The kernel was read in full.
    pub resynced: bool,
}

impl Reconciler {
    /// Starts without any memory: the first round reads the kernel.
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            memory: None,
        }
    }

    /// Reads the kernel, in full or as far as that is needed, so that [`Self::observed`]
    /// says what it has. Returns whether it was read in full.
    pub fn observe(&mut self, scope: &Scope) -> Result<bool, Error> {
        if let Some(mut memory) = self.memory.take().filter(|memory| memory.scope == *scope)
            && memory.refresh(&mut self.kernel)?
        {
            self.memory = Some(memory);
            return Ok(false);
        }
        self.memory = Some(Memory::read(&mut self.kernel, scope)?);
        Ok(true)
    }

    /// Brings the kernel to `desired`. Goes on past failures and reports them; after one,
    /// the next round reads the kernel in full.
    ///
    /// # Errors
    /// The kernel cannot be read. Nothing has been changed then.
    pub fn reconcile(&mut self, desired: &State, scope: &Scope) -> Result<Report, Error> {
        self.reconcile_part(desired, None, scope)
    }

    /// The same for a `desired` that differs from the one of the last call in nothing but `changed`, and in what
    /// there is little of. Without `changed` it may differ in everything.
    ///
    /// # Errors
    /// The kernel cannot be read. Nothing has been changed then.
    pub fn reconcile_part(
        &mut self,
        desired: &State,
        changed: Option<&Part>,
        scope: &Scope,
    ) -> Result<Report, Error> {
        let resynced = self.observe(scope)?;
        let Some(mut memory) = self.memory.take() else {
            return Err(Error::Lost);
        };
        let ours = &memory.observed.ours;
        // Whole devices are another matter.
        let comparable = desired.vxlans == ours.vxlans;
        let part = changed.zip(memory.unsettled.take());
        let actions = match part.filter(|_| comparable) {
            Some((changed, mut part)) => {
                part.add(changed);
                plan(&desired.only(&part), &ours.only(&part))
            }
            None => plan(desired, ours),
        };
        let results = apply(&mut self.kernel, &actions);
        for (action, _) in actions
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok())
        {
            record(&mut memory.observed.ours, action);
        }
        let failures = failures(&actions, results);
        if failures.is_empty() {
            memory.unsettled = Some(Part::default());
            self.memory = Some(memory);
        }
        Ok(Report {
            actions,
            failures,
            resynced,
        })
    }

    /// Takes notifications into account. It costs nothing but to compare them with what is
    /// known.
    pub fn note(&mut self, changes: &Changes) {
        if changes.lost {
            self.memory = None;
        }
        if let Some(memory) = &mut self.memory {
            for notice in &changes.notices {
                memory.note(notice);
            }
        }
    }

    /// Forgets everything: the next round reads the kernel in full. Do so every few
    /// minutes, as not everything is announced: what stands in the way, for one.
    pub fn forget(&mut self) {
        self.memory = None;
    }

    /// What of Weft's the kernel has, as far as it is known.
    pub fn observed(&self) -> Option<&State> {
        self.memory.as_ref().map(|memory| &memory.observed.ours)
    }

    /// Whether the kernel itself checks the IPv4 sources of pods, as far as it is known.
    pub fn checks_sources(&self) -> bool {
        let sources = self.memory.as_ref().map(|memory| &memory.observed.sources);
        sources.is_some_and(SourceFilter::is_strict)
    }

    /// What stood in the way when the kernel was last read in full.
    pub fn foreign(&self) -> Option<&Foreign> {
        self.memory.as_ref().map(|memory| &memory.observed.foreign)
    }
}
