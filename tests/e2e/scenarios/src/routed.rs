//! Mode BGP in two racks: what runs goes on, whatever happens to the agents.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use weft_e2e::{Node, wait};
use weft_scenarios::bgp::{HOLD, RESTART};
use weft_scenarios::stage::{PATIENCE, Stage};

use crate::agents::{self, DAEMONSET, IMAGE, NEXT};
use crate::nodes::{self, VICTIM};
use crate::{look, under};

/// For how many seconds agents are left dead.
const DEAD_SECONDS: &str = "WEFT_DEAD_SECONDS";
/// Beyond every time after which a session or a route ends, unless something is built to outlive it.
const DEAD: Duration = Duration::from_secs(150);
/// Where the image of Weft is put aside.
const ASIDE: &str = "localhost/weft:aside";

/// Every kind of traffic, for a while: no device of an overlay anywhere, and hosts beyond the cluster know
/// where pods are.
pub async fn traffic(stage: &Stage) -> anyhow::Result<Value> {
    look::sessions_up(stage, PATIENCE).await?;
    no_overlay(stage).await?;
    let blocks = blocks_are_known(stage).await?;
    let ((), sent) = under::lossless(stage, async || {
        tokio::time::sleep(Duration::from_secs(15)).await;
        Ok(())
    })
    .await?;
    Ok(json!({"blocks": blocks, "sent": sent, "lost": 0}))
}

/// Checks that no node has a device of an overlay.
pub async fn no_overlay(stage: &Stage) -> anyhow::Result<()> {
    for node in stage.cluster.nodes()? {
        let links = look::lines(stage, node.name(), "ip -details link show type vxlan").await?;
        ensure!(links.is_empty(), "{}: {links:?}", node.name());
    }
    Ok(())
}

/// The agents of all nodes are killed and do not come back for longer than any BGP peer waits: nothing is
/// lost, and the routers still know the blocks.
pub async fn agents_dead(stage: &Stage) -> anyhow::Result<Value> {
    let seconds = std::env::var(DEAD_SECONDS);
    let dead = match seconds {
        Ok(text) => Duration::from_secs(
            text.parse()
                .with_context(|| format!("{DEAD_SECONDS}={text}"))?,
        ),
        Err(_) => DEAD,
    };
    let least = Duration::from_secs(u64::from(HOLD + RESTART));
    ensure!(
        dead > least,
        "{DEAD_SECONDS} must be more than {}",
        least.as_secs()
    );
    look::sessions_up(stage, PATIENCE).await?;
    let ((), sent) = under::lossless(stage, async || {
        for node in stage.cluster.nodes()? {
            lose_image(&node).await?;
        }
        let outcome = stay_dead(stage, dead).await;
        for node in stage.cluster.nodes()? {
            agents::images(&node, &["tag", "--force", ASIDE, IMAGE]).await?;
            agents::images(&node, &["remove", ASIDE]).await?;
        }
        look::renew(stage, DAEMONSET, "weft-agent").await?;
        stage.wait_ready(PATIENCE).await?;
        look::sessions_up(stage, PATIENCE).await?;
        outcome
    })
    .await?;
    Ok(json!({"dead_seconds": dead.as_secs(), "sent": sent, "lost": 0}))
}

/// Kills the agent of a node, which cannot be started again because its image is gone.
async fn lose_image(node: &Node) -> anyhow::Result<()> {
    agents::images(node, &["tag", "--force", IMAGE, ASIDE]).await?;
    agents::images(node, &["remove", IMAGE]).await?;
    node.kill_program("weft-agent").await?;
    Ok(())
}

async fn stay_dead(stage: &Stage, dead: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < dead {
        for node in stage.cluster.nodes()? {
            let found = node.command(["pgrep", "--exact", "weft-agent"])?.output();
            ensure!(
                !found.await?.success(),
                "the agent of {} is back",
                node.name()
            );
        }
        blocks_are_known(stage).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    Ok(())
}

/// Agents are rolled to another image, and back.
pub async fn rolled(stage: &Stage) -> anyhow::Result<Value> {
    agents::tag_next(stage).await?;
    let (took, sent) = under::lossless(stage, async || {
        let start = Instant::now();
        for (image, expected) in [(json!(NEXT), NEXT), (Value::Null, IMAGE)] {
            agents::set_image(stage, image, expected).await?;
            stage.wait_component(DAEMONSET).await?;
            stage.wait_ready(PATIENCE).await?;
            look::sessions_up(stage, PATIENCE).await?;
        }
        Ok(start.elapsed())
    })
    .await?;
    Ok(json!({"rolled_there_and_back_ms": took.as_millis() as u64, "sent": sent, "lost": 0}))
}

/// A node loses its power: the others lose nothing, and its routes go from the other nodes at once, and from
/// routers as soon as they stop waiting for its agent. It comes back.
pub async fn node_dead(stage: &Stage) -> anyhow::Result<Value> {
    let short = json!({"bgp": {"restartSeconds": 5, "longLivedSeconds": 0}});
    let usual = json!({"bgp": {"restartSeconds": RESTART, "longLivedSeconds": 3600}});
    stage.edit(&short).await?;
    stage.wait_ready(PATIENCE).await?;
    look::renew(stage, DAEMONSET, "weft-agent").await?;
    look::sessions_up(stage, PATIENCE).await?;
    let lost = nodes::addresses_on(stage, VICTIM).await?;
    let blocks = nodes::blocks_of(stage, VICTIM).await?;
    let (times, reports) = under::watched(stage, &[VICTIM], async || {
        let node = stage.cluster.node(VICTIM)?;
        node.power_off().await?;
        let start = Instant::now();
        let ranges: BTreeSet<IpNet> = blocks.iter().filter_map(|cidr| cidr.parse().ok()).collect();
        for place in ["tor-b", "tor-a", "outside"] {
            let what = format!("{place} to forget {blocks:?}");
            wait::until(what, PATIENCE, async || {
                let learned = stage.cluster.learned(place).await;
                let learned = learned.map_err(|error| error.to_string())?;
                if learned.is_disjoint(&ranges) {
                    Ok(())
                } else {
                    Err(format!("{learned:?}"))
                }
            })
            .await?;
        }
        let forgotten = start.elapsed();
        node.power_on().await?;
        nodes::comes_back(stage).await?;
        look::sessions_up(stage, PATIENCE).await?;
        Ok((forgotten, start.elapsed()))
    })
    .await?;
    let sent = under::assert_others_lossless(&reports, &lost)?;
    stage.edit(&usual).await?;
    stage.wait_ready(PATIENCE).await?;
    look::addresses_add_up(stage).await?;
    Ok(json!({
        "routers_forget_ms": times.0.as_millis() as u64, "back_ms": times.1.as_millis() as u64,
        "sent_by_others": sent, "lost_by_others": 0,
    }))
}

/// Checks that all routers and the outside host know all blocks; gives how many there are.
async fn blocks_are_known(stage: &Stage) -> anyhow::Result<usize> {
    let blocks = look::blocks(stage).await?;
    let routers = stage.cluster.plan()?.routers;
    let names = routers.iter().map(|router| router.endpoint.name.as_str());
    for place in names.chain(["router", "outside"]) {
        let learned = stage.cluster.learned(place).await?;
        let missing = blocks.iter().find(|(cidr, _)| {
            cidr.parse::<IpNet>()
                .is_ok_and(|range| !learned.contains(&range))
        });
        ensure!(
            missing.is_none(),
            "{place} does not know {missing:?} but {learned:?}"
        );
    }
    Ok(blocks.len())
}
