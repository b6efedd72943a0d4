//! kubectl weft: what the network does, and whether its addresses add up.

mod args;
mod bgp;
mod client;
mod cluster;
mod counts;
mod error;
#[cfg(test)]
mod fixtures;
mod ipam;
mod manifest;
mod migrate;
mod plan;
mod run;
mod status;
mod text;
mod version;
mod waves;
mod write;

use std::process::ExitCode;

use clap::Parser;

/// The exit code when the question could not be answered.
const UNANSWERED: u8 = 2;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run::run(args::Cli::parse())),
        Err(error) => Err(error::Error::Output(error)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(UNANSWERED)
    })
}
