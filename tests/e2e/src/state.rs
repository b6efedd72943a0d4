//! What is kept on disk about a cluster: /var/lib/weft-testbed/CLUSTER.
//!
//! ```text
//! state.json            the description and the index
//! kubeconfig            of an administrator, for use on the machine itself
//! pki/                  certificates of the control plane
//! pids/NAME             processes of the control plane, and of routers
//! log/NAME.log          what they say
//! etcd/                 the store
//! routers/NAME/         configuration and sockets of a routing daemon
//! faults.json           faults of the underlay in force
//! nodes/NODE/pid        pid 1 of the node
//! nodes/NODE/init.sock  where it takes orders
//! nodes/NODE/disk       a small filesystem in memory: what the node's root has more than the machine's
//! nodes/NODE/config     /etc/kubernetes of the node
//! nodes/NODE/log, containerd, kubelet    its /var/log, /var/lib/containerd, /var/lib/kubelet
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result, make_dir, read_file, write_file};
use crate::plan::Plan;
use crate::spec::ClusterSpec;

/// Where the clusters' directories are.
pub const BASE: &str = "/var/lib/weft-testbed";

/// A cluster's directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// What tells one cluster from another: its description, and which of the host
/// links it has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saved {
    /// The validated description.
    pub spec: ClusterSpec,
    /// Tells clusters apart where their names do not: in addresses on the machine.
    pub index: u8,
}

impl Saved {
    /// All names and addresses.
    pub fn plan(&self) -> Plan {
        Plan::new(&self.spec, self.index)
    }
}

impl StateDir {
    /// The directory of a cluster, whether it is there or not.
    pub fn of(cluster: &str) -> Self {
        Self {
            path: Path::new(BASE).join(cluster),
        }
    }

    /// Makes the directory of a new cluster and saves its description in it.
    pub fn create(spec: ClusterSpec) -> Result<(Self, Saved)> {
        make_dir(BASE)?;
        let _one_at_a_time = lock(Path::new(BASE))?;
        let dir = Self::of(&spec.name);
        if dir.exists() {
            return Err(Error::State(format!(
                "cluster {0} is there already: `weft-testbed --cluster {0} down` removes it",
                spec.name
            )));
        }
        let taken: Vec<u8> = clusters()
            .iter()
            .filter_map(|name| Self::of(name).load().ok())
            .map(|s| s.index)
            .collect();
        let index = (0..=u8::MAX).find(|index| !taken.contains(index));
        let index = index
            .ok_or_else(|| Error::State("256 clusters are up: take some down first".to_owned()))?;
        for sub in ["pki", "pids", "log", "nodes", "routers"] {
            make_dir(dir.path.join(sub))?;
        }
        let saved = Saved { spec, index };
        dir.save(&saved)?;
        Ok((dir, saved))
    }

    /// Whether there is such a cluster, or what is left of one.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads the description.
    pub fn load(&self) -> Result<Saved> {
        let path = self.file("state.json");
        if !path.exists() {
            return Err(Error::State(format!(
                "there is no cluster in {}: `weft-testbed up` makes one",
                self.path.display()
            )));
        }
        serde_json::from_str(&read_file(&path)?).doing(|| format!("parse {}", path.display()))
    }

    /// Writes the description.
    pub fn save(&self, saved: &Saved) -> Result<()> {
        write_file(
            self.file("state.json"),
            format!("{:#}\n", serde_json::json!(saved)),
        )
    }

    /// Keeps others from changing the cluster for as long as the value lives.
    pub fn lock(&self) -> Result<Flock<File>> {
        lock(&self.path)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or directory in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    /// The directory of certificates.
    pub fn pki(&self) -> PathBuf {
        self.file("pki")
    }

    /// The directory of a node.
    pub fn node(&self, node: &str) -> PathBuf {
        self.file("nodes").join(node)
    }
}

/// The names of all clusters that are there.
pub fn clusters() -> Vec<String> {
    let entries = std::fs::read_dir(BASE).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn lock(dir: &Path) -> Result<Flock<File>> {
    let name = || format!("lock {}", dir.display());
    let file = File::open(dir).doing(name)?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .doing(name)
}
