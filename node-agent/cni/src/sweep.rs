//! Attachments that ended without a DEL: what the agent looks for where the runtime knows no GC.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weft_ipam::{Attachment, Store};
use weft_kernel::pod;

use crate::hostports;

/// The sweep could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] weft_ipam::Error),
    /// The node's interfaces could not be listed.
    #[error(transparent)]
    Kernel(#[from] pod::Error),
    /// Host ports of a pod that is gone could not be closed.
    #[error("{0}")]
    HostPorts(String),
}

/// How long a sweep waits for a command on the same attachment.
const LIMIT: Duration = Duration::from_secs(1);

/// Ends attachments older than `age` whose link and network namespace are both gone: no pod can have their addresses.
/// Gives them back. The caller must see the namespaces' files as the runtime does (the node's `/run/netns`); should it
/// not, the missing link still says that no pod is connected by it.
pub fn sweep(store: &Store, age: Duration) -> Result<Vec<Attachment>, Error> {
    // The kernel is read before the store: an attachment under way is in the store before it is in the kernel.
    let links: BTreeSet<String> = pod::list()?.iter().map(ToString::to_string).collect();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let gone = |attachment: &Attachment| {
        now.saturating_sub(Duration::from_secs(attachment.since)) > age
            && !links.contains(&attachment.host_ifname)
            && !Path::new(&attachment.netns).exists()
    };
    let candidates: Vec<Attachment> = store
        .attachments()?
        .into_iter()
        .filter(|attachment| gone(attachment))
        .collect();
    let mut ended = Vec::new();
    for attachment in candidates {
        let _alone = store.lock_attachment(&attachment.id, LIMIT)?;
        // Meanwhile the runtime may have attached it anew.
        if store.lock()?.get(&attachment.id) != Some(&attachment) {
            continue;
        }
        hostports::close(&attachment).map_err(|failure| Error::HostPorts(failure.message))?;
        store.lock()?.detach(&attachment.id)?;
        ended.push(attachment);
    }
    Ok(ended)
}
