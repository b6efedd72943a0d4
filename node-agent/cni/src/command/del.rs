//! DEL: close the host ports, delete the link, then end the attachment.

use weft_ipam::{AttachmentId, Store};
use weft_kernel::pod;

use super::{ATTACHMENT_LIMIT, store_if_there};
use crate::hostports;
use crate::link::host_end;
use crate::spec::{Environment, Failure};

/// Succeeds if nothing is left, whatever there was: a repeated DEL, a namespace that is gone, a store that was
/// removed by an uninstall.
pub(super) fn del(environment: &Environment) -> Result<(), Failure> {
    let id = environment.attachment_id()?;
    match store_if_there()? {
        Some(store) => detach(&store, &id),
        None => {
            pod::detach_without_waiting(&pod::host_ifname(&id.container_id, &id.ifname))?;
            Ok(())
        }
    }
}

/// Ends one attachment and all that belongs to it in the kernel.
pub(super) fn detach(store: &Store, id: &AttachmentId) -> Result<(), Failure> {
    let _alone = store.lock_attachment(id, ATTACHMENT_LIMIT)?;
    let attachment = store.lock()?.get(id).cloned();
    let Some(attachment) = attachment else {
        pod::detach_without_waiting(&pod::host_ifname(&id.container_id, &id.ifname))?;
        return Ok(());
    };
    hostports::close(&attachment)?;
    pod::detach_without_waiting(&host_end(&attachment))?;
    store.lock()?.detach(id)?;
    Ok(())
}
