//! One node, from the outside: switching it on and off, and running things on it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::command::{Cmd, Output};
use crate::error::{Context, Error, Result, make_dir, write_file, write_private_file};
use crate::launch::Launch;
use crate::node_init::{self, Answer, NodeInit, Order};
use crate::plan::Endpoint;
use crate::process::{ProcessId, kill_and_wait};
use crate::spec::Cni;
use crate::state::{Saved, StateDir};
use crate::{cgroup, netns, node_config, pki, tools, underlay, wait};

/// The node's disk in memory, in bytes: its root, less images, volumes and logs.
const DISK_BYTES: u64 = 256 << 20;
const FILLER: &str = "filler";
const SERVICE_LIMIT: Duration = Duration::from_secs(30);
/// The kubelet waits at the most so long before it starts a container again that ended a few times.
const RESTART: Duration = Duration::from_secs(90);

/// A node of a cluster.
#[derive(Debug, Clone)]
pub struct Node {
    dir: PathBuf,
    cluster: StateDir,
    endpoint: Endpoint,
}

impl Node {
    pub(crate) fn new(cluster: &StateDir, endpoint: &Endpoint) -> Self {
        Self {
            dir: cluster.node(&endpoint.name),
            cluster: cluster.clone(),
            endpoint: endpoint.clone(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// Its place on the underlay.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its directory on the machine; see [`crate::state`] for what is in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes all that the node has on disk: as if it were being installed.
    pub(crate) fn install(&self, saved: &Saved) -> Result<()> {
        let plan = saved.plan();
        for sub in ["config", "disk", "log", "containerd", "kubelet"] {
            make_dir(self.dir.join(sub))?;
        }
        let (disk, size) = (self.disk(), format!("size={DISK_BYTES},mode=755"));
        mount(
            Some("tmpfs"),
            &disk,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .doing(|| format!("mount the disk of {} on {}", self.name(), disk.display()))?;
        for sub in ["etc-cni/net.d", "opt-cni/bin", "lib-weft"] {
            make_dir(disk.join(sub))?;
        }
        // Kubernetes' own packages bring these; a runtime needs loopback even
        // where another plugin makes the network.
        for entry in std::fs::read_dir("/usr/lib/cni")
            .doing(|| "list /usr/lib/cni".to_owned())?
            .flatten()
        {
            let link = disk.join("opt-cni/bin").join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), &link)
                .doing(|| format!("link {}", link.display()))?;
        }
        if saved.spec.cni == Cni::Bridge {
            let place = plan
                .nodes
                .iter()
                .position(|node| node.name == self.name())
                .unwrap_or_default();
            let conflist = node_config::bridge_conflist(&saved.spec, place);
            write_file(
                disk.join("etc-cni/net.d/10-bridge.conflist"),
                format!("{conflist:#}\n"),
            )?;
        }
        let init = NodeInit {
            hostname: self.name().to_owned(),
            dir: self.dir.clone(),
        };
        let init = serde_json::json!(init).to_string();
        write_file(self.dir.join("init.json"), init)?;
        self.write_config(saved)
    }

    /// Writes what the node's services read when they start.
    pub(crate) fn write_config(&self, saved: &Saved) -> Result<()> {
        let config = self.dir.join("config");
        make_dir(config.join(node_config::MANIFESTS))?;
        let authority = pki::Authority::load(&self.cluster.pki(), "ca")?;
        write_file(config.join("ca.crt"), authority.certificate())?;
        let names = [self.name().to_owned()];
        authority
            .server(self.name(), &names, &self.endpoint.ips())?
            .save(&config, "kubelet-serving")?;
        let user = format!("system:node:{}", self.name());
        for (file, user, groups) in [
            ("kubelet.kubeconfig", user.as_str(), &["system:nodes"][..]),
            ("kube-proxy.kubeconfig", "system:kube-proxy", &[]),
        ] {
            let identity = authority.client(user, groups)?;
            let server = node_config::api_url(&saved.plan());
            write_private_file(
                config.join(file),
                pki::kubeconfig(
                    &saved.spec.name,
                    &server,
                    authority.certificate(),
                    &identity,
                ),
            )?;
        }
        write_file(
            config.join("kubelet.json"),
            node_config::kubelet(&saved.spec, &self.endpoint).to_string(),
        )?;
        write_file(
            config.join("kube-proxy.json"),
            node_config::kube_proxy(&saved.spec, &self.endpoint).to_string(),
        )?;
        write_file(config.join("containerd.toml"), node_config::containerd())?;
        write_file(config.join("resolv.conf"), "")
    }

    /// Switches the machine on, up to a running containerd. Its network namespace must be there.
    pub(crate) async fn boot(&self, saved: &Saved) -> Result<()> {
        if self.pid1().is_some() {
            return Err(Error::State(format!("node {} is on already", self.name())));
        }
        let forwarding = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];
        let own = forwarding.map(|key| (key.to_owned(), "1".to_owned()));
        netns::set_sysctls(
            &self.endpoint.netns,
            own.into_iter().chain(saved.spec.sysctls.clone()),
        )?;
        cgroup::create(&self.endpoint.netns)?;
        let init = self.dir.join("init.json").display().to_string();
        let launch = Launch {
            argv: vec![
                tools::testbed()?.display().to_string(),
                node_init::SUBCOMMAND.to_owned(),
                init,
            ],
            netns: self.endpoint.netns.clone(),
            cgroup: Some(self.endpoint.netns.clone()),
            machine: true,
            log: self.dir.join("init.log"),
            pid_file: self.dir.join("pid"),
            cluster: saved.spec.name.clone(),
        };
        let pid1 = launch.start().await?;
        let what = format!(
            "node {} to boot ({} says more)",
            self.name(),
            launch.log.display()
        );
        wait::until(what, SERVICE_LIMIT, async || {
            self.order(Order::Running).await
        })
        .await?;
        self.start_service("containerd").await?;
        let socket = PathBuf::from(format!(
            "/proc/{}/root/run/containerd/containerd.sock",
            pid1.pid
        ));
        let what = format!("containerd on {} to listen", self.name());
        wait::until(what, SERVICE_LIMIT, async || {
            UnixStream::connect(&socket)
                .await
                .map_err(|error| format!("{}: {error}", socket.display()))
        })
        .await
        .map(|_| ())
    }

    /// Where the kubelet finds pods of its own: whoever writes a manifest there starts one, with or without
    /// the API server.
    pub fn manifests(&self) -> PathBuf {
        self.dir.join("config").join(node_config::MANIFESTS)
    }

    /// Starts kubelet and kube-proxy.
    pub(crate) async fn start_kubernetes(&self) -> Result<()> {
        self.start_service("kubelet").await?;
        self.start_service("kube-proxy").await
    }

    /// Cuts the power: every process ends at once, and all that was in the kernel
    /// (links, routes, connections) is gone. What is on disk stays.
    pub async fn power_off(&self) -> Result<()> {
        let pid1 = self
            .pid1()
            .ok_or_else(|| Error::State(format!("node {} is off", self.name())))?;
        kill_and_wait(&[pid1])?;
        self.unplug().await
    }

    /// Shuts down: SIGTERM to every process, ten seconds to obey, then as [`Node::power_off`].
    pub async fn shut_down(&self) -> Result<()> {
        let pid1 = self
            .pid1()
            .ok_or_else(|| Error::State(format!("node {} is off", self.name())))?;
        // Its pid 1 ends before it would answer.
        let _ = self.order(Order::Shutdown(10_000)).await;
        kill_and_wait(&[pid1])?;
        self.unplug().await
    }

    /// Switches it on again after [`Node::power_off`]; returns once its services
    /// have been started, not once it is Ready.
    pub async fn power_on(&self) -> Result<()> {
        let saved = self.cluster.load()?;
        let plan = saved.plan();
        if self.pid1().is_none() && netns::path(&self.endpoint.netns).exists() {
            // It ended by itself, or was killed by a stranger.
            self.unplug().await?;
        }
        underlay::attach(&plan, &self.endpoint).await?;
        self.boot(&saved).await?;
        self.start_kubernetes().await
    }

    async fn unplug(&self) -> Result<()> {
        underlay::detach(&self.cluster.load()?.plan(), &self.endpoint).await?;
        cgroup::remove(&self.endpoint.netns)
    }

    /// Runs a command on the node. An exit code other than 0 is an error.
    pub async fn exec<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Result<Output> {
        self.command(argv)?.run().await
    }

    /// A command on the node, to be given input, a time limit and so on, and then run.
    pub fn command<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Result<Cmd> {
        Ok(Cmd::new("nsenter").args(self.enter_arguments()?).args(argv))
    }

    /// The arguments by which nsenter enters the node.
    pub fn enter_arguments(&self) -> Result<Vec<String>> {
        let pid1 = self
            .pid1()
            .ok_or_else(|| Error::State(format!("node {} is off", self.name())))?;
        let pid = pid1.pid.to_string();
        Ok(["-t", &pid, "-m", "-u", "-i", "-n", "-p", "--"]
            .map(str::to_owned)
            .to_vec())
    }

    /// Pid 1 of the node, if the node is on.
    pub fn pid1(&self) -> Option<ProcessId> {
        ProcessId::load(&self.dir.join("pid"))
            .ok()
            .filter(|id| id.alive())
    }

    /// Starts containerd, kubelet or kube-proxy.
    pub async fn start_service(&self, name: &str) -> Result<()> {
        let spec = self.cluster.load()?.spec;
        let own = spec.nodes.iter().find(|node| node.name == self.name());
        let labels = own.map(|node| node.labels.clone()).unwrap_or_default();
        let argv = node_config::service(name, &self.endpoint, &labels)?;
        let order = Order::Start(name.to_owned(), argv);
        self.order(order).await.map(|_| ())
    }

    /// Sends a signal to a service and returns at once.
    pub async fn signal_service(&self, name: &str, signal: Signal) -> Result<()> {
        self.order(Order::Signal(name.to_owned(), signal as i32))
            .await
            .map(|_| ())
    }

    /// Kills a service and waits for its end. Pods go on.
    pub async fn stop_service(&self, name: &str) -> Result<()> {
        self.signal_service(name, Signal::SIGKILL).await?;
        wait::until(
            format!("{name} on {} to end", self.name()),
            SERVICE_LIMIT,
            async || match self.order(Order::Running).await {
                Ok(running) if running.contains_key(name) => Err("it runs".to_owned()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        )
        .await
    }

    /// The services that run.
    pub async fn running_services(&self) -> Result<Vec<String>> {
        Ok(self.order(Order::Running).await?.into_keys().collect())
    }

    /// Sends a signal to every process on the node of this name (at most 15
    /// characters), in pods too. It is an error if there is none.
    pub async fn signal_program(&self, program: &str, signal: Signal) -> Result<()> {
        let signal = format!("--signal={}", signal as i32);
        self.exec(["pkill", &signal, "--exact", program])
            .await
            .map(|_| ())
    }

    /// Kills every process on the node of this name (at most 15 characters), in pods too, as soon as there is one: a
    /// container that has ended may still wait for its next start.
    pub async fn kill_program(&self, program: &str) -> Result<()> {
        let what = format!(
            "{program} to run on {}, so that it can be killed",
            self.name()
        );
        wait::until(what, RESTART, async || {
            self.signal_program(program, Signal::SIGKILL).await
        })
        .await
    }

    /// Fills the node's disk to the last byte.
    pub fn fill_disk(&self) -> Result<()> {
        let path = self.disk().join(FILLER);
        let mut file = std::fs::File::create(&path).doing(|| format!("make {}", path.display()))?;
        match std::io::copy(&mut std::io::repeat(0), &mut file) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            outcome => outcome
                .map(|_| ())
                .doing(|| format!("fill the disk of {}", self.name())),
        }
    }

    /// Undoes [`Node::fill_disk`].
    pub fn free_disk(&self) -> Result<()> {
        let path = self.disk().join(FILLER);
        std::fs::remove_file(&path).doing(|| format!("remove {}", path.display()))
    }

    fn disk(&self) -> PathBuf {
        self.dir.join("disk")
    }

    async fn order(&self, order: Order) -> Result<std::collections::BTreeMap<String, i32>> {
        let socket = self.dir.join("init.sock");
        let asked = async {
            let mut stream = UnixStream::connect(&socket).await?;
            stream
                .write_all(format!("{}\n", serde_json::json!(order)).as_bytes())
                .await?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await?;
            std::io::Result::Ok(line)
        };
        let line = asked
            .await
            .doing(|| format!("give node {} an order at {}", self.name(), socket.display()))?;
        let answer = serde_json::from_str(&line)
            .doing(|| format!("parse the answer of node {}", self.name()))?;
        match answer {
            Answer::Done(running) => Ok(running),
            Answer::Refused(why) => Err(Error::State(format!("node {}: {why}", self.name()))),
        }
    }
}
