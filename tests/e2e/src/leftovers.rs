//! Taking a cluster off the machine, whatever state it is in, and looking for
//! anything of it that is still there.

use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, umount2};

use crate::error::{Context, Error, Result, read_file};
use crate::launch::PART_OF;
use crate::node_init::mount_points;
use crate::plan::{Plan, prefix};
use crate::process::{self, ProcessId, kill_and_wait};
use crate::state::{BASE, StateDir};
use crate::{cgroup, netns};

/// Removes everything of a cluster. Goes by names alone, so it needs nothing that
/// a crash might have kept from being written.
pub fn remove(cluster: &str) -> Result<()> {
    let dir = StateDir::of(cluster);
    let lock = dir.exists().then(|| dir.lock()).transpose()?;
    let names = netns::list(&prefix(cluster));
    // A process may have been making another when it was looked for.
    loop {
        let processes = processes(cluster, &names);
        if processes.is_empty() {
            break;
        }
        kill_and_wait(&processes)?;
    }
    if host_device_exists(cluster) {
        let device = host_device(cluster);
        let deleted = Command::new("ip")
            .args(["link", "delete", &device])
            .status();
        deleted.doing(|| format!("delete link {device}"))?;
    }
    names.iter().try_for_each(|name| netns::delete(name))?;
    for path in mounts(cluster)?.iter().rev() {
        umount2(Path::new(path), MntFlags::MNT_DETACH).doing(|| format!("unmount {path}"))?;
    }
    cgroup::remove(&prefix(cluster))?;
    if dir.exists() {
        std::fs::remove_dir_all(dir.path()).doing(|| format!("remove {}", dir.path().display()))?;
    }
    drop(lock);
    // Stays while another cluster is there.
    let _ = std::fs::remove_dir(BASE);
    let left = find(cluster)?;
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::State(format!(
        "cluster {cluster} is not all gone; still there:\n  {}",
        left.join("\n  ")
    )))
}

/// Whatever there is of a cluster on the machine: processes, namespaces, links,
/// mounts, cgroups, files. Nothing if it has been removed.
pub fn find(cluster: &str) -> Result<Vec<String>> {
    let names = netns::list(&prefix(cluster));
    let mut found = Vec::new();
    found.extend(processes(cluster, &names).iter().map(|id| {
        let command =
            std::fs::read_to_string(format!("/proc/{}/cmdline", id.pid)).unwrap_or_default();
        format!("process {}: {}", id.pid, command.replace('\0', " "))
    }));
    found.extend(names.iter().map(|name| format!("network namespace {name}")));
    found.extend(host_device_exists(cluster).then(|| format!("link {}", host_device(cluster))));
    found.extend(mounts(cluster)?.iter().map(|path| format!("mount {path}")));
    found.extend(
        cgroup::list(&prefix(cluster))?
            .iter()
            .map(|path| format!("cgroup {}", path.display())),
    );
    let dir = StateDir::of(cluster);
    found.extend(
        dir.exists()
            .then(|| format!("directory {}", dir.path().display())),
    );
    Ok(found)
}

/// Everything that runs for a cluster: what has been recorded, what is in its
/// network namespaces, and what was started by any of it.
fn processes(cluster: &str, netns_names: &[String]) -> Vec<ProcessId> {
    let dir = StateDir::of(cluster);
    let control = std::fs::read_dir(dir.file("pids"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let nodes = std::fs::read_dir(dir.file("nodes"))
        .into_iter()
        .flatten()
        .flatten();
    let files = control.chain(nodes.map(|entry| entry.path().join("pid")));
    let mut found: Vec<_> = files
        .filter_map(|path| ProcessId::load(&path).ok())
        .filter(|id| id.alive())
        .collect();
    found.extend(process::in_namespaces("net", &netns::inodes(netns_names)));
    let mark = format!("{PART_OF}={cluster}");
    found.extend(process::all().filter(|id| {
        let environment = std::fs::read(format!("/proc/{}/environ", id.pid)).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
    }));
    found.sort();
    found.dedup();
    let this = std::process::id() as i32;
    found.retain(|id| id.pid != this);
    found
}

fn mounts(cluster: &str) -> Result<Vec<String>> {
    let dir = StateDir::of(cluster);
    let points = mount_points(&read_file("/proc/self/mountinfo")?);
    let own = points.iter().filter(|point| {
        let pinned = point
            .strip_prefix("/run/netns")
            .is_ok_and(|name| name.to_string_lossy().starts_with(&prefix(cluster)));
        pinned || point.starts_with(dir.path())
    });
    Ok(own.map(|point| point.display().to_string()).collect())
}

fn host_device(cluster: &str) -> String {
    Plan::host_device(cluster)
}

fn host_device_exists(cluster: &str) -> bool {
    Path::new("/sys/class/net")
        .join(host_device(cluster))
        .exists()
}
