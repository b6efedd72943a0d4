//! Somebody takes away by hand what Weft made: it is back within a second or so, and what belongs to
//! others is not touched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Map, Value, json};
use weft_e2e::{Node, snapshot, wait};
use weft_scenarios::stage::Stage;

use crate::under;

/// The node that suffers; it has peers on its own subnet and beyond.
const NODE: &str = "node1";
const LIMIT: Duration = Duration::from_secs(10);

/// What of others' must stay: a table of nftables, a rule, routes in a table of theirs and with a
/// metric of ours, a forwarding entry on a device of theirs.
const STRANGERS: &str = "nft 'add table inet stranger { chain c { counter; }; }'
ip rule add priority 5000 fwmark 0x7 lookup 4242
ip route add 203.0.113.0/24 dev lo table 4242 proto 99
ip route add 203.0.113.0/24 dev lo metric 87 proto 99
ip link add stranger type vxlan id 77 dstport 7777
bridge fdb append 02:00:00:00:00:77 dev stranger dst 192.0.2.77";
const AWAY: &str = "nft delete table inet stranger
ip rule delete priority 5000
ip route delete 203.0.113.0/24 table 4242
ip route delete 203.0.113.0/24 metric 87
ip link delete stranger";

/// What is done by hand, and how to see that it is mended: a command whose output is as before.
const DEEDS: &[(&str, &str, &str)] = &[
    (
        "routes4",
        "ip -4 route show proto 87 | sed -n 's/^\\(\\(blackhole\\|unreachable\\) \\)\\?\\([^ ]*\\) .*metric \\([0-9]*\\).*/route del \\1\\3 metric \\4/p' | ip -4 -batch -",
        "ip -4 route show proto 87",
    ),
    (
        "routes6",
        "ip -6 route show proto 87 | sed -n 's/^\\(\\(blackhole\\|unreachable\\) \\)\\?\\([^ ]*\\) .*metric \\([0-9]*\\).*/route del \\1\\3 metric \\4/p' | ip -6 -batch -",
        "ip -6 route show proto 87",
    ),
    (
        "send_routes",
        "ip -4 route show proto 87 metric 87 | sed -n 's/^\\(\\(blackhole\\|unreachable\\) \\)\\?\\([^ ]*\\) .*/route del \\1\\3 metric 87/p' | ip -4 -batch -; ip -6 route show proto 87 metric 87 | sed -n 's/^\\(\\(blackhole\\|unreachable\\) \\)\\?\\([^ ]*\\) .*/route del \\1\\3 metric 87/p' | ip -6 -batch -",
        "ip -4 route show proto 87; ip -6 route show proto 87",
    ),
    (
        "nft",
        "nft delete table inet weft",
        "nft --stateless list table inet weft",
    ),
    (
        "nft_ipv6",
        "nft delete table ip6 weft",
        "nft --stateless list table ip6 weft",
    ),
    (
        "nft_set",
        "nft flush set inet weft pools4",
        "nft --stateless list table inet weft",
    ),
    (
        "fdb",
        "bridge fdb show dev weft.vx4 | while read mac rest; do bridge fdb delete $mac dev weft.vx4 $(echo $rest | cut -d' ' -f1,2); done",
        "bridge fdb show dev weft.vx4 | sort",
    ),
    (
        "neighbours",
        "ip neighbour flush dev weft.vx4 nud permanent",
        "ip neighbour show dev weft.vx4 | sort",
    ),
    (
        "nexthops",
        "ip nexthop flush proto 87",
        "ip nexthop show | sort; ip -4 route show proto 87; ip -6 route show proto 87",
    ),
    (
        "address",
        "ip address flush dev lo to 10.244.0.0/16",
        "ip -4 address show dev lo | grep 10.244",
    ),
    (
        "down",
        "ip link set weft.vx4 down",
        "ip -4 route show proto 87; ip -br link show weft.vx4 | cut -d' ' -f1; ip -o link show weft.vx4 | grep -o 'UP'",
    ),
    (
        "vxlan",
        "ip link delete weft.vx4",
        "bridge fdb show dev weft.vx4 | sort; ip -br -4 address show weft.vx4; ip -4 route show proto 87",
    ),
];

/// One deed after the other.
pub async fn by_hand(stage: &Stage) -> anyhow::Result<Value> {
    let node = stage.cluster.node(NODE)?;
    shell(&node, STRANGERS).await?;
    let outcome = deeds(&node).await;
    shell(&node, AWAY).await?;
    let figures = outcome?;
    // All is well again for every kind of traffic.
    let ((), sent) = under::lossless(stage, async || {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(())
    })
    .await?;
    Ok(json!({"mended_ms": figures, "sent": sent, "lost": 0}))
}

async fn deeds(node: &Node) -> anyhow::Result<Map<String, Value>> {
    let before = snapshot::take(node).await?;
    let mut figures = BTreeMap::new();
    for (name, deed, look) in DEEDS {
        let good = shell(node, look).await?;
        let start = Instant::now();
        shell(node, deed)
            .await
            .with_context(|| format!("{name} could not be done"))?;
        wait::until(
            format!("{name} to be mended"),
            LIMIT,
            async || match shell(node, look).await {
                Ok(now) if now == good => Ok(()),
                Ok(now) => Err(format!("{now}\ninstead of\n{good}")),
                Err(error) => Err(format!("{error:#}")),
            },
        )
        .await?;
        figures.insert(
            (*name).to_owned(),
            json!(start.elapsed().as_millis() as u64),
        );
    }
    wait::until("the node to be as before", LIMIT, async || {
        let difference = match snapshot::take(node).await {
            Ok(after) => before.difference(&after),
            Err(error) => return Err(error.to_string()),
        };
        if difference.is_empty() {
            Ok(())
        } else {
            Err(difference.to_string())
        }
    })
    .await?;
    Ok(figures.into_iter().collect())
}

async fn shell(node: &Node, commands: &str) -> anyhow::Result<String> {
    Ok(node
        .exec(["sh", "-c", &format!("set -e\n{commands}")])
        .await?
        .stdout)
}
