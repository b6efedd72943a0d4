//! All that Weft could leave behind on a node, as text that can be compared.
//!
//! Left out is what changes by itself (counters, lifetimes, learnt neighbours) and what is
//! Kubernetes' own: kube-proxy's and the kubelet's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::error::{Context, Result};
use crate::node::Node;

/// The residue-relevant state of a node: lines by section, such as `routes` or `sysctls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    sections: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What one snapshot has and another has not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Lines of the later snapshot only, each behind the name of its section.
    pub added: Vec<String>,
    /// Lines of the earlier snapshot only.
    pub removed: Vec<String>,
}

const DIRECTORIES: [&str; 3] = ["/etc/cni", "/opt/cni/bin", "/var/lib/weft"];
/// Fields of `ip -json` that change by themselves or by the order in which things are made.
const VOLATILE: [&str; 9] = [
    "ifindex",
    "link_index",
    "valid_life_time",
    "preferred_life_time",
    "expires",
    "cacheinfo",
    "stats",
    "stats64",
    "used",
];
/// Sysctls that change by themselves, or that cannot be read.
const VOLATILE_SYSCTLS: [&str; 4] = [
    "nf_conntrack_count",
    "tcp_fastopen_key",
    "/flush",
    "ipv6/conf/all/stable_secret",
];

/// Takes a snapshot of a node.
pub async fn take(node: &Node) -> Result<Snapshot> {
    let mut sections = BTreeMap::new();
    for (section, command) in [
        ("links", &["ip", "-json", "-details", "link", "show"][..]),
        ("addresses", &["ip", "-json", "address", "show"]),
        (
            "IPv4 routes",
            &[
                "ip", "-json", "-details", "-4", "route", "show", "table", "all",
            ],
        ),
        (
            "IPv6 routes",
            &[
                "ip", "-json", "-details", "-6", "route", "show", "table", "all",
            ],
        ),
        ("IPv4 rules", &["ip", "-json", "-4", "rule", "show"]),
        ("IPv6 rules", &["ip", "-json", "-6", "rule", "show"]),
        ("nexthops", &["ip", "-json", "nexthop", "show"]),
        (
            "neighbours",
            &["ip", "-json", "neighbour", "show", "nud", "permanent"],
        ),
        ("forwarding database", &["bridge", "-json", "fdb", "show"]),
    ] {
        let text = node.exec(command).await?.stdout;
        sections.insert(
            section,
            objects(&text).doing(|| format!("parse `{}`", command.join(" ")))?,
        );
    }
    let ruleset = node
        .exec(["nft", "--stateless", "list", "ruleset"])
        .await?
        .stdout;
    sections.insert("nft", ruleset_lines(&ruleset));
    // Some files refuse to be read although their mode says otherwise.
    let read_all = "find /proc/sys/net -type f | xargs grep -s '' || true";
    let sysctls = node.exec(["sh", "-c", read_all]).await?.stdout;
    sections.insert("sysctls", sysctl_lines(&sysctls));
    let find =
        "find \"$@\" -printf '%p %y %#m %l\\n' && find \"$@\" -type f -exec sha256sum '{}' +";
    let files = node
        .exec([&["sh", "-c", find, "sh"][..], &DIRECTORIES].concat())
        .await?
        .stdout;
    sections.insert("files", files.lines().map(str::to_owned).collect());
    Ok(Snapshot { sections })
}

impl Snapshot {
    /// What changed from this snapshot to a later one.
    pub fn difference(&self, later: &Snapshot) -> Difference {
        Difference {
            added: only_in(later, self),
            removed: only_in(self, later),
        }
    }

    /// The lines of a section.
    pub fn section(&self, name: &str) -> impl Iterator<Item = &str> {
        self.sections
            .get(name)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The same without the lines that `unwanted` says yes to, given section and line: for
    /// changes that a scenario itself has made.
    pub fn without(mut self, unwanted: impl Fn(&str, &str) -> bool) -> Self {
        for (section, lines) in &mut self.sections {
            lines.retain(|line| !unwanted(section, line));
        }
        self
    }
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no difference");
        }
        self.added
            .iter()
            .try_for_each(|line| writeln!(f, "+ {line}"))?;
        self.removed
            .iter()
            .try_for_each(|line| writeln!(f, "- {line}"))
    }
}

fn only_in(one: &Snapshot, other: &Snapshot) -> Vec<String> {
    let empty = BTreeSet::new();
    let lines = one.sections.iter().flat_map(|(section, lines)| {
        let known = other.sections.get(section).unwrap_or(&empty);
        lines
            .difference(known)
            .map(move |line| format!("{section}: {line}"))
    });
    lines.collect()
}

/// One line for each object of an array in JSON, without what is volatile.
fn objects(text: &str) -> serde_json::Result<BTreeSet<String>> {
    if text.trim().is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut objects: Vec<Value> = serde_json::from_str(text)?;
    objects.iter_mut().for_each(steady);
    // Entries of the forwarding database that a bridge has learnt have no state.
    let learnt = |object: &Value| {
        object.get("mac").is_some() && object.get("state").is_none_or(|state| state == "")
    };
    objects.retain(|object| !learnt(object));
    // `ip -json` writes an empty object for what its filters leave out.
    let shown = objects
        .iter()
        .filter(|object| object.as_object().is_none_or(|map| !map.is_empty()));
    Ok(shown.map(Value::to_string).collect())
}

fn steady(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !VOLATILE.contains(&key.as_str()) && !key.ends_with("_timer"));
            map.values_mut().for_each(steady);
        }
        Value::Array(values) => values.iter_mut().for_each(steady),
        _ => {}
    }
}

/// Each rule behind its table and chain, without what is Kubernetes' own.
fn ruleset_lines(text: &str) -> BTreeSet<String> {
    let mut within: Vec<&str> = Vec::new();
    let mut lines = BTreeSet::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if line == "}" {
            within.pop();
            continue;
        }
        let here = within
            .iter()
            .copied()
            .chain([line])
            .collect::<Vec<_>>()
            .join(" ");
        if line.ends_with('{') {
            within.push(line);
        }
        if !here.contains("KUBE-") && !here.contains(" kube-proxy {") {
            lines.insert(here);
        }
    }
    lines
}

fn sysctl_lines(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("/proc/sys/"));
    lines
        .filter(|line| !VOLATILE_SYSCTLS.iter().any(|key| line.contains(key)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(section: &'static str, lines: &[&str]) -> Snapshot {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        Snapshot {
            sections: BTreeMap::from([(section, lines)]),
        }
    }

    #[test]
    fn a_difference_names_the_section_and_the_direction() {
        let (before, after) = (
            snapshot("links", &["lo", "eth0"]),
            snapshot("links", &["lo", "weft.vx4"]),
        );
        let difference = before.difference(&after);
        assert_eq!(difference.to_string(), "+ links: weft.vx4\n- links: eth0\n");
        assert!(after.difference(&after).is_empty());
        let ours = after.without(|section, line| section == "links" && line.starts_with("weft"));
        assert_eq!(before.difference(&ours).added, Vec::<String>::new());
    }

    #[test]
    fn volatile_fields_are_left_out_at_any_depth() {
        let text = r#"[{"ifindex": 3, "ifname": "x", "linkinfo": {"stats": 1, "id": 7}}, {}]"#;
        let expected = BTreeSet::from([r#"{"ifname":"x","linkinfo":{"id":7}}"#.to_owned()]);
        assert_eq!(objects(text).expect("parses"), expected);
    }

    #[test]
    fn rules_keep_their_chain_and_kubernetes_is_left_out() {
        let text = "table ip kube-proxy {\n chain a {\n  drop\n }\n}\ntable inet weft {\n chain snat {\n  accept\n }\n}\n";
        let lines: Vec<_> = ruleset_lines(text).into_iter().collect();
        let chain = "table inet weft { chain snat {";
        assert_eq!(
            lines,
            [
                "table inet weft {".to_owned(),
                chain.to_owned(),
                format!("{chain} accept")
            ]
        );
    }
}
