//! What the program is told when it starts.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::plan::daemonset::AgentSettings;

/// The operator of Weft.
#[derive(Debug, Parser)]
#[command(name = "weft-operator", version, about)]
pub struct Settings {
    /// Namespace of the components of Weft.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "weft-system",
        global = true
    )]
    pub namespace: String,

    /// Image of the agents, unless the NetworkConfig names one.
    #[arg(
        long,
        env = "WEFT_AGENT_IMAGE",
        default_value = "localhost/weft:dev",
        global = true
    )]
    pub agent_image: String,

    /// When the image of the agents is pulled: Always, IfNotPresent or Never.
    #[arg(
        long,
        env = "WEFT_IMAGE_PULL_POLICY",
        default_value = "IfNotPresent",
        global = true
    )]
    pub image_pull_policy: String,

    /// Names of the Secrets that the image is pulled with, separated by commas.
    #[arg(
        long,
        env = "WEFT_IMAGE_PULL_SECRETS",
        value_delimiter = ',',
        global = true
    )]
    pub image_pull_secrets: Vec<String>,

    /// HOST:PORT of the API server for agents, where the Service `kubernetes` can't be reached from
    /// the nodes before Weft runs.
    #[arg(long, env = "WEFT_AGENT_API_SERVER", value_parser = host_and_port, global = true)]
    pub agent_api_server: Option<(String, String)>,

    /// Have agents tell their metrics to other hosts too, not to their node alone.
    #[arg(long, env = "WEFT_EXPOSE_AGENT_METRICS", global = true)]
    pub expose_agent_metrics: bool,

    /// How much is logged: a level, or a filter of the tracing-subscriber crate.
    #[arg(long = "log", env = "WEFT_LOG", default_value = "info", global = true)]
    pub log: String,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile the NetworkConfig, until told to stop.
    Run(RunSettings),
    /// Remove everything that Weft made in the cluster and on its nodes, except what Helm installed.
    Uninstall(UninstallSettings),
}

/// Settings of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunSettings {
    /// Name of this pod.
    #[arg(long, env = "POD_NAME", default_value = "weft-operator")]
    pub pod_name: String,

    /// Address of /metrics, /livez and /readyz.
    #[arg(long, env = "WEFT_LISTEN", default_value = "127.0.0.1:9474")]
    pub listen: SocketAddr,
}

/// Settings of `uninstall`.
#[derive(Debug, Clone, Args)]
pub struct UninstallSettings {
    /// Seconds to wait for all nodes to be clean.
    #[arg(long, env = "WEFT_UNINSTALL_TIMEOUT", default_value = "300", value_parser = seconds)]
    pub timeout: Duration,

    /// Go on without the nodes that can't be cleaned, because they are down for good.
    #[arg(long, env = "WEFT_UNINSTALL_FORCE_DEAD")]
    pub force_dead: bool,
}

impl Settings {
    /// What is decided about agents here.
    pub fn agent(&self) -> AgentSettings {
        AgentSettings {
            namespace: self.namespace.clone(),
            image: self.agent_image.clone(),
            pull_policy: self.image_pull_policy.clone(),
            pull_secrets: self
                .image_pull_secrets
                .iter()
                .filter(|name| !name.is_empty())
                .cloned()
                .collect(),
            api_server: self.agent_api_server.clone(),
            expose_metrics: self.expose_agent_metrics,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

fn host_and_port(text: &str) -> Result<(String, String), String> {
    let parts = text.rsplit_once(':');
    let parts = parts.filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    let (host, port) = parts.ok_or("write it as HOST:PORT, such as 192.0.2.1:6443")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_string(), port.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Settings::command().debug_assert();
    }

    #[test]
    fn addresses_of_the_api_server() {
        let parts = |host: &str| Ok((host.to_string(), "6443".to_string()));
        assert_eq!(host_and_port("192.0.2.1:6443"), parts("192.0.2.1"));
        assert_eq!(host_and_port("[2001:db8::1]:6443"), parts("2001:db8::1"));
        assert!(host_and_port("192.0.2.1").is_err());
        assert!(host_and_port(":6443").is_err());
    }
}
