//! Nodes that go, come back, are forgotten, or move.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use weft_e2e::wait;
use weft_scenarios::stage::{PATIENCE, Server, Stage};

use crate::{look, reach, under};

/// The node that things are done to: the only one on its subnet.
pub const VICTIM: &str = "node3";

/// A node loses its power and gets it back. The others lose nothing; its pods get addresses again,
/// and none leaks.
pub async fn power(stage: &Stage) -> anyhow::Result<Value> {
    let lost = addresses_on(stage, VICTIM).await?;
    let (back, reports) = under::watched(stage, &[VICTIM], async || {
        let node = stage.cluster.node(VICTIM)?;
        node.power_off().await?;
        stage.cluster.wait_nodes(&[VICTIM], false, PATIENCE).await?;
        let start = Instant::now();
        node.power_on().await?;
        comes_back(stage).await?;
        Ok(start.elapsed())
    })
    .await?;
    let sent = under::assert_others_lossless(&reports, &lost)?;
    look::addresses_add_up(stage).await?;
    Ok(json!({"back_ms": back.as_millis() as u64, "sent_by_others": sent, "lost_by_others": 0}))
}

/// A node is deleted while the agents of the others are down: started again, they take its routes
/// away. Its blocks go to nobody while they cool down. Switched on again, it joins as a new node.
pub async fn deleted_unseen(stage: &Stage) -> anyhow::Result<Value> {
    // Were the operator on the node that goes, the stopped agents would be killed before another releases its blocks.
    let elsewhere = "operator.nodeSelector.kubernetes\\.io/hostname=node1";
    stage.helm_upgrade(&[elsewhere]).await?;
    let outcome = deleted(stage).await;
    stage.helm_upgrade(&[]).await?;
    outcome
}

async fn deleted(stage: &Stage) -> anyhow::Result<Value> {
    let lost = addresses_on(stage, VICTIM).await?;
    let blocks = blocks_of(stage, VICTIM).await?;
    let others = ["node1", "node2"];
    let ((stale, back), reports) = under::watched(stage, &[VICTIM], async || {
        for other in others {
            // Stopped, an agent sees nothing, and the kubelet does not start another yet.
            let node = stage.cluster.node(other)?;
            node.signal_program("weft-agent", Signal::SIGSTOP).await?;
        }
        let node = stage.cluster.node(VICTIM)?;
        node.power_off().await?;
        stage.kubectl(&["delete", "node", VICTIM]).await?;
        wait::until(
            "its blocks to be released",
            PATIENCE,
            async || match blocks_of(stage, VICTIM).await {
                Ok(now) if now.is_empty() => Ok(()),
                Ok(now) => Err(now.join(", ")),
                Err(error) => Err(format!("{error:#}")),
            },
        )
        .await?;
        for other in others {
            let found = routes_to(stage, other, &blocks).await?;
            ensure!(
                !found.is_empty(),
                "{other} had lost its routes before it could know"
            );
        }
        let start = Instant::now();
        for other in others {
            let node = stage.cluster.node(other)?;
            node.kill_program("weft-agent").await?;
        }
        wait::until("no stale route", PATIENCE, async || {
            for other in others {
                match routes_to(stage, other, &blocks).await {
                    Ok(found) if found.is_empty() => {}
                    Ok(found) => return Err(format!("{other}: {}", found.join("; "))),
                    Err(error) => return Err(format!("{error:#}")),
                }
            }
            Ok(())
        })
        .await?;
        let stale = start.elapsed();
        let start = Instant::now();
        node.power_on().await?;
        comes_back(stage).await?;
        Ok((stale, start.elapsed()))
    })
    .await?;
    let sent = under::assert_others_lossless(&reports, &lost)?;
    let reused: Vec<String> = look::blocks(stage)
        .await?
        .into_iter()
        .map(|(cidr, _)| cidr)
        .filter(|cidr| blocks.contains(cidr))
        .collect();
    ensure!(
        reused.is_empty(),
        "blocks that should cool down are in use: {reused:?}"
    );
    look::renew(stage, "daemonset/weft-agent", "weft-agent").await?;
    Ok(json!({
        "routes_gone_ms": stale.as_millis() as u64, "rejoined_ms": back.as_millis() as u64,
        "sent_by_others": sent, "lost_by_others": 0,
    }))
}

/// A node boots while its agent cannot reach the API server: it comes back from its saved state, with
/// routes to its peers and pods that answer.
pub async fn boots_alone(stage: &Stage) -> anyhow::Result<Value> {
    let lost = addresses_on(stage, VICTIM).await?;
    let mut others = Vec::new();
    for (cidr, node) in look::blocks(stage).await? {
        if node != VICTIM {
            others.push(cidr);
        }
    }
    let (back, reports) = under::watched(stage, &[VICTIM], async || {
        let node = stage.cluster.node(VICTIM)?;
        node.power_off().await?;
        let start = Instant::now();
        node.power_on().await?;
        // The kubelet, which starts the agent, goes by another address than pods do.
        let cut = "add table inet scenario { chain output { type filter hook output priority -400; \
                   ip daddr 10.96.0.1 drop; ip6 daddr fd00:10:96::1 drop; }; }";
        node.exec(["nft", cut]).await?;
        let outcome = alone(stage, &others).await.map(|()| start.elapsed());
        node.exec(["nft", "delete table inet scenario"]).await?;
        comes_back(stage).await?;
        outcome
    })
    .await?;
    let sent = under::assert_others_lossless(&reports, &lost)?;
    look::renew(stage, "daemonset/weft-agent", "weft-agent").await?;
    look::addresses_add_up(stage).await?;
    Ok(json!({"forwards_ms": back.as_millis() as u64, "sent_by_others": sent, "lost_by_others": 0}))
}

async fn alone(stage: &Stage, others: &[String]) -> anyhow::Result<()> {
    wait::until("routes to all blocks of the peers", PATIENCE, async || {
        for cidr in others {
            match routes_to(stage, VICTIM, std::slice::from_ref(cidr)).await {
                Ok(found) if found.is_empty() => return Err(format!("none to {cidr}")),
                Ok(_) => {}
                Err(error) => return Err(format!("{error:#}")),
            }
        }
        Ok(())
    })
    .await?;
    let node = stage.cluster.node(VICTIM)?;
    let reached = node
        .exec([
            "sh",
            "-c",
            "curl --silent --insecure --max-time 2 https://10.96.0.1/livez",
        ])
        .await;
    ensure!(
        reached.is_err(),
        "the API server could be reached all the time"
    );
    answers(stage).await
}

/// A node gets another address. The others lose nothing, and it is reached again soon.
pub async fn address(stage: &Stage) -> anyhow::Result<Value> {
    let node = "node2";
    let lost = addresses_on(stage, node).await?;
    let (gaps, reports) = under::watched(stage, &[node], async || {
        let mut gaps = Vec::new();
        for host in [77, 12] {
            let start = Instant::now();
            stage.cluster.set_address(node, host).await?;
            wait::until("the others to know the address", PATIENCE, async || {
                let published = stage
                    .get(&["nodenetwork", node])
                    .await
                    .map_err(|error| error.to_string())?;
                let address = published["spec"]["ipv4"].as_str().unwrap_or_default();
                if address.contains(&format!(".{host}/")) {
                    Ok(())
                } else {
                    Err(address.to_owned())
                }
            })
            .await?;
            reach::pods_within(stage, "node1", &lost, PATIENCE).await?;
            reach::pods_within(stage, "node3", &lost, PATIENCE).await?;
            gaps.push(start.elapsed().as_millis() as u64);
            stage.wait_ready(PATIENCE).await?;
        }
        Ok(gaps)
    })
    .await?;
    let sent = under::assert_others_lossless(&reports, &lost)?;
    Ok(json!({"reached_after_ms": gaps, "sent_by_others": sent, "lost_by_others": 0}))
}

/// Gives the node its power back, and waits until it is Ready and its server runs.
pub async fn power_on(stage: &Stage) -> anyhow::Result<()> {
    stage.cluster.node(VICTIM)?.power_on().await?;
    stage.cluster.wait_nodes(&[VICTIM], true, PATIENCE).await?;
    stage
        .cluster
        .wait_rollout("default", "daemonset/server", PATIENCE)
        .await?;
    Ok(())
}

/// Waits until the node is Ready, its server answers the others, and the config is Ready.
pub async fn comes_back(stage: &Stage) -> anyhow::Result<()> {
    stage.cluster.wait_nodes(&[VICTIM], true, PATIENCE).await?;
    answers(stage).await?;
    stage.wait_ready(PATIENCE).await
}

/// Waits until the node's server, which may be another than before, answers the other nodes.
async fn answers(stage: &Stage) -> anyhow::Result<()> {
    wait::until("its server to answer", PATIENCE, async || {
        let addresses = addresses_on(stage, VICTIM)
            .await
            .map_err(|error| format!("{error:#}"))?;
        if addresses.is_empty() {
            return Err("no address".to_owned());
        }
        reach::pods(stage, "node1", &addresses)
            .await
            .map_err(|error| format!("{error:#}"))
    })
    .await?;
    Ok(())
}

pub async fn addresses_on(stage: &Stage, node: &str) -> anyhow::Result<Vec<IpAddr>> {
    let servers: Vec<Server> = stage.servers().await?;
    let server = servers.into_iter().find(|server| server.node == node);
    Ok(server
        .with_context(|| format!("no server on {node}"))?
        .addresses)
}

pub async fn blocks_of(stage: &Stage, node: &str) -> anyhow::Result<Vec<String>> {
    let blocks = look::blocks(stage).await?.into_iter();
    Ok(blocks
        .filter(|(_, owner)| owner == node)
        .map(|(cidr, _)| cidr)
        .collect())
}

/// The routes of a node, in any table, to one of these ranges.
pub async fn routes_to(
    stage: &Stage,
    node: &str,
    blocks: &[String],
) -> anyhow::Result<Vec<String>> {
    let show = "ip -4 route show table all; ip -6 route show table all";
    let mut routes = look::lines(stage, node, show).await?;
    routes.retain(|route| {
        route
            .split_whitespace()
            .next()
            .is_some_and(|to| blocks.iter().any(|block| block == to))
    });
    Ok(routes)
}
