//! The plugin as the reference client library runs it (`tests/libcni`, a Go program), with the configuration that
//! `install` writes.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Node, PLUGIN, Pod};
use weft_cni::install;

#[test]
fn the_reference_client_is_content() {
    let tmp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let client = tmp.path().join("libcni");
    // Before this thread has a network of its own, as modules may have to be fetched.
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&client)
        .arg(".")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/libcni"))
        .env("CGO_ENABLED", "0")
        .status()
        .unwrap();
    assert!(built.success(), "the Go client does not build");
    let node = Node::new();
    let (a, b) = (Pod::new(), Pod::new());
    let dir = |name: &str| {
        let path = tmp.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (bin, config, cache) = (dir("bin"), dir("net.d"), dir("cache"));
    install::install(Path::new(PLUGIN), &bin, &config).unwrap();
    let output = Command::new(&client)
        .args([&bin, &config, &cache])
        .args([a.netns(), b.netns()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(text.trim(), "ok");
    assert_eq!(node.residue(), [""; 0]);
}
