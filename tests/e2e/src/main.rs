//! `weft-testbed`: a real Kubernetes cluster on one machine, from the command line.

mod cli;

use std::process::ExitCode;

use weft_e2e::{launch, node_init};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // These two change their own namespaces, which only a process with one thread can.
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, launch::SUBCOMMAND, order] => launch::execute(order).map(|()| ExitCode::SUCCESS),
        [_, node_init::SUBCOMMAND, config] => {
            node_init::execute(config).map(|()| ExitCode::SUCCESS)
        }
        _ => cli::run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("weft-testbed: {error}");
        ExitCode::FAILURE
    })
}
