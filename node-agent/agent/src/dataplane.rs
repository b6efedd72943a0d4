//! Everything of this node that is under the agent: its kernel and the address store on its disk.
//! All of it blocks, none for long.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use weft_crds::Problem;
use weft_ipam::{Attachment, NodeBlock, NodeConfig, NodePodAddresses, Store};
use weft_kernel::pod::{self, HostIfname};
use weft_kernel::{
    Action, Changes, Errno, Failure, Foreign, Kernel, Reconciler, Route, RouteKey, RouteTarget,
    Scope, State,
};

use crate::assembly::{Assembly, Local};
use crate::cluster::{Config, OwnBlock};
use crate::mode::Here;
use crate::mtu::Sizes;
use crate::network;
use crate::report::Usage;
use crate::sysctl::{self, Settings, Sysctl};

/// How old an attachment has to be before its pod, if nothing is left of it, is taken for vanished.
const VANISHED_FOR: Duration = Duration::from_secs(60);

/// What the node should be.
#[derive(Debug, Clone)]
pub struct Target {
    /// What the admin says.
    pub config: Config,
    /// This node.
    pub here: Here,
    /// Its blocks.
    pub blocks: Vec<OwnBlock>,
    /// The sizes of packets of pods.
    pub sizes: Sizes,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The kernel is as it should be.
    pub programmed: bool,
    /// What was changed, in words.
    pub changes: usize,
    /// The blocks of the node and how full they are.
    pub usage: Vec<Usage>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// The kernel and the store.
pub struct Dataplane {
    reconciler: Reconciler,
    store: Store,
    sysctl: Sysctl,
    sizes: Option<Sizes>,
}

impl Dataplane {
    /// Opens both; `directory` is where the store is.
    ///
    /// # Errors
    /// In words: the kernel refuses, or the disk does.
    pub fn open(directory: &Path, sysctl: Sysctl) -> anyhow::Result<Self> {
        let store = Store::create(directory)?;
        let former = store.read_node().ok();
        Ok(Self {
            reconciler: Reconciler::new(Kernel::open()?),
            sizes: former.map(|node| Sizes {
                send: node.mtu,
                accept: node.link_mtu,
            }),
            store,
            sysctl,
        })
    }

    /// Takes notifications of the kernel.
    pub fn note(&mut self, changes: &Changes) {
        self.reconciler.note(changes);
    }

    /// Has the kernel read in full the next time.
    pub fn forget(&mut self) {
        self.reconciler.forget();
    }

    /// Ends the attachments of pods that vanished without a word, as in a power cut, so that their
    /// addresses can be given out again.
    pub fn sweep(&self) {
        match weft_cni::sweep::sweep(&self.store, VANISHED_FOR) {
            Ok(ended) => {
                for attachment in ended {
                    tracing::info!(
                        pod = attachment.owner(),
                        "gone without a word; its addresses are free"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look for pods that vanished"),
        }
    }

    /// The sizes that pods of this node had when the agent last ran.
    pub fn sizes(&self) -> Option<Sizes> {
        self.sizes
    }

    /// Makes the node as `target` says, going on past what fails. What settings of others are before
    /// they are changed is given to `remember` first; if that fails, they stay.
    pub fn reconcile(
        &mut self,
        target: &Target,
        assembly: &mut Assembly,
        remember: &mut dyn FnMut(Settings) -> Result<(), String>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        match self.program(target, assembly, remember, &mut outcome) {
            Ok(programmed) => outcome.programmed = programmed,
            Err(message) => problem(&mut outcome, "KernelNotRead", message),
        }
        self.report_corruption(&mut outcome);
        outcome
    }

    fn program(
        &mut self,
        target: &Target,
        assembly: &mut Assembly,
        remember: &mut dyn FnMut(Settings) -> Result<(), String>,
        outcome: &mut Outcome,
    ) -> Result<bool, String> {
        // The kernel is read before the store: the plugin writes an attachment down before it makes
        // anything of it, so whatever was seen in the kernel is in the store.
        let pools: Vec<IpNet> = target.config.pools.iter().map(|pool| pool.cidr).collect();
        let blocks: Vec<IpNet> = target.blocks.iter().map(|block| block.cidr).collect();
        let scope = Scope::of(&network::devices(&target.here, assembly.paths()), &pools);
        let unread = |error| format!("cannot read the state of the kernel: {error}");
        self.reconciler.observe(&scope).map_err(unread)?;
        // Now, because a failure makes the reconciler forget what it saw.
        let foreign = self.reconciler.foreign().cloned().unwrap_or_default();
        let attachments = self
            .store
            .attachments()
            .map_err(|error| format!("cannot read the address store: {error}"))?;
        let local = Local {
            blocks: &blocks,
            attachments: &attachments,
            sources_checked: self.reconciler.checks_sources(),
        };
        let (desired, changed) = assembly.complete(&local, self.reconciler.observed());
        if let Err(message) = self.prepare_settings(desired, remember) {
            problem(outcome, "SettingsNotPrepared", message);
            return Ok(false);
        }
        // Pods send less before routes carry less, and more after these carry more.
        let node = node_config(target);
        let lowers = self
            .sizes
            .is_some_and(|sizes| target.sizes.send < sizes.send);
        let mut resized = !lowers || self.resize(&node, target.sizes, outcome);
        let report = self
            .reconciler
            .reconcile_part(desired, changed, &scope)
            .map_err(unread)?;
        assembly.carried_out();
        outcome.changes = report.actions.len();
        let failures: Vec<&Failure> = report
            .failures
            .iter()
            .filter(|failure| !under_way(failure))
            .collect();
        // First what is often the cause: a report has room for a few problems only.
        report_foreign(&foreign, outcome);
        for failure in &failures {
            problem(outcome, "NotProgrammed", failure.to_string());
        }
        if !lowers {
            resized = self.resize(&node, target.sizes, outcome);
        }
        self.write_node(&node, outcome);
        outcome.usage = usage(&node, &attachments);
        Ok(failures.is_empty() && resized)
    }

    /// Sets what the whole node needs, after writing down what that and the devices of others had.
    fn prepare_settings(
        &mut self,
        desired: &State,
        remember: &mut dyn FnMut(Settings) -> Result<(), String>,
    ) -> Result<(), String> {
        let unmet = self.sysctl.unmet();
        let observed = self.reconciler.observed();
        let mut before =
            observed.map_or_else(Settings::new, |state| sysctl::before(desired, state));
        before.extend(unmet.clone());
        if !before.is_empty() {
            remember(before)?;
        }
        self.sysctl.meet(&unmet)
    }

    /// Gives pods that run another MTU.
    fn resize(&mut self, node: &NodeConfig, sizes: Sizes, outcome: &mut Outcome) -> bool {
        if self.sizes == Some(sizes) {
            return true;
        }
        // The plugin is told before the pods are looked up, so that none is born with the old size
        // between the two.
        self.write_node(node, outcome);
        let attachments = match self.store.attachments() {
            Ok(attachments) => attachments,
            Err(error) => {
                problem(outcome, "MTUNotSet", error.to_string());
                return false;
            }
        };
        let mut done = true;
        for attachment in &attachments {
            let mut link = weft_cni::pod_link(attachment, node);
            link.netns = as_seen_here(&link.netns);
            match pod::set_pod_mtu(&link) {
                Ok(()) => {}
                // The link goes with the namespace. While it is there, the pod is, and has the old size.
                Err(error) if error.is_netns_missing() && is_gone(&link.host_ifname) => {}
                Err(error) => {
                    let owner = attachment.owner();
                    problem(
                        outcome,
                        "MTUNotSet",
                        format!("cannot set the MTU of {owner}: {error}"),
                    );
                    done = false;
                }
            }
        }
        if done {
            self.sizes = Some(sizes);
        }
        done
    }

    /// Tells the plugin what it needs to know.
    fn write_node(&mut self, node: &NodeConfig, outcome: &mut Outcome) {
        if self.store.read_node().ok().as_ref() != Some(node)
            && let Err(error) = self
                .store
                .lock()
                .and_then(|mut store| store.write_node(node))
        {
            problem(outcome, "StoreNotWritten", error.to_string());
        }
    }

    /// Names each part of the store that could not be read.
    fn report_corruption(&mut self, outcome: &mut Outcome) {
        for path in self.store.corrupt_files().unwrap_or_default() {
            let message = format!(
                "a part of the address store could not be read and was set aside as {}; pods that it was about keep running, and their addresses may be given out again: compare with kubectl weft ipam check, then remove the file",
                path.display()
            );
            problem(outcome, "StoreCorrupt", message);
        }
    }
}

/// Where the agent sees a network namespace that the runtime names. On nodes `/var/run` is `/run` (FHS
/// 3.0, 5.13); in the agent's container there is only the latter.
fn as_seen_here(netns: &Path) -> PathBuf {
    netns
        .strip_prefix("/var/run")
        .map_or_else(|_| netns.into(), |rest| Path::new("/run").join(rest))
}

/// Whether the node's end of a pod's link is gone.
fn is_gone(host_ifname: &HostIfname) -> bool {
    pod::list().is_ok_and(|links| !links.contains(host_ifname))
}

fn node_config(target: &Target) -> NodeConfig {
    let block = |block: &OwnBlock| NodeBlock {
        cidr: block.cidr,
        allocatable: block.open,
    };
    NodeConfig {
        blocks: target.blocks.iter().map(block).collect(),
        node_pod_addresses: NodePodAddresses {
            ipv4: target.here.endpoint.pod_ipv4,
            ipv6: target.here.endpoint.pod_ipv6,
        },
        mtu: target.sizes.send,
        link_mtu: target.sizes.accept,
    }
}

fn usage(node: &NodeConfig, attachments: &[Attachment]) -> Vec<Usage> {
    let used: BTreeSet<IpAddr> = attachments
        .iter()
        .flat_map(|attachment| attachment.addresses.iter().copied())
        .collect();
    node.blocks
        .iter()
        .map(|block| Usage {
            block: block.cidr,
            capacity: node.addresses(block.cidr).count() as u64,
            used: used
                .iter()
                .filter(|address| block.cidr.contains(*address))
                .count() as u64,
            open: block.allocatable,
        })
        .collect()
}

/// Whether a failure is only that a pod comes or goes just now: the plugin writes an attachment down
/// before it makes the device, and forgets it after the device is gone. It makes the route itself.
fn under_way(failure: &Failure) -> bool {
    let Action::AddRoute(
        _,
        Route {
            target: RouteTarget::Device { device, .. },
            ..
        },
    ) = &failure.action
    else {
        return false;
    };
    let of_pod = device.as_str().parse::<pod::HostIfname>().is_ok();
    of_pod && matches!(failure.error.errno(), Some(Errno::ENODEV | Errno::ENETDOWN))
}

fn report_foreign(foreign: &Foreign, outcome: &mut Outcome) {
    for vxlan in &foreign.vxlans {
        problem(
            outcome,
            "ForeignDevice",
            format!(
                "VXLAN device {} of another tool has VNI {} and port {}, which Weft needs; remove the device, or change spec.overlay.vni or spec.overlay.port",
                vxlan.name, vxlan.vni, vxlan.port
            ),
        );
    }
    for route in &foreign.routes {
        let device = route
            .device
            .map_or_else(String::new, |device| format!(" through {device}"));
        let RouteKey {
            destination,
            table,
            metric,
        } = &route.key;
        let protocol = route.protocol;
        let message = format!(
            "a route to {destination}{device} in table {table} (protocol {protocol}, metric {metric}) was made by another tool inside a pool, and may take packets from Weft's routes; remove the route, or choose another pool"
        );
        problem(outcome, "ForeignRoute", message);
    }
    for address in &foreign.addresses {
        problem(
            outcome,
            "ForeignAddress",
            format!(
                "address {} of device {} is inside a pool; remove the address, or choose another pool",
                address.address, address.device
            ),
        );
    }
}

fn problem(outcome: &mut Outcome, reason: &str, message: String) {
    outcome.problems.push(Problem {
        reason: reason.into(),
        message,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_looked_for_where_the_agent_has_them() {
        for (named, here) in [
            ("/var/run/netns/cni-1", "/run/netns/cni-1"),
            ("/run/netns/cni-1", "/run/netns/cni-1"),
            ("/proc/7/ns/net", "/proc/7/ns/net"),
        ] {
            assert_eq!(as_seen_here(Path::new(named)), Path::new(here));
        }
    }
}
