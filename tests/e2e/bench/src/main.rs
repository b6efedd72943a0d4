//! `weft-bench`: what Weft costs, beside what does the same. Every figure is a ratio, with both sides
//! measured in turn in one run.

mod bgp;
mod edit;
mod network;
mod place;
mod plugins;
mod process;
mod program;
mod report;
mod scale;
mod stage;
mod stats;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use self::report::Section;

/// Ratios, measured side by side. The last line is all of them, as one JSON object.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// Only these figures.
    #[arg(value_enum)]
    figures: Vec<Figure>,
    /// How often each side is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

/// What the program runs itself as.
#[derive(Debug, Subcommand)]
enum Part {
    /// Measure plugins in namespaces of this process's own.
    #[command(hide = true)]
    PluginsApart {
        /// How often.
        rounds: usize,
    },
    /// Speak BGP.
    #[command(hide = true)]
    Speaker(bgp::Options),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// CNI ADD and DEL beside the reference plugins.
    Plugins,
    /// Programming the kernel for 5,000 peers.
    Program,
    /// Memory of agent and operator, and one peer's change, at 3 and at 5,000 peers.
    Scale,
    /// The BGP speaker beside BIRD, FRR and GoBGP.
    Bgp,
    /// Pod to pod across nodes.
    Network,
    /// From the edit of the encapsulation until all have moved.
    Edit,
}

// One thread: a child process is told to end with the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.part {
        Some(Part::PluginsApart { rounds }) => plugins::apart(rounds),
        Some(Part::Speaker(options)) => bgp::speak(options),
        None => bench(&cli).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(cli: &Cli) -> anyhow::Result<()> {
    // Of a run that was killed.
    strike()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let measured = tokio::select! {
        measured = measure(cli) => measured,
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped by SIGTERM")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("stopped by SIGINT")),
    };
    let struck = strike();
    let sections = measured?;
    struck?;
    print!("{}", report::table(&sections));
    println!("{}", report::json(&sections));
    Ok(())
}

/// What needs no cluster comes first, so that no cluster disturbs it.
async fn measure(cli: &Cli) -> anyhow::Result<Vec<Section>> {
    let wanted = |figure| cli.figures.is_empty() || cli.figures.contains(&figure);
    let rounds = usize::from(cli.rounds);
    let mut sections = Vec::new();
    if wanted(Figure::Plugins) {
        sections.push(plugins::run(rounds).await?);
    }
    if wanted(Figure::Program) {
        sections.push(program::run(rounds).await?);
    }
    if wanted(Figure::Scale) {
        sections.push(scale::run(rounds).await?);
    }
    if wanted(Figure::Bgp) {
        sections.extend(bgp::run(rounds).await?);
    }
    if !wanted(Figure::Network) && !wanted(Figure::Edit) {
        return Ok(sections);
    }
    progress("bringing up three nodes with Weft");
    let stage = stage::set().await?;
    if wanted(Figure::Network) {
        // The aim is within the noise of a few runs.
        sections.extend(network::run(&stage, rounds + 1).await?);
    }
    if wanted(Figure::Edit) {
        sections.push(edit::run(&stage, rounds).await?);
    }
    Ok(sections)
}

/// Removes whatever is there of a run.
fn strike() -> anyhow::Result<()> {
    scale::strike()?;
    bgp::strike()?;
    stage::strike()
}

fn progress(what: &str) {
    eprintln!("bench: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
