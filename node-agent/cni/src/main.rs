//! The CNI plugin that the container runtime runs.

use std::io::{Read, Write};
use std::process::ExitCode;

use weft_cni::{Answer, Environment, SUPPORTED_VERSIONS, run};

/// A configuration with a previous result is a few KiB.
const LONGEST_INPUT: u64 = 16 << 20;

fn main() -> ExitCode {
    let environment = Environment::of_process();
    if environment.command.is_none() {
        eprintln!(
            "weft-cni {}, a CNI plugin for versions {}; the container runtime runs it with CNI_COMMAND set",
            env!("CARGO_PKG_VERSION"),
            SUPPORTED_VERSIONS.join(", ")
        );
        return ExitCode::FAILURE;
    }
    let mut input = Vec::new();
    let answer = match std::io::stdin().take(LONGEST_INPUT).read_to_end(&mut input) {
        Ok(_) => run(&environment, &input),
        Err(e) => Answer::unreadable_input(&e),
    };
    if let Some(message) = &answer.message {
        eprintln!("weft-cni: {message}");
    }
    let written = std::io::stdout().write_all(answer.output.as_bytes());
    match answer.ok && written.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
