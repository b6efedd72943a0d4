//! STATUS: whether an ADD could be served.

use weft_ipam::Store;

use super::STATE_DIR;
use crate::spec::{Code, Failure};

/// Full blocks are no failure: the runtime would call the node not ready, and its running pods would be evicted.
pub(super) fn status() -> Result<(), Failure> {
    let ready = Store::open(STATE_DIR).and_then(|store| store.read_node());
    match ready {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(Code::NotAvailable, error.to_string())),
    }
}
