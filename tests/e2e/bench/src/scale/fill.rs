//! The objects of a cluster of simulated nodes.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_crds::{CONFIG_NAME, IPBlock, NetworkConfig, NodeNetwork, NodeReport, block_name};
use weft_e2e::apiserver::ApiServer;
use weft_scenarios::stage::checkout;

/// The node that the agent is on.
pub const NODE: &str = "own";
/// Its address in the underlay.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Requests at once.
const AT_ONCE: usize = 24;
const POOLS: [&str; 2] = ["10.240.0.0/12", "fd00:10:240::/56"];

/// The name of a peer, counted from 1.
pub fn name(peer: usize) -> String {
    format!("peer{peer}")
}

/// Makes the definitions, the NetworkConfig, the agent's own node and all peers. Gives the bytes
/// of the objects of one peer that an agent reads, as JSON.
pub async fn fill(api: &ApiServer, peers: usize) -> anyhow::Result<f64> {
    for entry in std::fs::read_dir(checkout().join("crds/yaml"))? {
        api.apply(&std::fs::read_to_string(entry?.path())?).await?;
    }
    let established = ["wait", "--for=condition=Established", "crd", "--all"];
    api.kubectl(established).await?;
    api.kubectl(["create", "namespace", "weft-system"]).await?;
    let client = api.client().await?;
    make::<NetworkConfig>(&client, config()).await?;
    // What the operator says first, and is not always there to say.
    let rest = Patch::Merge(json!({"status": {"mode": "Overlay"}}));
    Api::<NetworkConfig>::all(client.clone())
        .patch_status(CONFIG_NAME, &PatchParams::default(), &rest)
        .await?;
    let mut bytes = stream::iter(0..=peers)
        .map(|number| make_node(&client, number))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<usize>>()
        .await?;
    bytes.sort_unstable();
    Ok(bytes[bytes.len() / 2] as f64)
}

fn config() -> Value {
    json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "NetworkConfig",
        "metadata": {"name": "default"},
        "spec": {
            "mode": "Overlay",
            "pools": [{"cidr": POOLS[0], "blockSize": 26}, {"cidr": POOLS[1], "blockSize": 122}],
            "overlay": {"encapsulation": "Always"},
        },
    })
}

/// Number 0 is the agent's own, which says itself how it is reached.
async fn make_node(client: &Client, number: usize) -> anyhow::Result<usize> {
    let (name, address) = match number {
        0 => (NODE.to_owned(), ADDRESS),
        peer => (name(peer), at(Ipv4Addr::new(172, 16, 0, 0), peer)),
    };
    let node: Node = make(client, node(&name, address)).await?;
    let uid = node.metadata.uid.unwrap_or_default();
    let v4 = at(Ipv4Addr::new(10, 240, 0, 0), number * 64);
    let v6 = u128::from("fd00:10:240::".parse::<Ipv6Addr>()?) + (number * 64) as u128;
    let v6 = Ipv6Addr::from(v6);
    let mut size = 0;
    let ranges = [IpNet::new(v4.into(), 26)?, IpNet::new(v6.into(), 122)?];
    for (cidr, pool) in ranges.into_iter().zip(POOLS) {
        let made: IPBlock = make(client, block(cidr, pool, &name, &uid)).await?;
        size += serde_json::to_string(&made)?.len();
    }
    if number > 0 {
        let first = [
            Ipv4Addr::from(u32::from(v4) + 1).to_string(),
            Ipv6Addr::from(u128::from(v6) + 1).to_string(),
        ];
        let network = network(&name, &uid, address, number, &first);
        let made: NodeNetwork = make(client, network).await?;
        size += serde_json::to_string(&made)?.len();
        make::<NodeReport>(client, report(&name, &uid, &ranges)).await?;
    }
    Ok(size)
}

fn at(base: Ipv4Addr, offset: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(base) + u32::try_from(offset).unwrap_or_default())
}

fn node(name: &str, address: Ipv4Addr) -> Value {
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": reason,
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address.to_string()}],
            "conditions": [
                condition("Ready", "True", "KubeletReady"),
                condition("NetworkUnavailable", "False", "WeftIsUp"),
            ],
        },
    })
}

fn block(cidr: IpNet, pool: &str, node: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "IPBlock",
        "metadata": {"name": block_name(cidr)},
        "spec": {"cidr": cidr.to_string(), "pool": pool, "node": node, "nodeUID": uid},
    })
}

fn network(
    name: &str,
    uid: &str,
    address: Ipv4Addr,
    number: usize,
    node_pod_addresses: &[String; 2],
) -> Value {
    json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "NodeNetwork",
        "metadata": {"name": name},
        "spec": {
            "nodeUID": uid, "ipv4": format!("{address}/12"), "mtu": 1500,
            "mac": format!("02:be:00:01:{:02x}:{:02x}", number >> 8 & 255, number & 255),
            "nodePodAddresses": node_pod_addresses,
        },
    })
}

fn report(name: &str, uid: &str, ranges: &[IpNet; 2]) -> Value {
    let block = |cidr: &IpNet| json!({"cidr": cidr.to_string(), "capacity": 60, "used": 10});
    json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "NodeReport",
        "metadata": {"name": name},
        "spec": {
            "nodeUID": uid, "observedGeneration": 1, "agentVersion": "0.1.0", "forwarding": true,
            "summary": "1/1", "mtu": 1450,
            "blocks": ranges.iter().map(block).collect::<Vec<_>>(),
        },
    })
}

async fn make<K>(client: &Client, object: Value) -> anyhow::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let typed: K = serde_json::from_value(object)?;
    let api: Api<K> = Api::all(client.clone());
    let name = typed.meta().name.clone().unwrap_or_default();
    let made = api.create(&PostParams::default(), &typed).await;
    made.with_context(|| format!("cannot make {} {name}", K::kind(&())))
}
