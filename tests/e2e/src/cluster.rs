//! A whole cluster: bringing it up, taking it down, and all that scenarios ask of it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::{try_join, try_join_all, try_join3};
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};

use crate::apiserver::client_from;
use crate::command::{Cmd, Output};
use crate::controlplane::{API, CONTROLLERS, ControlPlane};
use crate::error::{Context, Error, Result};
use crate::faults::{self, Fault};
use crate::images::{self, Image};
use crate::node::Node;
use crate::plan::{Endpoint, Plan};
use crate::spec::{ClusterSpec, Cni, NodeSpec};
use crate::state::{Saved, StateDir};
use crate::timeline::Timeline;
use crate::{dns, leftovers, netns, node_config, tools, underlay, wait};

const REGISTER_LIMIT: Duration = Duration::from_secs(90);

/// A cluster that is up.
#[derive(Debug, Clone)]
pub struct Cluster {
    dir: StateDir,
}

impl Cluster {
    /// Brings a cluster up: returns when every node has registered. They are Ready
    /// once pods have a network. What fails is left as it is, to be looked at; `down` removes it.
    pub async fn up(spec: ClusterSpec, timeline: &Timeline) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::State(
                "the testbed makes namespaces and mounts: run it as root".to_owned(),
            ));
        }
        tools::check()?;
        let spec = spec.validated()?;
        let images = with_own_images(&spec);
        let (dir, saved) = StateDir::create(spec)?;
        let _lock = dir.lock()?;
        let cluster = Self { dir: dir.clone() };
        let plan = saved.plan();
        let control = ControlPlane::new(&dir, &saved);
        control.write_pki()?;
        underlay::create(&plan).await?;
        timeline.done("underlay and certificates");
        control.start(&API).await?;

        let nodes: Vec<_> = plan
            .nodes
            .iter()
            .map(|endpoint| Node::new(&dir, endpoint))
            .collect();
        let api = async {
            control.ready().await?;
            timeline.done("API server ready");
            control.start(&CONTROLLERS).await
        };
        let boot = async {
            try_join_all(
                nodes
                    .iter()
                    .map(|node| cluster.install_and_boot(node, &saved)),
            )
            .await?;
            timeline.done("nodes booted, containerd up");
            Ok(())
        };
        let build = async {
            let built = try_join_all(images.iter().map(|name| images::build(name))).await?;
            timeline.done("images built or found");
            Ok(built)
        };
        let (_, _, built) = try_join3(api, boot, build).await?;
        let register = async {
            try_join_all(nodes.iter().map(Node::start_kubernetes)).await?;
            try_join_all(nodes.iter().map(|node| cluster.registered(node.name()))).await?;
            timeline.done(&format!("{} nodes registered", nodes.len()));
            Ok(())
        };
        let load = async {
            try_join_all(nodes.iter().map(|node| load_all(&built, node))).await?;
            timeline.done("images loaded");
            Ok(())
        };
        try_join(register, load).await?;
        if saved.spec.dns {
            cluster
                .apply(&dns::manifests(&saved.spec).to_string())
                .await?;
            timeline.done("CoreDNS deployed");
        }
        Ok(cluster)
    }

    /// A cluster that has been brought up before.
    pub fn attach(name: &str) -> Result<Self> {
        let dir = StateDir::of(name);
        dir.load()?;
        Ok(Self { dir })
    }

    /// Removes a cluster, or what is left of one, and checks that nothing remains.
    pub fn down(name: &str) -> Result<()> {
        leftovers::remove(name)
    }

    /// A cluster that is removed when the value is dropped: for tests.
    pub async fn temporary(spec: ClusterSpec) -> Result<Temporary> {
        let name = spec.name.clone();
        Self::down(&name)?;
        // Before `up`, so that a failure half-way leaves nothing either.
        let guard = Guard(name);
        Ok(Temporary {
            cluster: Self::up(spec, &Timeline::quiet()).await?,
            _guard: guard,
        })
    }

    /// Its name.
    pub fn name(&self) -> Result<String> {
        Ok(self.saved()?.spec.name)
    }

    /// Its description.
    pub fn spec(&self) -> Result<ClusterSpec> {
        Ok(self.saved()?.spec)
    }

    /// Its names and addresses.
    pub fn plan(&self) -> Result<Plan> {
        Ok(self.saved()?.plan())
    }

    /// Where its files are.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// The administrator's kubeconfig, good on the machine itself.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.kubeconfig()
    }

    /// A client that may do everything.
    pub async fn client(&self) -> Result<Client> {
        client_from(&self.kubeconfig()).await
    }

    /// Runs kubectl.
    pub async fn kubectl<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output> {
        self.tool("kubectl")?.args(args).run().await
    }

    /// Applies manifests, in YAML or JSON, with kubectl.
    pub async fn apply(&self, manifests: &str) -> Result<Output> {
        self.tool("kubectl")?
            .args(["apply", "-f", "-"])
            .stdin(manifests)
            .run()
            .await
    }

    /// Runs helm.
    pub async fn helm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.tool("helm")?.args(args).run().await
    }

    /// kubectl, helm or another built program, told of this cluster.
    pub fn tool(&self, name: &str) -> Result<Cmd> {
        Ok(Cmd::new(tools::built(name)?).env("KUBECONFIG", self.kubeconfig()))
    }

    /// Runs a command in a pod's first container.
    pub async fn pod_exec(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Output> {
        self.kubectl([&["-n", namespace, "exec", pod, "--"][..], argv].concat())
            .await
    }

    /// A node.
    pub fn node(&self, name: &str) -> Result<Node> {
        let plan = self.plan()?;
        let node = plan
            .nodes
            .iter()
            .find(|node| node.name == name)
            .map(|endpoint| Node::new(&self.dir, endpoint));
        node.ok_or_else(|| {
            let known: Vec<_> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
            Error::State(format!(
                "there is no node {name}; there are {}",
                known.join(", ")
            ))
        })
    }

    /// All nodes.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self
            .plan()?
            .nodes
            .iter()
            .map(|endpoint| Node::new(&self.dir, endpoint))
            .collect())
    }

    /// The outside host beyond the router.
    pub fn outside(&self) -> Result<Endpoint> {
        let none = || {
            Error::State(
                "this cluster has no outside host: its description says `outside: false`"
                    .to_owned(),
            )
        };
        self.plan()?.outside.ok_or_else(none)
    }

    /// A command in the network namespace of the outside host, of `control` or of `router`.
    pub fn command_in<S: AsRef<OsStr>>(
        &self,
        endpoint: &str,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<Cmd> {
        let netns = netns::path(&crate::plan::netns(&self.name()?, endpoint));
        Ok(Cmd::new("nsenter")
            .args([format!("--net={}", netns.display()).as_str(), "--"])
            .args(argv))
    }

    /// Adds a node to the running cluster; returns when it has registered.
    pub async fn add_node(&self, spec: NodeSpec) -> Result<Node> {
        let _lock = self.dir.lock()?;
        let mut saved = self.saved()?;
        let name = spec.name.clone();
        saved.spec.nodes.push(spec);
        saved.spec = saved.spec.validated()?;
        self.dir.save(&saved)?;
        let node = self.node(&name)?;
        underlay::attach(&saved.plan(), node.endpoint()).await?;
        self.install_and_boot(&node, &saved).await?;
        let images = with_own_images(&saved.spec);
        let built = try_join_all(images.iter().map(|name| images::build(name))).await?;
        load_all(&built, &node).await?;
        node.start_kubernetes().await?;
        self.registered(&name).await?;
        Ok(node)
    }

    /// Builds images and loads them into every node that is on; nodes added later get them too.
    pub async fn load_images(&self, names: &[&str]) -> Result<Vec<Image>> {
        let built = try_join_all(names.iter().map(|name| images::build(name))).await?;
        let nodes = self.nodes()?;
        try_join_all(
            nodes
                .iter()
                .filter(|node| node.pid1().is_some())
                .map(|node| load_all(&built, node)),
        )
        .await?;
        let _lock = self.dir.lock()?;
        let mut saved = self.saved()?;
        let new = names
            .iter()
            .filter(|name| !saved.spec.images.iter().any(|known| known == *name));
        let new: Vec<_> = new.map(|&name| name.to_owned()).collect();
        saved.spec.images.extend(new);
        self.dir.save(&saved)?;
        Ok(built)
    }

    /// Cuts two endpoints off from each other: nodes, `control` (the API server) or `outside`.
    pub async fn partition(&self, a: &str, b: &str) -> Result<()> {
        faults::add(
            &self.dir,
            &[fault(a, b, faults::ALL), fault(b, a, faults::ALL)],
        )
        .await
    }

    /// Loses all packets from one endpoint to another, but none the other way.
    pub async fn partition_one_way(&self, from: &str, to: &str) -> Result<()> {
        faults::add(&self.dir, &[fault(from, to, faults::ALL)]).await
    }

    /// Loses this share of the packets between two endpoints, in per cent, each way.
    pub async fn drop_percent(&self, percent: f64, a: &str, b: &str) -> Result<()> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(Error::State(format!(
                "{percent} per cent of packets cannot be lost: 0 to 100 can"
            )));
        }
        let share = (percent * f64::from(faults::ALL) / 100.0).round() as u32;
        faults::add(&self.dir, &[fault(a, b, share), fault(b, a, share)]).await
    }

    /// Ends all faults of the underlay.
    pub async fn heal(&self) -> Result<()> {
        faults::heal(&self.dir, None).await
    }

    /// Ends the faults between two endpoints.
    pub async fn heal_between(&self, a: &str, b: &str) -> Result<()> {
        faults::heal(&self.dir, Some((a, b))).await
    }

    /// Kills the API server and etcd. What is stored stays.
    pub fn stop_api(&self) -> Result<()> {
        ControlPlane::new(&self.dir, &self.saved()?).kill(&API)
    }

    /// Starts etcd and the API server again, and waits until it is ready.
    pub async fn start_api(&self) -> Result<()> {
        let saved = self.saved()?;
        let control = ControlPlane::new(&self.dir, &saved);
        control.start(&API).await?;
        control.ready().await
    }

    /// Waits until nodes are Ready (`true`) or are not (`false`).
    pub async fn wait_nodes(&self, names: &[&str], ready: bool, limit: Duration) -> Result<()> {
        let what = format!(
            "{} to be {}",
            names.join(", "),
            if ready { "Ready" } else { "NotReady" }
        );
        let nodes: Api<core::Node> = Api::all(self.client().await?);
        wait::until(what, limit, async || {
            for name in names {
                let node = nodes.get(name).await.map_err(|error| error.to_string())?;
                let (is, why) = readiness(&node);
                if is != ready {
                    return Err(format!(
                        "{name} is {}: {why}",
                        if is { "Ready" } else { "NotReady" }
                    ));
                }
            }
            Ok(())
        })
        .await
    }

    /// Waits until a Deployment or DaemonSet (`deployment/NAME`) has rolled out.
    pub async fn wait_rollout(
        &self,
        namespace: &str,
        workload: &str,
        limit: Duration,
    ) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        let kubectl = self
            .tool("kubectl")?
            .args(["-n", namespace, "rollout", "status", workload, &timeout]);
        kubectl
            .timeout(limit + Duration::from_secs(10))
            .run()
            .await
            .map(|_| ())
    }

    async fn install_and_boot(&self, node: &Node, saved: &Saved) -> Result<()> {
        node.install(saved)?;
        if saved.spec.cni == Cni::Bridge {
            self.route_pods(node, saved).await?;
        }
        node.boot(saved).await
    }

    /// Tells the router where the reference plugin's pods of a node are.
    async fn route_pods(&self, node: &Node, saved: &Saved) -> Result<()> {
        let plan = saved.plan();
        let place = plan
            .nodes
            .iter()
            .position(|other| other.name == node.name())
            .unwrap_or_default();
        let ranges = node_config::pod_ranges(&saved.spec, place).into_iter();
        let via = |net: &ipnet::IpNet| {
            let same = |ip: &&std::net::IpAddr| ip.is_ipv4() == net.addr().is_ipv4();
            node.endpoint().ips().iter().find(same).copied()
        };
        let routes =
            ranges.filter_map(|net| Some(format!("route replace {net} via {}\n", via(&net)?)));
        underlay::ip_batch(Some(&plan.router_netns()), routes.collect()).await
    }

    async fn registered(&self, name: &str) -> Result<()> {
        let nodes: Api<core::Node> = Api::all(self.client().await?);
        wait::until(
            format!("node {name} to register"),
            REGISTER_LIMIT,
            async || {
                nodes
                    .get(name)
                    .await
                    .map(|_| ())
                    .doing(|| format!("get node {name}"))
            },
        )
        .await
    }

    fn saved(&self) -> Result<Saved> {
        self.dir.load()
    }
}

/// A cluster that goes when the value does.
pub struct Temporary {
    cluster: Cluster,
    _guard: Guard,
}

impl std::ops::Deref for Temporary {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

struct Guard(String);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = leftovers::remove(&self.0) {
            eprintln!("{error}");
        }
    }
}

fn with_own_images(spec: &ClusterSpec) -> Vec<String> {
    let own = ["pause"].into_iter().chain(spec.dns.then_some("coredns"));
    own.map(str::to_owned)
        .chain(spec.images.iter().cloned())
        .collect()
}

async fn load_all(images: &[Image], node: &Node) -> Result<()> {
    for image in images {
        images::load(image, node).await?;
    }
    Ok(())
}

fn fault(from: &str, to: &str, per_million: u32) -> Fault {
    Fault {
        from: from.to_owned(),
        to: to.to_owned(),
        per_million,
    }
}

fn readiness(node: &core::Node) -> (bool, String) {
    let conditions = node
        .status
        .iter()
        .filter_map(|status| status.conditions.as_ref())
        .flatten();
    let ready = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Ready");
    ready.map_or((false, "no condition yet".to_owned()), |condition| {
        (
            condition.status == "True",
            condition.message.clone().unwrap_or_default(),
        )
    })
}
