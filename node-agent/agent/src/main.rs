//! The node agent: programs the kernel of one node from what the API server says.

mod address;
mod assembly;
mod cleanup;
mod cluster;
mod dataplane;
mod engine;
mod events;
mod gateways;
mod health;
mod inspect;
mod install;
mod intake;
mod lacks;
mod mode;
mod modes;
mod mtu;
mod network;
mod nexthops;
mod offload;
mod probe;
mod publish;
mod report;
mod run;
mod saved;
mod secrets;
mod sessions;
mod sysctl;
#[cfg(test)]
mod testing;
mod watch;

use clap::{Parser, Subcommand};

/// The node agent of Weft.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Program this node until told to stop. Stopping leaves everything as it is.
    Run(run::Options),
    /// Remove everything of Weft from this node, and end.
    Cleanup(cleanup::Options),
    /// Do nothing until told to stop.
    Pause,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("WEFT_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match Cli::parse().command {
        Command::Run(options) => runtime.block_on(run::run(options)),
        Command::Cleanup(options) => cleanup::run(&options),
        Command::Pause => runtime.block_on(run::stop_signal()),
    }
}
