//! Watches a migration until it is over.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::ProgressDrawTarget;
use tokio::time::Instant;

use super::bars::Bars;
use super::{Report, Standing, line, render, report};
use crate::args::Output;
use crate::client::Reader;
use crate::error::Error;
use crate::text::screen_width;

/// Between two looks, at the least.
const LOOK: Duration = Duration::from_secs(1);
/// Looking takes no more than one part in so many of the time, so that a large cluster is not worn out by it.
const SHARE: u32 = 10;

/// How long to watch.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    /// The longest.
    pub timeout: Option<Duration>,
    /// Until nothing goes on by itself.
    pub stalled: bool,
}

/// How the watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The cluster is in the mode of the spec, and ready.
    Good,
    /// It went back, or goes no further.
    Bad,
}

/// Shows a migration until it is over, and gives whether the cluster is in the mode of the spec then.
///
/// # Errors
/// The cluster can't be read at all. That it can't for a while is only said.
pub async fn watch(reader: &Reader, output: Output, until: Until) -> Result<bool, Error> {
    let began = Instant::now();
    let mut screen = Screen::new(output);
    let mut last: Option<Report> = None;
    loop {
        let looked = Instant::now();
        let trouble = match reader.migration().await {
            Ok(cluster) => {
                last = Some(report(&cluster));
                None
            }
            Err(error) if error.may_pass() && last.is_some() => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        let Some(report) = &last else { continue };
        screen.show(report, trouble.as_deref())?;
        if trouble.is_none()
            && let Some(end) = end(report, until)
        {
            screen.leave(report)?;
            return Ok(end == End::Good);
        }
        let pause = LOOK.max(looked.elapsed() * SHARE);
        let left = until
            .timeout
            .map(|timeout| timeout.saturating_sub(began.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            screen.leave(report)?;
            eprintln!(
                "not over within {} s; it goes on by itself, see kubectl weft migrate status",
                began.elapsed().as_secs()
            );
            return Ok(false);
        }
        tokio::time::sleep(left.map_or(pause, |left| left.min(pause))).await;
    }
}

/// Whether it is over.
fn end(report: &Report, until: Until) -> Option<End> {
    match report.standing {
        Standing::Rest => Some(End::Good),
        Standing::Failed => Some(End::Bad),
        Standing::Stalled => until.stalled.then_some(End::Bad),
        Standing::NotReady | Standing::Begins | Standing::UnderWay => None,
    }
}

/// Where it is shown.
enum Screen {
    /// Redrawn in place.
    Terminal(Bars),
    /// One line for each change.
    Lines { output: Output, last: String },
}

impl Screen {
    fn new(output: Output) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        match output {
            Output::Text if terminal => {
                Screen::Terminal(Bars::new(ProgressDrawTarget::stderr(), screen_width()))
            }
            _ => Screen::Lines {
                output,
                last: String::new(),
            },
        }
    }

    fn show(&mut self, report: &Report, trouble: Option<&str>) -> Result<(), Error> {
        match self {
            Screen::Terminal(bars) => bars.show(report, trouble),
            Screen::Lines { output, last } => {
                let line = match trouble {
                    Some(trouble) => format!("Not up to date: {trouble}"),
                    None => line(report),
                };
                if *last != line {
                    match (*output, trouble) {
                        (Output::Text, _) => print(&format!("{} {line}", time(report)))?,
                        (Output::Json, None) => {
                            print(&serde_json::to_string(report).map_err(std::io::Error::from)?)?;
                        }
                        (Output::Json, Some(_)) => eprintln!("{line}"),
                    }
                    *last = line;
                }
            }
        }
        Ok(())
    }

    /// The end: on a terminal how it ended takes the place of what was drawn.
    fn leave(&mut self, report: &Report) -> Result<(), Error> {
        match self {
            Screen::Terminal(bars) => {
                bars.clear()?;
                print(render(report, screen_width()).trim_end())
            }
            Screen::Lines { .. } => Ok(()),
        }
    }
}

/// The time of day, in UTC.
fn time(report: &Report) -> String {
    report.at.strftime("%H:%M:%SZ").to_string()
}

fn print(line: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::cluster;
    use rstest::rstest;

    #[rstest]
    #[case(Standing::Rest, false, Some(End::Good))]
    #[case(Standing::Failed, false, Some(End::Bad))]
    #[case(Standing::Stalled, false, None)]
    #[case(Standing::Stalled, true, Some(End::Bad))]
    #[case(Standing::UnderWay, true, None)]
    #[case(Standing::Begins, true, None)]
    #[case(Standing::NotReady, true, None)]
    fn when_it_is_over(
        #[case] standing: Standing,
        #[case] stalled: bool,
        #[case] expected: Option<End>,
    ) {
        let mut report = report(&cluster(&["node-1"]));
        report.standing = standing;
        let until = Until {
            timeout: None,
            stalled,
        };
        assert_eq!(end(&report, until), expected);
    }
}
