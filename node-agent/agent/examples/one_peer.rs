//! Where the time goes when one peer changes: each step from what the API server says to the
//! kernel, with many peers there. Prints one JSON object: microseconds of processor time, as
//! median, least and greatest of the rounds. Needs root; works in a network namespace of its own.
//!
//!     one_peer [PEERS] [ROUNDS]     (default 5000 and 21)
#![allow(dead_code, missing_docs, unused_imports)] // It has a part of the program's modules.
#![allow(clippy::unwrap_used)] // In `testing`, as in tests.

#[path = "../src/assembly/mod.rs"]
mod assembly;
#[path = "../src/cluster.rs"]
mod cluster;
#[path = "../src/intake.rs"]
mod intake;
#[path = "../src/mode/mod.rs"]
mod mode;
#[path = "../src/network.rs"]
mod network;
#[path = "../src/nexthops.rs"]
mod nexthops;
#[path = "../src/probe/mod.rs"]
mod probe;
#[path = "../src/secrets.rs"]
mod secrets;
#[path = "../src/testing.rs"]
mod testing;
#[path = "../src/watch.rs"]
mod watch;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

use ipnet::IpNet;
use kube::core::ObjectMeta;
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};
use serde_json::json;
use weft_crds::{Encapsulation, IPBlock, IPBlockSpec, NodeNetwork, NodeNetworkSpec};
use weft_kernel::{Kernel, Reconciler, Scope};

use assembly::{Assembly, Ground, Local, Probes};
use cluster::{Cluster, Config, Endpoint, OwnNode, Pool};
use intake::Intake;
use mode::Here;
use watch::{Change, Input};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SETUP: &str = "ip link set lo up; ip link add eth0 type veth peer name wire
    ip link set wire up; ip link set eth0 up
    ip addr add 172.16.0.1/12 dev eth0";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let peers: u32 = arguments.next().transpose()?.unwrap_or(5000);
    let rounds: u32 = arguments.next().transpose()?.unwrap_or(21);
    unshare(CloneFlags::CLONE_NEWNET)?;
    let made = Command::new("sh").args(["-ec", SETUP]).status()?;
    if !made.success() {
        return Err("the network namespace can't be set up".into());
    }
    let mut node = Node::new(peers)?;
    node.round(0)?;
    let mut steps: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 1..=rounds {
        for (step, time) in node.round(round)? {
            steps.entry(step).or_default().push(time);
        }
    }
    let report: BTreeMap<&str, [f64; 3]> = steps
        .into_iter()
        .map(|(step, mut times)| {
            times.sort_by(f64::total_cmp);
            (
                step,
                [times[times.len() / 2], times[0], times[times.len() - 1]],
            )
        })
        .collect();
    println!(
        "{}",
        json!({"peers": peers, "rounds": rounds, "us": report})
    );
    Ok(())
}

struct Node {
    peers: u32,
    intake: Intake,
    assembly: Assembly,
    config: Config,
    here: Here,
    reconciler: Reconciler,
    assigned: probe::Assignment,
}

impl Node {
    fn new(peers: u32) -> Result<Self> {
        let mut cluster = Cluster::default();
        cluster.own = Some(OwnNode {
            name: "self".into(),
            uid: "uid-0".into(),
            internal_ips: Vec::new(),
            labels: BTreeMap::new(),
        });
        for n in 1..=peers {
            cluster.apply_node(&node_network(n, 0))?;
            for cidr in blocks(n) {
                cluster.apply_block(&block(n, cidr))?;
            }
        }
        let endpoint = Endpoint {
            uid: "uid-0".into(),
            ipv4: Some("172.16.0.1/12".parse()?),
            ipv6: None,
            mac: "02:00:00:00:00:01".parse()?,
            pod_ipv4: Some("10.0.0.1".parse()?),
            pod_ipv6: Some("fd00::1".parse()?),
            mtu: 1500,
            bgp: None,
        };
        Ok(Self {
            peers,
            intake: Intake::resume(cluster),
            assembly: Assembly::default(),
            config: Config {
                pools: ["10.0.0.0/8", "fd00::/48"]
                    .map(pool)
                    .into_iter()
                    .collect::<Result<_>>()?,
                ..testing::config(Encapsulation::CrossSubnet)
            },
            here: Here {
                endpoint,
                device: "eth0".parse()?,
                tx_checksum: true,
                orders: weft_migration::Orders::rest(weft_crds::Mode::Overlay),
            },
            reconciler: Reconciler::new(Kernel::open()?),
            assigned: probe::Assignment::default(),
        })
    }

    /// One peer gets another address; this is what the agent does about it.
    fn round(&mut self, round: u32) -> Result<Vec<(&'static str, f64)>> {
        let mut clock = Clock::default();
        let changed = self.peers / 2 + 1;
        let object = node_network(changed, round % 2 + 1);
        self.intake.take(Input::Nodes(Change::Applied(object)));
        clock.lap("take");
        let ground = Ground {
            config: self.config.clone(),
            here: self.here.clone(),
            mtu: 1450,
            proof_mtu: 1450,
        };
        let changed = self.intake.take_changed();
        let cluster = &self.intake.cluster;
        let probes = self
            .assembly
            .follow(ground, &changed, cluster, &Default::default());
        clock.lap("follow");
        let news = match probes {
            Probes::All(all) => {
                self.assigned = all;
                true
            }
            Probes::Of(changes) => changes.into_iter().any(|[before, after]| {
                let new = before != after;
                self.assigned.replace(before, after);
                new
            }),
        };
        clock.lap("assign");
        let pools: Vec<IpNet> = self.config.pools.iter().map(|pool| pool.cidr).collect();
        let devices = network::devices(&self.here, self.assembly.paths());
        let scope = Scope::of(&devices, &pools);
        self.reconciler.observe(&scope)?;
        clock.lap("observe");
        let local = Local {
            blocks: &[],
            attachments: &[],
            sources_checked: true,
        };
        let (desired, changed) = self.assembly.complete(&local, self.reconciler.observed());
        clock.lap("complete");
        let report = self.reconciler.reconcile_part(desired, changed, &scope)?;
        clock.lap("plan and apply");
        self.assembly.carried_out();
        clock.lap("settle");
        if let Some(failure) = report.failures.first() {
            return Err(failure.to_string().into());
        }
        if round > 0 && (!news || report.actions.len() > 10 || report.actions.is_empty()) {
            return Err(format!("round {round} did {:?}", report.actions).into());
        }
        Ok(clock.finish())
    }
}

struct Clock {
    start: f64,
    laps: Vec<(&'static str, f64)>,
}

/// Processor time of this thread, the kernel's work for it included, in microseconds: what else
/// runs on the machine does not count.
fn now() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(f64::NAN, |time| {
        time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3
    })
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: now(),
            laps: Vec::new(),
        }
    }
}

impl Clock {
    fn lap(&mut self, step: &'static str) {
        let now = now();
        self.laps.push((step, (now - self.start).round()));
        self.start = now;
    }

    /// With the sum.
    fn finish(mut self) -> Vec<(&'static str, f64)> {
        let sum = self.laps.iter().map(|(_, time)| time).sum();
        self.laps.push(("sum", sum));
        self.laps
    }
}

fn pool(cidr: &str) -> Result<Pool> {
    Ok(Pool {
        cidr: cidr.parse()?,
        disabled: false,
    })
}

/// Node `n`, at the `move`th of its addresses in the underlay.
fn node_network(n: u32, moved: u32) -> NodeNetwork {
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 1, 0)) + n + moved * 0x0004_0000);
    let [v4, v6] = blocks(n);
    let [.., a, b] = n.to_be_bytes();
    let spec = NodeNetworkSpec {
        node_uid: format!("uid-{n}"),
        ipv4: Some(format!("{address}/12")),
        mac: format!("02:57:00:00:{a:02x}:{b:02x}"),
        node_pod_addresses: [v4, v6]
            .iter()
            .filter_map(|block| block.hosts().next())
            .map(|address| address.to_string())
            .collect(),
        mtu: 1500,
        ..NodeNetworkSpec::default()
    };
    NodeNetwork::new(&format!("node-{n}"), spec)
}

fn blocks(n: u32) -> [IpNet; 2] {
    let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + n * 64);
    let [.., a, b] = n.to_be_bytes();
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, u16::from_be_bytes([a, b]), 0, 0, 0, 0);
    [
        IpNet::new_assert(v4.into(), 26),
        IpNet::new_assert(v6.into(), 122),
    ]
}

fn block(n: u32, cidr: IpNet) -> IPBlock {
    IPBlock {
        metadata: ObjectMeta::default(),
        spec: IPBlockSpec {
            cidr: cidr.to_string(),
            pool: "10.0.0.0/8".into(),
            node: Some(format!("node-{n}")),
            node_uid: Some(format!("uid-{n}")),
            draining: false,
            released_at: None,
        },
    }
}
