//! The plugin killed at every one of its system calls: whatever comes next leaves nothing behind.

#![allow(clippy::unwrap_used)]
// Only the child itself can ask to be traced, between fork and exec.
#![allow(unsafe_code)]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::CommandExt;

use common::{Call, Node, Pod};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;

/// Runs the plugin until it, with all its threads, is about to make its `nth` system call, and kills it there. False
/// if it ended before.
// It is waited for, by number.
#[allow(clippy::zombie_processes)]
fn killed_at(call: &Call, nth: usize) -> bool {
    let mut process = call.process();
    // SAFETY: ptrace(PTRACE_TRACEME) is all that happens between fork and exec.
    unsafe { process.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let mut child = process.spawn().unwrap();
    let input = call.config.to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let leader = Pid::from_raw(child.id().cast_signed());
    waitpid(leader, Some(WaitPidFlag::__WALL)).unwrap();
    let options =
        Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(leader, options).unwrap();
    ptrace::syscall(leader, None).unwrap();
    let (mut inside, mut seen, mut killed) = (BTreeSet::new(), 0, false);
    loop {
        // Not the children of the other tests.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let stopped = match waitpid(Pid::from_raw(-1), Some(flags)).unwrap() {
            WaitStatus::PtraceSyscall(thread) => {
                if !inside.remove(&thread) {
                    inside.insert(thread);
                    seen += 1;
                }
                if seen == nth && !killed {
                    killed = true;
                    kill(leader, Signal::SIGKILL).unwrap();
                }
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) | WaitStatus::Stopped(thread, Signal::SIGSTOP) => {
                (thread, None)
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::Exited(ended, _) | WaitStatus::Signaled(ended, ..) if ended == leader => {
                return killed;
            }
            _ => continue,
        };
        // One that was killed meanwhile is not there to go on.
        let _ = ptrace::syscall(stopped.0, stopped.1);
    }
}

fn with_port(call: Call) -> Call {
    call.with(
        "runtimeConfig",
        json!({"portMappings": [{"hostPort": 8081, "containerPort": 80, "protocol": "udp"}]}),
    )
}

#[test]
fn an_add_killed_anywhere_leaves_nothing_after_del_or_gc_or_a_second_add() {
    let node = Node::new();
    let pod = Pod::new();
    let add = with_port(pod.call("ADD"));
    let mut points = 0;
    while killed_at(&add, points + 1) {
        points += 1;
        match points % 3 {
            0 => drop(pod.call("DEL").run().unwrap()),
            1 => drop(
                pod.call("GC")
                    .with("cni.dev/valid-attachments", json!([]))
                    .run()
                    .unwrap(),
            ),
            _ => {
                let result = add.run().unwrap();
                pod.call("CHECK").with("prevResult", result).run().unwrap();
                pod.call("DEL").run().unwrap();
            }
        }
        assert_eq!(node.residue(), [""; 0], "killed at system call {points}");
    }
    assert!(points > 50, "the plugin was killed at {points} points only");
    pod.call("DEL").run().unwrap();
    assert_eq!(node.residue(), [""; 0]);
}

#[test]
fn a_del_killed_anywhere_is_finished_by_the_next() {
    let node = Node::new();
    let pod = Pod::new();
    let add = with_port(pod.call("ADD"));
    add.run().unwrap();
    let mut points = 0;
    while killed_at(&pod.call("DEL"), points + 1) {
        points += 1;
        // What is not ended yet must not be given to another.
        let other = Pod::new();
        let given = common::addresses(&other.call("ADD").run().unwrap());
        let held = node.store.attachments().unwrap();
        let same = held.iter().filter(|a| a.id.container_id == pod.id);
        assert!(
            same.flat_map(|a| &a.addresses)
                .all(|ip| !given.contains(ip))
        );
        other.call("DEL").run().unwrap();
        pod.call("DEL").run().unwrap();
        assert_eq!(node.residue(), [""; 0], "killed at system call {points}");
        add.run().unwrap();
    }
    assert!(points > 30, "the plugin was killed at {points} points only");
    pod.call("DEL").run().unwrap();
    assert_eq!(node.residue(), [""; 0]);
}
