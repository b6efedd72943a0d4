//! The store's directory: locks, and the ledger that is kept there.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use crate::journal::{Journal, parse, replace_file};
use crate::{Attachment, AttachmentId, Error, HostPort, Ledger, NodeConfig, PodRef, Record, Usage};

/// How long [`Store::lock`] waits. What is done under the lock takes less than a millisecond.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// A journal is written anew when its dead lines outnumber twice its live ones by this.
const COMPACTION_SLACK: usize = 64;

/// The store of one node.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    boot: String,
}

/// What an attachment is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which one.
    pub id: AttachmentId,
    /// Name of the network configuration that it belongs to.
    pub network: String,
    /// Path of the container's network namespace.
    pub netns: String,
    /// The name that the host end of the veth will have.
    pub host_ifname: String,
    /// The pod that it is for.
    pub pod: PodRef,
    /// Ports of the node that shall lead to it.
    pub host_ports: Vec<HostPort>,
}

/// What [`Locked::attach`] gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The attachment, written down.
    pub attachment: Attachment,
    /// What the agent wrote for this node.
    pub node: NodeConfig,
    /// Whether it was there before: then some of its kernel objects may be there too.
    pub existed: bool,
}

/// A part of the journal could not be read. It was set aside and the rest goes on: an attachment whose line is lost
/// has its address taken as free, so pods of this node should be compared with `attachments()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Where the unreadable lines are now.
    pub set_aside: PathBuf,
    /// How many there were.
    pub bad_lines: usize,
    /// How many were kept.
    pub kept_lines: usize,
}

impl Store {
    /// The store in `dir`, which must exist: for the plugin, which shall not make anew what an uninstall removed.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        match std::fs::metadata(&dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(Error::io("open", &dir, io::ErrorKind::NotADirectory.into())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let path = dir.join("node.json");
                return Err(Error::NodeMissing { path });
            }
            Err(e) => return Err(Error::io("open", &dir, e)),
        }
        // Where there is no boot id, no attachment is ever taken for one of an earlier boot.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            dir,
            boot: boot.trim().to_owned(),
        })
    }

    /// The store in `dir`, which is made if it is not there: for the agent.
    pub fn create(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|e| Error::io("create", &dir, e))?;
        Self::open(dir)
    }

    /// The same store as another boot of the node would see it.
    pub fn in_boot(mut self, boot: impl Into<String>) -> Self {
        self.boot = boot.into();
        self
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Locks and reads the store, waiting for others at most 10 s.
    pub fn lock(&self) -> Result<Locked, Error> {
        self.lock_within(LOCK_LIMIT)
    }

    /// Locks and reads the store, waiting for others at most `limit`.
    pub fn lock_within(&self, limit: Duration) -> Result<Locked, Error> {
        let lock = lock_file(&self.dir.join("lock"), limit)?;
        let path = self.dir.join("journal");
        let (journal, bytes) = Journal::open(&path)?;
        let parsed = parse(&bytes);
        let lines = parsed.records.len();
        let mut locked = Locked {
            store: self.clone(),
            ledger: Ledger::replay(parsed.records),
            journal,
            lines,
            recovered: None,
            _lock: lock,
        };
        if parsed.bad_lines > 0 {
            let set_aside = self.set_aside(&parsed.bad)?;
            locked.compact()?;
            locked.recovered = Some(Recovered {
                set_aside,
                bad_lines: parsed.bad_lines,
                kept_lines: lines,
            });
        } else if !parsed.appendable {
            locked.compact()?;
        }
        Ok(locked)
    }

    /// Makes whoever else wants to work on this attachment wait, at most `limit`, until the guard is dropped. The
    /// runtime may give up an ADD and start a DEL while the first still runs.
    pub fn lock_attachment(
        &self,
        id: &AttachmentId,
        limit: Duration,
    ) -> Result<AttachmentLock, Error> {
        // One of 256 files: they stay, and two containers that share one merely wait for each other.
        let hash = id
            .container_id
            .bytes()
            .chain(id.ifname.bytes())
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let dir = self.dir.join("locks");
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", &dir, e));
            }
            _ => {}
        }
        let path = dir.join(format!("{:02x}", hash >> 56));
        lock_file(&path, limit).map(|file| AttachmentLock { _file: file })
    }

    /// What the agent wrote for this node.
    pub fn read_node(&self) -> Result<NodeConfig, Error> {
        let path = self.dir.join("node.json");
        let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::NodeMissing { path: path.clone() },
            _ => Error::io("read", &path, e),
        })?;
        let invalid = |reason| Error::NodeInvalid {
            path: path.clone(),
            reason,
        };
        let node: NodeConfig =
            serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
        node.validate().map_err(invalid)?;
        Ok(node)
    }

    /// All attachments at this moment.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        Ok(self.lock()?.attachments().cloned().collect())
    }

    /// Files that hold unreadable parts of the journal, oldest first, whichever process set them aside.
    pub fn corrupt_files(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = std::fs::read_dir(&self.dir).map_err(|e| Error::io("list", &self.dir, e))?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| name.starts_with("journal.corrupt-"))
            })
            .collect();
        found.sort();
        Ok(found)
    }

    fn set_aside(&self, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.dir.join(format!("journal.corrupt-{}", now()));
        replace_file(&path, bytes)?;
        Ok(path)
    }
}

/// Held by whoever works on one attachment.
#[derive(Debug)]
pub struct AttachmentLock {
    _file: File,
}

/// The store, locked: nobody else reads or writes it until this is dropped.
#[derive(Debug)]
pub struct Locked {
    store: Store,
    ledger: Ledger,
    journal: Journal,
    lines: usize,
    recovered: Option<Recovered>,
    _lock: File,
}

impl Locked {
    /// Set when taking this lock found unreadable lines.
    pub fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }

    /// What the agent wrote for this node.
    pub fn read_node(&self) -> Result<NodeConfig, Error> {
        self.store.read_node()
    }

    /// Writes it, at once or not at all.
    pub fn write_node(&mut self, node: &NodeConfig) -> Result<(), Error> {
        let path = self.store.dir.join("node.json");
        let invalid = |reason| Error::NodeInvalid {
            path: path.clone(),
            reason,
        };
        node.validate().map_err(invalid)?;
        let json = serde_json::to_vec_pretty(node).map_err(|e| invalid(e.to_string()))?;
        replace_file(&path, &json)
    }

    /// All attachments, ordered by id.
    pub fn attachments(&self) -> impl ExactSizeIterator<Item = &Attachment> {
        self.ledger.attachments()
    }

    /// The attachment of this id.
    pub fn get(&self, id: &AttachmentId) -> Option<&Attachment> {
        self.ledger.get(id)
    }

    /// How full `block` is, going by the blocks and node pod addresses of `node`.
    pub fn usage(&self, node: &NodeConfig, block: IpNet) -> Usage {
        self.ledger.usage(node, block)
    }

    /// Those attachments of `network` that are not in `valid`.
    pub fn stale(&self, network: &str, valid: &BTreeSet<AttachmentId>) -> Vec<Attachment> {
        self.attachments()
            .filter(|attachment| attachment.network == network && !valid.contains(&attachment.id))
            .cloned()
            .collect()
    }

    /// Writes down an attachment with an address of each family that the node has blocks of. For one that is
    /// there already, the same addresses again.
    pub fn attach(&mut self, request: Request) -> Result<Attached, Error> {
        let node = self.read_node()?;
        let mut lines = self.earlier_boots();
        let mut ledger = Cow::Borrowed(&self.ledger);
        if !lines.is_empty() {
            lines.iter().cloned().for_each(|r| ledger.to_mut().apply(r));
        }
        for port in &request.host_ports {
            if let Some(other) = ledger.port_owner(port, &request.id) {
                return Err(Error::HostPortTaken {
                    port: *port,
                    owner: other.owner(),
                });
            }
        }
        let same_name = |other: &&Attachment| {
            other.host_ifname == request.host_ifname && other.id != request.id
        };
        if let Some(other) = ledger.attachments().find(same_name) {
            return Err(Error::NameTaken {
                host_ifname: request.host_ifname,
                owner: other.owner(),
            });
        }
        let before = ledger.get(&request.id).cloned();
        let attachment = Attachment {
            addresses: match &before {
                Some(before) => before.addresses.clone(),
                None => ledger.pick(&node)?,
            },
            since: before.as_ref().map_or_else(now, |before| before.since),
            boot: self.store.boot.clone(),
            id: request.id,
            network: request.network,
            netns: request.netns,
            host_ifname: request.host_ifname,
            pod: request.pod,
            host_ports: request.host_ports,
        };
        if before.as_ref() != Some(&attachment) {
            lines.push(Record::Attach(Box::new(attachment.clone())));
            self.append(lines)?;
        }
        Ok(Attached {
            attachment,
            node,
            existed: before.is_some(),
        })
    }

    /// Ends an attachment and gives it back, if there is one of this id. Its kernel objects must be gone.
    pub fn detach(&mut self, id: &AttachmentId) -> Result<Option<Attachment>, Error> {
        let Some(attachment) = self.get(id).cloned() else {
            return Ok(None);
        };
        self.append(vec![Record::Detach {
            id: id.clone(),
            until: now(),
        }])?;
        // The attachment has ended already; a journal that cannot be made shorter is only longer.
        let _ = self.compact_if_long();
        Ok(Some(attachment))
    }

    /// What ends the attachments of earlier boots: the pods and all that they had in the kernel went with those.
    fn earlier_boots(&self) -> Vec<Record> {
        let until = now();
        self.attachments()
            .filter(|attachment| attachment.boot != self.store.boot && !self.store.boot.is_empty())
            .map(|attachment| Record::Detach {
                id: attachment.id.clone(),
                until,
            })
            .collect()
    }

    fn append(&mut self, records: Vec<Record>) -> Result<(), Error> {
        let bytes: Vec<u8> = records.iter().flat_map(Record::to_line).collect();
        self.journal.append(&bytes)?;
        self.lines += records.len();
        records.into_iter().for_each(|r| self.ledger.apply(r));
        Ok(())
    }

    fn compact_if_long(&mut self) -> Result<(), Error> {
        if self.lines > 3 * self.attachments().len() + COMPACTION_SLACK {
            self.compact()?;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), Error> {
        // Without node.json nothing is known to be superfluous.
        let node = self.read_node().ok();
        let records = self.ledger.compacted(|ip| {
            node.as_ref()
                .is_none_or(|node| node.blocks.iter().any(|block| block.cidr.contains(&ip)))
        });
        let bytes: Vec<u8> = records.iter().flat_map(Record::to_line).collect();
        self.journal.rewrite(&bytes)?;
        self.lines = records.len();
        self.ledger = Ledger::replay(records);
        Ok(())
    }
}

/// An exclusive `flock`, which the kernel ends with its holder.
fn lock_file(path: &Path, limit: Duration) -> Result<File, Error> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io("open", path, e))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
        Err(TryLockError::WouldBlock) => {}
    }
    // The kernel's queue is fair and wakes the next at once, but has no time limit: so a thread waits in it. One
    // that is given up gets the lock later and drops it.
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || give.send(file.lock().map(|()| file)));
    match take.recv_timeout(limit) {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(e)) => Err(Error::io("lock", path, e)),
        Err(_) => Err(Error::LockTimeout {
            path: path.to_path_buf(),
            waited: limit,
        }),
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
