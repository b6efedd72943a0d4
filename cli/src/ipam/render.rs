//! The answer of the check as text.

use super::{Finding, Report};
use crate::text::{count, paragraph};

/// Findings of one kind that are written out; the rest is counted.
const MOST_OF_A_KIND: usize = 10;

/// The answer as text of lines of at most `width`.
pub fn render(report: &Report, width: u16) -> String {
    let compared = &report.compared;
    let mut text = paragraph(
        &format!(
            "Compared {} of {} with {} on {}",
            count(compared.addresses, "address"),
            count(compared.pods, "running pod"),
            count(compared.blocks, "block"),
            count(compared.nodes, "node"),
        ),
        2,
        width,
    );
    let mut rest = report.findings.as_slice();
    while let Some(first) = rest.first() {
        let end = rest
            .iter()
            .position(|f| f.reason != first.reason)
            .unwrap_or(rest.len());
        let (kind, others) = rest.split_at(end);
        let heading = format!(
            "{:?} ({}): {}",
            first.reason,
            kind.len(),
            first.reason.advice()
        );
        text.push('\n');
        text.push_str(&paragraph(&heading, 0, width));
        text.push_str(&listed(kind, width));
        rest = others;
    }
    if !report.notes.is_empty() {
        text.push_str("\nNot wrong, but good to know\n");
        text.push_str(&listed(&report.notes, width));
    }
    text.push_str(&match report.findings.len() {
        0 => "\nEverything adds up.\n".into(),
        found => format!("\n{}.\n", count(found, "finding")),
    });
    text
}

fn listed(findings: &[Finding], width: u16) -> String {
    let mut text = String::new();
    for finding in findings.iter().take(MOST_OF_A_KIND) {
        let line = format!("- {} {}", finding.object, finding.message);
        text.push_str(&paragraph(&line, 2, width));
    }
    if findings.len() > MOST_OF_A_KIND {
        let more = findings.len() - MOST_OF_A_KIND;
        text.push_str(&format!("- and {more} more; -o json lists all\n"));
    }
    text
}
