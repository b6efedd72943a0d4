//! The services of a node, and everything else that runs on it, as its pid 1 sees them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::error::Result;

const PAUSE: Duration = Duration::from_millis(20);

#[derive(Default)]
pub(super) struct Services {
    running: Mutex<BTreeMap<String, i32>>,
}

impl Services {
    pub(super) fn running(&self) -> BTreeMap<String, i32> {
        self.table().clone()
    }

    pub(super) fn start(&self, name: &str, argv: &[String]) -> Result<(), String> {
        // Held while the process is made, so that its end is not seen before its start.
        let mut running = self.table();
        if running.contains_key(name) {
            return Err(format!("{name} runs already"));
        }
        let path = format!("/var/log/{name}.log");
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|e| format!("{path}: {e}"))
        };
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| format!("{name} has no command line"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?);
        let child = command
            .spawn()
            .map_err(|error| format!("start {program}: {error}"))?;
        running.insert(name.to_owned(), child.id() as i32);
        Ok(())
    }

    pub(super) fn signal(&self, name: &str, number: i32) -> Result<(), String> {
        let signal = Signal::try_from(number).map_err(|_| format!("{number} is not a signal"))?;
        let running = self.table();
        let pid = running
            .get(name)
            .ok_or_else(|| format!("{name} does not run"))?;
        kill(Pid::from_raw(*pid), signal)
            .map_err(|errno| format!("send {signal} to {name}: {errno}"))
    }

    /// Ends everything else on the node; answers nothing because it ends itself.
    pub(super) fn shutdown(&self, milliseconds: u64) -> Result<(), String> {
        let everyone = Pid::from_raw(-1);
        let deadline = Instant::now() + Duration::from_millis(milliseconds);
        let _ = kill(everyone, Signal::SIGTERM);
        while Instant::now() < deadline && kill(everyone, None) != Err(Errno::ESRCH) {
            std::thread::sleep(PAUSE);
        }
        // The end of pid 1 ends what is left.
        std::process::exit(0)
    }

    /// Waits for the end of every process that has this one for its parent.
    pub(super) fn reap_forever(&self) -> ! {
        loop {
            let Ok(status) = waitpid(None, None) else {
                std::thread::sleep(PAUSE);
                continue;
            };
            let Some(pid) = status.pid().map(Pid::as_raw) else {
                continue;
            };
            let mut running = self.table();
            let name = running
                .iter()
                .find(|(_, p)| **p == pid)
                .map(|(name, _)| name.clone());
            if let Some(name) = name {
                running.remove(&name);
                println!("{name} ended: {status:?}");
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, i32>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
