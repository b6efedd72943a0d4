//! Running things in a network namespace.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use weft_e2e::command::Cmd;
use weft_e2e::netns;

/// A network namespace.
#[derive(Debug, Clone)]
pub struct Place {
    path: PathBuf,
}

impl Place {
    /// The one of this name in /run/netns.
    pub fn named(name: &str) -> Self {
        Self {
            path: netns::path(name),
        }
    }

    /// The one that this file of /proc stands for.
    pub fn of_file(path: PathBuf) -> Self {
        Self { path }
    }

    /// A command in it. The process has the id of the child, and ends with this program.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "nsenter"])
            .arg(format!("--net={}", self.path.display()))
            .arg("--")
            .arg(program)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts a program that goes on until the child is dropped; nobody hears what it says.
    pub fn start(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = self.command(program);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
            .spawn()
            .with_context(|| format!("cannot start {program}"))
    }

    /// Runs a program to its end and gives what it printed.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(program).args(arguments).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{program} {}: {}: {} {text}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr),
        );
        Ok(text)
    }

    /// Runs a program that reads its orders from standard input, such as `ip -batch -`.
    pub async fn feed(
        &self,
        program: &str,
        arguments: &[&str],
        input: String,
    ) -> anyhow::Result<()> {
        let net = format!("--net={}", self.path.display());
        let enter = [&[net.as_str(), "--", program], arguments].concat();
        Cmd::new("nsenter").args(enter).stdin(input).run().await?;
        Ok(())
    }

    /// Moves the calling thread there.
    pub fn enter(&self) -> anyhow::Result<()> {
        let cannot = || format!("cannot enter {}", self.path.display());
        let file = File::open(&self.path).with_context(cannot)?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(cannot)
    }

    /// Does some work on a thread of its own there.
    pub async fn within<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (reply, answer) = oneshot::channel();
        let place = self.clone();
        std::thread::spawn(move || reply.send(place.enter().and_then(|()| work())));
        answer.await.context("a thread of the benchmark panicked")?
    }
}

/// Keeps the calling thread on one of two processors, so that where the scheduler puts the two
/// ends of a stream doesn't decide who wins. With one processor there is nothing to do.
pub fn pin(processor: usize) -> anyhow::Result<()> {
    if processors() > processor {
        let mut set = CpuSet::new();
        set.set(processor)?;
        sched_setaffinity(Pid::from_raw(0), &set).context("cannot choose a processor")?;
    }
    Ok(())
}

/// How many processors there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
