//! BGPPeers that make no sense, or not yet: each says what is wrong, and nothing else breaks.

use anyhow::ensure;
use serde_json::{Value, json};
use weft_scenarios::bgp::peer;
use weft_scenarios::stage::{NAMESPACE, PATIENCE, Stage};

use crate::{look, nodes, under};

/// A router and one of its nodes.
const ROUTER: &str = "tor-a";
const NODE: &str = "node1";
/// The BGPPeers of the router: it wants one password of a node, whatever address it comes from.
const PEERS: [&str; 2] = ["tor-a-v4", "tor-a-v6"];
const SECRET: &str = "bgp-password";
/// BGPPeers of this scenario.
const OWN: [&str; 2] = ["nobody", "twin"];
/// A node of another rack.
const FAR: &str = "node3";

/// All of it. What the API is told happens under traffic; the router's own part not, because BIRD forgets the
/// routes of a node whose password it is told to change.
pub async fn bad(stage: &Stage) -> anyhow::Result<Value> {
    look::sessions_up(stage, PATIENCE).await?;
    let routes = commands(stage).await?;
    let outcome: anyhow::Result<(Value, u64, String)> = async {
        let (said, sent) = under::lossless(stage, async || {
            let nobody = selects_nobody(stage).await?;
            let twin = one_address_twice(stage).await?;
            want_password(stage, true).await?;
            let missing = look::peer_says(stage, PEERS[0], &[SECRET], PATIENCE).await?;
            Ok(json!({"nobody": nobody, "twin": twin, "missing": missing}))
        })
        .await?;
        Ok((said, sent, passwords(stage).await?))
    }
    .await;
    clean_up(stage).await?;
    let (said, sent, wrong) = outcome?;
    Ok(json!({"routes": routes, "said": said, "wrong": wrong, "sent": sent, "lost": 0}))
}

/// `kubectl weft bgp` and its parts: each session is there, the router has announced a block of the other rack,
/// which is used, and was told of the node's own. Gives how many routes the node knows.
async fn commands(stage: &Stage) -> anyhow::Result<usize> {
    let address = address(stage)?;
    let sessions = look::bgp_command(stage, &[]).await?;
    let of_node = |session: &Value| session["of"] == NODE && session["address"] == *address;
    ensure!(
        sessions["sessions"]
            .as_array()
            .is_some_and(|all| all.iter().any(of_node)),
        "kubectl weft bgp has no session of {NODE} with {address}: {sessions}"
    );
    let named = |paths: &Value, blocks: &[String]| -> Vec<Value> {
        let paths = paths.as_array().into_iter().flatten();
        let named = paths.filter(|path| blocks.iter().any(|block| path["prefix"] == **block));
        named.cloned().collect()
    };
    let theirs = ipv4(nodes::blocks_of(stage, FAR).await?);
    let own = ipv4(nodes::blocks_of(stage, NODE).await?);
    let routes = look::bgp_command(stage, &["routes", NODE]).await?;
    let received = look::bgp_command(stage, &["received", NODE, &address]).await?;
    let advertised = look::bgp_command(stage, &["advertised", NODE, &address]).await?;
    let used = |paths: &Value| {
        let mut paths = named(paths, &theirs).into_iter();
        let from = format!("BGPPeer {}", PEERS[0]);
        paths.any(|path| path["selected"] == true && path["peer"] == *from)
    };
    ensure!(
        used(&routes),
        "no route of {NODE} leads to {theirs:?}: {routes}"
    );
    ensure!(
        used(&received),
        "{address} has not announced {theirs:?}: {received}"
    );
    ensure!(
        named(&advertised, &own).len() == own.len() && !own.is_empty(),
        "{address} was not told of {own:?}: {advertised}"
    );
    ensure!(
        look::bgp_command(stage, &["received", NODE, "203.0.113.9"])
            .await
            .is_err(),
        "a BGP peer that there is not has announced something"
    );
    Ok(routes.as_array().map_or(0, Vec::len))
}

fn ipv4(mut blocks: Vec<String>) -> Vec<String> {
    blocks.retain(|block| !block.contains(':'));
    blocks
}

async fn clean_up(stage: &Stage) -> anyhow::Result<()> {
    for name in OWN {
        stage
            .kubectl(&["delete", "bgppeer", name, "--ignore-not-found"])
            .await?;
    }
    let delete = ["delete", "secret", SECRET, "--ignore-not-found"];
    stage
        .kubectl(&[&delete[..], &["--namespace", NAMESPACE]].concat())
        .await?;
    want_password(stage, false).await?;
    router_wants(stage, None).await?;
    look::sessions_up(stage, PATIENCE).await
}

/// A selector that no node matches.
async fn selects_nobody(stage: &Stage) -> anyhow::Result<String> {
    let spec = json!({"address": "172.30.1.9", "asn": 64999, "nodeSelector": {"rack": "none"}});
    stage
        .cluster
        .apply(&peer("nobody", spec).to_string())
        .await?;
    let says = look::peer_says(stage, "nobody", &["node"], PATIENCE).await?;
    let object = stage.get(&["bgppeer", "nobody"]).await?;
    ensure!(
        object["status"]["established"] == "0/0",
        "{}",
        object["status"]
    );
    stage.kubectl(&["delete", "bgppeer", "nobody"]).await?;
    Ok(says)
}

/// Two BGPPeers for one address: the first goes on, the second says whose address it is.
async fn one_address_twice(stage: &Stage) -> anyhow::Result<String> {
    let address = address(stage)?;
    let since = look::session_since(stage, NODE, &address).await?;
    let spec = json!({"address": address, "asn": 64999});
    stage.cluster.apply(&peer("twin", spec).to_string()).await?;
    let says = look::peer_says(stage, "twin", &[PEERS[0]], PATIENCE).await?;
    ensure!(
        look::session_since(stage, NODE, &address).await? == since,
        "the session of the first was reset"
    );
    stage.kubectl(&["delete", "bgppeer", "twin"]).await?;
    Ok(says)
}

/// The right password; another than the router's; and the right one again. Gives what is said of the wrong one.
async fn passwords(stage: &Stage) -> anyhow::Result<String> {
    router_wants(stage, Some("warp")).await?;
    secret(stage, "warp").await?;
    look::sessions_up(stage, PATIENCE).await?;
    let other = stage.cluster.node("node2")?.endpoint().primary();
    let between = look::session_since(stage, NODE, &other.to_string()).await?;
    // The router does not know of this one yet.
    secret(stage, "weft").await?;
    router_wants(stage, Some("shed")).await?;
    let wrong = look::peer_says(stage, PEERS[0], &["password", "Password"], PATIENCE).await?;
    router_wants(stage, Some("weft")).await?;
    look::sessions_up(stage, PATIENCE).await?;
    ensure!(
        look::session_since(stage, NODE, &other.to_string()).await? == between,
        "the session between nodes was reset"
    );
    Ok(wrong)
}

fn address(stage: &Stage) -> anyhow::Result<String> {
    let plan = stage.cluster.plan()?;
    let mut routers = plan.routers.iter();
    let router = routers.find(|router| router.endpoint.name == ROUTER);
    Ok(router
        .ok_or_else(|| anyhow::anyhow!("there is no {ROUTER}"))?
        .endpoint
        .primary()
        .to_string())
}

async fn want_password(stage: &Stage, want: bool) -> anyhow::Result<()> {
    let reference = if want {
        json!({"name": SECRET})
    } else {
        Value::Null
    };
    let patch = json!({"spec": {"passwordSecret": reference}}).to_string();
    for peer in PEERS {
        stage
            .kubectl(&["patch", "bgppeer", peer, "--type=merge", "--patch", &patch])
            .await?;
    }
    Ok(())
}

async fn router_wants(stage: &Stage, password: Option<&str>) -> anyhow::Result<()> {
    let told = stage.cluster.set_router(ROUTER, |settings| {
        settings.password = password.map(str::to_owned);
    });
    Ok(told.await?)
}

async fn secret(stage: &Stage, password: &str) -> anyhow::Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "stringData": {"password": password},
    });
    stage.cluster.apply(&secret.to_string()).await?;
    Ok(())
}
