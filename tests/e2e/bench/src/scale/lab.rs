//! A network namespace that an agent takes for its node.
//!
//! The API server listens on the machine's loopback only. A relay listens on the same address in
//! the namespace and passes connections on, so that the kubeconfig is right there too.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, copy_bidirectional};
use tokio::net::TcpStream;
use weft_crds::NodeNetwork;
use weft_e2e::apiserver::ApiServer;
use weft_e2e::{netns, tools, wait};

use super::{Simulated, fill};
use crate::place::Place;
use crate::process::Process;

/// The namespace.
const NAME: &str = "weft-bench-node";
/// The protocol and metric of the routes to the peers' blocks.
const OURS: &str = "87";
const PATIENCE: Duration = Duration::from_secs(120);

/// The namespace, and where the agent keeps its files.
pub struct Lab {
    place: Place,
    files: PathBuf,
}

/// Removes what is left of one.
pub fn strike() -> anyhow::Result<()> {
    let files = files();
    if files.exists() {
        let cannot = || format!("cannot remove {}", files.display());
        std::fs::remove_dir_all(&files).with_context(cannot)?;
    }
    Ok(netns::delete(NAME)?)
}

/// Not a name that differs each time: the next run has to find what one that was killed left.
fn files() -> PathBuf {
    std::env::temp_dir().join(NAME)
}

impl Lab {
    /// Makes one.
    pub async fn make() -> anyhow::Result<Self> {
        let lab = Self {
            place: Place::named(NAME),
            files: files(),
        };
        lab.clean().await?;
        Ok(lab)
    }

    /// Begins anew: another namespace, no files.
    pub async fn clean(&self) -> anyhow::Result<()> {
        strike()?;
        netns::create(NAME)?;
        let batch = format!(
            "link set lo up\n\
             link add name eth0 type veth peer name wire\n\
             address add {}/24 dev eth0\n\
             link set wire up\n\
             link set eth0 up\n\
             neighbour replace {router} lladdr 02:be:ff:ff:ff:ff dev eth0 nud permanent\n\
             route add default via {router}\n",
            fill::ADDRESS,
            router = Ipv4Addr::new(192, 0, 2, 254),
        );
        self.place.feed("ip", &["-batch", "-"], batch).await
    }

    /// Starts the agent.
    pub async fn start_agent(&self, cluster: &Simulated) -> anyhow::Result<Process> {
        self.relay(&cluster.api).await?;
        let binaries = tools::weft_binaries()?;
        let mut command = self.place.command(binaries.join("weft-agent"));
        command
            .args(["run", "--node", fill::NODE, "--listen", "127.0.0.1:0"])
            .args(["--sysctl", "/proc/sys"])
            .arg("--plugin")
            .arg(binaries.join("weft-cni"));
        for (option, sub) in [
            ("--state", "state"),
            ("--plugins", "bin"),
            ("--config", "net.d"),
        ] {
            let path = self.files.join(sub);
            std::fs::create_dir_all(&path)?;
            command.arg(option).arg(path);
        }
        Process::start("weft-agent", command, &cluster.api.kubeconfig())
    }

    /// Waits until the kernel has a route to the IPv4 block of each peer.
    pub async fn wait_programmed(&self, peers: usize) -> anyhow::Result<()> {
        let what = format!("routes to {peers} peers");
        wait::until(what, PATIENCE, async || {
            let show = ["-4", "route", "show", "proto", OURS, "metric", OURS];
            let shown = self.place.run("ip", &show).await;
            let shown = shown.map_err(|error| format!("{error:#}"))?;
            let routes = shown.lines().filter(|line| line.contains("nhid")).count();
            if routes == peers {
                return Ok(());
            }
            Err(format!("{routes} routes"))
        })
        .await?;
        Ok(())
    }

    /// Gives a peer another address in the underlay; milliseconds from the write until the kernel
    /// sends there.
    pub async fn change_peer(
        &self,
        cluster: &Simulated,
        peer: usize,
        number: usize,
    ) -> anyhow::Result<f64> {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 20, 0, 1)) + fresh(number));
        let mut monitor = self
            .place
            .command("bridge")
            .args(["monitor", "fdb"])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = monitor.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let nodes: Api<NodeNetwork> = Api::all(cluster.api.client().await?);
        let patch = json!({"spec": {"ipv4": format!("{address}/12")}});
        // The first request of a client opens its connection.
        nodes.get(&fill::name(peer)).await?;
        let start = Instant::now();
        nodes
            .patch(
                &fill::name(peer),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?;
        let wanted = format!("dst {address} ");
        let seen = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if format!("{line} ").contains(&wanted) {
                    return anyhow::Ok(start.elapsed());
                }
            }
            anyhow::bail!("the monitor ended")
        });
        let seen = seen
            .await
            .context("the peer's change is not in the kernel")??;
        Ok(seen.as_secs_f64() * 1e3)
    }

    async fn relay(&self, api: &ApiServer) -> anyhow::Result<()> {
        let url = api.url();
        let port: u16 = url.rsplit(':').next().unwrap_or_default().parse()?;
        let inside = self
            .place
            .within(move || {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .await
            .context("cannot listen for the agent")?;
        let inside = tokio::net::TcpListener::from_std(inside)?;
        tokio::spawn(async move {
            while let Ok((mut from, _)) = inside.accept().await {
                tokio::spawn(async move {
                    let mut to = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                    copy_bidirectional(&mut from, &mut to).await
                });
            }
        });
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What stays is removed by the next run.
        let _ = strike();
    }
}

/// A number that no change of this run has had before.
fn fresh(number: usize) -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) + u32::try_from(number).unwrap_or_default()
}
