//! `weft-scenario`: what users do and what goes wrong, on a real cluster under traffic that can tell.

mod agents;
mod apiserver;
mod badinput;
mod bgppeers;
mod catalogue;
mod churn;
mod config;
mod connectivity;
mod demo;
mod demomigrate;
mod drift;
mod encapsulation;
mod families;
mod foreign;
mod hops;
mod hostport;
mod look;
mod mesh;
mod migrate;
mod mtu;
mod naive;
mod nodes;
mod operator;
mod pods;
mod prove;
mod reach;
mod routed;
mod routers;
mod under;
mod uninstall;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Scenarios on a real cluster.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name the scenarios.
    List,
    /// Run one scenario. The last line is its figures, as one JSON object.
    Run {
        /// Its name.
        name: String,
    },
    /// Run every scenario, one after the other, on clusters that they share.
    All,
    /// Run random migrations with random faults, under traffic of every kind.
    Prove {
        /// How many.
        #[arg(long, default_value_t = 50)]
        runs: u32,
        /// The same seed makes the same choices.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Show what moving a cluster by hand loses, to compare.
    Naive,
    /// Show what Weft does, and leave the cluster up.
    Demo {
        /// The mode to show.
        #[arg(long, value_enum, default_value_t)]
        mode: DemoMode,
        /// Show migrations from one mode to another.
        #[arg(long)]
        migrate: bool,
    },
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum DemoMode {
    /// VXLAN and direct routes between two subnets.
    #[default]
    Overlay,
    /// Plain routing between two racks.
    Bgp,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weft-scenario: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::List => {
                catalogue::list();
                Ok(())
            }
            Command::Run { name } => catalogue::run(&name).await,
            Command::All => catalogue::run_all().await,
            Command::Prove { runs, seed } => catalogue::prove(runs, seed).await,
            Command::Naive => catalogue::naive().await,
            Command::Demo { migrate: true, .. } => demomigrate::run().await,
            Command::Demo {
                mode: DemoMode::Overlay,
                ..
            } => demo::overlay().await,
            Command::Demo {
                mode: DemoMode::Bgp,
                ..
            } => demo::bgp().await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-scenario: {error:#}");
            ExitCode::FAILURE
        }
    }
}
