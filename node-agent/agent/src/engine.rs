//! The agent's loop: take inputs, decide what the node should be, make it so, and say so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use weft_crds::{Mode, ModesReport, NodeNetworkSpec, NodeReportSpec, Problem};
use weft_kernel::capability::Capability;
use weft_kernel::underlay::NodeAddress;
use weft_kernel::{Changes, Family, Watcher};
use weft_migration::Orders;
use weft_peering::{Plan, View};

use crate::address::{self, Finder};
use crate::assembly::{Assembly, Ground, Probes};
use crate::cluster::{Config, Endpoint, OwnBlock, OwnNode};
use crate::dataplane::{Dataplane, Outcome, Target};
use crate::events::Events;
use crate::gateways::Watched;
use crate::health::Health;
use crate::install::Installer;
use crate::intake::Intake;
use crate::lacks;
use crate::mode::{self, Here, Known};
use crate::modes::{self, Followed};
use crate::mtu::{self, Mtu};
use crate::network;
use crate::offload::Offload;
use crate::probe::{Assignment, News};
use crate::publish::Wanted;
use crate::report::{self, Facts};
use crate::saved::{File, Loaded, Saved};
use crate::watch::Input;

/// How long to gather changes before acting on them.
const GATHER: Duration = Duration::from_millis(20);
/// The kernel is looked at so often even if it says nothing.
const RESYNC: Duration = Duration::from_secs(60);
/// After a failure, this long until the next try.
const RETRY: Duration = Duration::from_secs(2);

/// Where the loop's inputs come from.
pub struct Inputs {
    /// The API server.
    pub api: mpsc::Receiver<Input>,
    /// The kernel.
    pub kernel: Watcher,
    /// The probes.
    pub news: watch::Receiver<Arc<News>>,
    /// The BGP peers.
    pub view: watch::Receiver<Arc<View>>,
    /// Routers that don't answer.
    pub silent: watch::Receiver<BTreeSet<IpAddr>>,
}

/// Where its outputs go.
pub struct Outputs {
    /// What the peers must know.
    pub network: watch::Sender<Wanted<NodeNetworkSpec>>,
    /// What the operator must know.
    pub report: watch::Sender<Wanted<NodeReportSpec>>,
    /// What to probe.
    pub assignment: watch::Sender<Assignment>,
    /// Who to speak BGP with.
    pub sessions: watch::Sender<Option<Arc<Plan>>>,
    /// The routers to watch.
    pub watched: watch::Sender<Watched>,
    /// What `/readyz` and `/metrics` say.
    pub health: watch::Sender<Health>,
    /// Kubernetes events.
    pub events: Events,
}

/// The loop's state.
pub struct Engine {
    intake: Intake,
    /// What has been wrong since the start.
    standing: Vec<Problem>,
    /// What the kernel lacks.
    missing: BTreeMap<Capability, String>,
    dataplane: Dataplane,
    installer: Installer,
    file: File,
    saved: Saved,
    mtu: Mtu,
    offload: Offload,
    outputs: Outputs,
    /// What is known by BGP.
    view: Arc<View>,
    /// Routers that don't answer.
    silent: BTreeSet<IpAddr>,
    finder: Finder,
    /// What was last made of the node.
    assembly: Assembly,
    generation: Option<i64>,
    /// What the last step that was carried out in full, and is saved, made of the node.
    followed: Option<Followed>,
    uid: String,
    outcome: Outcome,
    problems: Vec<Problem>,
}

impl Engine {
    /// An engine that goes on from what is on the disk.
    pub fn new(
        loaded: Loaded,
        file: File,
        dataplane: Dataplane,
        installer: Installer,
        outputs: Outputs,
    ) -> Self {
        let saved = loaded.saved;
        let (missing, lacks) = lacks::probe();
        let lost = loaded.set_aside.map(|(aside, error)| Problem {
            reason: "SavedStateCorrupt".into(),
            message: format!(
                "what was saved of the cluster could not be understood ({error}) and was set aside as {}; the API server has it all, so nothing has to be done; remove the file",
                aside.display()
            ),
        });
        Self {
            intake: Intake::resume(saved.cluster.clone()),
            standing: lost.into_iter().chain(lacks).collect(),
            missing,
            mtu: Mtu::resume(dataplane.sizes()),
            offload: Offload::default(),
            dataplane,
            installer,
            file,
            saved,
            outputs,
            view: Arc::default(),
            silent: BTreeSet::new(),
            finder: Finder::default(),
            assembly: Assembly::default(),
            generation: None,
            followed: None,
            uid: String::new(),
            outcome: Outcome::default(),
            problems: Vec::new(),
        }
    }

    /// Runs until the API inputs end.
    pub async fn run(mut self, mut inputs: Inputs) {
        let mut next = Instant::now();
        let mut forget = next + RESYNC;
        loop {
            let at = tokio::time::Instant::from_std(next);
            tokio::select! {
                input = inputs.api.recv() => {
                    let Some(input) = input else { return };
                    self.intake.take(input);
                    next = next.min(Instant::now() + GATHER);
                }
                changes = inputs.kernel.changed() => {
                    self.note(changes);
                    next = next.min(Instant::now() + GATHER);
                }
                Ok(()) = inputs.news.changed() => {
                    let news = inputs.news.borrow_and_update().clone();
                    let health = self.health(&news);
                    if self.judge(&health, &news) {
                        next = Instant::now();
                    }
                    self.say(&health, &news);
                }
                Ok(()) = inputs.view.changed() => {
                    let view = inputs.view.borrow_and_update().clone();
                    if self.learn(view) {
                        next = next.min(Instant::now() + GATHER);
                    }
                    let news = inputs.news.borrow();
                    self.say(&self.health(&news), &news);
                }
                Ok(()) = inputs.silent.changed() => {
                    self.silent.clone_from(&inputs.silent.borrow_and_update());
                    next = Instant::now();
                }
                () = tokio::time::sleep_until(at) => {
                    if Instant::now() >= forget {
                        self.dataplane.forget();
                        self.finder.forget();
                        self.intake.doubt();
                        tokio::task::block_in_place(|| self.dataplane.sweep());
                        forget = Instant::now() + RESYNC;
                    }
                    // Where nothing is due, each new verdict was judged when it came.
                    if self.offload.deadline().is_some_and(|due| due <= Instant::now()) {
                        let news = inputs.news.borrow();
                        self.judge(&self.health(&news), &news);
                    }
                    let wait = self.act().await;
                    let news = inputs.news.borrow().clone();
                    self.say(&self.health(&news), &news);
                    next = Instant::now() + wait;
                }
            }
        }
    }

    /// Takes what is known by BGP. True if paths may follow from it.
    fn learn(&mut self, view: Arc<View>) -> bool {
        let before = std::mem::replace(&mut self.view, view);
        let refused = |view: &View| -> Vec<usize> {
            let peers = view.peers.values();
            peers
                .map(|peer| peer.ipv4.refused + peer.ipv6.refused)
                .collect()
        };
        let same = Arc::ptr_eq(&before.routes, &self.view.routes)
            && refused(&before) == refused(&self.view)
            && before.complete == self.view.complete
            && before.problems == self.view.problems;
        !same
    }

    /// Takes notifications of the kernel.
    fn note(&mut self, changes: Result<Changes, weft_kernel::netlink::Error>) {
        match changes {
            Ok(changes) => {
                self.dataplane.note(&changes);
                if changes.touch_underlay() {
                    self.finder.forget();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot listen to the kernel; it is read in full instead");
                self.dataplane.forget();
                self.finder.forget();
            }
        }
    }

    /// Makes the node what it should be, as soon as all is known that this depends on. Gives the time
    /// until the next look.
    async fn act(&mut self) -> Duration {
        self.problems.clear();
        let Some((config, own)) = self.ready() else {
            return RESYNC;
        };
        let found = self.finder.find(&config.node_address, &own.internal_ips);
        let found = found.await;
        tokio::task::block_in_place(|| self.reconcile(config, own, found))
    }

    fn ready(&self) -> Option<(Config, OwnNode)> {
        let cluster = &self.intake.cluster;
        let known = cluster.config.clone().zip(cluster.own.clone());
        known.filter(|_| self.intake.complete())
    }

    fn reconcile(
        &mut self,
        config: Config,
        own: OwnNode,
        found: Result<NodeAddress, String>,
    ) -> Duration {
        self.uid.clone_from(&own.uid);
        let orders = config.orders(&own);
        let Some(here) = self.here(&config, &own, orders, found) else {
            return RETRY;
        };
        self.publish_network(&own, &here.endpoint);
        if self.offload == Offload::Off {
            self.problem("ChecksumOffload", "packets in VXLAN arrive only with checksum offload off, so it is off; update the driver of the network card".into());
        }
        let room = |modes: &BTreeSet<Mode>| {
            mtu::wanted(&config, modes, &self.intake.cluster, &here.endpoint)
        };
        let wanted = room(&here.orders.fit);
        let proof_mtu = here
            .orders
            .prove
            .map_or(wanted.mtu, |mode| room(&[mode].into()).mtu);
        let examined = here.orders.examine.map(|mode| {
            let both = here.orders.fit.iter().copied().chain([mode]);
            (mode, room(&both.collect()))
        });
        if let Some(message) = wanted.problem {
            self.problem("MTUTooSmall", message);
        }
        let sizes = self.mtu.follow(wanted.mtu, Instant::now());
        let ground = Ground {
            config: config.clone(),
            here: here.clone(),
            mtu: sizes.send,
            proof_mtu,
        };
        let changed = self.intake.take_changed();
        let cluster = &self.intake.cluster;
        let probes = self.assembly.follow(ground, &changed, cluster, &self.view);
        let blocks = self.intake.cluster.own_blocks();
        let running = self.outputs.sessions.borrow().clone();
        let known = Known {
            config: &config,
            here: &here,
            own: &own,
            blocks: &ranges(&blocks),
            peers: self.assembly.peers(),
            routers: &self.intake.cluster.routers,
            secrets: &self.intake.secrets,
            silent: &self.silent,
            running: running.as_deref(),
        };
        let (sessions, refused) = mode::sessions(&known);
        let mut obstacles = Vec::new();
        if let Some((mode, room)) = &examined {
            obstacles = mode::obstacles(*mode, &known, &self.missing);
            obstacles.extend(room.problem.clone().filter(|_| room.too_small));
        }
        let followed = Followed {
            stage: config.stage.clone(),
            orders: here.orders.clone(),
            sized: sizes.send == wanted.mtu,
            shrinks: examined.is_some_and(|(_, room)| room.mtu < wanted.mtu),
            obstacles,
            proof_mtu,
        };
        let mut addresses = self.assembly.paths().routers();
        // Packets go by others meanwhile; it is watched for its return.
        addresses.extend(self.silent.iter().filter(|_| sessions.is_some()));
        let device = sessions.is_some().then_some(here.device);
        send_if_new(&self.outputs.watched, Watched { device, addresses });
        send_if_new(&self.outputs.sessions, sessions.map(Arc::new));
        self.problems.extend(refused);
        let problems = &self.assembly.paths().problems;
        self.problems.extend(problems.iter().cloned());
        if blocks.is_empty() {
            let message = "no block was given to this node yet; pods can't start on it; see the condition AddressesAvailable of the NetworkConfig";
            self.problem("NoBlock", message.into());
        }
        let target = Target {
            config,
            here,
            blocks,
            sizes,
        };
        self.assign(probes);
        let (file, saved) = (&self.file, &mut self.saved);
        let mut remember = |before| saved.remember(before, file);
        self.outcome = self
            .dataplane
            .reconcile(&target, &mut self.assembly, &mut remember);
        self.finish(target, followed)
    }

    /// Has the probes follow.
    fn assign(&self, probes: Probes) {
        match probes {
            Probes::All(assignment) => send_if_new(&self.outputs.assignment, assignment),
            Probes::Of(changes) => {
                self.outputs.assignment.send_if_modified(|present| {
                    let mut new = false;
                    for [before, after] in changes {
                        new |= before != after;
                        present.replace(before, after);
                    }
                    new
                });
            }
        }
    }

    fn finish(&mut self, target: Target, followed: Followed) -> Duration {
        if self.outcome.changes > 0 {
            tracing::info!(
                changes = self.outcome.changes,
                peers = self.assembly.peers().len(),
                "kernel programmed"
            );
        }
        for problem in std::mem::take(&mut self.outcome.problems) {
            self.problem(&problem.reason, problem.message);
        }
        let ready_for_pods = self.outcome.programmed && !target.blocks.is_empty();
        if ready_for_pods && let Err(message) = self.installer.install(Instant::now()) {
            self.problem("PluginNotInstalled", message);
        }
        if self.outcome.programmed {
            self.generation = Some(target.config.generation);
        }
        self.save();
        // Whoever relies on what this node says relies on it after a restart too.
        let kept = self.saved.cluster == self.intake.cluster;
        self.followed = (self.outcome.programmed && kept).then_some(followed);
        if self
            .problems
            .iter()
            .any(|problem| TRANSIENT.contains(&problem.reason.as_str()))
        {
            return RETRY;
        }
        let deadlines = [self.mtu.deadline(), self.offload.deadline()]
            .into_iter()
            .flatten();
        let until = deadlines
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()));
        until.unwrap_or(RESYNC).min(RESYNC)
    }

    /// How other nodes reach this one, going by its addresses now; while these can't be found, as it
    /// was before.
    fn here(
        &mut self,
        config: &Config,
        own: &OwnNode,
        orders: Orders<Mode>,
        found: Result<NodeAddress, String>,
    ) -> Option<Here> {
        let former = self.intake.cluster.own_endpoint().cloned();
        let blocks = ranges(&self.intake.cluster.own_blocks());
        let pod_address = |family| {
            let before = former
                .as_ref()
                .and_then(|endpoint| endpoint.pod_address(family));
            network::node_pod_address(before, family, &blocks)
        };
        match found {
            Ok(found) => {
                let endpoint = Endpoint {
                    uid: own.uid.clone(),
                    ipv4: found.v4,
                    ipv6: found.v6,
                    mac: address::mac_of(&own.name),
                    pod_ipv4: pod_address(Family::V4).and_then(address::v4),
                    pod_ipv6: pod_address(Family::V6).and_then(address::v6),
                    mtu: found.mtu,
                    bgp: Some(mode::bgp_of(config, own)),
                };
                Some(Here {
                    endpoint,
                    device: found.device,
                    tx_checksum: self.offload.is_on(),
                    orders,
                })
            }
            Err(message) => {
                self.problem("AddressNotFound", message);
                None
            }
        }
    }

    fn publish_network(&mut self, own: &OwnNode, endpoint: &Endpoint) {
        let pod_addresses = Family::BOTH
            .into_iter()
            .filter_map(|family| endpoint.pod_address(family));
        let spec = NodeNetworkSpec {
            node_uid: own.uid.clone(),
            ipv4: endpoint.ipv4.map(|address| address.to_string()),
            ipv6: endpoint.ipv6.map(|address| address.to_string()),
            mac: endpoint.mac.to_string(),
            node_pod_addresses: pod_addresses.map(|address| address.to_string()).collect(),
            mtu: endpoint.mtu,
            bgp: endpoint.bgp,
        };
        send_if_new(&self.outputs.network, Some((own.uid.clone(), spec)));
    }

    fn health(&self, news: &News) -> BTreeMap<String, report::Health> {
        report::health(self.assembly.paths(), &news.verdicts)
    }

    /// Lets the probes decide about checksum offload. True if the kernel has to follow.
    fn judge(&mut self, health: &BTreeMap<String, report::Health>, news: &News) -> bool {
        let before = self.offload.is_on();
        let proven = report::health_in_vxlan(self.assembly.paths(), &news.verdicts);
        let health = proven.as_ref().unwrap_or(health);
        self.offload.observe(health, Instant::now());
        before != self.offload.is_on()
    }

    /// Publishes the report and the state of health, and says which problems are new.
    fn say(&mut self, peers: &BTreeMap<String, report::Health>, news: &News) {
        if self.uid.is_empty() {
            return;
        }
        let modes = self.followed.as_ref();
        let modes: Option<ModesReport> =
            modes.map(|followed| modes::report(followed, self.assembly.paths(), news));
        let mut problems = self.problems.clone();
        problems.extend(self.intake.problems().chain(&self.standing).cloned());
        let report = report::report(&Facts {
            uid: &self.uid,
            generation: self.generation,
            programmed: self.outcome.programmed,
            paths: self.assembly.paths(),
            health: peers,
            mtu: self.mtu.send(),
            usage: &self.outcome.usage,
            view: &self.view,
            modes: modes.as_ref(),
            problems: &problems,
        });
        self.outputs.events.problems(&report.problems);
        let health = Health::of(&report, peers, &self.outcome.usage);
        send_if_new(&self.outputs.health, health);
        send_if_new(&self.outputs.report, Some((self.uid.clone(), report)));
    }

    fn save(&mut self) {
        if self.saved.cluster == self.intake.cluster {
            return;
        }
        let saved = Saved {
            cluster: self.intake.cluster.clone(),
            ..self.saved.clone()
        };
        match self.file.save(&saved) {
            Ok(()) => self.saved = saved,
            Err(error) => self.problem(
                "StateNotSaved",
                format!("cannot save what is known of the cluster: {error}; if this node boots without the API server, it comes back as it was before; free some space on its disk"),
            ),
        }
    }

    fn problem(&mut self, reason: &str, message: String) {
        self.problems.push(Problem {
            reason: reason.into(),
            message,
        });
    }
}

fn ranges(blocks: &[OwnBlock]) -> Vec<IpNet> {
    blocks.iter().map(|block| block.cidr).collect()
}

/// Problems that may go away by trying again, without a notification.
const TRANSIENT: [&str; 7] = [
    "SettingsNotPrepared",
    "NotProgrammed",
    "KernelNotRead",
    "MTUNotSet",
    "StoreNotWritten",
    "PluginNotInstalled",
    "StateNotSaved",
];

fn send_if_new<T: PartialEq>(to: &watch::Sender<T>, value: T) {
    to.send_if_modified(|present| {
        let new = *present != value;
        if new {
            *present = value;
        }
        new
    });
}
