//! The plan as text.

use serde_json::Value;
use weft_migration::Phase;

use super::changes::Effect;
use super::{Change, Obstacle, Outcome, Report, Sizes, Way};
use crate::text::{Fit, Item, age, count, paragraph, some, table};

/// Obstacles of one kind that are written out; the rest is counted.
const MOST_OF_A_KIND: usize = 10;
/// The longest that a value is written out.
const LONGEST_VALUE: usize = 40;

/// The plan as text of lines of at most `width`.
pub fn render(report: &Report, width: u16) -> String {
    let mut text = format!("Plan for generation {}\n", report.generation);
    text.push_str(&paragraph(&headline(report), 2, width));
    if !report.changes.is_empty() {
        text.push_str("\nChanges\n");
        for change in &report.changes {
            text.push_str(&item(&changed(change), width));
        }
    }
    if let Some(way) = &report.migration {
        text.push_str(&migration(way, width));
    }
    if report.outcome != Outcome::Nothing {
        text.push_str(&format!("\n{}", paragraph(&resized(report.mtu), 0, width)));
    }
    if let Some(way) = &report.migration {
        text.push_str(&format!("\n{}", paragraph(&takes(way), 0, width)));
        text.push_str("\nIt needs\n");
        for need in &way.needs {
            text.push_str(&item(need, width));
        }
    }
    if !report.notes.is_empty() {
        text.push_str("\nGood to know\n");
        for note in &report.notes {
            text.push_str(&item(note, width));
        }
    }
    text.push_str(&obstacles(report, width));
    text.push_str(&format!("\n{}", paragraph(&verdict(report), 0, width)));
    text
}

fn item(text: &str, width: u16) -> String {
    paragraph(&format!("- {text}"), 2, width)
}

fn headline(report: &Report) -> String {
    let (from, to) = (report.from.as_str(), report.to.as_str());
    match report.outcome {
        Outcome::Nothing => format!("Nothing changes: mode {from}"),
        Outcome::SameMode => {
            let does = |effect| report.changes.iter().any(|change| change.effect == effect);
            if does(Effect::LosesPackets) {
                format!("Mode {from} stays. Packets are lost while nodes hear of it")
            } else if does(Effect::MovesPaths) {
                format!("Mode {from} stays. Paths move at once, and nothing is lost")
            } else {
                format!("Mode {from} stays, and nothing moves")
            }
        }
        Outcome::Migration => format!("A migration from {from} to {to}"),
        Outcome::UnderWay => format!("A migration to {to} is under way already"),
        Outcome::Back => format!("The migration that is under way goes back to {to}"),
    }
}

fn changed(change: &Change) -> String {
    format!(
        "{}: {} -> {}: {}",
        change.field,
        value(&change.from),
        value(&change.to),
        change.meaning
    )
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::Null => return "unset".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    crate::text::shorten(&text, LONGEST_VALUE)
}

fn migration(way: &Way, width: u16) -> String {
    let phases: Vec<String> = way
        .phases
        .iter()
        .map(|phase| format!("{phase:?}"))
        .collect();
    let mut line = format!("Phases: {}", phases.join(", "));
    if !way.phases.contains(&Phase::LowerMTU) {
        line.push_str(" (not LowerMTU: packets of pods fit already)");
    }
    let mut text = format!("\n{}\n", paragraph(&line, 2, width));
    let columns = [
        ("WAVE", Fit::Whole),
        ("NODES", Fit::Whole),
        ("WHICH", Fit::Wrap),
    ];
    let rows = way
        .waves
        .iter()
        .filter(|wave| !wave.nodes.is_empty())
        .map(|wave| {
            vec![
                Item::plain(wave.called(way.of_waves)),
                Item::plain(wave.nodes.len().to_string()),
                Item::plain(some(&wave.nodes)),
            ]
        });
    text.push_str(&table(&columns, rows.collect(), width));
    text
}

fn resized(mtu: Sizes) -> String {
    let (Some(before), Some(on_the_way), Some(after)) = (mtu.before, mtu.on_the_way, mtu.after)
    else {
        return "MTU of pods: not known, as no node has reported what its underlay carries".into();
    };
    if (before, on_the_way) == (after, after) {
        return format!("MTU of pods: {before} bytes, before and after");
    }
    let sizes =
        format!("MTU of pods: {before} bytes now, {on_the_way} on the way, {after} at the end.");
    let lowered = "It is lowered first, while pods run and before any path moves: their connections go on with smaller packets";
    let raised = "It is raised last, once no packet needs the smaller one";
    let meaning = match (mtu.is_lowered(), mtu.is_raised()) {
        (true, true) => format!("{lowered}. {raised}"),
        (true, false) => lowered.into(),
        _ => raised.into(),
    };
    format!("{sizes} {meaning}. No pod restarts")
}

fn takes(way: &Way) -> String {
    let of: Vec<String> = way
        .takes
        .of
        .iter()
        .map(|wait| format!("{} ({} s)", wait.what, wait.seconds))
        .collect();
    let waits = match of.is_empty() {
        true => "no wait".into(),
        false => format!(
            "about {} of waiting: {}",
            age(i64::try_from(way.takes.seconds).unwrap_or(i64::MAX)),
            of.join("; ")
        ),
    };
    format!(
        "Time: {waits}. Beside that the seconds that the slowest node needs to follow, {} times, and to prove the paths",
        way.takes.steps
    )
}

fn obstacles(report: &Report, width: u16) -> String {
    let mut text = String::new();
    for (reason, advice) in &report.advice {
        let of_kind: Vec<&Obstacle> = report
            .obstacles
            .iter()
            .filter(|obstacle| obstacle.reason == *reason)
            .collect();
        let heading = format!("{reason:?} ({}): {advice}", of_kind.len());
        text.push_str(&format!("\n{}", paragraph(&heading, 2, width)));
        for obstacle in of_kind.iter().take(MOST_OF_A_KIND) {
            let line = match &obstacle.node {
                Some(node) => format!("node {node}: {}", obstacle.message),
                None => obstacle.message.clone(),
            };
            text.push_str(&item(&line, width));
        }
        if of_kind.len() > MOST_OF_A_KIND {
            let more = of_kind.len() - MOST_OF_A_KIND;
            text.push_str(&format!("- and {more} more; -o json lists all\n"));
        }
    }
    text
}

fn verdict(report: &Report) -> String {
    if !report.possible {
        return format!(
            "Not possible now: {}.",
            count(report.obstacles.len(), "obstacle")
        );
    }
    match report.outcome {
        Outcome::Nothing => "Nothing to do.".into(),
        Outcome::Migration => "Possible, by what is known. What only the nodes can see (kernel, firewalls, routers) is found in the phases Check and Verify, before a packet of a pod moves.".into(),
        Outcome::SameMode | Outcome::UnderWay | Outcome::Back => "Possible.".into(),
    }
}
