//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What the network of the cluster does, and whether its addresses add up.
#[derive(Debug, Parser)]
#[command(name = "kubectl-weft", bin_name = "kubectl weft", version)]
pub struct Cli {
    /// What is asked.
    #[command(subcommand)]
    pub command: Command,
    /// Of which cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// How the answer is written.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Which cluster, and how long to wait for it.
#[derive(Debug, Args)]
pub struct Connection {
    /// The kubeconfig file. Default: $KUBECONFIG, else ~/.kube/config, else the pod's own account.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig file. Default: its current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The longest that one call to the API server may take, in seconds.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub request_timeout: u64,
}

impl Connection {
    /// The longest that one call may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout)
    }
}

/// What is asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The nodes, the paths between them, and what is wrong.
    Status,
    /// What a changed NetworkConfig would do. Nothing is changed by asking. Exits with 0: it can go ahead;
    /// 1: something makes it impossible; 2: it could not be asked, or the API server does not accept it.
    Plan {
        /// The file with the NetworkConfig, and with BGPPeers if they change too; -: standard input.
        #[arg(short, long = "filename", value_name = "FILE")]
        file: PathBuf,
        /// The generation of the NetworkConfig that the file was made for; another one is an error.
        #[arg(long, value_name = "NUMBER")]
        generation: Option<i64>,
    },
    /// The migration to another mode.
    #[command(subcommand)]
    Migrate(Migrate),
    /// The addresses.
    #[command(subcommand)]
    Ipam(Ipam),
    /// BGP: the sessions of all nodes, or the routes of one.
    Bgp {
        /// The routes of one node. Default: the sessions of all.
        #[command(subcommand)]
        of: Option<Bgp>,
    },
    /// Versions of this program, of the agents and of the operator.
    Version {
        /// Only of this program: ask no cluster.
        #[arg(long)]
        client: bool,
    },
}

/// What is asked of a migration. What changes something writes annotations, never the spec.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Migrate {
    /// How far it is, and what it waits for.
    Status,
    /// The same, live, until it is over. Exits with 0: the cluster is in the mode of the spec and Ready; 1: it
    /// went back, or is not over in time; 2: the cluster could not be read.
    Watch {
        /// The longest that is waited, in seconds. Default: for ever.
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        /// End, with 1, also when nothing goes on until somebody acts: the condition Stalled.
        #[arg(long)]
        until_stalled: bool,
    },
    /// Go no further than where it is. Packets go on.
    Pause,
    /// Go on; and if it went back, try once more.
    Resume,
    /// Go back to where it came from, and do not try this generation again.
    Rollback,
    /// Let nodes send in the new mode, where spec.migration.approval is Manual.
    Approve {
        /// The generation that was looked at; another one is an error. Default: the present one.
        #[arg(long, value_name = "NUMBER")]
        generation: Option<i64>,
    },
}

/// What is asked of the addresses.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Ipam {
    /// Compare what is allocated with what runs. Exits with 0: all adds up; 1: something is found;
    /// 2: it could not be checked.
    Check,
    /// The pools and blocks, and how full they are.
    Show,
}

/// What is asked of the agent of one node. It takes the right to forward ports to pods of Weft.
#[derive(Debug, Clone, Subcommand)]
pub enum Bgp {
    /// The routes that a node has learned.
    Routes {
        /// The node.
        node: String,
        /// Only those to this prefix, such as 10.244.0.0/26.
        prefix: Option<ipnet::IpNet>,
    },
    /// What a BGP peer of a node has announced to it, and why what is refused is.
    Received {
        /// The node.
        node: String,
        /// The address of the BGP peer.
        peer: std::net::IpAddr,
    },
    /// What a BGP peer of a node was told by it.
    Advertised {
        /// The node.
        node: String,
        /// The address of the BGP peer.
        peer: std::net::IpAddr,
    },
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// To be read.
    Text,
    /// One JSON object.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_follow_the_command() {
        let cli =
            Cli::try_parse_from(["x", "ipam", "check", "-o", "json", "--context", "c"]).unwrap();
        assert_eq!(cli.output, Output::Json);
        assert_eq!(cli.connection.context.as_deref(), Some("c"));
        assert!(matches!(cli.command, Command::Ipam(Ipam::Check)));
    }
}
