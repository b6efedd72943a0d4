//! The answer as text.

use std::collections::BTreeMap;

use weft_crds::{Encapsulation, Mode, PeerPath, PeerReport};

use super::{ConfigReport, NodeStatus, Report, Usage};
use crate::counts::at_least;
use crate::text::{Fit, Item, Tone, age, count, paragraph, shorten, table, without_domains};

/// Peers that are named in one line of paths; the rest is counted.
const NAMED_PEERS: usize = 4;
/// The longest that a peer's name is there.
const PEER_NAME: usize = 24;

/// How nodes are called here, by their names.
type Names<'a> = BTreeMap<&'a str, &'a str>;

fn called<'a>(names: &Names<'a>, node: &'a str) -> &'a str {
    names.get(node).copied().unwrap_or(node)
}

/// The answer as text of lines of at most `width`.
pub fn render(report: &Report, width: u16) -> String {
    let mut text = head(report, width);
    text.push_str(&conditions(report, width));
    if report.nodes.is_empty() {
        return text + "\nThe cluster has no nodes.\n";
    }
    let names = without_domains(report.nodes.iter().map(|node| node.name.as_str()));
    text.push('\n');
    text.push_str(&nodes(report, &names, width));
    text.push('\n');
    text.push_str(&paths(report, &names, width));
    let problems = problems(report, width);
    if !problems.is_empty() {
        text.push_str("\nProblems\n");
        text.push_str(&problems);
    }
    text
}

fn head(report: &Report, width: u16) -> String {
    let ConfigReport {
        generation, mtu, ..
    } = report.config;
    let ready = report.nodes.iter().filter(|node| node.ready).count();
    let mode = match report.config.mode {
        Some(mode) => mode.as_str(),
        None => "not yet known",
    };
    let encapsulation = match (report.config.mode, report.config.encapsulation) {
        (Some(Mode::BGP), _) => "",
        (_, Encapsulation::Always) => ", encapsulation Always",
        (_, Encapsulation::CrossSubnet) => ", encapsulation CrossSubnet",
    };
    let mtu = mtu.map_or_else(|| "not yet known".into(), |mtu| mtu.to_string());
    let mut text = format!("Mode {mode}{encapsulation}, generation {generation}\n");
    let mut state = format!(
        "{ready} of {} ready, pod MTU {mtu}",
        count(report.nodes.len(), "node")
    );
    if let Some(change) = &report.config.last_change {
        let ago = age(report.at.as_second() - change.at.as_second());
        state.push_str(&format!(", last change {ago} ago by {}", change.by));
    }
    text.push_str(&paragraph(&state, 2, width));
    if let Some(migrates) = &report.config.migrates {
        text.push_str(&paragraph(migrates, 2, width));
    }
    if report.config.observed_generation.unwrap_or_default() != generation {
        text.push_str(&paragraph(
            "The operator has not taken up this generation yet; if that lasts, see `kubectl -n weft-system logs deployment/weft-operator`",
            2,
            width,
        ));
    }
    text
}

fn conditions(report: &Report, width: u16) -> String {
    let columns = [
        ("CONDITION", Fit::Whole),
        ("STATUS", Fit::Whole),
        ("SINCE", Fit::Whole),
        ("MESSAGE", Fit::Wrap),
    ];
    let rows: Vec<_> = report
        .config
        .conditions
        .iter()
        .map(|condition| {
            let wanted = match condition.type_.as_str() {
                "Stalled" | "Reconciling" | "Migrating" => "False",
                _ => "True",
            };
            let tone = if condition.status == wanted {
                Tone::Good
            } else {
                Tone::Bad
            };
            vec![
                Item::plain(&condition.type_),
                Item::new(&condition.status, tone),
                Item::plain(age(report.at.as_second() - condition.since.as_second())),
                Item::plain(format!("{}: {}", condition.reason, condition.message)),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("\n{}", table(&columns, rows, width)),
    }
}

fn nodes(report: &Report, names: &Names, width: u16) -> String {
    let columns = [
        ("NODE", Fit::Shorten),
        ("STATE", Fit::Whole),
        ("AGENT", Fit::Shorten),
        ("GEN", Fit::Whole),
        ("MTU", Fit::Whole),
        ("IPv4 USED", Fit::Whole),
        ("IPv6 USED", Fit::Whole),
        ("PEERS", Fit::Whole),
    ];
    let or_dash = |text: Option<String>| Item::plain(text.unwrap_or_else(|| "-".into()));
    let rows = report
        .nodes
        .iter()
        .map(|node| {
            vec![
                Item::plain(called(names, &node.name)),
                state(node),
                or_dash(node.agent_version.clone()),
                or_dash(node.generation.map(|generation| generation.to_string())),
                or_dash(node.mtu.map(|mtu| mtu.to_string())),
                used(&node.ipv4),
                used(&node.ipv6),
                or_dash(node.peers_answering.clone()),
            ]
        })
        .collect();
    table(&columns, rows, width)
}

fn state(node: &NodeStatus) -> Item {
    if node.forwarding.is_none() {
        Item::new("no report", Tone::Bad)
    } else if !node.agent_running {
        Item::new("agent down", Tone::Bad)
    } else if node.forwarding == Some(false) {
        Item::new("not forwarding", Tone::Bad)
    } else if !node.ready {
        Item::plain("behind")
    } else {
        Item::new("ready", Tone::Good)
    }
}

fn used(usage: &Usage) -> Item {
    if usage.blocks == 0 {
        return Item::plain("-");
    }
    let tone = match usage.used >= usage.capacity {
        true => Tone::Bad,
        false => Tone::Plain,
    };
    let used = at_least(usage.used, usage.used == usage.used_at_most);
    Item::new(format!("{used}/{}", usage.capacity), tone)
}

/// What paths have in common that are told in one line.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    answers: bool,
    ipv4: Option<PeerPath>,
    ipv6: Option<PeerPath>,
}

fn paths(report: &Report, names: &Names, width: u16) -> String {
    let columns = [
        ("FROM", Fit::Shorten),
        ("IPv4", Fit::Whole),
        ("IPv6", Fit::Whole),
        ("ANSWERS", Fit::Whole),
        ("TO", Fit::Wrap),
    ];
    let mut rows = Vec::new();
    for node in &report.nodes {
        let mut kinds: BTreeMap<Kind, Vec<&PeerReport>> = BTreeMap::new();
        for peer in &node.peers {
            let kind = Kind {
                answers: peer.answers,
                ipv4: peer.ipv4,
                ipv6: peer.ipv6,
            };
            kinds.entry(kind).or_default().push(peer);
        }
        for (kind, peers) in kinds {
            let answers = match kind.answers {
                true => Item::new("yes", Tone::Good),
                false => Item::new("no", Tone::Bad),
            };
            rows.push(vec![
                Item::plain(called(names, &node.name)),
                Item::plain(path(kind.ipv4)),
                Item::plain(path(kind.ipv6)),
                answers,
                Item::plain(listed(names, &peers)),
            ]);
        }
    }
    match rows.is_empty() {
        true => "No paths are reported.\n".into(),
        false => table(&columns, rows, width),
    }
}

fn path(path: Option<PeerPath>) -> &'static str {
    match path {
        Some(PeerPath::VXLAN) => "VXLAN",
        Some(PeerPath::Direct) => "Direct",
        Some(PeerPath::Routed) => "Routed",
        None => "-",
    }
}

fn listed(names: &Names, peers: &[&PeerReport]) -> String {
    let mut listed: Vec<String> = peers
        .iter()
        .take(NAMED_PEERS)
        .map(|peer| shorten(called(names, &peer.node), PEER_NAME))
        .collect();
    if peers.len() > NAMED_PEERS {
        listed.push(format!("and {} more", peers.len() - NAMED_PEERS));
    }
    listed.join(", ")
}

fn problems(report: &Report, width: u16) -> String {
    let mut text = String::new();
    let mut add = |node: &str, reason: &str, message: &str| {
        text.push_str(&paragraph(
            &format!("- {node}: {reason}: {message}"),
            2,
            width,
        ));
    };
    for node in &report.nodes {
        if !node.kubelet_ready {
            let see = format!(
                "the kubelet does not say that it is ready; see `kubectl describe node {}`",
                node.name
            );
            add(&node.name, "NodeNotReady", &see);
        }
        if !node.agent_running {
            add(
                &node.name,
                "AgentDown",
                "no agent runs there; packets go on, changes wait; see `kubectl -n weft-system get pods -o wide -l app.kubernetes.io/name=weft-agent`",
            );
        }
        for problem in &node.problems {
            add(&node.name, &problem.reason, &problem.message);
        }
    }
    text
}
