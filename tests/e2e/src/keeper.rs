//! Processes that must not outlive this one, whatever ends it.
//!
//! The kernel can kill a child when its parent ends (prctl PR_SET_PDEATHSIG),
//! but means by parent the thread that made it. Test threads come and go, so
//! one thread of its own makes the processes and stays until all are to end.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::error::{Context, Error, Result};

/// Starts, stops and watches named processes; dropping it kills them all.
pub struct Keeper {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

enum Request {
    Start {
        name: String,
        argv: Vec<String>,
        log: PathBuf,
        reply: mpsc::Sender<Result<()>>,
    },
    Stop {
        name: String,
        reply: mpsc::Sender<Result<()>>,
    },
    Running {
        name: String,
        reply: mpsc::Sender<bool>,
    },
}

impl Keeper {
    /// A keeper without processes.
    pub fn new() -> Self {
        let (requests, inbox) = mpsc::channel();
        let thread = std::thread::spawn(move || serve(inbox));
        Self {
            requests: Some(requests),
            thread: Some(thread),
        }
    }

    /// Starts a process whose output is appended to `log`.
    pub fn start(&self, name: &str, argv: Vec<String>, log: PathBuf) -> Result<()> {
        self.ask(|reply| Request::Start {
            name: name.to_owned(),
            argv,
            log,
            reply,
        })
        .unwrap_or_else(gone)
    }

    /// Kills a process and waits for its end. One that does not run is no error.
    pub fn stop(&self, name: &str) -> Result<()> {
        self.ask(|reply| Request::Stop {
            name: name.to_owned(),
            reply,
        })
        .unwrap_or_else(gone)
    }

    /// Whether a process has been started and has not ended.
    pub fn running(&self, name: &str) -> bool {
        self.ask(|reply| Request::Running {
            name: name.to_owned(),
            reply,
        })
        .unwrap_or(false)
    }

    fn ask<T>(&self, request: impl FnOnce(mpsc::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = mpsc::channel();
        self.requests.as_ref()?.send(request(reply)).ok()?;
        answer.recv().ok()
    }
}

impl Default for Keeper {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.requests.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone<T>() -> Result<T> {
    Err(Error::State(
        "the thread that keeps processes has ended".to_owned(),
    ))
}

fn serve(inbox: mpsc::Receiver<Request>) {
    let mut children: BTreeMap<String, Child> = BTreeMap::new();
    for request in inbox {
        // An asker that no longer waits for its answer needs none.
        match request {
            Request::Start {
                name,
                argv,
                log,
                reply,
            } => {
                let started = spawn(&argv, &log).map(|child| {
                    children.insert(name, child);
                });
                let _ = reply.send(started);
            }
            Request::Stop { name, reply } => {
                let _ = reply.send(
                    children
                        .remove(&name)
                        .map_or(Ok(()), |child| end(child, &name)),
                );
            }
            Request::Running { name, reply } => {
                let running = children
                    .get_mut(&name)
                    .is_some_and(|child| matches!(child.try_wait(), Ok(None)));
                let _ = reply.send(running);
            }
        }
    }
    for (name, child) in children {
        let _ = end(child, &name);
    }
}

fn spawn(argv: &[String], log: &PathBuf) -> Result<Child> {
    let open = || {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .doing(|| format!("open {}", log.display()))
    };
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(argv)
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        .spawn()
        .doing(|| format!("start {}", argv.join(" ")))
}

fn end(mut child: Child, name: &str) -> Result<()> {
    child.kill().doing(|| format!("kill {name}"))?;
    child
        .wait()
        .doing(|| format!("wait for {name}"))
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_end_with_their_keeper() {
        let dir = tempfile::tempdir().expect("directory");
        let keeper = Keeper::new();
        let log = dir.path().join("log");
        let script = "echo $$; exec sleep 1000".to_owned();
        keeper
            .start(
                "sleeper",
                vec!["sh".into(), "-c".into(), script],
                log.clone(),
            )
            .expect("starts");
        let pid = loop {
            let text = std::fs::read_to_string(&log).expect("log");
            if text.ends_with('\n') {
                break text.trim().parse::<i32>().expect("number");
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        assert!(keeper.running("sleeper"));
        assert!(!keeper.running("other"));
        let id = crate::process::ProcessId::of(pid).expect("it lives");
        drop(keeper);
        assert!(!id.alive());
    }
}
