//! A pod's network namespace: work inside it, and its settings.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::{Error, conf};

/// An open network namespace.
pub(super) struct Netns {
    file: File,
    path: PathBuf,
}

impl Netns {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::Netns {
            path: path.to_path_buf(),
            operation: "open",
            errno: errno(&e),
        })?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Does `work` inside and comes back. Not on a thread of its own: to make one and to wait for it costs an ADD
    /// 0.1 ms and more.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let failed = |path: &Path, operation| {
            let path = path.to_path_buf();
            move |errno| Error::Netns {
                path,
                operation,
                errno,
            }
        };
        let own = Path::new("/proc/thread-self/ns/net");
        let home = File::open(own).map_err(|e| failed(own, "come back to")(errno(&e)))?;
        setns(self.fd(), CloneFlags::CLONE_NEWNET).map_err(failed(&self.path, "enter"))?;
        let _return = Return(home);
        work()
    }
}

/// Takes the thread back to its network namespace, whatever happens inside the other.
struct Return(File);

impl Drop for Return {
    fn drop(&mut self) {
        if let Err(errno) = setns(&self.0, CloneFlags::CLONE_NEWNET) {
            // Whatever this thread did next, it would do to the pod instead of the node.
            eprintln!("weft: cannot leave the network namespace of a pod: {errno}; ending");
            std::process::abort();
        }
    }
}

/// Settings of the pod's interface that netlink has no word for. To be called inside, before the interface is up.
pub(super) fn settings(ifname: &str, wants_ipv6: bool) -> Result<(), Error> {
    if !kernel_has_ipv6() {
        return Ok(());
    }
    // Other pods could make themselves the router of this one (CVE-2020-10749).
    write(conf("ipv6", ifname, "accept_ra"), "0")?;
    let disabled = conf("ipv6", ifname, "disable_ipv6");
    if wants_ipv6 && std::fs::read(&disabled).is_ok_and(|value| value.starts_with(b"1")) {
        write(disabled, "0")?;
    }
    Ok(())
}

/// Whether there is IPv6 in this kernel at all.
pub(super) fn kernel_has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn write(path: PathBuf, value: &str) -> Result<(), Error> {
    std::fs::write(&path, value).map_err(|e| Error::Setting {
        errno: errno(&e),
        path,
    })
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
