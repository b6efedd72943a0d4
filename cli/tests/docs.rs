//! The documentation against what it is about: reasons that a user can see, and commands to type.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What comes before a reason in the sources.
const BEFORE_REASONS: [&str; 10] = [
    "problem(",
    "problem(outcome, ",
    "problem(&mut outcome, ",
    "reason: ",
    "reason = ",
    ".stall(",
    "const UP: &str = ",
    "goes_on(",
    "stalls(",
    "said(",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// The text of all sources below a directory, without tests.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            sources(&path, text);
        } else if name.ends_with(".rs") && !name.contains("test") && name != "fixtures.rs" {
            let source = fs::read_to_string(&path).unwrap();
            text.push_str(source.split("#[cfg(test)]\nmod tests").next().unwrap());
        }
    }
}

fn all_sources() -> String {
    let mut text = String::new();
    for part in [
        "operator/src",
        "migration/src",
        "node-agent/agent/src",
        "cli/src",
    ] {
        sources(&root().join(part), &mut text);
    }
    text
}

fn docs() -> String {
    let pages = ["architecture.md", "contributing.md", "operations.md"];
    pages
        .map(|page| fs::read_to_string(root().join("docs").join(page)).unwrap())
        .join("\n")
}

/// A word of two or more capitalised parts, such as NoBlock.
fn is_reason(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphanumeric())
        && word.chars().skip(1).any(|c| c.is_ascii_uppercase())
        && word.chars().any(|c| c.is_ascii_lowercase())
}

fn reasons_in(text: &str) -> BTreeSet<&str> {
    let mut reasons = BTreeSet::new();
    for before in BEFORE_REASONS {
        for (start, _) in text.match_indices(before) {
            let rest = text[start + before.len()..].trim_start();
            let warns = ["true,", "false,"].into_iter();
            let rest = warns.fold(rest, |rest, word| rest.trim_start_matches(word));
            let word = rest
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            reasons.extend(word.filter(|word| is_reason(word)));
        }
    }
    // Those of findings and obstacles are variants.
    for rest in text.split("Reason::").skip(1) {
        let word = rest.split(|c: char| !c.is_ascii_alphanumeric()).next();
        reasons.extend(word.filter(|word| is_reason(word)));
    }
    reasons
}

#[test]
fn every_reason_of_a_problem_is_explained() {
    let (sources, docs) = (all_sources(), docs());
    let reasons = reasons_in(&sources);
    for known in [
        "NoBlock",
        "PathBroken",
        "PoolMissing",
        "InvalidSpec",
        "AgentRepaired",
        "WeftIsUp",
    ] {
        assert!(
            reasons.contains(known),
            "{known} is not seen in the sources: {reasons:?}"
        );
    }
    let missing: Vec<_> = reasons
        .into_iter()
        .filter(|reason| !docs.contains(&format!("`{reason}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md does not explain {missing:?}"
    );
}

#[test]
fn every_reason_that_is_explained_is_there() {
    let sources = all_sources();
    let operations = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut explained = 0;
    for row in operations.lines().filter(|line| line.starts_with("| ")) {
        let cells = row.split('|').map(str::trim);
        let words = cells.filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        for word in words.filter(|word| is_reason(word)) {
            explained += 1;
            let there = [
                format!("\"{word}\""),
                format!("    {word},"),
                format!("Reason::{word}"),
            ];
            assert!(
                there.iter().any(|text| sources.contains(text)),
                "nothing says {word}: {row}"
            );
        }
    }
    assert!(explained > 30, "{explained}");
}

/// The words of a command line up to the first that is no name of a command.
fn command(line: &str) -> Vec<&str> {
    let is_name =
        |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let line = line.split(['`', '\n', '.', ',', ';', ':']).next();
    let words = line.unwrap_or_default().split(' ');
    let words: Vec<&str> = words.take_while(is_name).take(2).collect();
    match words.first() {
        Some(&("ipam" | "migrate" | "bgp")) => words,
        Some(first) => vec![first],
        None => Vec::new(),
    }
}

#[test]
fn every_command_of_kubectl_weft_that_is_named_is_there() {
    let docs = docs();
    let mut named: BTreeSet<Vec<&str>> = docs.split("kubectl weft ").skip(1).map(command).collect();
    named.remove(&Vec::new());
    assert!(named.contains(&vec!["ipam", "check"]), "{named:?}");
    for command in named {
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-weft"))
            .args(&command)
            .arg("--help")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "there is no kubectl weft {command:?}"
        );
    }
}

#[test]
fn every_target_of_make_that_is_named_is_there() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let docs = docs();
    let mut named = BTreeSet::new();
    for before in ["`make ", "\n    make "] {
        for rest in docs.split(before).skip(1) {
            named.extend(
                rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                    .next(),
            );
        }
    }
    assert!(
        named.contains("test") && named.contains("demo-down"),
        "{named:?}"
    );
    for target in named {
        assert!(
            makefile.contains(&format!("\n{target}:")),
            "the Makefile has no target {target}"
        );
    }
}
