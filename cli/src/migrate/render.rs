//! A migration as text: in full, as one line, and as one sentence.

use k8s_openapi::jiff::Timestamp;
use weft_crds::{Mode, NetworkConfigStatus};
use weft_migration::Phase;

use super::{Progress, Report, Standing};
use crate::text::{Fit, Item, NAMED, Tone, age, count, paragraph, shorten, some, table};
use crate::waves::last_wave;

/// Waves that are listed.
const LISTED_WAVES: usize = 20;
/// The longest that a reason is in one line.
const LONGEST: usize = 160;
/// The word of the operator for a migration that goes on by itself.
const GOES_ON: &str = "Migrating";

/// The phases that a migration goes through; the way back begins where senders are.
pub fn phases(progress: &Progress) -> &'static [Phase] {
    const ALL: [Phase; 8] = Phase::ALL;
    if progress.back { &ALL[4..] } else { &ALL }
}

/// The whole as text of lines of at most `width`.
pub fn render(report: &Report, width: u16) -> String {
    let mut text = paragraph(&headline(report), 2, width);
    for sentence in below(report) {
        text.push_str(&paragraph(&sentence, 2, width));
    }
    if let Some(progress) = &report.migration {
        text.push_str(&under_way(progress, width));
    }
    text
}

/// What is said below the headline.
pub fn below(report: &Report) -> impl Iterator<Item = String> {
    let paused = report.paused_by.iter().map(|by| format!("Paused by {by}"));
    why_back(report)
        .into_iter()
        .chain(said(report))
        .chain(paused)
}

/// How it stands, in one sentence.
pub fn headline(report: &Report) -> String {
    let wanted = report.wanted.as_str();
    let generation = report.generation;
    if let Some(progress) = &report.migration {
        return format!(
            "{}, generation {generation}",
            sentence_of(progress, report.at)
        );
    }
    let mode = report.mode.map_or("no mode yet", Mode::as_str);
    match report.standing {
        Standing::Rest => {
            format!("At rest in mode {wanted}, generation {generation}: no migration is under way")
        }
        Standing::NotReady => format!(
            "In mode {wanted}, generation {generation}: no migration is under way, and not every node is ready"
        ),
        Standing::Failed => format!("Went back: in mode {mode}, and the spec says {wanted}"),
        _ if report.mode == Some(report.wanted) => format!(
            "In mode {mode}: no migration is under way; generation {generation} is to be taken up"
        ),
        _ => format!(
            "In mode {mode}: the migration to {wanted}, generation {generation}, has not begun"
        ),
    }
}

/// What it waits for or why it stopped, as the operator says it.
pub fn said(report: &Report) -> Option<String> {
    if let (Standing::Failed, Some(failure)) = (report.standing, &report.failure) {
        return Some(format!(
            "{}; mend that, then kubectl weft migrate resume tries it once more",
            failure.message
        ));
    }
    let reason = report.reason.as_ref()?;
    let named = report
        .migration
        .as_ref()
        .is_some_and(|progress| !progress.behind.is_empty());
    // Who it waits for is told node by node.
    if named && reason == GOES_ON {
        return None;
    }
    let message = report.message.as_deref().unwrap_or_default();
    // The operator says first which migration it is about, which is in the headline.
    let message = match message.split_once(": ") {
        Some((heading, rest)) if report.migration.is_some() && heading.contains(", phase ") => rest,
        _ => message,
    };
    Some(format!("{reason}: {message}"))
}

/// Why it goes back, if that is not what the spec asks for.
pub fn why_back(report: &Report) -> Option<String> {
    let failure = report.failure.as_ref();
    let failure = failure.filter(|_| report.migration.as_ref().is_some_and(|of| of.back));
    failure.map(|failure| format!("It goes back: {}", failure.message))
}

fn sentence_of(progress: &Progress, at: Timestamp) -> String {
    let direction = if progress.back { "Back from" } else { "From" };
    let mut text = format!(
        "{direction} {} to {}: phase {:?}",
        progress.from.as_str(),
        progress.to.as_str(),
        progress.phase
    );
    if progress.phase == Phase::Shift && !progress.back {
        text.push_str(&match progress.wave {
            0 => ", canaries".to_owned(),
            wave => format!(", wave {wave} of {}", progress.of_waves),
        });
    }
    text.push_str(&format!(
        ", {} of {} done",
        progress.nodes.done,
        count(progress.nodes.all, "node")
    ));
    if let Some(began) = progress.began {
        let since = |began: Timestamp| age(at.as_second() - began.as_second());
        text.push_str(&format!(", for {}", since(began)));
        if let Some(step_began) = progress.step_began {
            text.push_str(&format!(" ({} in this step)", since(step_began)));
        }
    }
    text
}

/// The same from the status alone, for where nodes are not looked at.
pub fn sentence(
    status: &NetworkConfigStatus,
    wanted: Mode,
    waves: u32,
    at: Timestamp,
) -> Option<String> {
    if let Some(migration) = &status.migration {
        let mut text = format!(
            "Migration {} {} to {}: phase {:?}",
            if migration.back { "back from" } else { "from" },
            migration.from.as_str(),
            migration.to.as_str(),
            migration.phase,
        );
        if migration.phase == Phase::Shift && !migration.back {
            text.push_str(&match migration.wave {
                0 => ", canaries".to_owned(),
                wave => format!(", wave {wave} of {}", last_wave(migration, waves)),
            });
        }
        if let Some(progress) = &status.progress {
            let since = age(at.as_second() - progress.began.0.as_second());
            text.push_str(&format!(", {} nodes done, for {since}", progress.summary));
        }
        return Some(text + "; see `kubectl weft migrate status`");
    }
    let failure = status.failed_migration.as_ref()?;
    Some(format!(
        "The migration to {} went back: {}; `kubectl weft migrate resume` tries it once more",
        wanted.as_str(),
        failure.message
    ))
}

fn under_way(progress: &Progress, width: u16) -> String {
    let mut text = format!("\n{}\n", paragraph(&phase_line(progress), 2, width));
    let columns = [
        ("WAVE", Fit::Whole),
        ("SEND IN NEW MODE", Fit::Whole),
        ("NODES", Fit::Wrap),
    ];
    let filled = progress.waves.iter().filter(|wave| !wave.nodes.is_empty());
    let filled: Vec<_> = filled.collect();
    let rows = filled.iter().take(LISTED_WAVES).map(|wave| {
        let tone = if wave.sending == wave.nodes.len() {
            Tone::Good
        } else {
            Tone::Plain
        };
        vec![
            Item::plain(&wave.called),
            Item::new(format!("{}/{}", wave.sending, wave.nodes.len()), tone),
            Item::plain(some(&wave.nodes)),
        ]
    });
    text.push_str(&table(&columns, rows.collect(), width));
    if filled.len() > LISTED_WAVES {
        text.push_str(&format!("and {} more waves\n", filled.len() - LISTED_WAVES));
    }
    if let Some(probes) = probes(progress) {
        text.push_str(&format!("\n{}", paragraph(&probes, 2, width)));
    }
    if !progress.behind.is_empty() {
        text.push_str("\nWaits for\n");
        for behind in progress.behind.iter().take(NAMED) {
            let line = format!("- {}: {}", behind.node, behind.what);
            text.push_str(&paragraph(&line, 2, width));
        }
        if progress.behind.len() > NAMED {
            text.push_str(&format!("- and {} more\n", progress.behind.len() - NAMED));
        }
    }
    if !progress.excluded.is_empty() {
        let names: Vec<String> = progress.excluded.iter().cloned().collect();
        let line = format!("Not waited for: {}", some(&names));
        text.push_str(&format!("\n{}", paragraph(&line, 2, width)));
    }
    text
}

/// The phases, with the present one marked.
fn phase_line(progress: &Progress) -> String {
    let each = phases(progress).iter().map(|phase| {
        if *phase == progress.phase {
            format!("[{phase:?}]")
        } else {
            format!("{phase:?}")
        }
    });
    format!("Phases: {}", each.collect::<Vec<_>>().join(", "))
}

/// What probes say; none were sent on the way back and before phase Prepare.
pub fn probes(progress: &Progress) -> Option<String> {
    let probes = &progress.probes;
    (probes.wanted > 0 || probes.sent > 0).then(|| {
        let mut text = format!(
            "Probes in {}: {} of {} paths proven; {} sent, {} lost ({} of 1000 may be)",
            progress.to.as_str(),
            probes.passed,
            probes.wanted,
            probes.sent,
            probes.lost,
            probes.budget_permille
        );
        if probes.failing > 0 {
            text.push_str(&format!(
                "; {} with paths by which nothing comes",
                count(probes.failing, "node")
            ));
        }
        text
    })
}

/// What changes from look to look, in one line, without times.
pub fn line(report: &Report) -> String {
    let Some(progress) = &report.migration else {
        let parts: Vec<String> = std::iter::once(headline(report))
            .chain(below(report))
            .collect();
        return parts.join("; ");
    };
    let timeless = Progress {
        began: None,
        step_began: None,
        ..progress.clone()
    };
    let mut parts = vec![sentence_of(&timeless, report.at)];
    let probes = &progress.probes;
    if probes.wanted > 0 {
        parts.push(format!(
            "{} of {} paths proven, {} probes sent, {} lost",
            probes.passed, probes.wanted, probes.sent, probes.lost
        ));
    }
    if let Some(behind) = progress.behind.first()
        && said(report).is_none()
    {
        parts.push(format!("waits for {}: {}", behind.node, behind.what));
    }
    parts.extend(below(report));
    let parts: Vec<String> = parts.iter().map(|part| shorten(part, LONGEST)).collect();
    parts.join("; ")
}
