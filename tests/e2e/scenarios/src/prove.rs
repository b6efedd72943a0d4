//! Random migrations with random faults, one after the other on one cluster: nothing may be lost, however they
//! interleave. The same seed gives the same choices; moments are those of a real cluster.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use weft_scenarios::stage::Stage;
use weft_scenarios::traffic::{self, Volume};

use crate::nodes::{VICTIM, addresses_on};
use crate::{look, migrate, nodes, operator, under};

/// How many migrations the scenario runs; `make prove` runs more.
const RUNS: u32 = 2;

/// What happens in the middle of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    OperatorKilled,
    AgentKilled,
    Paused,
    MindChanged,
    Edited,
    ApiDown,
    PowerOff,
}

const FAULTS: [Fault; 8] = [
    Fault::Nothing,
    Fault::OperatorKilled,
    Fault::AgentKilled,
    Fault::Paused,
    Fault::MindChanged,
    Fault::Edited,
    Fault::ApiDown,
    Fault::PowerOff,
];

/// Random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// One migration, as it was chosen.
#[derive(Debug)]
struct Choice {
    from: &'static str,
    to: &'static str,
    encapsulation: &'static str,
    waves: u64,
    bake: u64,
    fault: Fault,
    at: Duration,
    node: &'static str,
}

impl Choice {
    fn new(random: &mut Random, from: &'static str) -> Self {
        Self {
            from,
            to: if from == "BGP" { "Overlay" } else { "BGP" },
            encapsulation: random.of(&["Always", "CrossSubnet"]),
            waves: 1 + random.below(3),
            bake: random.below(3),
            fault: random.of(&FAULTS),
            at: Duration::from_millis(random.below(20_000)),
            node: random.of(&["node1", "node2", "node3"]),
        }
    }

    /// The mode that it ends in.
    fn ends_in(&self) -> &'static str {
        match self.fault {
            Fault::MindChanged => self.from,
            _ => self.to,
        }
    }
}

/// A handful, as one of the scenarios.
pub async fn some(stage: &Stage) -> anyhow::Result<Value> {
    run(stage, RUNS, 1, Volume::MODERATE).await
}

/// So many migrations from this seed on, under so much traffic.
///
/// # Errors
/// One lost something, or did not end exactly; it is named with its choices. The cluster stays as it is.
pub async fn run(stage: &Stage, runs: u32, seed: u64, volume: Volume) -> anyhow::Result<Value> {
    let mut random = Random(seed);
    let (mut mode, mut sent) = ("BGP", 0);
    // Routers keep the routes of a node that died without a word (long-lived graceful restart), until it tells its own.
    let mut kept = false;
    let start = Instant::now();
    for number in 1..=runs {
        let choice = Choice::new(&mut random, mode);
        println!("{number}/{runs} (seed {seed}): {choice:?}");
        let begin = Instant::now();
        let what = || format!("migration {number} of seed {seed}: {choice:?}");
        let dies = choice.fault == Fault::PowerOff;
        kept |= dies;
        let (dead, lost) = match dies {
            true => (&[VICTIM][..], addresses_on(stage, VICTIM).await?),
            false => (&[][..], Vec::new()),
        };
        let outcome = under::under(stage, volume.in_every_mode(), dead, async || {
            one(stage, &choice).await?;
            if kept {
                migrate::exact_nodes(stage, choice.ends_in()).await
            } else {
                migrate::exact(stage, choice.ends_in()).await
            }
        });
        let ((), reports) = outcome.await.with_context(what)?;
        let ended = choice.ends_in();
        kept &= ended != "BGP";
        if dies {
            sent += under::assert_others_lossless(&reports, &lost).with_context(what)?;
        } else {
            traffic::assert_lossless(&reports).with_context(what)?;
            sent += under::sent(&reports);
        }
        println!(
            "  in {ended} after {} s, nothing lost",
            begin.elapsed().as_secs()
        );
        mode = ended;
        // So that the kubelet's waits between restarts don't grow from run to run.
        match choice.fault {
            Fault::OperatorKilled => {
                look::renew(stage, "deployment/weft-operator", "weft-operator").await?
            }
            Fault::AgentKilled => look::renew(stage, "daemonset/weft-agent", "weft-agent").await?,
            _ => {}
        }
    }
    Ok(json!({
        "runs": runs, "seed": seed, "seconds": start.elapsed().as_secs(), "sent": sent, "lost": 0, "broken": 0,
    }))
}

/// Runs one to its end.
async fn one(stage: &Stage, choice: &Choice) -> anyhow::Result<()> {
    let migration = json!({"waves": choice.waves, "bakeSeconds": choice.bake});
    let overlay = json!({"encapsulation": choice.encapsulation});
    stage
        .edit(&json!({"mode": choice.to, "migration": migration, "overlay": overlay}))
        .await?;
    tokio::time::sleep(choice.at).await;
    match choice.fault {
        Fault::Nothing => {}
        Fault::OperatorKilled => operator::kill(stage).await?,
        Fault::AgentKilled => {
            stage
                .cluster
                .node(choice.node)?
                .kill_program("weft-agent")
                .await?;
        }
        Fault::Paused => {
            stage.edit(&json!({"migration": {"paused": true}})).await?;
            tokio::time::sleep(Duration::from_secs(5)).await;
            stage.edit(&json!({"migration": {"paused": false}})).await?;
        }
        Fault::MindChanged => {
            stage.edit(&json!({"mode": choice.from})).await?;
        }
        Fault::Edited => {
            let other = json!({"encapsulation": "Always"});
            stage.edit(&json!({"overlay": other})).await?;
        }
        Fault::ApiDown => {
            stage.cluster.stop_api()?;
            tokio::time::sleep(Duration::from_secs(20)).await;
            stage.cluster.start_api().await?;
        }
        Fault::PowerOff => {
            stage.cluster.node(VICTIM)?.power_off().await?;
            tokio::time::sleep(Duration::from_secs(20)).await;
            nodes::power_on(stage).await?;
        }
    }
    stage.wait_ready(migrate::LIMIT).await
}
