//! Mode BGP: what routers do, in their right mind and out of it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};
use weft_e2e::{Cluster, ClusterSpec, wait};
use weft_load::report::Report;
use weft_scenarios::stage::{PATIENCE, Stage};
use weft_scenarios::traffic::{self, Traffic, Volume};

use crate::{look, reach, under};

/// The router that goes mad, a node of its rack, and a node of another.
const ROUTER: &str = "tor-a";
const NEAR: &str = "node1";
const FAR: &str = "node3";
/// How often a router changes its mind.
const FLAPS: u32 = 100;
/// More prefixes than anybody wants.
const MANY: u32 = 200_000;
/// A harmless range that nodes may learn.
const HARMLESS: &str = "198.51.100.0/24";

/// The daemon of each rack's router is killed and started again: it asks for a graceful restart.
pub async fn restarted(stage: &Stage) -> anyhow::Result<Value> {
    look::sessions_up(stage, PATIENCE).await?;
    let (took, sent) = under::lossless(stage, async || {
        let mut took = Vec::new();
        for router in stage.cluster.plan()?.routers {
            let start = Instant::now();
            stage.cluster.restart_router(&router.endpoint.name).await?;
            // Until the agents have seen it go.
            tokio::time::sleep(Duration::from_secs(3)).await;
            look::sessions_up(stage, PATIENCE).await?;
            took.push(start.elapsed().as_millis() as u64);
            // Routers that wait for the end of a restart wait as long as this.
            tokio::time::sleep(Duration::from_secs(35)).await;
        }
        Ok(took)
    })
    .await?;
    Ok(json!({"sessions_back_ms": took, "sent": sent, "lost": 0}))
}

/// A router that nodes have to live with announces what is not its own, far too much, and this and that: it
/// is refused or limited, which is reported, and pods notice nothing.
pub async fn hostile(stage: &Stage) -> anyhow::Result<Value> {
    look::sessions_up(stage, PATIENCE).await?;
    let outcome = under::lossless(stage, async || {
        let refused = lies(stage).await?;
        let flapped = flaps(stage).await?;
        let limited = flood(stage).await?;
        Ok((refused, flapped, limited))
    })
    .await;
    stage
        .cluster
        .set_router(ROUTER, |settings| settings.announced.clear())
        .await?;
    let ((refused, flapped, limited), sent) = outcome?;
    Ok(json!({
        "refused": refused, "flaps_ms": flapped.as_millis() as u64, "limited": limited,
        "sent": sent, "lost": 0,
    }))
}

/// Pools, a pod, nodes, Services, the whole world. None of it gets into a kernel, and somebody says so.
async fn lies(stage: &Stage) -> anyhow::Result<usize> {
    let servers = stage.servers().await?;
    let far = servers.iter().find(|server| server.node == FAR);
    let far = far.with_context(|| format!("no server on {FAR}"))?;
    let nodes = [NEAR, FAR].map(|name| stage.cluster.node(name));
    let mut lies: Vec<IpNet> = far.addresses.iter().copied().map(IpNet::from).collect();
    for node in nodes {
        lies.extend(node?.endpoint().ips().into_iter().map(IpNet::from));
    }
    let spec = stage.cluster.spec()?;
    lies.extend(spec.pool_cidrs.iter().chain(&spec.service_cidrs));
    for all in ["0.0.0.0/0", "::/0"] {
        lies.push(all.parse()?);
    }
    let announced: Vec<IpNet> = lies.iter().copied().chain([HARMLESS.parse()?]).collect();
    announce(stage, announced).await?;
    // What was announced last has been believed, so the rest has been judged.
    learned(stage, HARMLESS, true).await?;
    for node in stage.cluster.nodes()? {
        let show = "ip -4 route show table all proto 87; ip -6 route show table all proto 87";
        let routes = look::lines(stage, node.name(), show).await?;
        let via = |route: &&String| {
            let to = route.split_whitespace().next().unwrap_or_default();
            let lie = lies.iter().find(|lie| is(to, lie));
            lie.is_some() && !route.contains("dev weft") && !route.starts_with("blackhole")
        };
        let believed: Vec<&String> = routes.iter().filter(via).collect();
        ensure!(believed.is_empty(), "{}: {believed:?}", node.name());
    }
    for text in ["0.0.0.0/0", &spec.pool_cidrs[0].to_string()] {
        reported(stage, text).await?;
    }
    announce(stage, Vec::new()).await?;
    learned(stage, HARMLESS, false).await?;
    Ok(lies.len())
}

/// Whether the destination of a route, as `ip` writes it, is this range.
fn is(to: &str, range: &IpNet) -> bool {
    let address = || to.parse::<IpAddr>().ok().map(IpNet::from);
    match to {
        "default" => range.prefix_len() == 0,
        _ => to.parse::<IpNet>().ok().or_else(address) == Some(*range),
    }
}

/// One prefix comes and goes a hundred times.
async fn flaps(stage: &Stage) -> anyhow::Result<Duration> {
    let start = Instant::now();
    for flap in 0..FLAPS {
        let announced = if flap % 2 == 0 {
            vec![HARMLESS.parse()?]
        } else {
            Vec::new()
        };
        announce(stage, announced).await?;
    }
    let took = start.elapsed();
    learned(stage, HARMLESS, false).await?;
    look::sessions_up(stage, PATIENCE).await?;
    Ok(took)
}

/// Far more prefixes than the BGPPeer allows: the session ends and says why; the router comes to reason, and
/// is believed again.
async fn flood(stage: &Stage) -> anyhow::Result<String> {
    let begin = u32::from_be_bytes([100, 64, 0, 0]);
    let many = (0..MANY).map(|n| Ipv4Net::new_assert((begin + (n << 4)).into(), 28).into());
    announce(stage, many.collect()).await?;
    let peer = format!("{ROUTER}-v4");
    let limited = look::peer_says(stage, &peer, &["10000", "10,000", "maxPrefixes"], PATIENCE);
    let limited = limited.await?;
    let routes = look::lines(stage, NEAR, "ip -4 route show table all | wc -l").await?;
    let count: u32 = routes.concat().trim().parse()?;
    ensure!(count < 20_000, "{count} routes are in the kernel of {NEAR}");
    announce(stage, Vec::new()).await?;
    look::sessions_up(stage, Duration::from_secs(400)).await?;
    Ok(limited)
}

async fn announce(stage: &Stage, announced: Vec<IpNet>) -> anyhow::Result<()> {
    let told = stage
        .cluster
        .set_router(ROUTER, |settings| settings.announced = announced);
    Ok(told.await?)
}

/// Waits until a node of the rack has a route to a range, or none.
async fn learned(stage: &Stage, range: &str, present: bool) -> anyhow::Result<()> {
    let what = format!("{NEAR} to have a route to {range}: {present}");
    wait::until(what, PATIENCE, async || {
        let show = format!("ip route show table all | grep -F '{range}' || true");
        let routes = look::lines(stage, NEAR, &show).await;
        let routes = routes.map_err(|error| error.to_string())?;
        if routes.is_empty() == present {
            Err(format!("{routes:?}"))
        } else {
            Ok(())
        }
    })
    .await?;
    Ok(())
}

/// Waits until a condition of the router's BGPPeers, a problem of a node or an event names `text`.
async fn reported(stage: &Stage, text: &str) -> anyhow::Result<()> {
    let what = format!("somebody to say that {text} is refused");
    wait::until(what, PATIENCE, async || {
        for kind in ["bgppeers", "nodereports", "events"] {
            let said = stage
                .get(&[kind, "--all-namespaces"])
                .await
                .map_err(|error| error.to_string())?;
            let message = |value: &Value| value["message"].as_str().map(str::to_owned);
            let items = said["items"].as_array().into_iter().flatten();
            let mut messages = items.flat_map(|item| {
                let lists = [&item["status"]["conditions"], &item["spec"]["problems"]];
                let lists = lists.map(|list| list.as_array().cloned().unwrap_or_default());
                let listed = lists.into_iter().flatten();
                listed.chain([item.clone()]).collect::<Vec<Value>>()
            });
            if messages.any(|value| message(&value).is_some_and(|said| said.contains(text))) {
                return Ok(());
            }
        }
        Err("nobody does".to_owned())
    })
    .await?;
    Ok(())
}

/// In a rack with two routers, the uplink of one is cut: what was lost until all had moved to the other.
pub async fn rack_cut() -> anyhow::Result<Value> {
    const NAME: &str = "ecmp";
    Cluster::down(NAME)?;
    let stage = Stage::set(ClusterSpec::ecmp(NAME)).await?;
    look::sessions_up(&stage, PATIENCE).await?;
    let mut cuts = Vec::new();
    for router in ["tor-a2", "tor-a"] {
        let traffic = Traffic::start(&stage, Volume::MODERATE).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let start = Instant::now();
        stage.cluster.link_down(&format!("up-{router}")).await?;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let seconds = start.elapsed().as_secs_f64();
        let reports = traffic.stop(&[]).await?;
        cuts.push(
            json!({"uplink_of": router, "seconds": seconds, "datagrams": datagrams(&reports)}),
        );
        println!("{}", traffic::table(&reports));
        // Nothing goes on being lost with the link still cut.
        for server in stage.servers().await? {
            for node in stage.cluster.nodes()? {
                if node.name() != server.node {
                    reach::pods(&stage, node.name(), &server.addresses).await?;
                }
            }
            reach::pods(&stage, "outside", &server.addresses).await?;
        }
        stage.cluster.link_up(&format!("up-{router}")).await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        look::sessions_up(&stage, PATIENCE).await?;
    }
    Cluster::down(NAME)?;
    Ok(json!({"cuts": cuts}))
}

/// The datagrams between pods: how many of how many were lost, and the longest silence of any flow.
fn datagrams(reports: &[Report]) -> Value {
    let flows = reports.iter().flat_map(|report| &report.flows);
    let flows: Vec<_> = flows
        .filter(|flow| flow.group == "pod to pod, UDP")
        .collect();
    let sum = |count: fn(&weft_load::report::Counts) -> u64| -> u64 {
        flows.iter().map(|flow| count(&flow.counts)).sum()
    };
    let gap = flows.iter().map(|flow| flow.counts.longest_gap_us).max();
    json!({
        "sent": sum(|counts| counts.sent), "lost": sum(|counts| counts.lost),
        "longest_gap_ms": gap.unwrap_or_default() / 1_000,
    })
}
