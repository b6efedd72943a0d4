use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use rstest::rstest;
use tempfile::TempDir;

use super::*;

struct Node {
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::create_dir(dir.path().join("net.d")).unwrap();
        fs::write(dir.path().join("plugin"), b"version 1").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn install(&self) -> Result<Installed, Error> {
        install(&self.path("plugin"), &self.path("bin"), &self.path("net.d"))
    }

    fn uninstall(&self) -> Result<Vec<PathBuf>, Error> {
        uninstall(&self.path("bin"), &self.path("net.d"))
    }

    fn config(&self) -> PathBuf {
        self.path("net.d").join(CONFIG_NAME)
    }

    /// All files of both directories.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        ["bin", "net.d"]
            .iter()
            .flat_map(|dir| fs::read_dir(self.path(dir)).unwrap())
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }
}

#[test]
fn installing_and_uninstalling_leaves_what_was_before() {
    let node = Node::new();
    fs::write(node.path("bin/loopback"), b"other").unwrap();
    fs::write(node.path("net.d/99-other.conflist"), b"{}").unwrap();
    let before = node.files();
    let first = node.install().unwrap();
    assert!(first.plugin_replaced && first.config_replaced && first.shadowed_by.is_empty());
    assert_eq!(node.install().unwrap(), Installed::default());
    assert_eq!(node.files().len(), 4);
    node.uninstall().unwrap();
    assert_eq!(node.files(), before);
    assert!(node.uninstall().unwrap().is_empty());
}

#[test]
fn the_written_configuration_is_one_the_plugin_takes() {
    let node = Node::new();
    node.install().unwrap();
    let config: Value = serde_json::from_slice(&fs::read(node.config()).unwrap()).unwrap();
    assert_eq!(config["plugins"][0]["type"], PLUGIN_NAME);
    assert_eq!(config["plugins"][0]["capabilities"]["portMappings"], true);
    assert!(crate::SUPPORTED_VERSIONS.contains(&config["cniVersion"].as_str().unwrap()));
}

#[test]
fn a_new_plugin_replaces_the_old_one_and_never_has_special_rights() {
    let node = Node::new();
    let source = node.path("plugin");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o6755)).unwrap();
    node.install().unwrap();
    let target = node.path("bin").join(PLUGIN_NAME);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&target), 0o755);
    fs::set_permissions(&target, fs::Permissions::from_mode(0o4777)).unwrap();
    fs::write(&source, b"version 2").unwrap();
    fs::write(node.path("bin/.weft-cni.weft-123"), b"half").unwrap();
    assert!(node.install().unwrap().plugin_replaced);
    assert_eq!(mode(&target), 0o755);
    assert_eq!(fs::read(&target).unwrap(), b"version 2");
    assert_eq!(node.files().len(), 2);
}

#[test]
fn plugins_chained_by_others_stay() {
    let node = Node::new();
    node.install().unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(node.config()).unwrap()).unwrap();
    let chained = json!({"type": "mesh-cni", "setting": [1, 2]});
    config["plugins"]
        .as_array_mut()
        .unwrap()
        .push(chained.clone());
    fs::write(node.config(), config.to_string()).unwrap();
    node.install().unwrap();
    let after: Value = serde_json::from_slice(&fs::read(node.config()).unwrap()).unwrap();
    assert_eq!(after["plugins"], json!([after["plugins"][0], chained]));
    node.uninstall().unwrap();
    let rest: Value = serde_json::from_slice(&fs::read(node.config()).unwrap()).unwrap();
    assert_eq!(rest["plugins"], json!([chained]));
    node.install().unwrap();
    let again: Value = serde_json::from_slice(&fs::read(node.config()).unwrap()).unwrap();
    assert_eq!(again, after);
}

#[rstest]
#[case(b"not json")]
#[case(br#"{"name": "other", "plugins": []}"#)]
fn a_foreign_file_at_our_place_is_refused(#[case] contents: &[u8]) {
    let node = Node::new();
    fs::write(node.config(), contents).unwrap();
    assert!(matches!(node.install(), Err(Error::InTheWay { .. })));
    assert_eq!(
        node.uninstall().unwrap(),
        [node.path("bin").join(PLUGIN_NAME)]
    );
    assert_eq!(fs::read(node.config()).unwrap(), contents);
}

#[test]
fn links_at_our_places_are_refused() {
    let node = Node::new();
    fs::write(node.path("victim"), b"precious").unwrap();
    symlink(node.path("victim"), node.path("bin").join(PLUGIN_NAME)).unwrap();
    assert!(matches!(node.install(), Err(Error::InTheWay { .. })));
    assert!(
        !node.config().exists(),
        "the configuration comes after the plugin"
    );
    node.uninstall().unwrap();
    assert!(node.path("bin").join(PLUGIN_NAME).is_symlink());
    fs::remove_file(node.path("bin").join(PLUGIN_NAME)).unwrap();
    symlink(node.path("victim"), node.config()).unwrap();
    assert!(matches!(node.install(), Err(Error::InTheWay { .. })));
    assert_eq!(fs::read(node.path("victim")).unwrap(), b"precious");
}

#[test]
fn configurations_that_come_first_are_named() {
    let node = Node::new();
    for name in ["05-first.conf", "05-note.txt", "20-later.conflist"] {
        fs::write(node.path("net.d").join(name), b"{}").unwrap();
    }
    let shadowed_by = node.install().unwrap().shadowed_by;
    assert_eq!(shadowed_by, [node.path("net.d/05-first.conf")]);
}

#[test]
fn a_missing_directory_is_named() {
    let node = Node::new();
    fs::remove_dir(node.path("net.d")).unwrap();
    let error = node.install().unwrap_err().to_string();
    assert!(error.contains("net.d"), "{error}");
    assert!(node.uninstall().is_ok());
}
