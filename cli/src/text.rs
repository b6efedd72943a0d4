//! Text for a screen: tables that fit its width, paragraphs, ages.

use std::collections::BTreeMap;

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};

/// The width that everything is readable on, in columns.
pub const USUAL_WIDTH: u16 = 80;
/// Less than this no table can make use of.
const LEAST_WIDTH: u16 = 40;
/// Between two columns.
const GAP: u16 = 2;
/// A shortened name keeps so many characters.
const LEAST_NAME: usize = 12;
/// A column of sentences has room for so many, or there would be one word on each line.
const LEAST_SENTENCE: usize = 26;

/// The width of the terminal, or the usual one when the answer goes elsewhere.
pub fn screen_width() -> u16 {
    Table::new().width().unwrap_or(USUAL_WIDTH).max(LEAST_WIDTH)
}

/// So many of a list are told one by one.
pub const NAMED: usize = 12;

/// How a column takes part in fitting the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It is as wide as it is.
    Whole,
    /// Names: their middle is left out if need be.
    Shorten,
    /// Sentences: they are broken into lines if need be.
    Wrap,
}

/// What a cell says of the state of things; on a terminal, its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// As it should be.
    Good,
    /// To be looked at.
    Bad,
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub struct Item {
    text: String,
    tone: Tone,
}

impl Item {
    /// A cell with a tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    /// A cell without one.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// A table without lines, as wide as `width` at most, each line ended.
pub fn table(columns: &[(&str, Fit)], mut rows: Vec<Vec<Item>>, width: u16) -> String {
    let mut widths: Vec<usize> = columns
        .iter()
        .map(|(title, _)| title.chars().count())
        .collect();
    for row in &rows {
        for (width, item) in widths.iter_mut().zip(row) {
            *width = (*width).max(item.text.chars().count());
        }
    }
    let room = usize::from(width).saturating_sub(usize::from(GAP) * (columns.len().max(1) - 1));
    shrink(columns, &mut widths, room);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(columns.iter().map(|(title, _)| *title));
    for row in &mut rows {
        table.add_row(
            row.iter()
                .zip(&widths)
                .zip(columns)
                .map(|((item, width), (_, fit))| {
                    let text = match fit {
                        Fit::Shorten => shorten(&item.text, *width),
                        Fit::Whole | Fit::Wrap => item.text.clone(),
                    };
                    match item.tone {
                        Tone::Plain => Cell::new(text),
                        Tone::Good => Cell::new(text).fg(Color::Green),
                        Tone::Bad => Cell::new(text).fg(Color::Red),
                    }
                }),
        );
    }
    let last = columns.len().saturating_sub(1);
    for (index, ((_, fit), wide)) in columns.iter().zip(&widths).enumerate() {
        let gap = if index == last { 0 } else { GAP };
        let Some(column) = table.column_mut(index) else {
            continue;
        };
        column.set_padding((0, gap));
        if *fit != Fit::Wrap {
            let wide = u16::try_from(*wide).unwrap_or(u16::MAX).saturating_add(gap);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(wide)));
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Takes from the widest columns of names what is too much.
fn shrink(columns: &[(&str, Fit)], widths: &mut [usize], room: usize) {
    let needs = |widths: &[usize]| -> usize {
        let each = columns.iter().zip(widths);
        each.map(|((_, fit), width)| {
            if *fit == Fit::Wrap {
                (*width).min(LEAST_SENTENCE)
            } else {
                *width
            }
        })
        .sum()
    };
    while needs(widths) > room {
        let widest = columns
            .iter()
            .zip(widths.iter_mut())
            .filter(|((_, fit), width)| *fit == Fit::Shorten && **width > LEAST_NAME)
            .max_by_key(|(_, width)| **width);
        let Some((_, width)) = widest else { return };
        *width -= 1;
    }
}

/// A name of at most `width` characters: both ends stay, as either may be what tells it from others.
pub fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let keep = width.saturating_sub(1);
    let (head, tail) = (keep - keep / 2, keep / 2);
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// Sentences in lines of at most `width`, all but the first indented by `indent`.
pub fn paragraph(text: &str, indent: usize, width: u16) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > indent && line + 1 + word.chars().count() > usize::from(width) {
            lines.push(" ".repeat(indent));
        }
        if let Some(line) = lines.last_mut() {
            if line.chars().any(|c| c != ' ') {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

/// A time span to be read: 12s, 5m, 3h, 2d.
pub fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7200 => format!("{}m", s / 60),
        s @ 7200..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

/// Names, as many as can be read.
pub fn some(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}

/// A count and its noun: 1 node, 2 nodes, 2 addresses.
pub fn count(number: usize, noun: &str) -> String {
    let ending = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{ending}")
}

/// How nodes are called on a screen: without their domain, if they can be told apart so.
pub fn without_domains<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, &'a str> {
    let names: BTreeMap<&str, &str> = names
        .map(|name| (name, name.split('.').next().unwrap_or(name)))
        .collect();
    let mut short: Vec<&str> = names.values().copied().collect();
    short.sort_unstable();
    let unique = short.windows(2).all(|pair| pair[0] != pair[1]);
    names
        .into_iter()
        .map(|(name, short)| (name, if unique { short } else { name }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("node-1", 12, "node-1")]
    #[case("gke-prod-pool-1-abcdef", 12, "gke-pr…bcdef")]
    #[case("abc", 1, "…")]
    #[case("ab", 0, "…")]
    fn names_keep_both_ends(#[case] name: &str, #[case] width: usize, #[case] short: &str) {
        assert_eq!(shorten(name, width), short);
    }

    #[rstest]
    #[case(-5, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(7200, "2h")]
    #[case(200_000, "2d")]
    fn ages(#[case] seconds: i64, #[case] text: &str) {
        assert_eq!(age(seconds), text);
    }

    #[test]
    fn paragraphs_are_indented_and_lose_no_word() {
        let text = paragraph("- one two three averyveryverylongword end", 2, 12);
        assert_eq!(text, "- one two\n  three\n  averyveryverylongword\n  end\n");
    }

    #[rstest]
    #[case(&["a.x.example", "b.x.example"], &["a", "b"])]
    #[case(&["a.x.example", "a.y.example"], &["a.x.example", "a.y.example"])]
    #[case(&["a.x", "a"], &["a", "a.x"])]
    fn domains_are_left_out_where_they_tell_nothing(
        #[case] names: &[&str],
        #[case] called: &[&str],
    ) {
        let names = without_domains(names.iter().copied());
        assert_eq!(names.values().copied().collect::<Vec<_>>(), called);
    }

    #[test]
    fn a_table_fits_whatever_is_in_it() {
        let columns = [
            ("NODE", Fit::Shorten),
            ("GEN", Fit::Whole),
            ("WHY", Fit::Wrap),
        ];
        let row = vec![
            Item::plain("a-very-long-node-name.with.a.domain.example.com"),
            Item::plain("12"),
            Item::plain("words ".repeat(30)),
        ];
        for width in [60, 80, 120] {
            let text = table(&columns, vec![row.clone()], width);
            assert!(
                text.lines()
                    .all(|line| line.chars().count() <= usize::from(width)),
                "{text}"
            );
            assert_eq!(text.matches("words").count(), 30, "{text}");
        }
    }
}
