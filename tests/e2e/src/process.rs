//! Processes by identity: a number alone may be reused, a number and a start time not.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result, read_file, write_file};

/// One process, told apart from a later one of the same number by when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the pid namespace of the machine.
    pub pid: i32,
    /// When it started, in clock ticks since the machine booted (proc(5), stat field 22).
    pub start_time: u64,
}

impl ProcessId {
    /// The living process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_time) = parse_stat(&stat)?;
        (state != 'Z' && state != 'X').then_some(Self { pid, start_time })
    }

    /// Whether it still runs. A process that has ended and only waits to be reaped does not.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, if it still is the same process.
    pub fn signal(self, signal: Signal) {
        if self.alive() {
            // It may end between the look and the signal, which is what is wanted anyway.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Reads what [`ProcessId::save`] wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let text = read_file(path)?;
        serde_json::from_str(&text).doing(|| format!("parse {}", path.display()))
    }

    /// Records it in a file.
    pub fn save(self, path: &Path) -> Result<()> {
        write_file(path, serde_json::json!(self).to_string())
    }
}

/// Kills processes and waits until none of them runs.
pub fn kill_and_wait(processes: &[ProcessId]) -> Result<()> {
    for process in processes {
        process.signal(Signal::SIGKILL);
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    while let Some(left) = processes.iter().find(|p| p.alive()) {
        if Instant::now() > deadline {
            return Err(Error::State(format!(
                "process {} does not end although it was killed",
                left.pid
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// All living processes of the machine.
pub fn all() -> impl Iterator<Item = ProcessId> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(ProcessId::of)
}

/// Living processes whose `/proc/PID/ns/KIND` is one of these namespaces, given by inode.
pub fn in_namespaces(kind: &str, inodes: &BTreeSet<u64>) -> Vec<ProcessId> {
    all()
        .filter(|p| namespace(p.pid, kind).is_some_and(|inode| inodes.contains(&inode)))
        .collect()
}

/// The inode of a process's namespace of a kind (`net`, `pid`, `mnt`).
pub fn namespace(pid: i32, kind: &str) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/{kind}"))
        .ok()
        .map(|meta| meta.ino())
}

fn parse_stat(stat: &str) -> Option<(char, u64)> {
    // The command's name is in parentheses and may itself hold parentheses and blanks.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((
        fields.first()?.chars().next()?,
        fields.get(19)?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_command_with_odd_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1 1";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
        assert_eq!(parse_stat("7 (cut"), None);
    }

    #[test]
    fn another_process_of_the_same_number_is_not_the_same() {
        let me = ProcessId::of(std::process::id() as i32).expect("this process lives");
        assert!(me.alive());
        let other = ProcessId {
            start_time: me.start_time + 1,
            ..me
        };
        assert!(!other.alive());
    }

    #[test]
    fn killing_ends_exactly_the_recorded_process() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep");
        let id = ProcessId::of(child.id() as i32).expect("it lives");
        let stale = ProcessId {
            start_time: id.start_time + 1,
            ..id
        };
        kill_and_wait(&[stale]).expect("nothing to do");
        assert!(id.alive());
        kill_and_wait(&[id]).expect("it ends");
        assert!(!id.alive());
        child.wait().expect("reaped");
    }
}
