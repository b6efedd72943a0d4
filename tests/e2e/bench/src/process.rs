//! Programs of Weft that are measured: whether they are busy, and how much memory they hold.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};
use weft_e2e::apiserver::ApiServer;
use weft_e2e::tools;

/// Ticks of a processor in half a second below which a program has nothing to do: a tenth of it.
const IDLE_TICKS: u64 = 5;
const LOOK: Duration = Duration::from_millis(500);

/// A program that runs until this is dropped.
pub struct Process {
    name: &'static str,
    child: Child,
}

/// Starts the operator.
pub fn start_operator(api: &ApiServer) -> anyhow::Result<Process> {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(tools::weft_binaries()?.join("weft-operator"))
        .args(["run", "--listen", "127.0.0.1:0"]);
    Process::start("weft-operator", command, &api.kubeconfig())
}

impl Process {
    /// Starts a command that ends up as the program itself.
    pub fn start(
        name: &'static str,
        mut command: Command,
        kubeconfig: &Path,
    ) -> anyhow::Result<Self> {
        let child = command
            .env("KUBECONFIG", kubeconfig)
            .env("WEFT_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child })
    }

    /// Waits until it has had next to nothing to do for two seconds, or for as long as is said.
    pub async fn calm(&self, limit: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        let (mut before, mut quiet) = (self.ticks()?, 0);
        while quiet < 4 && start.elapsed() < limit {
            tokio::time::sleep(LOOK).await;
            let now = self.ticks()?;
            quiet = if now - before <= IDLE_TICKS {
                quiet + 1
            } else {
                0
            };
            before = now;
        }
        Ok(())
    }

    /// Resident memory, in KiB.
    pub fn resident(&self) -> anyhow::Result<f64> {
        let status = self.read("status")?;
        let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
        ensure!(
            name.is_some_and(|name| self.name.starts_with(name.trim())),
            "{} is {name:?}, not what was started",
            self.name
        );
        resident_in(&status).with_context(|| format!("{} has no VmRSS", self.name))
    }

    /// Ticks of a processor so far.
    fn ticks(&self) -> anyhow::Result<u64> {
        let stat = self.read("stat")?;
        // The name in parentheses may have spaces in it; see proc(5).
        let after = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = after.split_whitespace().collect();
        let tick = |n: usize| fields.get(n).and_then(|text| text.parse::<u64>().ok());
        Ok(tick(11).context("no utime")? + tick(12).context("no stime")?)
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let gone = || format!("{} has ended", self.name);
        let pid = self.child.id().with_context(gone)?;
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(gone)
    }
}

/// Resident memory of a process, in KiB.
pub fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    resident_in(&status).with_context(|| format!("process {pid} has no VmRSS"))
}

/// From the lines of a file `status`; see proc(5).
fn resident_in(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
