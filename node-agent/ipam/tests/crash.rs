//! What is left when writers die, the disk fills, and files are cut short.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use common::{attach, gc, id, node, store_with};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proptest::prelude::*;
use weft_ipam::{Error, Store};

/// The journal of some life, and after how many bytes each line ends.
fn lived(turns: &[(u8, bool)]) -> (Vec<u8>, Vec<usize>) {
    let (dir, store) = store_with(&["10.0.0.0/27", "fd00::/122"]);
    for (name, begins) in turns {
        let name = format!("c{name}");
        match begins {
            true => drop(attach(&store, &name).unwrap()),
            false => drop(store.lock().unwrap().detach(&id(&name)).unwrap()),
        }
    }
    let bytes = fs::read(dir.path().join("journal")).unwrap();
    let ends = (0..bytes.len())
        .filter(|i| bytes[*i] == b'\n')
        .map(|i| i + 1)
        .collect();
    (bytes, ends)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn cut_at_every_byte_the_whole_lines_remain(turns in proptest::collection::vec((0..5u8, any::<bool>()), 1..9)) {
        let (bytes, ends) = lived(&turns);
        let (dir, store) = store_with(&["10.0.0.0/27", "fd00::/122"]);
        let path = dir.path().join("journal");
        let mut expected = Vec::new();
        for cut in 0..=bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let locked = store.lock().unwrap();
            // A line that lacks only its newline is whole: its checksum says so.
            let whole = ends.iter().any(|end| cut == *end || cut + 1 == *end) || cut == 0;
            prop_assert_eq!(locked.recovered().is_none(), whole, "cut at {}", cut);
            let attachments: Vec<_> = locked.attachments().cloned().collect();
            drop(locked);
            if whole {
                expected.clone_from(&attachments);
            }
            prop_assert_eq!(&attachments, &expected, "cut at {}", cut);
            // Life goes on: what is attached next collides with nobody, and can be ended.
            let next = attach(&store, "next").unwrap().attachment;
            prop_assert!(attachments.iter().all(|a| a.addresses.iter().all(|ip| !next.addresses.contains(ip))));
            gc(&store, &BTreeSet::new());
            prop_assert!(store.attachments().unwrap().is_empty());
        }
    }
}

fn churn(dir: &Path, name: &str, turns: u32) -> Child {
    let exe = std::env::current_exe().unwrap();
    let churn = exe.ancestors().nth(2).unwrap().join("examples/churn");
    Command::new(churn)
        .arg(dir.join("store"))
        .arg(dir.join("held"))
        .arg(name)
        .arg(turns.to_string())
        .spawn()
        .unwrap()
}

fn churned() -> (tempfile::TempDir, Store, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let held = dir.path().join("held");
    fs::create_dir(&held).unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    let node = node(&["10.0.0.0/27", "fd00::/122"]);
    store.lock().unwrap().write_node(&node).unwrap();
    (dir, store, held)
}

#[test]
fn many_processes_never_share_an_address() {
    let (dir, store, held) = churned();
    let children: Vec<Child> = (0..12)
        .map(|i| churn(dir.path(), &format!("p{i}"), 60))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let used: usize = store
        .attachments()
        .unwrap()
        .iter()
        .map(|a| a.addresses.len())
        .sum();
    assert_eq!(used, fs::read_dir(&held).unwrap().count());
    assert!(used > 0 && store.corrupt_files().unwrap().is_empty());
}

#[test]
fn writers_killed_at_any_moment_leak_nothing() {
    let (dir, store, held) = churned();
    let mut steady = churn(dir.path(), "steady", 400);
    for round in 0..40u32 {
        let name = format!("killed{round}");
        let mut child = churn(dir.path(), &name, u32::MAX);
        std::thread::sleep(Duration::from_micros(u64::from(
            2_000 + round * 517 % 9_000,
        )));
        child.kill().unwrap();
        child.wait().unwrap();
        // What the runtime does for containers that are no more.
        let mut locked = store.lock().unwrap();
        assert!(locked.recovered().is_none());
        let valid: BTreeSet<_> = locked
            .attachments()
            .map(|a| a.id.clone())
            .filter(|id| !id.container_id.starts_with(&format!("{name}-")))
            .collect();
        for stale in locked.stale("weft", &valid) {
            for ip in &stale.addresses {
                let _ = fs::remove_file(held.join(ip.to_string()));
            }
            locked.detach(&stale.id).unwrap();
        }
    }
    assert!(steady.wait().unwrap().success());
    gc(&store, &BTreeSet::new());
    let locked = store.lock().unwrap();
    let node = locked.read_node().unwrap();
    for block in &node.blocks {
        assert_eq!(locked.usage(&node, block.cidr).used, 0);
    }
}

#[test]
fn a_full_disk_is_an_error_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let options = Some("size=64k");
    mount(
        Some("weft-ipam"),
        dir.path(),
        Some("tmpfs"),
        MsFlags::empty(),
        options,
    )
    .unwrap();
    let unmount = Unmount(dir.path().to_path_buf());
    let store = Store::create(dir.path().join("store")).unwrap();
    let node = node(&["10.0.0.0/22"]);
    store.lock().unwrap().write_node(&node).unwrap();
    let mut attached = Vec::new();
    let error = loop {
        let name = format!("c{}", attached.len());
        match attach(&store, &name) {
            Ok(a) => attached.push(a.attachment),
            Err(e) => break e,
        }
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("free some space"));
    let mut locked = store.lock().unwrap();
    assert!(locked.recovered().is_none());
    assert_eq!(locked.attachments().len(), attached.len());
    let bigger = locked
        .write_node(&common::node(&["10.0.0.0/22"; 1]))
        .is_err();
    assert!(bigger, "node.json cannot be written on a full disk");
    assert_eq!(locked.read_node().unwrap(), node);
    drop(locked);
    drop(unmount);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}
