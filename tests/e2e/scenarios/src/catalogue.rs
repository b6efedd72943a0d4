//! The scenarios, and running them.

use std::time::Instant;

use anyhow::{Context, bail};
use futures::future::{FutureExt, LocalBoxFuture};
use serde_json::Value;
use weft_e2e::{Cluster, ClusterSpec};

use crate::{
    agents, apiserver, badinput, bgppeers, churn, config, connectivity, drift, encapsulation,
    families, foreign, hostport, mesh, migrate, mtu, naive, nodes, operator, pods, prove, routed,
    routers, uninstall,
};
use weft_scenarios::stage::Stage;
use weft_scenarios::traffic::Volume;

/// The traffic of `make prove`.
const PROOF: Volume = Volume {
    datagrams: 50_000,
    connections: 1_000,
    outside_to_pods: false,
    balanced: true,
};

/// A cluster that scenarios share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bed {
    /// That of the demo, in mode Overlay.
    Demo,
    /// Two racks, in mode BGP.
    Racks,
}

impl Bed {
    const ALL: [Self; 2] = [Self::Demo, Self::Racks];

    fn spec(self) -> ClusterSpec {
        match self {
            Self::Demo => ClusterSpec::demo("e2e"),
            Self::Racks => ClusterSpec::racks("racks"),
        }
    }

    /// Removes the clusters, but not this one.
    fn remove_others(self) -> weft_e2e::Result<()> {
        Self::ALL
            .into_iter()
            .filter(|bed| *bed != self)
            .try_for_each(Self::remove)
    }

    fn remove(self) -> weft_e2e::Result<()> {
        Cluster::down(&self.spec().name)
    }
}

/// Something that is done to a cluster, and what must come of it.
struct Scenario {
    name: &'static str,
    about: &'static str,
    run: Run,
}

type Figures<'a> = LocalBoxFuture<'a, anyhow::Result<Value>>;

/// How a scenario is run.
enum Run {
    /// On a shared cluster, which it leaves usable.
    Shared(Bed, for<'a> fn(&'a Stage) -> Figures<'a>),
    /// On a cluster of its own, which it removes if it passes.
    Own(fn() -> Figures<'static>),
}

macro_rules! shared {
    ($name:literal, $about:literal, $run:path) => {
        Scenario {
            name: $name,
            about: $about,
            run: Run::Shared(Bed::Demo, |stage| $run(stage).boxed_local()),
        }
    };
}

macro_rules! racks {
    ($name:literal, $about:literal, $run:path) => {
        Scenario {
            name: $name,
            about: $about,
            run: Run::Shared(Bed::Racks, |stage| $run(stage).boxed_local()),
        }
    };
}

macro_rules! own {
    ($name:literal, $about:literal, $run:path) => {
        Scenario {
            name: $name,
            about: $about,
            run: Run::Own(|| $run().boxed_local()),
        }
    };
}

/// All of them, in the order in which they are run: those that take longest and disturb most, last.
const SCENARIOS: &[Scenario] = &[
    shared!(
        "connectivity",
        "Pods, Services, DNS, nodes and an outside host reach each other in both families",
        connectivity::run
    ),
    shared!(
        "encapsulation-edits",
        "20 edits of the encapsulation at random moments lose nothing",
        encapsulation::edits
    ),
    shared!(
        "hostport",
        "Ports of nodes lead to pods: families, protocols, addresses, loopback",
        hostport::conformance
    ),
    shared!(
        "pods-born",
        "Pods born before an edit and after it, both ways round",
        config::born
    ),
    shared!(
        "pod-churn",
        "50 pods come and go; no address is given twice, none is left behind",
        churn::fifty
    ),
    shared!(
        "config-reapplied",
        "The NetworkConfig is deleted and applied again",
        config::reapplied
    ),
    shared!(
        "drift",
        "Routes, rules, nftables, FDB, devices are deleted by hand, and come back",
        drift::by_hand
    ),
    shared!(
        "foreign-routes",
        "Routes and addresses of others inside a pool are reported and left alone",
        foreign::routes
    ),
    shared!(
        "foreign-device",
        "A VXLAN device of another with the same VNI and port is reported and left alone",
        foreign::device
    ),
    shared!("agents-killed", "Every agent is killed", agents::killed),
    shared!(
        "agent-crash-loop",
        "An agent is killed each second for 20 s, and pods start meanwhile",
        agents::crash_loop
    ),
    shared!(
        "agents-rolled",
        "Agents are rolled to another image and back, with edits meanwhile",
        agents::rolled
    ),
    shared!(
        "agent-bad-image",
        "Agents are rolled to an image that cannot run; pods start all the same",
        agents::bad_image
    ),
    shared!(
        "operator-killed",
        "The operator is killed in the middle of edits",
        operator::killed_in_edit
    ),
    shared!(
        "two-operators",
        "Two operators, of which the leader is killed",
        operator::two
    ),
    shared!(
        "corrupt-state",
        "Damaged files are set aside, named, and made anew; unreadable input is refused",
        badinput::corrupt
    ),
    shared!(
        "full-disk",
        "The disk of a node is full",
        badinput::full_disk
    ),
    shared!(
        "mtu-announced",
        "The MTU is lowered by the config, then on a link, and raised again",
        mtu::announced
    ),
    shared!(
        "mtu-unannounced",
        "A link becomes narrow without a word; pods follow",
        mtu::unannounced
    ),
    shared!(
        "node-address",
        "A node gets another address and its former one back",
        nodes::address
    ),
    shared!(
        "node-power",
        "A node loses its power and comes back",
        nodes::power
    ),
    shared!(
        "node-boots-alone",
        "A node boots, and its agent cannot reach the API server",
        nodes::boots_alone
    ),
    shared!(
        "node-deleted",
        "A node is deleted while the agents of the others are down",
        nodes::deleted_unseen
    ),
    shared!(
        "api-down",
        "API server and etcd are down for a minute; a pod starts, an agent is killed",
        apiserver::down
    ),
    shared!(
        "migrate-impossible",
        "Mode BGP where no router speaks it: said before anything moves, and no trace of it",
        migrate::impossible
    ),
    racks!(
        "bgp",
        "Every kind of traffic in mode BGP between two racks, and by learned routes from outside",
        routed::traffic
    ),
    racks!(
        "migrate",
        "From BGP to Overlay and back, under every kind of traffic that both carry",
        migrate::there_and_back
    ),
    racks!(
        "migrate-upgraded",
        "Operator and agents are upgraded in the middle of a migration, and back in the middle of the next",
        migrate::upgraded
    ),
    racks!(
        "migrate-killed",
        "Operator and agents are killed in every phase of a migration",
        migrate::killed
    ),
    racks!(
        "migrate-blocked",
        "The underlay drops the packets of the new mode: nothing moves, and the pairs are named",
        migrate::blocked
    ),
    racks!(
        "migrate-goes-bad",
        "The new mode goes bad after the first wave: all go back by themselves",
        migrate::goes_bad
    ),
    racks!(
        "migrate-mind-changed",
        "The mode is set back in each phase, and a migration is paused in the middle",
        migrate::mind_changed
    ),
    racks!(
        "migrate-node-dies",
        "A node loses its power in the middle; it joins the others in the mode that they are in",
        migrate::node_dies
    ),
    racks!(
        "migrate-random",
        "Random migrations with random faults (make prove runs more)",
        prove::some
    ),
    racks!(
        "bgp-agent-killed",
        "Mode BGP: every agent is killed",
        agents::killed
    ),
    racks!(
        "bgp-agent-crashloop",
        "Mode BGP: an agent is killed each second for 20 s, and pods start meanwhile",
        agents::crash_loop
    ),
    racks!(
        "bgp-rollout",
        "Mode BGP: agents are rolled to another image and back",
        routed::rolled
    ),
    racks!(
        "bgp-router-restart",
        "The daemon of each rack's router is killed and started again",
        routers::restarted
    ),
    racks!(
        "bgp-peers",
        "BGPPeers without their Secret, with the wrong password, without nodes, and two of one address",
        bgppeers::bad
    ),
    racks!(
        "bgp-hostile-router",
        "A router announces pools, nodes, everything, 200,000 prefixes, and flaps",
        routers::hostile
    ),
    racks!(
        "bgp-agent-dead",
        "All agents stay dead for longer than any BGP peer waits (WEFT_DEAD_SECONDS, 150)",
        routed::agents_dead
    ),
    racks!(
        "bgp-node-dead",
        "Mode BGP: a node loses its power and comes back",
        routed::node_dead
    ),
    own!(
        "bgp-rack-cut",
        "Of two routers of a rack, one loses its uplink: what is lost until all have moved",
        routers::rack_cut
    ),
    own!(
        "bgp-mesh",
        "Mode BGP without routers: each node speaks with each, then with a route reflector",
        mesh::run
    ),
    own!(
        "ipv4-only",
        "A cluster that has IPv4 alone",
        families::ipv4_only
    ),
    own!(
        "ipv6-only",
        "A cluster that has IPv6 alone",
        families::ipv6_only
    ),
    own!(
        "uninstall",
        "Installed, used, removed: nodes and API are as before",
        uninstall::residue
    ),
];

/// Prints the names.
pub fn list() {
    for scenario in SCENARIOS {
        println!("{:22} {}", scenario.name, scenario.about);
    }
}

/// Runs one.
///
/// # Errors
/// There is none of this name, or it failed. The cluster stays up, to be looked at.
pub async fn run(name: &str) -> anyhow::Result<()> {
    let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == name) else {
        bail!("there is no scenario {name:?}; `make e2e-list` names them");
    };
    let figures = play(scenario).await?;
    println!("{figures}");
    Ok(())
}

/// Runs so many random migrations, under as much traffic as there can be.
///
/// # Errors
/// One of them failed. The cluster stays up, to be looked at.
pub async fn prove(runs: u32, seed: u64) -> anyhow::Result<()> {
    let stage = Stage::set(Bed::Racks.spec()).await?;
    let figures = prove::run(&stage, runs, seed, PROOF).await?;
    println!("{figures}");
    Bed::Racks.remove()?;
    Ok(())
}

/// Moves a cluster by hand, on one of its own, and prints what that lost.
///
/// # Errors
/// It could not be done.
pub async fn naive() -> anyhow::Result<()> {
    let stage = Stage::set(ClusterSpec::racks("naive")).await?;
    let figures = naive::run(&stage).await;
    Cluster::down("naive")?;
    println!("{}", figures?);
    Ok(())
}

/// Runs all, and removes their cluster if all went well.
///
/// # Errors
/// One or more failed; each is named.
pub async fn run_all() -> anyhow::Result<()> {
    Bed::ALL.into_iter().try_for_each(Bed::remove)?;
    let begin = Instant::now();
    let mut failed = Vec::new();
    for (number, scenario) in (1..).zip(SCENARIOS) {
        println!(
            "{number}/{} after {} s",
            SCENARIOS.len(),
            begin.elapsed().as_secs()
        );
        if let Run::Shared(bed, _) = scenario.run {
            // One shared cluster at a time: they are dear.
            bed.remove_others()?;
        }
        match play(scenario).await {
            Ok(figures) => println!("{figures}"),
            Err(error) => {
                let text = format!("{error:#}");
                eprintln!("scenario {}: FAILED: {text}", scenario.name);
                failed.push((scenario.name, text));
                // What it left half done is not to fail the next one.
                Bed::ALL.into_iter().try_for_each(Bed::remove)?;
            }
        }
    }
    println!(
        "{} passed, {} failed",
        SCENARIOS.len() - failed.len(),
        failed.len()
    );
    if !failed.is_empty() {
        // Once more at the end, where a reader of a long log looks first.
        let lines = failed
            .iter()
            .map(|(name, text)| format!("\n{name}: {text}"));
        bail!("failed:{}", lines.collect::<String>());
    }
    Bed::ALL.into_iter().try_for_each(Bed::remove)?;
    Ok(())
}

async fn play(scenario: &Scenario) -> anyhow::Result<Value> {
    println!("scenario {}: {}", scenario.name, scenario.about);
    let start = Instant::now();
    let outcome = match scenario.run {
        Run::Own(run) => run().await,
        Run::Shared(bed, run) => {
            // Each begins with the stage set, whatever the one before did to it.
            let stage = Stage::set(bed.spec()).await?;
            // What a scenario that failed left in the way of the next.
            let fields = serde_json::json!({
                "mtu": null, "agent": null, "nodeAddress": null, "migration": null,
            });
            stage.edit(&fields).await?;
            pods::delete_own(&stage).await?;
            run(&stage).await
        }
    };
    let mut figures = outcome.with_context(|| scenario.name.to_owned())?;
    figures["scenario"] = scenario.name.into();
    figures["seconds"] = start.elapsed().as_secs().into();
    println!(
        "scenario {}: passed in {} s",
        scenario.name,
        start.elapsed().as_secs()
    );
    Ok(figures)
}
