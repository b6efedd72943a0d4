//! Things of other tools that are in the way: reported, and not fought over.

use std::time::Duration;

use anyhow::ensure;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use weft_e2e::Node;
use weft_scenarios::stage::{PATIENCE, Stage};

use crate::{look, under};

const NODE: &str = "node1";

/// A route for addresses of a pool in the main table, and an address of a pool on a device: reported
/// by an event and in the report; they stay, and nothing is lost.
pub async fn routes(stage: &Stage) -> anyhow::Result<Value> {
    let node = stage.cluster.node(NODE)?;
    let ((), sent) = under::lossless(stage, async || {
        run(
            &node,
            "ip route add 10.244.0.0/16 via 172.30.1.1; ip -6 route add fd00:10:244::/56 via fd00:30:1::1",
        )
        .await?;
        run(&node, "ip address add 10.244.255.9/32 dev eth0").await?;
        let reported = async {
            look::problem(stage, NODE, "ForeignRoute", true, PATIENCE).await?;
            look::problem(stage, NODE, "ForeignAddress", true, PATIENCE).await?;
            look::event(stage, "ForeignRoute", "10.244.0.0/16").await?;
            look::event(stage, "ForeignRoute", "fd00:10:244::/56").await?;
            look::event(stage, "ForeignAddress", "10.244.255.9").await
        }
        .await;
        let there = run(
            &node,
            "ip route show 10.244.0.0/16; ip address show to 10.244.255.9",
        )
        .await?;
        run(
            &node,
            "ip route delete 10.244.0.0/16; ip -6 route delete fd00:10:244::/56",
        )
        .await?;
        run(&node, "ip address delete 10.244.255.9/32 dev eth0").await?;
        reported?;
        ensure!(
            there.contains("via 172.30.1.1") && there.contains("10.244.255.9"),
            "what belongs to another was taken away; there is {there:?}"
        );
        look::problem(stage, NODE, "ForeignRoute", false, PATIENCE).await?;
        look::problem(stage, NODE, "ForeignAddress", false, PATIENCE).await?;
        Ok(())
    })
    .await?;
    Ok(json!({"sent": sent, "lost": 0}))
}

/// A VXLAN device of another tool takes the VNI and port of Weft's own. That is said, and the device
/// is left alone, although nothing can be sent; when it goes, all is well by itself.
pub async fn device(stage: &Stage) -> anyhow::Result<Value> {
    let node = stage.cluster.node(NODE)?;
    // The agent is quick: it must not be running, or its device is back before the other one is made.
    let batch = "link delete weft.vx4\nlink add stranger type vxlan id 4873 dstport 4789\nlink set stranger up\n";
    node.signal_program("weft-agent", Signal::SIGSTOP).await?;
    let made = node
        .command(["ip", "-batch", "-"])?
        .stdin(batch)
        .run()
        .await;
    node.signal_program("weft-agent", Signal::SIGCONT).await?;
    made?;
    let outcome = in_the_way(stage, &node).await;
    run(&node, "ip link delete stranger").await?;
    let message = outcome?;
    look::problem(stage, NODE, "ForeignDevice", false, PATIENCE).await?;
    stage.wait_ready(PATIENCE).await?;
    let ((), sent) = under::lossless(stage, async || {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(())
    })
    .await?;
    Ok(json!({"message": message, "sent": sent, "lost": 0}))
}

async fn in_the_way(stage: &Stage, node: &Node) -> anyhow::Result<String> {
    let show = "cat /sys/class/net/stranger/ifindex /sys/class/net/stranger/flags";
    let before = run(node, show).await?;
    let message = look::problem(stage, NODE, "ForeignDevice", true, PATIENCE).await?;
    look::event(stage, "ForeignDevice", "stranger").await?;
    // Several tries of the agent later the device is still the same.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let after = run(node, show).await?;
    ensure!(
        before == after,
        "the device of another was changed: {before:?} became {after:?}"
    );
    ensure!(
        message.contains("stranger"),
        "the message does not name it: {message}"
    );
    Ok(message)
}

async fn run(node: &Node, commands: &str) -> anyhow::Result<String> {
    Ok(node
        .exec(["sh", "-c", &format!("set -e\n{commands}")])
        .await?
        .stdout)
}
