//! Migrations between modes on a real cluster: what they lose is nothing, and how each of them ends is exact.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use weft_e2e::wait;
use weft_migration::Phase;
use weft_scenarios::stage::{PATIENCE, Stage, condition};
use weft_scenarios::traffic::{self, Volume};

use crate::nodes::VICTIM;
use crate::{agents, look, nodes, operator, routed, under};

/// The longest that a migration of three nodes may take.
pub const LIMIT: Duration = Duration::from_secs(180);
/// How long the same traffic is watched without a migration, to compare.
const CALM: Duration = Duration::from_secs(20);
/// A router that packets between the racks pass.
const ROUTER: &str = "tor-a";

/// How migrations are run here: as an admin would who is in a hurry.
pub fn hurried() -> Value {
    json!({"waves": 3, "bakeSeconds": 2})
}

/// Asks for a mode, and returns at once.
pub async fn ask(stage: &Stage, mode: &str) -> anyhow::Result<()> {
    stage
        .edit(&json!({"mode": mode, "migration": hurried()}))
        .await
}

/// Asks for a mode, and waits until the cluster is in it.
pub async fn go(stage: &Stage, mode: &str) -> anyhow::Result<Duration> {
    let start = Instant::now();
    ask(stage, mode).await?;
    stage.wait_ready(LIMIT).await?;
    exact(stage, mode).await?;
    Ok(start.elapsed())
}

/// Checks that every node is as in a cluster that was never in another mode.
pub async fn exact_nodes(stage: &Stage, mode: &str) -> anyhow::Result<()> {
    let status = status(stage).await?;
    ensure!(
        status["mode"] == mode && status["migration"].is_null(),
        "the cluster is not in mode {mode}: {status}"
    );
    let nodes = stage.cluster.nodes()?;
    for node in &nodes {
        let reports = format!("{} to say that it is in {mode} alone", node.name());
        wait::until(reports, PATIENCE, async || {
            let report = stage.get(&["nodereport", node.name()]).await;
            let report = report.map_err(|error| error.to_string())?;
            let modes = &report["spec"]["modes"];
            let only = json!([mode]);
            if modes["receives"] == only && modes["sends"] == only {
                return Ok(());
            }
            Err(modes.to_string())
        })
        .await?;
    }
    if mode == "BGP" {
        routed::no_overlay(stage).await?;
        look::pod_mtu(stage, 1500, PATIENCE).await?;
        return look::sessions_up(stage, PATIENCE).await;
    }
    look::pod_mtu(stage, 1450, PATIENCE).await?;
    for node in &nodes {
        let listening = look::lines(stage, node.name(), "ss -Hltn 'sport = :179'").await?;
        ensure!(
            listening.is_empty(),
            "{} listens for BGP: {listening:?}",
            node.name()
        );
        let other = "ip route show proto 87 metric 90; ip -6 route show proto 87 metric 90";
        let routes = look::lines(stage, node.name(), other).await?;
        ensure!(
            routes.is_empty(),
            "{} has routes of BGP: {routes:?}",
            node.name()
        );
    }
    Ok(())
}

/// Checks that everything is as in a cluster that was never in another mode, routers too.
pub async fn exact(stage: &Stage, mode: &str) -> anyhow::Result<()> {
    exact_nodes(stage, mode).await?;
    if mode != "BGP" && stage.cluster.spec()?.routed() {
        let forgotten = "the routers to forget the blocks";
        wait::until(forgotten, PATIENCE, async || {
            let show = ["ip", "route", "show", "root", "10.244.0.0/16"];
            let shown = stage
                .cluster
                .command_in(ROUTER, show)
                .map_err(|error| error.to_string())?;
            let shown = shown.run().await.map_err(|error| error.to_string())?.stdout;
            match shown.trim() {
                "" => Ok(()),
                routes => Err(routes.to_owned()),
            }
        })
        .await?;
    }
    Ok(())
}

/// The status of the NetworkConfig.
pub async fn status(stage: &Stage) -> anyhow::Result<Value> {
    Ok(stage.get(&["networkconfig", "default"]).await?["status"].clone())
}

/// Waits until a migration to a mode has come to a phase, or beyond: some take a moment only.
pub async fn phase(stage: &Stage, to: &str, phase: Phase) -> anyhow::Result<()> {
    wait::until(format!("phase {phase:?}"), LIMIT, async || {
        let status = status(stage).await.map_err(|error| error.to_string())?;
        let now = status["migration"]["phase"].as_str();
        let now = Phase::ALL
            .into_iter()
            .find(|phase| now == Some(&format!("{phase:?}")));
        let done = status["mode"] == to && status["migration"].is_null();
        if done || now >= Some(phase) {
            return Ok(());
        }
        let ready = condition(&json!({"status": status}), "Ready");
        Err(format!("{now:?}: {}", ready["message"]))
    })
    .await?;
    Ok(())
}

/// Waits for a condition with this reason, and gives its message.
pub async fn stalled(stage: &Stage, kind: &str, reason: &str) -> anyhow::Result<String> {
    let found = wait::until(format!("{kind}={reason}"), LIMIT, async || {
        let config = stage.get(&["networkconfig", "default"]).await;
        let config = config.map_err(|error| error.to_string())?;
        let found = condition(&config, kind);
        if found["status"] == "True" && found["reason"] == reason {
            return Ok(found["message"].as_str().unwrap_or_default().to_owned());
        }
        Err(condition(&config, "Ready").to_string())
    });
    Ok(found.await?)
}

/// Drops what the overlay sends by way of a router, or lets it pass again.
pub async fn filter_overlay(stage: &Stage, on: bool) -> anyhow::Result<()> {
    let rules = if on {
        "table inet filter-overlay { chain forward { type filter hook forward priority 0; udp dport 4789 counter drop; }; }"
    } else {
        "delete table inet filter-overlay"
    };
    let nft = stage.cluster.command_in(ROUTER, ["nft", rules])?;
    nft.run().await.context("filter of the underlay")?;
    Ok(())
}

/// There and back under every kind of traffic, with pods that were born in either mode.
pub async fn there_and_back(stage: &Stage) -> anyhow::Result<Value> {
    exact(stage, "BGP").await?;
    let calm = under::under(stage, Volume::MODERATE.in_every_mode(), &[], async || {
        // What the testbed does meanwhile takes time of the processors too: the same here.
        let start = Instant::now();
        crate::pods::start(stage, "calm", "node1").await?;
        crate::pods::start(stage, "calm-too", VICTIM).await?;
        while start.elapsed() < CALM {
            stage.wait_ready(LIMIT).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    });
    let ((), calm) = calm.await?;
    crate::pods::delete_own(stage).await?;
    let (times, reports) = under::under(stage, Volume::MODERATE.in_every_mode(), &[], async || {
        let to_overlay = go(stage, "Overlay").await?;
        // Pods of the other MTU, beside those that there are.
        crate::pods::start(stage, "born-in-overlay", "node1").await?;
        let addresses = crate::pods::start(stage, "born-in-overlay-too", VICTIM).await?;
        crate::reach::pods(stage, "node1", &addresses).await?;
        let to_bgp = go(stage, "BGP").await?;
        crate::reach::pods(stage, "node1", &addresses).await?;
        Ok([to_overlay, to_bgp])
    })
    .await?;
    traffic::assert_lossless(&reports)?;
    crate::pods::delete_own(stage).await?;
    let [overlay, bgp] = times.map(|time| time.as_millis() as u64);
    Ok(json!({
        "to_overlay_ms": overlay, "to_bgp_ms": bgp, "sent": under::sent(&reports), "lost": 0,
        "pod_to_pod": under::delays(&reports), "without_a_migration": under::delays(&calm),
    }))
}

/// The operator is killed in each phase in which it decides something, and an agent beside it.
pub async fn killed(stage: &Stage) -> anyhow::Result<Value> {
    let (kills, sent) = under::lossless_between_modes(stage, async || {
        let mut kills = 0;
        for (mode, phases) in [
            ("Overlay", [Phase::Prepare, Phase::Shift, Phase::Confirm]),
            ("BGP", [Phase::Check, Phase::Shift, Phase::Retire]),
        ] {
            ask(stage, mode).await?;
            for (number, name) in phases.into_iter().enumerate() {
                phase(stage, mode, name).await?;
                let node = stage.cluster.node(["node1", "node2", VICTIM][number])?;
                node.kill_program("weft-agent").await?;
                kills += 1;
                if number > 0 {
                    operator::kill(stage).await?;
                    kills += 1;
                }
            }
            stage.wait_ready(LIMIT).await?;
            exact(stage, mode).await?;
            // Without this the kubelet waits ever longer before it starts what was killed.
            look::renew(stage, "deployment/weft-operator", "weft-operator").await?;
            look::renew(stage, "daemonset/weft-agent", "weft-agent").await?;
        }
        Ok(kills)
    })
    .await?;
    Ok(json!({"kills": kills, "sent": sent, "lost": 0}))
}

/// Another version of operator and agents takes over in the middle of a migration, and hands back in the middle of the
/// next one.
pub async fn upgraded(stage: &Stage) -> anyhow::Result<Value> {
    agents::tag_next(stage).await?;
    let (times, sent) = under::lossless_between_modes(stage, async || {
        let mut times = Vec::new();
        for (mode, name, version) in [
            ("Overlay", Phase::Shift, &["image.tag=next"][..]),
            ("BGP", Phase::Prepare, &[]),
        ] {
            let start = Instant::now();
            ask(stage, mode).await?;
            phase(stage, mode, name).await?;
            stage.helm_upgrade(version).await?;
            stage.wait_component("daemonset/weft-agent").await?;
            stage.wait_ready(LIMIT).await?;
            exact(stage, mode).await?;
            times.push(start.elapsed().as_millis() as u64);
        }
        Ok(times)
    })
    .await?;
    Ok(json!({"took_ms": times, "sent": sent, "lost": 0}))
}

/// The underlay drops what the new mode sends: the migration stops before a packet moves, names the pairs of nodes, and
/// goes on by itself once that is mended.
pub async fn blocked(stage: &Stage) -> anyhow::Result<Value> {
    filter_overlay(stage, true).await?;
    let outcome = under::lossless_between_modes(stage, async || {
        ask(stage, "Overlay").await?;
        let message = stalled(stage, "Stalled", "PathsUnproven").await?;
        for pair in [
            "node1: to node3",
            "node3: to node1",
            "node2: to node3",
            "node3: to node2",
        ] {
            ensure!(message.contains(pair), "{pair} is not named: {message}");
        }
        ensure!(!message.contains("node1: to node2"), "{message}");
        for node in stage.cluster.nodes()? {
            let report = stage.get(&["nodereport", node.name()]).await?;
            let sends = &report["spec"]["modes"]["sends"];
            ensure!(*sends == json!(["BGP"]), "{} sends in {sends}", node.name());
        }
        filter_overlay(stage, false).await?;
        stage.wait_ready(LIMIT).await?;
        exact(stage, "Overlay").await?;
        go(stage, "BGP").await?;
        Ok(message)
    })
    .await;
    if outcome.is_err() {
        // It is gone already if that was not what failed.
        let _ = filter_overlay(stage, false).await;
    }
    let (message, sent) = outcome?;
    Ok(json!({"said": message, "sent": sent, "lost": 0}))
}

/// The new mode goes bad after the first wave: all go back by themselves, the condition has the figures, and the same
/// spec is not tried again. What the filter dropped is lost; nothing after it.
pub async fn goes_bad(stage: &Stage) -> anyhow::Result<Value> {
    let slow = json!({"waves": 3, "bakeSeconds": 20});
    let (back, _) = under::under(stage, Volume::MODERATE.in_every_mode(), &[], async || {
        stage
            .edit(&json!({"mode": "Overlay", "migration": slow}))
            .await?;
        phase(stage, "Overlay", Phase::Shift).await?;
        // A node has to have moved for there to be something that goes bad.
        somebody_sends(stage, "Overlay").await?;
        filter_overlay(stage, true).await?;
        let start = Instant::now();
        let all_back = everybody_sends(stage, "BGP").await;
        let senders = start.elapsed();
        let message = stalled(stage, "Stalled", "MigrationFailed").await;
        let rest = start.elapsed();
        filter_overlay(stage, false).await?;
        all_back?;
        Ok((message?, [senders, rest]))
    })
    .await?;
    let (message, times) = back;
    let [senders, rest] = times.map(|time| time.as_millis() as u64);
    ensure!(message.contains("went back to BGP"), "{message}");
    let ((), sent) = under::lossless_between_modes(stage, async || {
        tokio::time::sleep(Duration::from_secs(10)).await;
        exact(stage, "BGP").await
    })
    .await?;
    let config = stage.get(&["networkconfig", "default"]).await?;
    ensure!(
        config["spec"]["mode"] == "Overlay",
        "somebody wrote the spec"
    );
    // Whoever changes their mind has nothing to clean up.
    stage.edit(&json!({"mode": "BGP"})).await?;
    stage.wait_ready(LIMIT).await?;
    Ok(json!({
        "said": message, "last_sender_back_ms": senders, "at_rest_ms": rest,
        "sent_after": sent, "lost_after": 0,
    }))
}

/// Waits until every node sends in this mode alone.
async fn everybody_sends(stage: &Stage, mode: &str) -> anyhow::Result<()> {
    let what = format!("every node to send in {mode} alone");
    wait::until(what, LIMIT, async || {
        let reports = stage
            .get(&["nodereports"])
            .await
            .map_err(|error| error.to_string())?;
        for report in reports["items"].as_array().into_iter().flatten() {
            let sends = &report["spec"]["modes"]["sends"];
            if *sends != json!([mode]) {
                return Err(format!("{}: {sends}", report["metadata"]["name"]));
            }
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Waits until a node sends in this mode alone.
pub async fn somebody_sends(stage: &Stage, mode: &str) -> anyhow::Result<()> {
    wait::until(
        format!("a node to send in {mode} alone"),
        LIMIT,
        async || {
            let reports = stage
                .get(&["nodereports"])
                .await
                .map_err(|error| error.to_string())?;
            let mut reports = reports["items"].as_array().into_iter().flatten();
            if reports.any(|report| report["spec"]["modes"]["sends"] == json!([mode])) {
                return Ok(());
            }
            Err("none".to_owned())
        },
    )
    .await?;
    Ok(())
}

/// The admin changes their mind at a moment of each phase, and pauses in between.
pub async fn mind_changed(stage: &Stage) -> anyhow::Result<Value> {
    let phases = [
        Phase::Check,
        Phase::LowerMTU,
        Phase::Shift,
        Phase::Confirm,
        Phase::Retire,
    ];
    let (times, sent) = under::lossless_between_modes(stage, async || {
        let mut times = Vec::new();
        for name in phases {
            ask(stage, "Overlay").await?;
            if name != Phase::Check {
                phase(stage, "Overlay", name).await?;
            }
            let paused = json!({"migration": {"paused": true}});
            if name == Phase::Shift {
                stage.edit(&paused).await?;
                stalled(stage, "Reconciling", "MigrationPaused").await?;
                // A mixed cluster works for as long as one likes.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            let start = Instant::now();
            stage
                .edit(&json!({"mode": "BGP", "migration": {"paused": false}}))
                .await?;
            stage.wait_ready(LIMIT).await?;
            times.push(json!({"phase": format!("{name:?}"), "back_ms": start.elapsed().as_millis() as u64}));
            exact(stage, "BGP").await?;
        }
        Ok(times)
    })
    .await?;
    Ok(json!({"times": times, "sent": sent, "lost": 0}))
}

/// A node loses its power in the middle: the others finish without it, and it joins them in the mode that they are in.
pub async fn node_dies(stage: &Stage) -> anyhow::Result<Value> {
    let lost: Vec<std::net::IpAddr> = stage
        .servers()
        .await?
        .into_iter()
        .filter(|server| server.node == VICTIM)
        .flat_map(|server| server.addresses)
        .collect();
    let volume = Volume::MODERATE.in_every_mode();
    let (took, reports) = under::under(stage, volume, &[VICTIM], async || {
        ask(stage, "Overlay").await?;
        phase(stage, "Overlay", Phase::Shift).await?;
        stage.cluster.node(VICTIM)?.power_off().await?;
        let start = Instant::now();
        wait::until("the others to be in mode Overlay", LIMIT, async || {
            let status = status(stage).await.map_err(|error| error.to_string())?;
            if status["mode"] == "Overlay" && status["migration"].is_null() {
                return Ok(());
            }
            Err(condition(&json!({"status": status}), "Ready")["message"].to_string())
        })
        .await?;
        let took = start.elapsed();
        nodes::power_on(stage).await?;
        stage.wait_ready(LIMIT).await?;
        Ok(took)
    })
    .await?;
    let sent = under::assert_others_lossless(&reports, &lost)?;
    // Its routers keep the routes of a node that died without a word (long-lived graceful restart).
    exact_nodes(stage, "Overlay").await?;
    go(stage, "BGP").await?;
    Ok(
        json!({"without_it_ms": took.as_millis() as u64, "sent_by_others": sent, "lost_by_others": 0}),
    )
}

/// In a cluster whose routers speak no BGP, mode BGP is impossible: it is said before anything moves, and setting the
/// mode back leaves no trace.
pub async fn impossible(stage: &Stage) -> anyhow::Result<Value> {
    let (message, sent) = under::lossless_between_modes(stage, async || {
        ask(stage, "BGP").await?;
        let message = stalled(stage, "Stalled", "PathsUnproven").await?;
        ensure!(message.contains("there is no path in BGP"), "{message}");
        for node in stage.cluster.nodes()? {
            let report = stage.get(&["nodereport", node.name()]).await?;
            if report["spec"]["modes"]["sends"] != json!(["Overlay"]) {
                bail!("{} sends in {}", node.name(), report["spec"]["modes"]);
            }
        }
        ask(stage, "Overlay").await?;
        stage.wait_ready(LIMIT).await?;
        exact(stage, "Overlay").await?;
        Ok(message)
    })
    .await?;
    Ok(json!({"said": message, "sent": sent, "lost": 0}))
}
