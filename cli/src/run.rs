//! Asks, answers, and gives the exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::args::{Bgp, Cli, Command, Ipam, Output};
use crate::bgp::{self, Question};
use crate::client::{Pods, Reader};
use crate::error::Error;
use crate::{ipam, status, text, version};

/// The exit code when `ipam check` finds something.
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
            if !report.clean {
                return Ok(ExitCode::from(FOUND));
            }
        }
        Command::Bgp { of: None } => {
            let reports = Reader::connect(&cli.connection).await?.reports().await?;
            let report = bgp::report(Timestamp::now(), &reports);
            answer(cli.output, &report, || bgp::render_sessions(&report, width))?;
        }
        Command::Bgp { of: Some(of) } => {
            let (node, question) = match of {
                Bgp::Routes { node } => (node, Question::Routes),
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
