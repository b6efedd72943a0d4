//! Network namespaces for tests on the real kernel. Needs root.
//!
//! Every namespace lives as long as its value (or the thread inside it) does: there are
//! no names, so a test that dies leaves nothing behind.

use std::fs::File;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
pub struct Netns(File);

impl Netns {
    /// A new, empty network namespace with `lo` up.
    pub fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace needs root");
            sh("ip link set lo up");
            File::open("/proc/thread-self/ns/net").expect("open the namespace")
        });
        Self(made.join().expect("make a network namespace"))
    }

    /// Runs `inside` in the namespace, on a thread of its own, and returns its result. A
    /// panic inside is a panic here.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
                inside()
            });
            entered.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Runs `inside` in a network namespace of its own.
pub fn in_netns<T: Send>(inside: impl FnOnce() -> T + Send) -> T {
    Netns::new().run(inside)
}

/// What `bind` makes, which binds a socket in the thread's network namespace.
///
/// An address that a test has let go of may be in use for a moment longer: a process that
/// another test starts holds copies of all descriptors from `fork` to `execve`.
pub fn bound<S>(bind: impl Fn() -> io::Result<S>) -> S {
    let started = Instant::now();
    loop {
        match bind() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && started.elapsed() < Duration::from_secs(10) =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            done => return done.expect("bind a socket"),
        }
    }
}

/// A UDP socket bound in the thread's network namespace, as by [`bound`].
pub fn udp(address: impl ToSocketAddrs) -> UdpSocket {
    bound(|| UdpSocket::bind(&address))
}

/// Runs a shell script in the thread's network namespace; panics if it fails. Returns
/// what it printed.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", script])
        .output()
        .expect("run sh");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{script}\n{out}{err}");
    out.into_owned()
}
