//! Starting a process that outlives the tool: in a network namespace, in a
//! cgroup, in a session of its own, recorded by its number and start time.
//!
//! The work is done by a short-lived `weft-testbed launch`, which has one thread
//! only, so it can change its own namespaces before it makes the process; when it
//! ends, the process belongs to the machine's pid 1. A process that could not be
//! recorded because the tool was killed is still known by its network namespace.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::command::Cmd;
use crate::error::{Context, Error, Result};
use crate::process::ProcessId;
use crate::{cgroup, netns, tools};

/// The hidden subcommand that does it.
pub const SUBCOMMAND: &str = "launch";

/// The variable that names the cluster in the environment of all that is started,
/// and so of all that these start in turn.
pub const PART_OF: &str = "WEFT_TESTBED_PART_OF";

/// What to start and where.
#[derive(Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The named network namespace that it is to be in.
    pub netns: String,
    /// The cgroup subtree that it is to be in, if not the tool's own.
    pub cgroup: Option<String>,
    /// Whether it is to be pid 1 of new pid, host name and IPC namespaces.
    pub machine: bool,
    /// Where its output goes.
    pub log: PathBuf,
    /// Where its identity is recorded.
    pub pid_file: PathBuf,
    /// The cluster that it is part of.
    pub cluster: String,
}

impl Launch {
    /// Starts it. It has been recorded when this returns.
    pub async fn start(&self) -> Result<ProcessId> {
        let order =
            serde_json::to_string(self).doing(|| "describe a process to launch".to_owned())?;
        Cmd::new(tools::testbed()?)
            .args([SUBCOMMAND, &order])
            .run()
            .await?;
        ProcessId::load(&self.pid_file)
    }
}

/// The subcommand: `order` is a [`Launch`] as JSON.
pub fn execute(order: &str) -> Result<()> {
    let launch: Launch =
        serde_json::from_str(order).doing(|| "parse the order to launch".to_owned())?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&launch.log);
    let log = log.doing(|| format!("open {}", launch.log.display()))?;
    let log_too = log
        .try_clone()
        .doing(|| format!("open {}", launch.log.display()))?;
    nix::unistd::setsid().doing(|| "start a session".to_owned())?;
    if let Some(group) = &launch.cgroup {
        cgroup::join(group)?;
    }
    netns::enter(&launch.netns)?;
    if launch.machine {
        // Not a mount namespace: the new process would share it with this one and
        // take away the /proc that this one is about to read.
        let kinds = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
        unshare(kinds).doing(|| "make namespaces for a node".to_owned())?;
    }
    let (program, arguments) = launch
        .argv
        .split_first()
        .ok_or_else(|| Error::State("nothing to launch: argv is empty".to_owned()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .env(PART_OF, &launch.cluster)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .spawn()
        .doing(|| format!("start {program}"))?;
    // A process that has ended already has nothing to record; its status and its log say why.
    let id = ProcessId::of(child.id() as i32).ok_or_else(|| {
        let status = child
            .wait()
            .map_or_else(|error| error.to_string(), |s| s.to_string());
        let words = std::fs::read_to_string(&launch.log).unwrap_or_default();
        Error::State(format!(
            "{program} ended at once, {status}: {}",
            words.trim()
        ))
    })?;
    id.save(&launch.pid_file)
}
