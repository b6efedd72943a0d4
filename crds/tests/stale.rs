//! The manifests that are checked in are those that the types give.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn manifests_are_as_the_types_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    let checked_in: BTreeMap<String, String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    let generated: BTreeMap<String, String> = weft_crds::manifests().unwrap().into_iter().collect();
    let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&checked_in), names(&generated), "{FIX}");
    for (name, text) in &generated {
        assert!(
            checked_in[name] == *text,
            "crds/yaml/{name} is stale: {FIX}"
        );
    }
}

const FIX: &str = "run `cargo run -p weft-crds --bin crdgen -- crds/yaml`";

#[test]
fn the_reference_is_as_the_types_say() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/networkconfig.md");
    let checked_in = std::fs::read_to_string(page).unwrap_or_default();
    assert!(
        checked_in == weft_crds::reference(),
        "docs/reference/networkconfig.md is stale: run `cargo run -p weft-crds --bin docgen -- docs/reference`"
    );
}
