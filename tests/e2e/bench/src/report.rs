//! What was measured, as a table for people and as one JSON object for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::stats::{Summary, ratios};

/// Columns of the table.
const WIDTH: usize = 80;

/// What a row's ratio is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// Weft by the other; the greater, the better for Weft.
    More,
    /// The other by Weft, for times and other costs; the greater, the better for Weft.
    Less,
    /// The large case by the small one; 1 is no growth.
    Growth,
}

/// What the ratio should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// Two things measured in turn, a sample of each per round.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What, and beside what.
    pub name: String,
    /// Unit of the samples.
    pub unit: &'static str,
    /// Weft; or the large case.
    pub weft: Vec<f64>,
    /// What it is compared to; or the small case.
    pub beside: Vec<f64>,
    /// What the ratio is.
    pub sense: Sense,
    /// What it should be.
    pub aim: Option<Aim>,
}

/// Rows that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// What they are about.
    pub title: String,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Row {
    /// A row without an aim.
    pub fn new(
        name: impl Into<String>,
        unit: &'static str,
        sense: Sense,
        weft: &[f64],
        beside: &[f64],
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            weft: weft.to_vec(),
            beside: beside.to_vec(),
            sense,
            aim: None,
        }
    }

    /// The same with an aim.
    pub fn aim(self, aim: Aim) -> Self {
        Self {
            aim: Some(aim),
            ..self
        }
    }

    fn ratio(&self) -> Option<Summary> {
        Summary::of(&match self.sense {
            Sense::More | Sense::Growth => ratios(&self.weft, &self.beside),
            Sense::Less => ratios(&self.beside, &self.weft),
        })
    }

    /// Whether the median of the ratios is what it should be, if anything.
    fn met(&self) -> Option<bool> {
        let median = self.ratio()?.median;
        Some(match self.aim? {
            Aim::AtLeast(least) => median >= least,
            Aim::AtMost(most) => median <= most,
        })
    }

    fn line(&self) -> String {
        let (Some(weft), Some(beside), Some(ratio)) = (
            Summary::of(&self.weft),
            Summary::of(&self.beside),
            self.ratio(),
        ) else {
            return format!("  {} (no samples)", self.name);
        };
        let aim = match (self.aim, self.met()) {
            (Some(Aim::AtLeast(value)), Some(met)) => format!(">={value} {}", mark(met)),
            (Some(Aim::AtMost(value)), Some(met)) => format!("<={value} {}", mark(met)),
            _ => String::new(),
        };
        let name = format!("{}, {}", self.name, self.unit);
        let (weft, beside) = (short(weft.median), short(beside.median));
        let spread = format!("{}..{}", short(ratio.least), short(ratio.most));
        format!(
            "  {name:<29}{weft:>7}{beside:>8}{:>6}{spread:>12}{:>4} {aim:<10}",
            short(ratio.median),
            ratio.runs,
        )
        .trim_end()
        .to_owned()
    }

    fn json(&self) -> Value {
        let aim = self.aim.map(|aim| match aim {
            Aim::AtLeast(value) => json!({"at_least": value}),
            Aim::AtMost(value) => json!({"at_most": value}),
        });
        json!({
            "name": self.name,
            "unit": self.unit,
            "ratio_of": match self.sense {
                Sense::More => "weft/beside",
                Sense::Less => "beside/weft",
                Sense::Growth => "large/small",
            },
            "weft": Summary::of(&self.weft),
            "beside": Summary::of(&self.beside),
            "ratio": self.ratio(),
            "aim": aim,
            "met": self.met(),
        })
    }
}

/// The table, 80 columns wide.
pub fn table(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{}", section.title);
        let _ = writeln!(
            text,
            "  {:<29}{:>7}{:>8}{:>6}{:>12}{:>4} aim",
            "", "Weft", "beside", "ratio", "min..max", "n"
        );
        for row in &section.rows {
            let _ = writeln!(text, "{}", row.line());
        }
    }
    let _ = writeln!(text, "{}", "-".repeat(WIDTH));
    text.push_str(concat!(
        "Weft, beside: medians of n rounds, both sides in turn in each. ratio: median of\n",
        "the ratios of all rounds: Weft by the other for rates, the other by Weft for\n",
        "times, so that more is better. Rows with <: the left by the right, so that\n",
        "less is better; their columns are the left and the right.\n",
    ));
    text
}

/// Everything, for programs.
pub fn json(sections: &[Section]) -> Value {
    let sections: Vec<Value> = sections
        .iter()
        .map(|section| {
            let rows: Vec<Value> = section.rows.iter().map(Row::json).collect();
            json!({"title": section.title, "rows": rows})
        })
        .collect();
    json!({"bench": sections})
}

fn mark(met: bool) -> &'static str {
    if met { "ok" } else { "NO" }
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn row(sense: Sense) -> Row {
        Row::new("ADD", "ms", sense, &[2.0, 4.0, 2.0], &[20.0, 20.0, 30.0])
    }

    #[rstest]
    #[case(Sense::More, Aim::AtLeast(0.1), 0.1, true)]
    #[case(Sense::More, Aim::AtLeast(0.2), 0.1, false)]
    #[case(Sense::Less, Aim::AtLeast(5.0), 10.0, true)]
    #[case(Sense::Growth, Aim::AtMost(0.05), 0.1, false)]
    fn a_ratio_and_its_aim(
        #[case] sense: Sense,
        #[case] aim: Aim,
        #[case] median: f64,
        #[case] met: bool,
    ) {
        let row = row(sense).aim(aim);
        assert_eq!(row.ratio().expect("samples").median, median);
        assert_eq!(row.met(), Some(met));
        assert_eq!(row.json()["met"], met);
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let mut wide = row(Sense::Less).aim(Aim::AtLeast(0.98));
        wide.name = "of hand-made, RTT p99 abc".into();
        wide.weft = vec![0.012; 12];
        wide.beside = vec![9999.0; 12];
        let sections = [Section {
            title: "Title".into(),
            rows: vec![wide, row(Sense::More)],
        }];
        let table = table(&sections);
        for line in table.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(table.contains("2.00    20.0  0.10"), "{table}");
    }

    #[test]
    fn a_row_without_samples_is_said_to_have_none() {
        let row = Row::new("ADD", "ms", Sense::More, &[], &[]);
        assert!(row.line().contains("no samples"));
        assert_eq!(row.met(), None);
    }
}
