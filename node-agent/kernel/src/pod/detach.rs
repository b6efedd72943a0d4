//! Removing a pod link.
//!
//! The kernel takes a device out of its tables in well under a millisecond, and then lets the caller wait until no
//! processor can still be using it (`rcu_barrier` in `netdev_run_todo`): 10 to 30 ms, in which nothing can be seen of
//! the device any more.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::{Error, HostIfname, check, connect, message};
use crate::netlink::Connection;

/// Removes the link with all that hangs on it, from the node's end, and waits until the kernel has freed it. False if
/// there was none.
pub fn detach(host_ifname: &HostIfname) -> Result<bool, Error> {
    delete(&mut connect()?, host_ifname)
}

/// As [`detach`], but comes back as soon as the link is out of the kernel's tables. A child process does the waiting,
/// so this is for programs that end soon, as the plugin does: nobody collects the child.
pub fn detach_without_waiting(host_ifname: &HostIfname) -> Result<bool, Error> {
    /// Much longer than the kernel's lock is ever held by others.
    const LIMIT: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_micros(100);
    let name = host_ifname.as_str();
    let mut host = connect()?;
    if check::find(&mut host, name)?.is_none() {
        return Ok(false);
    }
    let mut own = connect()?;
    // SAFETY: the child only uses memory that is its own by then, and the C library's allocator is kept usable over
    // fork. It runs no destructor of the parent's and no exit handler.
    #[allow(unsafe_code)]
    let Ok(ForkResult::Parent { child }) = (unsafe { fork() }).inspect(|side| {
        if matches!(side, ForkResult::Child) {
            delete_and_exit(&mut own, host_ifname);
        }
    }) else {
        return delete(&mut host, host_ifname);
    };
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        std::thread::sleep(PAUSE);
        if check::find(&mut host, name)?.is_none() {
            return Ok(true);
        }
        let ended = waitpid(child, Some(WaitPidFlag::WNOHANG));
        if !matches!(ended, Ok(WaitStatus::StillAlive)) {
            break;
        }
    }
    // The child came to nothing. This says why, or does it.
    delete(&mut host, host_ifname)
}

fn delete_and_exit(connection: &mut Connection, name: &HostIfname) -> ! {
    // Whoever reads the parent's output waits until all have closed it.
    for fd in 0..3 {
        let _ = nix::unistd::close(fd);
    }
    let _ = delete(connection, name);
    // SAFETY: always sound.
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::_exit(0)
    }
}

pub(super) fn delete(host: &mut Connection, name: &HostIfname) -> Result<bool, Error> {
    let step = message::delete(name);
    match host.execute_one(&step.request) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(false),
        Err(error) => Err(Error::kernel(step.operation)(error)),
    }
}
