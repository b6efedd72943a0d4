//! Ports of nodes that lead to pods, as Kubernetes' conformance tests have them: any address, one
//! address, the loopback address, both families, both protocols.

use std::net::{IpAddr, SocketAddr};

use anyhow::ensure;
use serde_json::{Value, json};
use weft_e2e::wait;
use weft_load::plan::Flow;
use weft_scenarios::stage::{PATIENCE, Stage};

use crate::{pods, reach, under};

const NODE: &str = "node1";
/// A port that one pod has on all addresses.
const ANY: u16 = 18080;
/// A port that three pods have, each on another address or protocol.
const SHARED: u16 = 54323;

/// All of it, beside traffic that must not notice.
pub async fn conformance(stage: &Stage) -> anyhow::Result<Value> {
    let (checked, sent) = under::lossless(stage, async || {
        let checked = on_any_address(stage).await? + without_conflict(stage).await?;
        pods::delete_own(stage).await?;
        for place in ["outside", NODE] {
            let address = underlay(stage)?[0];
            let gone = reach::works(
                stage,
                place,
                vec![reach::tcp(SocketAddr::new(address, ANY))],
            )
            .await;
            ensure!(
                gone.is_err(),
                "from {place} port {ANY} still leads somewhere"
            );
        }
        Ok(checked)
    })
    .await?;
    Ok(json!({"checked": checked, "sent": sent, "lost": 0}))
}

/// TCP and UDP, both families: from outside, from another node, from the node itself by its own and by
/// the loopback address, and from the pod itself by way of its node.
async fn on_any_address(stage: &Stage) -> anyhow::Result<usize> {
    let mut pod = pods::server("any-address", NODE);
    let port = |protocol: &str| json!({"containerPort": weft_load::PORT, "hostPort": ANY, "protocol": protocol});
    pod["spec"]["containers"][0]["ports"] = json!([port("TCP"), port("UDP")]);
    pods::create(stage, &[pod]).await?;
    pods::running(stage, "any-address").await?;
    let own = underlay(stage)?;
    let flows = |addresses: &[IpAddr]| -> Vec<Flow> {
        let targets = addresses.iter().map(|ip| SocketAddr::new(*ip, ANY));
        targets
            .flat_map(|target| [reach::tcp(target), reach::udp(target)])
            .collect()
    };
    let mut checked = 0;
    for place in ["outside", "node2", "node3", NODE] {
        reach::works(stage, place, flows(&own)).await?;
        checked += 2 * own.len();
    }
    // IPv6 has no route from its loopback address to elsewhere, in no implementation.
    reach::works(stage, NODE, flows(&["127.0.0.1".parse()?])).await?;
    Ok(checked + 2)
}

/// Three pods with the same port: on 127.0.0.1 TCP, on the node's address TCP, and there UDP. Each
/// connection reaches its own.
async fn without_conflict(stage: &Stage) -> anyhow::Result<usize> {
    let own = underlay(stage)?;
    let cases = [
        ("loopback-tcp", "127.0.0.1".to_owned(), "TCP"),
        ("address-tcp", own[0].to_string(), "TCP"),
        ("address-udp", own[0].to_string(), "UDP"),
    ];
    let mut all = Vec::new();
    for (name, ip, protocol) in &cases {
        let mut pod = pods::server(name, NODE);
        pod["spec"]["containers"][0]["ports"] = json!([{
            "containerPort": if *protocol == "TCP" { 8080 } else { weft_load::PORT },
            "hostPort": SHARED, "hostIP": ip, "protocol": protocol,
        }]);
        if *protocol == "TCP" {
            pod["spec"]["containers"][0]["image"] = "localhost/tools:dev".into();
            let serve =
                format!("mkdir /www; echo {name} > /www/name; exec httpd -f -p 8080 -h /www");
            pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", serve]);
            pod["spec"]["containers"][0]["args"] = Value::Null;
        }
        all.push(pod);
    }
    pods::create(stage, &all).await?;
    for (name, ..) in &cases {
        pods::running(stage, name).await?;
    }
    says(stage, NODE, "127.0.0.1", "loopback-tcp").await?;
    for place in [NODE, "node2", "outside"] {
        says(stage, place, &own[0].to_string(), "address-tcp").await?;
        let target = SocketAddr::new(own[0], SHARED);
        reach::works(stage, place, vec![reach::udp(target)]).await?;
    }
    Ok(7)
}

/// Waits until the web server behind the shared port of `address` gives the name of its pod.
async fn says(stage: &Stage, place: &str, address: &str, name: &str) -> anyhow::Result<()> {
    let enter = reach::namespace_of(stage, place)?;
    let url = format!("http://{address}:{SHARED}/name");
    wait::until(
        format!("{name} behind {url} from {place}"),
        PATIENCE,
        async || {
            let curl = weft_e2e::command::Cmd::new(&enter[0]).args(&enter[1..]);
            let curl = curl.args(["curl", "--silent", "--show-error", "--max-time", "2", &url]);
            match curl.run().await {
                Ok(output) if output.stdout.trim() == name => Ok(()),
                Ok(output) => Err(output.stdout),
                Err(error) => Err(error.to_string()),
            }
        },
    )
    .await?;
    Ok(())
}

/// The addresses of the node in the underlay.
fn underlay(stage: &Stage) -> anyhow::Result<Vec<IpAddr>> {
    let node = stage.cluster.node(NODE)?;
    Ok(node
        .endpoint()
        .addresses
        .iter()
        .map(ipnet::IpNet::addr)
        .collect())
}
