//! Several reports in one table.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::report::{Counts, Report};

/// Several runs as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Whether every run has ended.
    pub finished: bool,
    /// The reports that were merged.
    pub reports: usize,
    /// Sums by group.
    pub kinds: BTreeMap<String, Counts>,
    /// What is wrong, a line each; empty if nothing is.
    pub faults: Vec<String>,
}

impl Merged {
    /// Adds up reports. One that has not ended is a fault: what it lost is not known yet.
    pub fn of(reports: &[Report]) -> Self {
        let mut merged = Self {
            finished: true,
            reports: reports.len(),
            ..Self::default()
        };
        for report in reports {
            for (group, counts) in &report.kinds {
                merged.kinds.entry(group.clone()).or_default().add(counts);
            }
            merged.faults.extend(report.faults());
            if !report.finished {
                merged.finished = false;
                merged
                    .faults
                    .push(format!("{}: the run has not ended", report.name));
            }
        }
        if reports.is_empty() {
            merged.faults.push("no reports at all".to_owned());
        }
        merged
    }

    /// For people, in 80 columns.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(80);
        let titles = [
            "TRAFFIC", "SENT", "LOST", "TO/FROM", "DUP", "LATE", "BAD", "GAP", "BROKEN",
        ];
        table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
        for (group, counts) in &self.kinds {
            let directions = match counts.lost_forward + counts.lost_back {
                0 => "-".to_owned(),
                _ => format!("{}/{}", counts.lost_forward, counts.lost_back),
            };
            table.add_row([
                group.clone(),
                counts.sent.to_string(),
                (counts.lost + counts.unsent).to_string(),
                directions,
                counts.duplicated.to_string(),
                counts.reordered.to_string(),
                counts.corrupt.to_string(),
                time(counts.longest_gap_us),
                counts.broken.to_string(),
            ]);
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 1));
            if index > 0 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

/// Microseconds for people.
fn time(us: u64) -> String {
    match us {
        0..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..10_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    }
}

/// Reads a report: a file of one, or what a run printed, whose last line is the report.
pub fn read(path: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read report {}", path.display()))?;
    let Some(last) = text.lines().rfind(|line| !line.trim().is_empty()) else {
        bail!("report {} is empty: did the run end?", path.display());
    };
    serde_json::from_str(last)
        .with_context(|| format!("the last line of {} is not a report", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, group: &str, counts: Counts) -> Report {
        Report {
            name: name.to_owned(),
            finished: true,
            kinds: BTreeMap::from([(group.to_owned(), counts)]),
            ..Report::default()
        }
    }

    fn good() -> Counts {
        Counts {
            sent: 3_000_000,
            received: 3_000_000,
            longest_gap_us: 900,
            ..Counts::default()
        }
    }

    #[test]
    fn sums_add_and_gaps_take_the_worse() {
        let worse = Counts {
            longest_gap_us: 1_500,
            ..good()
        };
        let merged = Merged::of(&[report("a", "udp", good()), report("b", "udp", worse)]);
        assert_eq!(merged.kinds["udp"].sent, 6_000_000);
        assert_eq!(merged.kinds["udp"].longest_gap_us, 1_500);
        assert_eq!(merged.faults, Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named_with_its_run() {
        let lossy = Counts { lost: 1, ..good() };
        let silent = Counts {
            received: 0,
            ..good()
        };
        let unfinished = Report {
            finished: false,
            ..report("c", "udp", good())
        };
        let reports = [
            report("a", "udp", lossy),
            report("b", "tcp", silent),
            unfinished,
            Report {
                finished: true,
                name: "d".to_owned(),
                ..Report::default()
            },
        ];
        let want = [
            "udp: 1 lost",
            "tcp: nothing received",
            "c: the run has not ended",
            "d: no traffic at all",
        ];
        assert_eq!(Merged::of(&reports).faults, want);
        assert_eq!(Merged::of(&[]).faults, ["no reports at all"]);
    }

    #[test]
    fn the_table_fits_80_columns() {
        let counts = Counts {
            lost: 12_345,
            lost_forward: 12_000,
            lost_back: 345,
            longest_gap_us: 9_999_999,
            ..good()
        };
        let table = Merged::of(&[report("a", "pod to pod, UDP, IPv6", counts)]).table();
        let text = table.to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(
            text.contains("12000/345") && text.contains("3000000"),
            "{text}"
        );
    }
}
