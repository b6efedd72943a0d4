//! `weft-agent run`: wires the parts together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use weft_crds::{NodeNetwork, NodeReport};
use weft_kernel::Watcher;

use crate::dataplane::Dataplane;
use crate::engine::{Engine, Inputs, Outputs};
use crate::events::Events;
use crate::gateways::{self, Watched};
use crate::health::{self, Health};
use crate::inspect;
use crate::install::{Directories, Installer};
use crate::probe::{self, Assignment};
use crate::publish;
use crate::saved::File;
use crate::sysctl::Sysctl;
use crate::watch as watches;

/// How long to wait at the most, after a restart, for BGP peers to say all that they know.
const RESTART: Duration = Duration::from_secs(60);

/// Where things are.
#[derive(Debug, Args)]
pub struct Options {
    /// Name of the node that this agent is on.
    #[arg(long, env = "NODE_NAME")]
    node: String,
    /// Namespace of Weft, where passwords are.
    #[arg(long, env = "NAMESPACE", default_value = "weft-system")]
    namespace: String,
    /// Where the agent and the plugin keep their state.
    #[arg(long, default_value = "/var/lib/weft")]
    state: PathBuf,
    /// The plugin's program, to be installed.
    #[arg(long, default_value = "/weft-cni")]
    plugin: PathBuf,
    /// Where the container runtime looks.
    #[command(flatten)]
    directories: Directories,
    /// Where net.* settings are.
    #[arg(long, default_value = "/host/proc/sys")]
    sysctl: PathBuf,
    /// Address for /livez, /readyz and /metrics.
    #[arg(long, default_value = "127.0.0.1:9473")]
    listen: SocketAddr,
}

/// Runs until told to stop.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let file = File::new(&options.state);
    let loaded = file
        .load()
        .with_context(|| format!("cannot read the saved state in {}", options.state.display()))?;
    let sysctl = Sysctl::new(&options.sysctl);
    // Listening begins before the first look, so that nothing is missed in between.
    let kernel = Watcher::open()?;
    let dataplane = Dataplane::open(&options.state.join("ipam"), sysctl)?;
    let client = weft_client::infer().await?;

    let (api_inputs, api) = mpsc::channel(1024);
    watches::start(&client, &options.node, &options.namespace, &api_inputs);
    let (network, network_wanted) = watch::channel(None);
    let (report, report_wanted) = watch::channel(None);
    let node = &options.node;
    tokio::spawn(publish::run::<NodeNetwork>(
        client.clone(),
        node.clone(),
        network_wanted,
    ));
    tokio::spawn(publish::run::<NodeReport>(
        client.clone(),
        node.clone(),
        report_wanted,
    ));
    let (assignment, assigned) = watch::channel(Assignment::default());
    let news = probe::start(assigned).context("cannot probe peers")?;
    let (sessions, sessions_wanted) = watch::channel(None);
    // What BGP peers knew of before is in the kernel; it stays until they have said what they know now.
    let restarted = loaded.saved.cluster.config.as_ref().map(|_| RESTART);
    let bgp = weft_peering::start(sessions_wanted, restarted);
    let (watched, watched_now) = watch::channel(Watched::default());
    let silent = gateways::start(watched_now);
    let (health, health_now) = watch::channel(Health::default());

    let outputs = Outputs {
        network,
        report,
        assignment,
        sessions,
        watched,
        health,
        events: Events::start(client, node),
    };
    let installer = Installer::new(options.plugin, options.directories);
    let engine = Engine::new(loaded, file, dataplane, installer, outputs);
    tokio::select! {
        served = health::serve(options.listen, health_now, inspect::router(&bgp)) => {
            served.with_context(|| format!("cannot listen on {}", options.listen))
        }
        () = engine.run(Inputs { api, kernel, news, view: bgp.view.clone(), silent }) => Ok(()),
        stopped = stop_signal() => stopped,
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
