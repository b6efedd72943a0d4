//! Asks, answers, and gives the exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::args::{Bgp, Cli, Command, Ipam, Migrate, Output};
use crate::bgp::{self, Question};
use crate::client::{Pods, Reader};
use crate::error::Error;
use crate::migrate::{self, Action, Until};
use crate::{ipam, plan, status, text, version};

/// The exit code when `ipam check` finds something, when a plan is not possible, and when a migration didn't get there.
const FOUND: u8 = 1;
/// Between the two looks of `ipam check`: longer than a report or the status of a pod is behind what
/// happens on a node.
const SECOND_LOOK: Duration = Duration::from_secs(4);

/// Answers, and gives the exit code.
///
/// # Errors
/// The question could not be answered.
pub async fn run(cli: Cli) -> Result<ExitCode, Error> {
    let width = text::screen_width();
    match cli.command {
        Command::Status => {
            let cluster = Reader::connect(&cli.connection)
                .await?
                .cluster(Pods::OfAgents)
                .await?;
            let report = status::report(&cluster);
            answer(cli.output, &report, || status::render(&report, width))?;
        }
        Command::Plan { file, generation } => {
            let reader = Reader::connect(&cli.connection).await?;
            let report = plan::ask(&reader, &file, generation).await?;
            answer(cli.output, &report, || plan::render(&report, width))?;
            return Ok(found(!report.possible));
        }
        Command::Migrate(command) => {
            let reader = Reader::connect(&cli.connection).await?;
            return migration(&reader, command, cli.output, width).await;
        }
        Command::Ipam(Ipam::Show) => {
            let cluster = Reader::connect(&cli.connection)
                .await?
                .cluster(Pods::OfAgents)
                .await?;
            let report = ipam::show::report(&cluster);
            answer(cli.output, &report, || ipam::show::render(&report, width))?;
        }
        Command::Ipam(Ipam::Check) => {
            let reader = Reader::connect(&cli.connection).await?;
            let report = check(&reader).await?;
            answer(cli.output, &report, || ipam::render::render(&report, width))?;
            return Ok(found(!report.clean));
        }
        Command::Bgp { of: None } => {
            let reports = Reader::connect(&cli.connection).await?.reports().await?;
            let report = bgp::report(Timestamp::now(), &reports);
            answer(cli.output, &report, || bgp::render_sessions(&report, width))?;
        }
        Command::Bgp { of: Some(of) } => {
            let (node, question) = match of {
                Bgp::Routes { node, prefix } => (node, Question::Routes(prefix)),
                Bgp::Received { node, peer } => (node, Question::Received(peer)),
                Bgp::Advertised { node, peer } => (node, Question::Advertised(peer)),
            };
            let reader = Reader::connect(&cli.connection).await?;
            let paths = reader.ask(&node, question).await?;
            answer(cli.output, &paths, || bgp::render_paths(&paths, width))?;
        }
        Command::Version { client } => {
            let cluster = match client {
                true => None,
                false => {
                    let reader = Reader::connect(&cli.connection).await?;
                    Some((reader.reports().await?, reader.deployments().await?))
                }
            };
            let report = version::report(cluster.as_ref());
            answer(cli.output, &report, || version::render(&report))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn found(something: bool) -> ExitCode {
    ExitCode::from(if something { FOUND } else { 0 })
}

async fn migration(
    reader: &Reader,
    command: Migrate,
    output: Output,
    width: u16,
) -> Result<ExitCode, Error> {
    let action = match command {
        Migrate::Status => {
            let report = migrate::report(&reader.migration().await?);
            answer(output, &report, || migrate::render(&report, width))?;
            return Ok(ExitCode::SUCCESS);
        }
        Migrate::Watch {
            timeout,
            until_stalled,
        } => {
            let until = Until {
                timeout: timeout.map(Duration::from_secs),
                stalled: until_stalled,
            };
            return match migrate::watch(reader, output, until).await {
                // Whoever reads has seen enough.
                Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
                    Ok(ExitCode::SUCCESS)
                }
                outcome => Ok(found(!outcome?)),
            };
        }
        Migrate::Pause => Action::Pause,
        Migrate::Resume => Action::Resume,
        Migrate::Rollback => Action::Rollback,
        Migrate::Approve { generation } => Action::Approve { generation },
    };
    let deed = migrate::act(reader, action).await?;
    answer(output, &deed, || migrate::render_deed(&deed, width))?;
    Ok(found(!deed.done))
}

/// Looks twice before it says that something is wrong: objects are read one after the other, while
/// pods come and go.
async fn check(reader: &Reader) -> Result<ipam::Report, Error> {
    let first = ipam::check(&reader.cluster(Pods::All).await?);
    if first.clean {
        return Ok(first);
    }
    tokio::time::sleep(SECOND_LOOK).await;
    let second = ipam::check(&reader.cluster(Pods::All).await?);
    Ok(second.confirming(&first))
}

fn answer<T: Serialize>(
    output: Output,
    report: &T,
    text: impl FnOnce() -> String,
) -> Result<(), Error> {
    let mut answer = match output {
        Output::Text => text(),
        Output::Json => serde_json::to_string_pretty(report).map_err(std::io::Error::from)?,
    };
    if !answer.ends_with('\n') {
        answer.push('\n');
    }
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(answer.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
