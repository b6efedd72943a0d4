//! The scenarios, and running them.

use std::time::Instant;

use anyhow::{Context, bail};
use futures::future::{FutureExt, LocalBoxFuture};
use serde_json::Value;
use weft_e2e::{Cluster, ClusterSpec};

use crate::{connectivity, encapsulation};
use weft_scenarios::stage::Stage;

/// The name of the cluster that scenarios share.
const CLUSTER: &str = "e2e";

/// Something that is done to a cluster, and what must come of it.
struct Scenario {
    name: &'static str,
    about: &'static str,
    run: for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, anyhow::Result<Value>>,
}

macro_rules! scenario {
    ($name:literal, $about:literal, $run:path) => {
        Scenario {
            name: $name,
            about: $about,
            run: |stage| $run(stage).boxed_local(),
        }
    };
}

/// All of them, in the order in which they are run.
const SCENARIOS: &[Scenario] = &[
    scenario!(
        "connectivity",
        "Pods, Services, DNS, nodes and an outside host reach each other in both families",
        connectivity::run
    ),
    scenario!(
        "encapsulation-edits",
        "20 edits of the encapsulation at random moments lose nothing",
        encapsulation::edits
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
    let stage = Stage::set(ClusterSpec::demo(CLUSTER)).await?;
    let figures = play(scenario, &stage).await?;
    println!("{figures}");
    Ok(())
}

/// Runs all, and removes their cluster if all went well.
///
/// # Errors
/// One or more failed; each is named.
pub async fn run_all() -> anyhow::Result<()> {
    Cluster::down(CLUSTER)?;
    let mut failed = Vec::new();
    for scenario in SCENARIOS {
        // Each begins with the stage set, whatever the one before did to it.
        let stage = Stage::set(ClusterSpec::demo(CLUSTER)).await?;
        match play(scenario, &stage).await {
            Ok(figures) => println!("{figures}"),
            Err(error) => {
                eprintln!("scenario {}: FAILED: {error:#}", scenario.name);
                failed.push(scenario.name);
            }
        }
    }
    println!(
        "{} passed, {} failed",
        SCENARIOS.len() - failed.len(),
        failed.len()
    );
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Cluster::down(CLUSTER)?;
    Ok(())
}

async fn play(scenario: &Scenario, stage: &Stage) -> anyhow::Result<Value> {
    println!("scenario {}: {}", scenario.name, scenario.about);
    let start = Instant::now();
    let mut figures = (scenario.run)(stage)
        .await
        .with_context(|| scenario.name.to_owned())?;
    figures["scenario"] = scenario.name.into();
    figures["seconds"] = start.elapsed().as_secs().into();
    println!(
        "scenario {}: passed in {} s",
        scenario.name,
        start.elapsed().as_secs()
    );
    Ok(figures)
}
