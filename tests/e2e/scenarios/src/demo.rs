//! `make demo`: the main job on a real cluster, told step by step.

use std::time::{Duration, Instant};

use weft_e2e::ClusterSpec;

use weft_scenarios::stage::{PATIENCE, Stage, default_config};
use weft_scenarios::traffic::{self, Traffic, Volume};

/// The name of the demo's cluster.
const CLUSTER: &str = "demo";
/// How often the encapsulation is changed there and back.
const ROUNDS: usize = 3;

/// Brings everything up, changes paths under traffic, and says what to try next.
pub async fn run() -> anyhow::Result<()> {
    say("A real cluster: three nodes on two subnets joined by a router, IPv4 and IPv6.");
    let stage = Stage::bare(ClusterSpec::demo(CLUSTER)).await?;
    say("Weft, installed with Helm, and one NetworkConfig.");
    stage.install_weft().await?;
    stage.configure(&default_config()).await?;
    let names = ["node1", "node2", "node3"];
    stage.cluster.wait_nodes(&names, true, PATIENCE).await?;
    print!("{}", stage.kubectl(&["get", "networkconfig,nodes"]).await?);
    stage.deploy_servers().await?;
    stage
        .cluster
        .wait_rollout("kube-system", "deployment/coredns", PATIENCE)
        .await?;
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
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let seconds = start.elapsed().as_secs();
    let reports = traffic.stop(&[]).await?;
    say(&format!(
        "What {seconds} seconds of traffic saw of {} changes of path:",
        2 * ROUNDS
    ));
    println!("{}", traffic::table(&reports));
    let faults = traffic::faults(&reports);
    for fault in &faults {
        println!("  {fault}");
    }
    println!("{}", next(&stage));
    if !faults.is_empty() {
        anyhow::bail!("the traffic suffered; it should not have");
    }
    Ok(())
}

fn say(what: &str) {
    println!("\n{what}");
}

fn next(stage: &Stage) -> String {
    format!(
        "\nThe cluster stays up. Try:\n  export KUBECONFIG={}\n  kubectl get networkconfig,ipblocks,nodenetworks,nodereports\n  target/*/release/kubectl-weft status\nTo remove every trace: make demo-down",
        stage.cluster.kubeconfig().display()
    )
}
