//! Traffic that can tell: what was sent, lost, doubled, late or reset.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use weft_load::control::{self, Command};
use weft_load::merge::{self, Merged};
use weft_load::plan::Plan;
use weft_load::report::Report;
use weft_load::run::{self, Options};
use weft_load::{PORT, serve};

/// Traffic that can tell: what was sent, lost, doubled, late or reset.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Answer the flows of clients, over UDP and TCP, IPv4 and IPv6, until SIGTERM
    Serve {
        /// Port of UDP and of TCP
        #[arg(long, default_value_t = PORT)]
        port: u16,
    },
    /// Run the flows of a plan until SIGTERM, `ctl stop` or the end of the duration
    Run {
        /// The plan, a JSON file
        #[arg(long)]
        plan: PathBuf,
        /// Seconds to run for, from when all flows are ready
        #[arg(long)]
        duration: Option<f64>,
        /// Address and port at which to listen for `ctl`
        #[arg(long)]
        control: Option<SocketAddr>,
        /// File for the final report
        #[arg(long)]
        out: Option<PathBuf>,
        /// Print the final report only
        #[arg(long)]
        quiet: bool,
    },
    /// Talk to a run through its control port
    Ctl {
        /// Its address and port
        #[arg(long)]
        addr: SocketAddr,
        /// Seconds to wait for the answer
        #[arg(long, default_value_t = 60.0)]
        timeout: f64,
        /// What it shall do
        action: Ask,
    },
    /// Add up reports in one table
    Merge {
        /// Reports, or what runs printed
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
        /// Exit with 1 if anything was lost, broken, damaged or not sent at all
        #[arg(long)]
        assert_zero: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Ask {
    /// Report what has been counted so far
    Status,
    /// Report, and begin to count anew
    Reset,
    /// Stop, and report when everything in flight is accounted for
    Stop,
    /// Wait until every flow works
    Ready,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().action {
        Action::Serve { port } => runtime()?.block_on(serve::serve(port))?,
        Action::Run {
            plan,
            duration,
            control,
            out,
            quiet,
        } => {
            let options = Options {
                duration: duration.map(Duration::try_from_secs_f64).transpose()?,
                control,
                out,
                quiet,
            };
            runtime()?.block_on(run::run(&Plan::read(&plan)?, &options))?;
        }
        Action::Ctl {
            addr,
            timeout,
            action,
        } => {
            let limit = Duration::try_from_secs_f64(timeout)?;
            let report = match action {
                Ask::Status => control::tell(addr, Command::Status, limit)?,
                Ask::Reset => control::tell(addr, Command::Reset, limit)?,
                Ask::Stop => control::tell(addr, Command::Stop, limit)?,
                Ask::Ready => control::wait_ready(addr, limit)?,
            };
            println!("{}", serde_json::to_string(&report)?);
        }
        Action::Merge {
            files,
            output,
            assert_zero,
        } => {
            let reports: anyhow::Result<Vec<Report>> =
                files.iter().map(|file| merge::read(file)).collect();
            let merged = Merged::of(&reports?);
            match output {
                Format::Table => println!("{}", merged.table()),
                Format::Json => println!("{}", serde_json::to_string(&merged)?),
            }
            if assert_zero && !merged.faults.is_empty() {
                for fault in &merged.faults {
                    eprintln!("{fault}");
                }
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One thread is enough for all TCP flows; the UDP flows have one of their own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
