//! Named network namespaces, as `ip netns` keeps them: files in /run/netns that
//! a namespace is mounted on.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Context, Error, Result, make_dir};

const DIRECTORY: &str = "/run/netns";

/// The file that stands for a namespace.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Makes a namespace; its loopback device is down.
pub fn create(name: &str) -> Result<()> {
    make_dir(DIRECTORY)?;
    let file = path(name);
    File::create_new(&file).doing(|| format!("make {}", file.display()))?;
    let target = file.clone();
    on_own_thread(name, move || {
        unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace".to_owned())?;
        let none = None::<&str>;
        mount(
            Some("/proc/thread-self/ns/net"),
            &target,
            none,
            MsFlags::MS_BIND,
            none,
        )
        .doing(|| format!("mount a network namespace on {}", target.display()))
    })
}

/// Removes the name. The namespace goes when the last process in it has gone. A
/// name that is not there is no error.
pub fn delete(name: &str) -> Result<()> {
    let file = path(name);
    if !file.exists() {
        return Ok(());
    }
    // A crash between making the file and mounting on it leaves nothing to unmount.
    let _ = umount2(&file, MntFlags::MNT_DETACH);
    std::fs::remove_file(&file).doing(|| format!("remove {}", file.display()))
}

/// The names that start with `prefix`.
pub fn list(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// The inodes by which the processes in these namespaces are known.
pub fn inodes(names: &[String]) -> BTreeSet<u64> {
    let host = std::fs::metadata("/proc/self/ns/net")
        .map(|meta| (meta.dev(), meta.ino()))
        .ok();
    let known = names
        .iter()
        .filter_map(|name| std::fs::metadata(path(name)).ok());
    // A name that nothing is mounted on is a plain file of another filesystem.
    let known = known
        .filter(|meta| host.is_some_and(|(dev, inode)| meta.dev() == dev && meta.ino() != inode));
    known.map(|meta| meta.ino()).collect()
}

/// Runs `work` on a thread of its own that is in a namespace.
pub fn within<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let owned = name.to_owned();
    on_own_thread(name, move || {
        enter(&owned)?;
        work()
    })
}

/// Moves the calling thread into a namespace.
pub fn enter(name: &str) -> Result<()> {
    let file = path(name);
    let open = File::open(&file).doing(|| format!("open network namespace {}", file.display()))?;
    setns(open, CloneFlags::CLONE_NEWNET).doing(|| format!("enter network namespace {name}"))
}

/// Writes values below /proc/sys in a namespace, given as `net.ipv4.ip_forward`, or
/// as `net/ipv4/conf/weft.vx4/rp_filter` where a device's name has a dot.
pub fn set_sysctls(name: &str, values: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    let values: Vec<_> = values.into_iter().collect();
    within(name, move || {
        for (key, value) in values {
            let file = sysctl_path(&key);
            std::fs::write(&file, &value).doing(|| format!("set {key} to {value}"))?;
        }
        Ok(())
    })
}

/// The file of a sysctl.
pub(crate) fn sysctl_path(key: &str) -> PathBuf {
    let relative = if key.contains('/') {
        key.to_owned()
    } else {
        key.replace('.', "/")
    };
    Path::new("/proc/sys").join(relative)
}

fn on_own_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let ended = std::thread::spawn(work).join();
    ended.unwrap_or_else(|_| {
        Err(Error::State(format!(
            "the thread in network namespace {name} panicked"
        )))
    })
}
