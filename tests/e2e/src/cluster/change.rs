//! What scenarios do to the network below a running cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use kube::Api;

use super::Cluster;
use crate::error::{Error, Result};
use crate::faults::{self, Fault};
use crate::node::Node;
use crate::routers::{Routers, Settings, learned};
use crate::spec::{Cni, NodeSpec};
use crate::state::Saved;
use crate::{underlay, wait};

/// For how long a kubelet may take to report.
const REPORTED: Duration = Duration::from_secs(60);

impl Cluster {
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

    /// Pulls the cable of an endpoint out: its interface loses the carrier. `up-NAME` is the cable between the
    /// router NAME of a rack and the router of the cluster.
    pub async fn link_down(&self, endpoint: &str) -> Result<()> {
        self.set_port(endpoint, "down").await
    }

    /// Puts the cable back.
    pub async fn link_up(&self, endpoint: &str) -> Result<()> {
        self.set_port(endpoint, "up").await
    }

    /// Changes the MTU of a node's link, in bytes, at both ends. At most its subnet's.
    pub async fn set_mtu(&self, node: &str, mtu: u32) -> Result<()> {
        let saved = self.change_node(node, |spec| spec.mtu = Some(mtu))?;
        let netns = self.node(node)?.endpoint().netns.clone();
        let router = saved.plan().router_netns();
        underlay::ip_batch(Some(&router), format!("link set {node} mtu {mtu}\n")).await?;
        underlay::ip_batch(Some(&netns), format!("link set eth0 mtu {mtu}\n")).await
    }

    /// Gives a running node other addresses: those with the number `host` in its
    /// subnet. Its kubelet and kube-proxy are restarted, as an admin would; pods are not.
    pub async fn set_address(&self, node: &str, host: u32) -> Result<()> {
        let saved = self.change_node(node, |spec| spec.host = Some(host))?;
        let node = self.node(node)?;
        underlay::readdress(node.endpoint()).await?;
        if saved.spec.cni == Cni::Bridge {
            self.route_pods(&node, &saved).await?;
        }
        node.write_config(&saved)?;
        restart(&node, "kubelet").await?;
        // kube-proxy reads the node's addresses as it starts, and serves NodePorts on them for good.
        self.wait_addresses(&node).await?;
        restart(&node, "kube-proxy").await
    }

    /// Waits until the Node object has the addresses of the node.
    async fn wait_addresses(&self, node: &Node) -> Result<()> {
        let wanted: BTreeSet<String> = node
            .endpoint()
            .addresses
            .iter()
            .map(|address| address.addr().to_string())
            .collect();
        let nodes: Api<core::Node> = Api::all(self.client().await?);
        let what = format!("{} to report its addresses", node.name());
        wait::until(what, REPORTED, async || {
            let object = nodes.get(node.name()).await;
            let object = object.map_err(|error| error.to_string())?;
            let addresses = object.status.and_then(|status| status.addresses);
            let reported: BTreeSet<String> = addresses
                .into_iter()
                .flatten()
                .filter(|address| address.type_ == "InternalIP")
                .map(|address| address.address)
                .collect();
            if reported == wanted {
                Ok(())
            } else {
                Err(format!("{reported:?}"))
            }
        })
        .await
    }

    /// Kills the daemon of a router and starts it again: a graceful restart.
    pub async fn restart_router(&self, name: &str) -> Result<()> {
        let routers = self.routers()?;
        routers.kill(name)?;
        routers.revive(name).await
    }

    /// Changes what a router of a rack is told, while its daemon runs.
    pub async fn set_router(&self, name: &str, change: impl FnOnce(&mut Settings)) -> Result<()> {
        let _lock = self.dir.lock()?;
        self.routers()?.set(name, change).await
    }

    /// The daemons of routers.
    pub fn routers(&self) -> Result<Routers> {
        Ok(Routers::of(&self.dir, &self.saved()?))
    }

    /// The ranges that the router of a rack, `router` or `outside` has learned by BGP, as the kernel has them.
    pub async fn learned(&self, name: &str) -> Result<BTreeSet<IpNet>> {
        learned(&crate::plan::netns(&self.name, name)).await
    }

    async fn set_port(&self, endpoint: &str, state: &str) -> Result<()> {
        let plan = self.plan()?;
        let uplinks = plan.routers.iter().map(|router| &router.uplink.device);
        let mut ports = plan
            .endpoints()
            .map(|endpoint| &endpoint.name)
            .chain(uplinks);
        let port = ports.find(|port| *port == endpoint);
        let port = port.ok_or_else(|| Error::State(format!("there is no {endpoint}")))?;
        let batch = format!("link set {port} {state}\n");
        underlay::ip_batch(Some(&plan.router_netns()), batch).await
    }

    /// Changes a node's description, if the cluster is still valid with it.
    fn change_node(&self, node: &str, change: impl FnOnce(&mut NodeSpec)) -> Result<Saved> {
        let _lock = self.dir.lock()?;
        let mut saved = self.saved()?;
        let mut nodes = saved.spec.nodes.iter_mut();
        let spec = nodes.find(|spec| spec.name == node);
        change(spec.ok_or_else(|| Error::State(format!("there is no node {node}")))?);
        saved.spec = saved.spec.validated()?;
        self.dir.save(&saved)?;
        Ok(saved)
    }
}

async fn restart(node: &Node, service: &str) -> Result<()> {
    let running = node.running_services().await?;
    if running.iter().any(|name| name == service) {
        node.stop_service(service).await?;
    }
    node.start_service(service).await
}

fn fault(from: &str, to: &str, per_million: u32) -> Fault {
    Fault {
        from: from.to_owned(),
        to: to.to_owned(),
        per_million,
    }
}
