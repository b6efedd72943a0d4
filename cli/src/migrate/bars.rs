//! The migration on a terminal, redrawn in place: a bar for each phase and wave, the probes, and what it waits for.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use weft_migration::Phase;

use super::render::{below, headline, phases, probes};
use super::{Counted, Progress, Report};
use crate::text::paragraph;

/// Waves with a bar of their own.
const WAVES: usize = 8;
/// Nodes that are behind with a line of their own.
const BEHIND: usize = 4;

const BAR: &str = "  {prefix:<10} {bar:30} {pos:>5}/{len:<5} {wide_msg}";
const LINE: &str = "{wide_msg}";

/// The lines on the screen.
pub struct Bars {
    screen: MultiProgress,
    width: u16,
    /// By their keys, which sort as they are shown.
    lines: BTreeMap<(u8, usize), ProgressBar>,
}

impl Bars {
    /// Draws there, on so many columns.
    pub fn new(target: ProgressDrawTarget, width: u16) -> Self {
        Self {
            screen: MultiProgress::with_draw_target(target),
            width,
            lines: BTreeMap::new(),
        }
    }

    /// Shows how it is now.
    pub fn show(&mut self, report: &Report, trouble: Option<&str>) {
        let mut wanted = BTreeMap::new();
        let mut add = |place: u8, text: &str| {
            let first = wanted.range((place, 0)..(place + 1, 0)).count();
            for (index, line) in paragraph(text, 2, self.width).lines().enumerate() {
                wanted.insert((place, first + index), Line::Text(line.to_owned()));
            }
        };
        add(0, &headline(report));
        let trouble = trouble.map(|trouble| format!("Not up to date: {trouble}"));
        for text in report.migration.iter().flat_map(behind) {
            add(4, &text);
        }
        for text in below(report).chain(trouble) {
            add(5, &text);
        }
        if let Some(progress) = &report.migration {
            lines_of(progress, &mut wanted);
        }
        self.draw(&wanted);
    }

    /// Takes it all off the screen.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn clear(&mut self) -> std::io::Result<()> {
        self.screen.clear()
    }

    /// Lines that are there already are changed, others added or removed in their places.
    fn draw(&mut self, wanted: &BTreeMap<(u8, usize), Line>) {
        self.lines.retain(|key, line| {
            let stays = wanted.contains_key(key);
            if !stays {
                self.screen.remove(line);
            }
            stays
        });
        for (place, (key, line)) in wanted.iter().enumerate() {
            let screen = &self.screen;
            let drawn = self
                .lines
                .entry(*key)
                .or_insert_with(|| screen.insert(place, ProgressBar::no_length()));
            line.draw(drawn);
        }
    }
}

/// A line as it should be.
enum Line {
    Text(String),
    Bar {
        name: String,
        of: Counted,
        note: String,
    },
}

impl Line {
    fn draw(&self, drawn: &ProgressBar) {
        let style = |template| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ")
        };
        match self {
            Line::Text(text) => {
                drawn.set_style(style(LINE));
                drawn.set_message(text.clone());
            }
            Line::Bar { name, of, note } => {
                drawn.set_style(style(BAR));
                drawn.set_prefix(name.clone());
                drawn.set_length(of.all as u64);
                drawn.set_position(of.done as u64);
                drawn.set_message(note.clone());
            }
        }
        drawn.tick();
    }
}

fn lines_of(progress: &Progress, lines: &mut BTreeMap<(u8, usize), Line>) {
    for (index, phase) in phases(progress).iter().enumerate() {
        let all = progress.nodes.all;
        let (done, note) = match phase.cmp(&progress.phase) {
            std::cmp::Ordering::Less => (all, "done"),
            std::cmp::Ordering::Equal => (progress.nodes.done, "now"),
            std::cmp::Ordering::Greater => (0, ""),
        };
        // Shift goes on from wave to wave, so its bar counts those that have moved.
        let done = match phase {
            Phase::Shift if *phase == progress.phase => {
                progress.waves.iter().map(|wave| wave.sending).sum()
            }
            _ => done,
        };
        let bar = Line::Bar {
            name: format!("{phase:?}"),
            of: Counted { done, all },
            note: note.into(),
        };
        lines.insert((1, index), bar);
    }
    let filled: Vec<_> = progress
        .waves
        .iter()
        .filter(|wave| !wave.nodes.is_empty())
        .collect();
    let (shown, rest) = filled.split_at(filled.len().min(WAVES));
    for (index, wave) in shown.iter().enumerate() {
        let name = match wave.number {
            0 => "canaries".into(),
            number => format!("wave {number}"),
        };
        let of = Counted {
            done: wave.sending,
            all: wave.nodes.len(),
        };
        let note = wave.nodes.join(" ");
        lines.insert((2, index), Line::Bar { name, of, note });
    }
    if !rest.is_empty() {
        let of = Counted {
            done: rest.iter().map(|wave| wave.sending).sum(),
            all: rest.iter().map(|wave| wave.nodes.len()).sum(),
        };
        let (name, note) = ("others".into(), format!("{} more waves", rest.len()));
        lines.insert((2, WAVES), Line::Bar { name, of, note });
    }
    if let Some(probes) = probes(progress) {
        lines.insert((3, 0), Line::Text(probes));
    }
}

fn behind(progress: &Progress) -> Vec<String> {
    let named = progress.behind.iter().take(BEHIND);
    let mut lines: Vec<String> = named
        .map(|behind| format!("Waits for {}: {}", behind.node, behind.what))
        .collect();
    if progress.behind.len() > BEHIND {
        lines.push(format!("and for {} more", progress.behind.len() - BEHIND));
    }
    lines
}
