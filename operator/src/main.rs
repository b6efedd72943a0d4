//! The program `weft-operator`.

use anyhow::Result;
use clap::Parser;
use tracing_subscriber::EnvFilter;
use weft_operator::settings::{Command, Settings};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&settings.log))
        .with_ansi(false)
        .init();
    match &settings.command {
        Command::Run(own) => weft_operator::run::run(&settings, own).await,
        Command::Uninstall(own) => weft_operator::uninstall::run(&settings, own).await,
    }
}
