//! The node's own view of the filesystem: the machine's root below, and above it a
//! small filesystem in memory that takes all that the node writes. So a node sees
//! the machine's programs, changes nothing of the machine's, and can run out of disk
//! alone. What is big (images, volumes, logs) is in directories on the machine's disk.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

use crate::error::{Context, Result, make_dir, read_file, write_file};
use crate::netns::sysctl_path;
use crate::state;

/// Directories of the node's own, by where they are on the machine below the node's directory.
const OWN: [(&str, &str); 7] = [
    ("config", "etc/kubernetes"),
    ("disk/etc-cni", "etc/cni"),
    ("disk/opt-cni", "opt/cni"),
    ("disk/lib-weft", "var/lib/weft"),
    ("containerd", "var/lib/containerd"),
    ("kubelet", "var/lib/kubelet"),
    ("log", "var/log"),
];

/// Sysctls that the kubelet sets although they are the machine's, not the node's:
/// it gets files to write instead.
const SHIELDED: [&str; 6] = [
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
];

/// Makes the view, in a new mount namespace, and moves this process into it.
pub(super) fn enter(node: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "make a mount namespace".to_owned())?;
    mount_on(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None,
    )?;
    let root = node.join("disk/root");
    let (upper, work) = (node.join("disk/upper"), node.join("disk/work"));
    for dir in [&root, &upper, &work] {
        make_dir(dir)?;
    }
    let layers = format!(
        "lowerdir=/,upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount_on(
        Some("overlay"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(&layers),
    )?;
    other_filesystems(&root)?;
    kernel_filesystems(&root)?;
    for (from, to) in OWN {
        let target = root.join(to);
        make_dir(node.join(from))?;
        make_dir(&target)?;
        bind(&node.join(from), &target, MsFlags::empty())?;
    }
    become_root(&root)?;
    shield_sysctls()
}

/// An overlay shows the root filesystem alone, so others that the machine has
/// mounted in it (for /home, for a cache) are shown one by one.
fn other_filesystems(root: &Path) -> Result<()> {
    const OWN_COPY: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/tmp", state::BASE];
    for mounted in mount_points(&read_file("/proc/self/mountinfo")?) {
        let target = root.join(mounted.strip_prefix("/").unwrap_or(&mounted));
        let skip = mounted == Path::new("/") || OWN_COPY.iter().any(|dir| mounted.starts_with(dir));
        if !skip && target.exists() {
            bind(&mounted, &target, MsFlags::empty())?;
        }
    }
    Ok(())
}

fn kernel_filesystems(root: &Path) -> Result<()> {
    let none = MsFlags::empty();
    mount_on(Some("proc"), &root.join("proc"), Some("proc"), none, None)?;
    // A new one shows the devices of the node's network namespace, but no cgroups.
    mount_on(Some("sysfs"), &root.join("sys"), Some("sysfs"), none, None)?;
    bind(
        Path::new("/sys/fs/cgroup"),
        &root.join("sys/fs/cgroup"),
        MsFlags::MS_REC,
    )?;
    mount_on(
        Some("bpf"),
        &root.join("sys/fs/bpf"),
        Some("bpf"),
        none,
        None,
    )?;
    bind(Path::new("/dev"), &root.join("dev"), MsFlags::MS_REC)?;
    for dir in ["run", "tmp"] {
        let mode = if dir == "tmp" {
            "mode=1777"
        } else {
            "mode=755"
        };
        mount_on(
            Some("tmpfs"),
            &root.join(dir),
            Some("tmpfs"),
            none,
            Some(mode),
        )?;
    }
    make_dir(root.join("run/lock"))
}

fn become_root(root: &Path) -> Result<()> {
    chdir(root).doing(|| format!("enter {}", root.display()))?;
    // Stacks the old root on the new one (pivot_root(2)); then it is taken off.
    pivot_root(".", ".").doing(|| "change the root".to_owned())?;
    umount2(".", MntFlags::MNT_DETACH).doing(|| "leave the machine's root".to_owned())?;
    chdir("/").doing(|| "enter the new root".to_owned())?;
    mount_on(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_SHARED,
        None,
    )
}

fn shield_sysctls() -> Result<()> {
    make_dir("/run/sysctl")?;
    for name in SHIELDED {
        let real = sysctl_path(name);
        if real.exists() {
            let copy = Path::new("/run/sysctl").join(name);
            write_file(&copy, read_file(&real)?)?;
            bind(&copy, &real, MsFlags::empty())?;
        }
    }
    Ok(())
}

fn bind(from: &Path, to: &Path, more: MsFlags) -> Result<()> {
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND | more, none)
        .doing(|| format!("mount {} on {}", from.display(), to.display()))
}

fn mount_on(
    what: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<()> {
    let name = || format!("mount {} on {}", what.unwrap_or("anew"), target.display());
    mount(what, target, kind, flags, data).doing(name)
}

/// Mount points, outermost first, from the text of mountinfo (proc(5)).
pub(crate) fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let field = |line: &str| line.split(' ').nth(4).map(unescape);
    mountinfo
        .lines()
        .filter_map(field)
        .map(PathBuf::from)
        .collect()
}

fn unescape(text: &str) -> String {
    let codes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    codes
        .into_iter()
        .fold(text.to_owned(), |text, (code, plain)| {
            text.replace(code, plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks() {
        let text = "22 1 8:1 / / rw - ext4 /dev/a rw\n30 22 0:5 / /mnt/my\\040disk rw shared:1 - tmpfs none rw\n";
        assert_eq!(
            mount_points(text),
            [PathBuf::from("/"), PathBuf::from("/mnt/my disk")]
        );
    }
}
