//! The store on a real file system: what it gives, and what it survives.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use common::{attach, gc, id, node, request, store_with};
use weft_ipam::{Error, HostPort, Protocol, Store};

#[test]
fn attaching_twice_gives_the_same() {
    let (_dir, store) = store_with(&["10.0.0.0/29", "fd00::/122"]);
    let first = attach(&store, "a").unwrap();
    let again = attach(&store, "a").unwrap();
    assert!(!first.existed && again.existed);
    assert_eq!(first.attachment, again.attachment);
    assert_eq!(first.attachment.addresses.len(), 2);
    let mut moved = request("a");
    moved.netns = "/run/netns/other".into();
    let moved = store.lock().unwrap().attach(moved).unwrap();
    assert_eq!(moved.attachment.addresses, first.attachment.addresses);
    assert_eq!(
        store.attachments().unwrap()[0].netns,
        "/run/netns/other",
        "the record follows the container's namespace"
    );
}

#[test]
fn detaching_twice_is_harmless() {
    let (_dir, store) = store_with(&["10.0.0.0/29"]);
    attach(&store, "a").unwrap();
    let mut locked = store.lock().unwrap();
    assert!(locked.detach(&id("a")).unwrap().is_some());
    assert!(locked.detach(&id("a")).unwrap().is_none());
    assert_eq!(locked.attachments().len(), 0);
}

#[test]
fn gc_ends_what_is_not_valid() {
    let (_dir, store) = store_with(&["10.0.0.0/28"]);
    for name in ["a", "b", "c"] {
        attach(&store, name).unwrap();
    }
    let valid: BTreeSet<_> = [id("b"), id("unknown")].into();
    assert_eq!(store.lock().unwrap().stale("weft", &valid).len(), 2);
    assert_eq!(store.lock().unwrap().stale("other", &valid).len(), 0);
    gc(&store, &valid);
    let left = store.attachments().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, id("b"));
}

#[test]
fn full_blocks_are_named_and_nothing_is_written() {
    let (dir, store) = store_with(&["10.0.0.0/30"]);
    attach(&store, "a").unwrap();
    attach(&store, "b").unwrap();
    let before = fs::read(dir.path().join("journal")).unwrap();
    let error = attach(&store, "c").unwrap_err();
    assert!(matches!(&error, Error::Full { blocks, .. } if blocks == "10.0.0.0/30"));
    assert_eq!(before, fs::read(dir.path().join("journal")).unwrap());
}

#[test]
fn a_taken_host_port_names_its_owner() {
    let (_dir, store) = store_with(&["10.0.0.0/28"]);
    let with_port = |name: &str, host_ip: Option<&str>| {
        let mut request = request(name);
        request.host_ports = vec![HostPort {
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 80,
            container_port: 8080,
            protocol: Protocol::Tcp,
        }];
        store.lock().unwrap().attach(request)
    };
    with_port("a", Some("192.0.2.1")).unwrap();
    with_port("a", Some("192.0.2.1")).unwrap();
    with_port("b", Some("192.0.2.2")).unwrap();
    let error = with_port("c", None).unwrap_err().to_string();
    assert!(
        error.contains("80/TCP") && error.contains("pod ns/a"),
        "{error}"
    );
    assert!(store.lock().unwrap().get(&id("c")).is_none());
}

#[test]
fn one_host_interface_has_one_owner() {
    let (_dir, store) = store_with(&["10.0.0.0/28"]);
    attach(&store, "a").unwrap();
    let mut same = request("b");
    same.host_ifname = request("a").host_ifname;
    let error = store.lock().unwrap().attach(same).unwrap_err();
    assert!(matches!(&error, Error::NameTaken { owner, .. } if owner == "pod ns/a"));
}

#[test]
fn a_reboot_ends_all_that_was_before() {
    let (_dir, store) = store_with(&["10.0.0.0/30"]);
    attach(&store, "a").unwrap();
    attach(&store, "b").unwrap();
    let next = store.clone().in_boot("another");
    attach(&next, "c").unwrap();
    let left = next.attachments().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, id("c"));
}

#[test]
fn missing_or_broken_node_json_says_how_to_mend() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let error = attach(&store, "a").unwrap_err();
    assert!(matches!(error, Error::NodeMissing { .. }));
    assert!(error.to_string().contains("weft-agent"));
    for bad in ["", "{", "[]", r#"{"blocks":[]}"#] {
        fs::write(dir.path().join("node.json"), bad).unwrap();
        let error = attach(&store, "a").unwrap_err();
        assert!(matches!(error, Error::NodeInvalid { .. }), "{bad}");
        assert!(error.to_string().contains("restart the weft-agent"));
    }
    assert!(Store::open(dir.path().join("none")).is_err());
}

#[test]
fn unreadable_lines_are_set_aside_and_the_rest_kept() {
    let (dir, store) = store_with(&["10.0.0.0/28"]);
    let addresses: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| attach(&store, name).unwrap().attachment.addresses)
        .collect();
    let path = dir.path().join("journal");
    let text = fs::read_to_string(&path).unwrap();
    let second = text.lines().nth(1).unwrap();
    fs::write(&path, text.replace(second, "zz\u{1}zz")).unwrap();
    let locked = store.lock().unwrap();
    let recovered = locked.recovered().unwrap().clone();
    assert_eq!((recovered.bad_lines, recovered.kept_lines), (1, 2));
    assert_eq!(fs::read(&recovered.set_aside).unwrap(), b"zz\x01zz\n");
    assert!(locked.get(&id("a")).is_some() && locked.get(&id("c")).is_some());
    drop(locked);
    assert!(store.lock().unwrap().recovered().is_none());
    assert_eq!(store.corrupt_files().unwrap(), [recovered.set_aside]);
    let next = attach(&store, "d").unwrap().attachment.addresses;
    assert!(next != addresses[0] && next != addresses[2]);
}

#[test]
fn the_journal_stays_short_and_keeps_the_order_of_freeing() {
    let (dir, store) = store_with(&["10.0.0.0/29"]);
    let mut given = Vec::new();
    for turn in 0..500 {
        let name = format!("c{turn}");
        given.push(attach(&store, &name).unwrap().attachment.addresses[0]);
        store.lock().unwrap().detach(&id(&name)).unwrap();
    }
    let lines = fs::read_to_string(dir.path().join("journal")).unwrap();
    assert!(lines.lines().count() < 80);
    // Six addresses in turn: each is used again only after all others.
    assert!(
        given
            .windows(6)
            .all(|w| w.iter().collect::<BTreeSet<_>>().len() == 6)
    );
}

#[test]
fn a_lock_is_not_waited_for_without_end() {
    let (_dir, store) = store_with(&["10.0.0.0/29"]);
    let held = store.lock().unwrap();
    let error = store.lock_within(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, Error::LockTimeout { .. }));
    drop(held);
    store.lock_within(Duration::from_secs(5)).unwrap();
    let one = store.lock_attachment(&id("a"), Duration::ZERO).unwrap();
    assert!(store.lock_attachment(&id("a"), Duration::ZERO).is_err());
    store.lock().unwrap();
    drop(one);
    store
        .lock_attachment(&id("a"), Duration::from_secs(5))
        .unwrap();
}

#[test]
fn node_json_is_replaced_whole() {
    let (_dir, store) = store_with(&["10.0.0.0/29"]);
    let mut wrong = node(&["10.0.0.1/29"]);
    let mut locked = store.lock().unwrap();
    assert!(locked.write_node(&wrong).is_err());
    assert_eq!(store.read_node().unwrap(), node(&["10.0.0.0/29"]));
    wrong = node(&["10.0.0.8/29"]);
    locked.write_node(&wrong).unwrap();
    assert_eq!(store.read_node().unwrap(), wrong);
}
