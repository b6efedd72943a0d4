//! The address store on a node's disk, shared by the plugin and the agent.
//!
//! A directory holds three files. `node.json` is the agent's word to the plugin: which blocks the node has.
//! `journal` is an append-only list of attachments made and ended, each line with a checksum. `lock` is what
//! writers hold. The plugin needs nothing else to give a pod its addresses, so it works with the agent dead.
//!
//! Who owns what here: [`Ledger`] is the pure state, `journal` the bytes of the file, [`Store`] the I/O.
//! An attachment is written before any kernel object is made for it, and ended after they are gone. Whatever
//! kills the writer, the store knows of everything that may exist.

mod attachment;
mod error;
mod journal;
mod ledger;
mod node;
mod record;
mod store;

pub use attachment::{Attachment, AttachmentId, HostPort, PodRef, Protocol};
pub use error::Error;
pub use ledger::{Family, Ledger, Usage};
pub use node::{NodeBlock, NodeConfig, NodePodAddresses};
pub use record::Record;
pub use store::{Attached, AttachmentLock, Locked, Recovered, Request, Store};
