//! GC: end what the runtime does not know any more.

use std::collections::BTreeSet;

use weft_ipam::AttachmentId;
use weft_kernel::pod;

use super::{del, store_if_there};
use crate::spec::{Config, Failure};

/// Goes on past errors: whatever can be removed is. The first error is reported.
pub(super) fn gc(config: &Config) -> Result<(), Failure> {
    let valid: BTreeSet<AttachmentId> = config.valid_attachments()?.into_iter().collect();
    let Some(store) = store_if_there()? else {
        return Ok(());
    };
    // The kernel is read before the store: an attachment under way is in the store before it is in the kernel.
    let links = pod::list()?;
    let (stale, known) = {
        let locked = store.lock()?;
        let known: BTreeSet<String> = locked
            .attachments()
            .map(|attachment| attachment.host_ifname.clone())
            .collect();
        (locked.stale(&config.name, &valid), known)
    };
    let mut first_failure = Ok(());
    let mut note = |result: Result<(), Failure>| {
        if first_failure.is_ok() {
            first_failure = result;
        }
    };
    for attachment in stale {
        note(del::detach(&store, &attachment.id));
    }
    // Links that the store does not know were left by one whose journal was lost.
    let kept: BTreeSet<_> = valid
        .iter()
        .map(|id| pod::host_ifname(&id.container_id, &id.ifname))
        .collect();
    for link in links {
        if !known.contains(link.as_str()) && !kept.contains(&link) {
            note(
                pod::detach_without_waiting(&link)
                    .map(drop)
                    .map_err(Failure::from),
            );
        }
    }
    first_failure
}
