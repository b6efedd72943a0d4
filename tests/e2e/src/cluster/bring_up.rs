//! From nothing to nodes that have registered, and one node more.

use std::time::Duration;

use futures::future::{try_join_all, try_join3};
use k8s_openapi::api::core::v1 as core;
use kube::Api;

use super::Cluster;
use crate::controlplane::{API, CONTROLLERS, ControlPlane};
use crate::error::{Context, Error, Result};
use crate::images::{self, Image};
use crate::node::Node;
use crate::routers::Routers;
use crate::spec::{ClusterSpec, Cni, NodeSpec};
use crate::state::{Saved, StateDir};
use crate::timeline::Timeline;
use crate::{dns, leftovers, node_config, tools, underlay, wait};

const REGISTER_LIMIT: Duration = Duration::from_secs(90);

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
        let cluster = Self {
            name: saved.spec.name.clone(),
            dir: dir.clone(),
        };
        let plan = saved.plan();
        let control = ControlPlane::new(&dir, &saved);
        control.write_pki()?;
        let routers = Routers::of(&dir, &saved);
        routers.check()?;
        underlay::create(&plan).await?;
        timeline.done("underlay and certificates");
        if saved.spec.routed() {
            routers.start_all().await?;
            timeline.done("routers know of each other");
        }
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
        let deploy = async {
            if saved.spec.dns {
                let manifests = dns::manifests(&saved.spec).to_string();
                cluster.apply(&manifests).await?;
                timeline.done("CoreDNS deployed");
            }
            Ok(())
        };
        try_join3(register, load, deploy).await?;
        Ok(cluster)
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

    async fn install_and_boot(&self, node: &Node, saved: &Saved) -> Result<()> {
        node.install(saved)?;
        if saved.spec.cni == Cni::Bridge {
            self.route_pods(node, saved).await?;
        }
        node.boot(saved).await
    }

    /// Tells the router where the reference plugin's pods of a node are.
    pub(super) async fn route_pods(&self, node: &Node, saved: &Saved) -> Result<()> {
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
