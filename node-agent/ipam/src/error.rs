//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Family, HostPort};

/// An operation on the store that did not happen. Nothing is half done after any of these.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No space for another line.
    #[error("cannot {operation} {}: the disk is full; free some space on the node and it will be tried again", path.display())]
    DiskFull {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// Another process held the lock all the time.
    #[error("{} was locked by another process for {} ms; try again", path.display(), waited.as_millis())]
    LockTimeout {
        /// The lock's file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The agent has not given this node its blocks yet.
    #[error("{} is not there: the Weft agent has not given this node its blocks yet; look at the weft-agent pod of this node in namespace weft-system", path.display())]
    NodeMissing {
        /// Where `node.json` should be.
        path: PathBuf,
    },
    /// `node.json` cannot be used.
    #[error("{} cannot be used: {reason}; restart the weft-agent pod of this node and it is written anew", path.display())]
    NodeInvalid {
        /// Where `node.json` is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The node has no block at all.
    #[error(
        "this node has no address block yet; the Weft agent asks the operator for one: look at `kubectl get ipblocks` and the pools of the NetworkConfig"
    )]
    NoBlocks,
    /// Every address is in use.
    #[error(
        "no free {family} address on this node: block(s) {blocks} are full; the Weft agent asks for another block, unless the pool is exhausted"
    )]
    Full {
        /// The family without a free address.
        family: Family,
        /// The blocks of it that new addresses may come from, or `none`.
        blocks: String,
    },
    /// Two attachments' ids lead to one name of the node's end.
    #[error(
        "interface {host_ifname} belongs to {owner} already; the pod gets another name when it is made anew"
    )]
    NameTaken {
        /// The name.
        host_ifname: String,
        /// Who has it.
        owner: String,
    },
    /// Two attachments want one port of the node.
    #[error(
        "host port {port} is taken by {owner}; choose another hostPort or hostIP, or another node"
    )]
    HostPortTaken {
        /// The port that was asked for.
        port: HostPort,
        /// Who has it.
        owner: String,
    },
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { operation, path }
            }
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }
}
