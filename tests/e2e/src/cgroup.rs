//! A subtree of the machine's cgroups for each node: in every hierarchy of
//! version 1, or the one of version 2.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result, make_dir, read_file, write_file};

const ROOT: &str = "/sys/fs/cgroup";
/// Version 2 forbids processes in a group that has groups below it with
/// controllers, so a node's own processes are in a leaf.
const LEAF: &str = "system";

/// Makes the subtree `name`.
pub fn create(name: &str) -> Result<()> {
    if unified() {
        return create_unified(name);
    }
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        make_dir(&group)?;
        // A new cpuset is empty, and no process may enter an empty one.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.join(file).exists() {
                write_file(group.join(file), read_file(hierarchy.join(file))?)?;
            }
        }
    }
    Ok(())
}

/// Moves the calling process into the subtree.
pub fn join(name: &str) -> Result<()> {
    if unified() {
        return write_file(
            Path::new(ROOT).join(name).join(LEAF).join("cgroup.procs"),
            "0",
        );
    }
    for hierarchy in hierarchies()? {
        write_file(hierarchy.join(name).join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Removes every subtree whose name starts with `prefix`. Their processes must have ended.
pub fn remove(prefix: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    for group in list(prefix)? {
        // A group stays busy for a moment after its last process has ended.
        while let Err(error) = remove_tree(&group) {
            if Instant::now() > deadline {
                return Err(error).doing(|| format!("remove cgroup {}", group.display()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// The subtrees whose name starts with `prefix`, in all hierarchies.
pub fn list(prefix: &str) -> Result<Vec<PathBuf>> {
    let roots = if unified() {
        vec![PathBuf::from(ROOT)]
    } else {
        hierarchies()?
    };
    let entries = roots.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    Ok(named
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect())
}

fn create_unified(name: &str) -> Result<()> {
    let root = Path::new(ROOT);
    let enable = |group: &Path| {
        let controllers = read_file(group.join("cgroup.controllers"))?;
        let enabled: Vec<_> = controllers
            .split_whitespace()
            .map(|name| format!("+{name}"))
            .collect();
        write_file(group.join("cgroup.subtree_control"), enabled.join(" "))
    };
    make_dir(root.join(name).join(LEAF))?;
    enable(root)?;
    enable(&root.join(name))
}

fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The mounted hierarchies of version 1. Two names may stand for one hierarchy
/// (cpu and cpuacct); making a group in both is making it once.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(ROOT).doing(|| format!("list {ROOT}"))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let found: Vec<_> = paths
        .filter(|path| path.join("cgroup.procs").exists())
        .collect();
    if found.is_empty() {
        return Err(Error::State(format!(
            "no cgroups are mounted in {ROOT}; the kubelet needs them"
        )));
    }
    Ok(found)
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(group) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(group) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
