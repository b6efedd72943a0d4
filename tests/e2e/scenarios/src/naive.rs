//! What moving a cluster by hand loses: the reference for migrations. No scenario of Weft: it judges nothing.
//!
//! From plain routing to VXLAN, node after node, with `ip` alone, as a careful admin would who has no plan: no order
//! between receiving and sending, no change of the MTU of pods first, and the masquerade of kube-proxy alone.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use weft_e2e::wait;
use weft_scenarios::stage::{NAMESPACE, PATIENCE, Stage};
use weft_scenarios::traffic::{self, Volume};

use crate::{look, under};

/// The time that an admin takes from one node to the next.
const STEP: Duration = Duration::from_secs(3);
const DEVICE: &str = "byhand";

/// Moves the cluster of a stage by hand under traffic. Gives what was lost, by kind of traffic.
pub async fn run(stage: &Stage) -> anyhow::Result<Value> {
    look::sessions_up(stage, PATIENCE).await?;
    let blocks = look::blocks(stage).await?;
    remove_weft(stage).await?;
    let ((), reports) = under::under(stage, Volume::MODERATE.in_every_mode(), &[], async || {
        tokio::time::sleep(STEP).await;
        for node in stage.cluster.nodes()? {
            let orders = orders(stage, node.name(), &blocks)?;
            look::lines(stage, node.name(), &orders)
                .await
                .with_context(|| format!("on {}: {orders}", node.name()))?;
            tokio::time::sleep(STEP).await;
        }
        tokio::time::sleep(3 * STEP).await;
        Ok(())
    })
    .await?;
    println!("{}", traffic::table(&reports));
    let mut lost = Map::new();
    for flow in reports.iter().flat_map(|report| &report.flows) {
        let counts = &flow.counts;
        let known = lost.get(&flow.group).cloned().unwrap_or_default();
        let sum = |what: &str, more: u64| known[what].as_u64().unwrap_or_default() + more;
        let sums = json!({
            "sent": sum("sent", counts.sent), "lost": sum("lost", counts.lost),
            "broken": sum("broken", counts.broken), "too_big": sum("too_big", counts.emsgsize),
        });
        lost.insert(flow.group.clone(), sums);
    }
    Ok(lost.into())
}

/// Takes away the programs of Weft and its nftables tables. The routes stay.
async fn remove_weft(stage: &Stage) -> anyhow::Result<()> {
    let weft = ["--namespace", NAMESPACE];
    let operator = ["scale", "deployment/weft-operator", "--replicas=0"];
    stage.kubectl(&[&operator[..], &weft].concat()).await?;
    // It would make the agents anew.
    wait_gone(stage, "weft-operator").await?;
    let agents = ["delete", "daemonset/weft-agent"];
    stage.kubectl(&[&agents[..], &weft].concat()).await?;
    wait_gone(stage, "weft-agent").await?;
    for node in stage.cluster.nodes()? {
        let delete = "nft list tables | grep weft | while read -r _ family name; do \
                      nft delete table $family $name; done";
        look::lines(stage, node.name(), delete).await?;
    }
    Ok(())
}

async fn wait_gone(stage: &Stage, name: &str) -> anyhow::Result<()> {
    let selector = format!("--selector=app.kubernetes.io/name={name}");
    wait::until(format!("{name} to be gone"), PATIENCE, async || {
        let what = ["pods", "--namespace", NAMESPACE, &selector];
        let pods = stage.get(&what).await.map_err(|error| error.to_string())?;
        match pods["items"].as_array().is_some_and(Vec::is_empty) {
            true => Ok(()),
            false => Err("some pods are there".to_owned()),
        }
    })
    .await?;
    Ok(())
}

/// What is typed on one node.
fn orders(stage: &Stage, name: &str, blocks: &[(String, String)]) -> anyhow::Result<String> {
    let nodes = stage.cluster.nodes()?;
    let number = |name: &str| nodes.iter().position(|node| node.name() == name);
    let inner = |name: &str, ipv6: bool| -> anyhow::Result<String> {
        let number = number(name).with_context(|| format!("no node {name}"))? + 1;
        Ok(if ipv6 {
            format!("fd99::{number}")
        } else {
            format!("172.30.0.{number}")
        })
    };
    let outer = |name: &str| -> anyhow::Result<IpAddr> {
        let ips = stage.cluster.node(name)?.endpoint().ips();
        let ipv4 = ips.into_iter().find(IpAddr::is_ipv4);
        ipv4.with_context(|| format!("{name} has no IPv4 address"))
    };
    let mut orders = vec![
        "set -e".to_owned(),
        format!(
            "ip link add {DEVICE} type vxlan id 77 dstport 8472 local {}",
            outer(name)?
        ),
        format!("ip addr add {}/24 dev {DEVICE}", inner(name, false)?),
        format!("ip addr add {}/64 dev {DEVICE} nodad", inner(name, true)?),
        format!("ip link set {DEVICE} up"),
    ];
    for node in nodes.iter().filter(|node| node.name() != name) {
        orders.push(format!(
            "bridge fdb append 00:00:00:00:00:00 dev {DEVICE} dst {}",
            outer(node.name())?
        ));
    }
    for (cidr, owner) in blocks.iter().filter(|(_, owner)| owner != name) {
        let block: IpNet = cidr.parse()?;
        let via = inner(owner, block.addr().is_ipv6())?;
        orders.push(format!(
            "ip route add {cidr} via {via} dev {DEVICE} metric 1"
        ));
    }
    Ok(orders.join("; "))
}
