//! `make demo MIGRATE=1`: from one mode to another and back, with what can go wrong on the way.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde_json::json;
use weft_e2e::ClusterSpec;
use weft_load::report::Report;
use weft_migration::Phase;
use weft_scenarios::bgp;
use weft_scenarios::stage::{PATIENCE, Stage};
use weft_scenarios::traffic::{self, Traffic, Volume};

use crate::demo::{CLUSTER, network, next, say};
use crate::{look, migrate, operator};

/// What the traffic saw of an act.
struct Act {
    name: &'static str,
    seconds: u64,
    reports: Vec<Report>,
}

/// Brings everything up, and plays the acts.
pub async fn run() -> anyhow::Result<()> {
    say("A real cluster in two racks, IPv4 and IPv6, whose routers speak BGP.");
    let stage = Stage::bare(ClusterSpec::racks(CLUSTER)).await?;
    let config = bgp::racks(&stage.cluster)?;
    say("Weft, installed with Helm, in mode BGP.");
    network(&stage, &config, "networkconfig,nodes").await?;
    look::sessions_up(&stage, PATIENCE).await?;
    let acts = vec![
        act(&stage, "to Overlay and back", there_and_back).await?,
        act(&stage, "the same, operator and an agent killed", killed).await?,
        act(&stage, "the underlay drops VXLAN", blocked).await?,
        act(&stage, "it goes bad after the first wave", goes_bad).await?,
        act(&stage, "after that", quiet).await?,
    ];
    say("What traffic of every kind saw of it:");
    println!("{}", table(&acts));
    println!(
        "The fourth lost what the filter dropped until all had gone back. Nothing else lost anything."
    );
    println!("{}", next(&stage));
    let faults = acts
        .iter()
        .filter(|act| act.name != "it goes bad after the first wave")
        .flat_map(|act| traffic::faults(&act.reports));
    let faults: Vec<String> = faults.collect();
    if !faults.is_empty() {
        anyhow::bail!(
            "the traffic suffered; it should not have:\n{}",
            faults.join("\n")
        );
    }
    Ok(())
}

async fn act(
    stage: &Stage,
    name: &'static str,
    play: impl AsyncFnOnce(&Stage) -> anyhow::Result<()>,
) -> anyhow::Result<Act> {
    say(&format!("Under traffic: {name}."));
    let traffic = Traffic::start(stage, Volume::FULL.in_every_mode()).await?;
    let start = Instant::now();
    let played = play(stage).await;
    let reports = traffic.stop(&[]).await?;
    played?;
    Ok(Act {
        name,
        seconds: start.elapsed().as_secs(),
        reports,
    })
}

async fn go(stage: &Stage, mode: &str) -> anyhow::Result<()> {
    println!(
        "  kubectl patch networkconfig default --type=merge -p '{{\"spec\":{{\"mode\":\"{mode}\"}}}}'"
    );
    let took = migrate::go(stage, mode).await?;
    println!("    in mode {mode} after {:.1} s", took.as_secs_f64());
    Ok(())
}

async fn there_and_back(stage: &Stage) -> anyhow::Result<()> {
    go(stage, "Overlay").await?;
    go(stage, "BGP").await
}

async fn killed(stage: &Stage) -> anyhow::Result<()> {
    for mode in ["Overlay", "BGP"] {
        let start = Instant::now();
        migrate::ask(stage, mode).await?;
        migrate::phase(stage, mode, Phase::Shift).await?;
        println!("  to {mode}, phase Shift: the operator and the agent of node1 are killed");
        operator::kill(stage).await?;
        stage
            .cluster
            .node("node1")?
            .kill_program("weft-agent")
            .await?;
        stage.wait_ready(migrate::LIMIT).await?;
        migrate::exact(stage, mode).await?;
        println!(
            "    in mode {mode} after {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

async fn blocked(stage: &Stage) -> anyhow::Result<()> {
    migrate::filter_overlay(stage, true).await?;
    let said = async {
        migrate::ask(stage, "Overlay").await?;
        migrate::stalled(stage, "Stalled", "PathsUnproven").await
    }
    .await;
    migrate::filter_overlay(stage, false).await?;
    println!("  Stalled: {}", said?);
    println!("  No packet of a pod has moved. The mode is set back.");
    go(stage, "BGP").await
}

async fn goes_bad(stage: &Stage) -> anyhow::Result<()> {
    stage
        .edit(&json!({"mode": "Overlay", "migration": {"waves": 3, "bakeSeconds": 20}}))
        .await?;
    migrate::phase(stage, "Overlay", Phase::Shift).await?;
    migrate::somebody_sends(stage, "Overlay").await?;
    println!("  the first wave sends in VXLAN; a filter in the underlay begins to drop it");
    let start = Instant::now();
    migrate::filter_overlay(stage, true).await?;
    let said = migrate::stalled(stage, "Stalled", "MigrationFailed").await;
    println!(
        "    all are back in mode BGP after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    migrate::filter_overlay(stage, false).await?;
    println!("  Stalled: {}", said?);
    Ok(())
}

async fn quiet(stage: &Stage) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_secs(5)).await;
    go(stage, "BGP").await
}

fn table(acts: &[Act]) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_header(["ACT", "SECONDS", "SENT", "LOST", "BROKEN"]);
    for act in acts {
        let flows = || act.reports.iter().flat_map(|report| &report.flows);
        let sum = |of: fn(&weft_load::report::Counts) -> u64| {
            flows()
                .map(|flow| of(&flow.counts))
                .sum::<u64>()
                .to_string()
        };
        table.add_row([
            act.name.to_owned(),
            act.seconds.to_string(),
            sum(|counts| counts.sent),
            sum(|counts| counts.lost),
            sum(|counts| counts.broken),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
