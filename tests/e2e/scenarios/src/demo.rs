//! `make demo`: the main job on a real cluster, told step by step.

use std::time::{Duration, Instant};

use serde_json::Value;
use weft_e2e::ClusterSpec;
use weft_scenarios::bgp;
use weft_scenarios::stage::{NAMESPACE, PATIENCE, Stage, default_config};
use weft_scenarios::traffic::{self, Traffic, Volume};

use crate::agents::DAEMONSET;
use crate::{look, routed};

/// The name of the demo's cluster.
pub const CLUSTER: &str = "demo";
/// How often the encapsulation is changed there and back.
const ROUNDS: usize = 3;
/// Between one deed and the next.
const PAUSE: Duration = Duration::from_secs(3);

/// Brings everything up, changes paths under traffic, and says what to try next.
pub async fn overlay() -> anyhow::Result<()> {
    say("A real cluster: three nodes on two subnets joined by a router, IPv4 and IPv6.");
    let stage = Stage::bare(ClusterSpec::demo(CLUSTER)).await?;
    say("Weft, installed with Helm, and one NetworkConfig.");
    network(&stage, &default_config(), "networkconfig,nodes").await?;
    say("Pods on all nodes reach each other, Services, DNS, the nodes and an outside host.");
    let traffic = Traffic::start(&stage, Volume::FULL).await?;
    let start = Instant::now();
    say("Under traffic of every kind, spec.overlay.encapsulation is edited:");
    for encapsulation in ["CrossSubnet", "Always"].repeat(ROUNDS) {
        let edited = Instant::now();
        println!(
            "  kubectl patch networkconfig default --type=merge -p '{{\"spec\":{{\"overlay\":{{\"encapsulation\":\"{encapsulation}\"}}}}}}'"
        );
        stage.encapsulate(encapsulation).await?;
        stage.wait_ready(PATIENCE).await?;
        println!(
            "    every node has moved after {:.1} s",
            edited.elapsed().as_secs_f64()
        );
        tokio::time::sleep(PAUSE).await;
    }
    let what = format!("{} changes of path", 2 * ROUNDS);
    account(&stage, traffic, start, &what).await
}

/// Two racks, whose routers learn from nodes where pods are; then agents and routers are restarted.
pub async fn bgp() -> anyhow::Result<()> {
    say(
        "A real cluster in two racks, IPv4 and IPv6: node1 and node2 below a router with BIRD, node3 below one with FRR.",
    );
    let stage = Stage::bare(ClusterSpec::racks(CLUSTER)).await?;
    let config = bgp::racks(&stage.cluster)?;
    say(
        "Weft, installed with Helm, one NetworkConfig, and a BGPPeer for each address of a router.",
    );
    network(&stage, &config, "networkconfig,bgppeers,nodes").await?;
    look::sessions_up(&stage, PATIENCE).await?;
    say(
        "What the routers have learned, by BGP from nodes and from each other, and the outside host from them:",
    );
    for place in ["tor-a", "tor-b", "outside"] {
        let show = ["ip", "route", "show", "root", "10.244.0.0/16"];
        let shown = stage.cluster.command_in(place, show)?.run().await?.stdout;
        shown
            .lines()
            .for_each(|line| println!("  {place:8} {}", line.trim()));
    }
    routed::no_overlay(&stage).await?;
    say(
        "No device of an overlay is on any node. Pods reach each other, and the outside host reaches pods.",
    );
    let traffic = Traffic::start(&stage, Volume::FULL).await?;
    let start = Instant::now();
    say("Under traffic of every kind:");
    for node in stage.cluster.nodes()? {
        println!("  the agent of {} is killed", node.name());
        node.kill_program("weft-agent").await?;
        tokio::time::sleep(PAUSE).await;
    }
    stage.wait_component(DAEMONSET).await?;
    back(&stage).await?;
    for router in ["tor-a", "tor-b"] {
        println!("  the routing daemon of {router} is killed, and started again");
        stage.cluster.restart_router(router).await?;
        tokio::time::sleep(PAUSE).await;
        back(&stage).await?;
    }
    println!("  kubectl -n {NAMESPACE} rollout restart {DAEMONSET}");
    let restart = ["rollout", "restart", DAEMONSET, "--namespace", NAMESPACE];
    stage.kubectl(&restart).await?;
    stage.wait_component(DAEMONSET).await?;
    back(&stage).await?;
    account(&stage, traffic, start, "all these restarts").await
}

async fn back(stage: &Stage) -> anyhow::Result<()> {
    let start = Instant::now();
    look::sessions_up(stage, PATIENCE).await?;
    println!(
        "    all sessions are up {:.1} s later",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Installs and configures Weft, shows what there is, and starts servers in pods.
pub async fn network(stage: &Stage, config: &Value, shown: &str) -> anyhow::Result<()> {
    stage.install_weft().await?;
    stage.configure(config).await?;
    let names = ["node1", "node2", "node3"];
    stage.cluster.wait_nodes(&names, true, PATIENCE).await?;
    print!("{}", stage.kubectl(&["get", shown]).await?);
    stage.deploy_servers().await?;
    stage
        .cluster
        .wait_rollout("kube-system", "deployment/coredns", PATIENCE)
        .await?;
    Ok(())
}

/// Ends the traffic and tells what it saw of what was done.
async fn account(
    stage: &Stage,
    traffic: Traffic,
    start: Instant,
    what: &str,
) -> anyhow::Result<()> {
    let seconds = start.elapsed().as_secs();
    let reports = traffic.stop(&[]).await?;
    say(&format!("What {seconds} seconds of traffic saw of {what}:"));
    println!("{}", traffic::table(&reports));
    let faults = traffic::faults(&reports);
    for fault in &faults {
        println!("  {fault}");
    }
    println!("{}", next(stage));
    if !faults.is_empty() {
        anyhow::bail!("the traffic suffered; it should not have");
    }
    Ok(())
}

pub fn say(what: &str) {
    println!("\n{what}");
}

pub fn next(stage: &Stage) -> String {
    format!(
        "\nThe cluster stays up. Try:\n  export KUBECONFIG={}\n  kubectl get networkconfig,ipblocks,nodenetworks,nodereports\n  target/*/release/kubectl-weft status\nTo remove every trace: make demo-down",
        stage.cluster.kubeconfig().display()
    )
}
