//! Objects of mode BGP: what scenarios and the demo apply.

use serde_json::{Value, json};
use weft_e2e::Cluster;
use weft_e2e::plan::Plan;

use crate::stage::default_config;

/// Seconds of silence after which a session with a router ends.
pub const HOLD: u16 = 15;
/// Seconds for which BGP peers keep the routes of an agent that is away, before those of long-lived graceful
/// restart.
pub const RESTART: u16 = 20;
/// The AS number of nodes in the first rack; each rack has one of its own, so that no rack takes the routes of
/// another for its own that have come back.
const FIRST_RACK: u32 = 64601;

/// A NetworkConfig of mode BGP with these settings.
pub fn config(settings: Value) -> Value {
    let mut config = default_config();
    config["spec"] = json!({"mode": "BGP", "pools": config["spec"]["pools"], "bgp": settings});
    config
}

/// What a cluster with racks is configured with: a NetworkConfig, and a BGPPeer per router and address family.
///
/// # Errors
/// The description of the cluster can't be read.
pub fn racks(cluster: &Cluster) -> anyhow::Result<Value> {
    let spec = cluster.spec()?;
    let racks = spec.subnets.iter().filter(|rack| !rack.routers.is_empty());
    let asns: Vec<Value> = (FIRST_RACK..)
        .zip(racks)
        .map(|(asn, rack)| json!({"nodeSelector": {"rack": rack.name}, "asn": asn}))
        .collect();
    let settings = json!({
        "asn": 64512, "nodeASNs": asns, "restartSeconds": RESTART, "longLivedSeconds": 3600,
    });
    let mut items = vec![config(settings)];
    items.extend(peers(&cluster.plan()?));
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

/// A BGPPeer per address of each router of a rack, for the nodes of its rack.
fn peers(plan: &Plan) -> Vec<Value> {
    let mut peers = Vec::new();
    for router in &plan.routers {
        let rack = plan
            .subnets
            .iter()
            .find(|subnet| subnet.bridge == router.endpoint.bridge);
        let rack = rack.map(|subnet| subnet.name.as_str()).unwrap_or_default();
        for address in router.endpoint.ips() {
            let family = if address.is_ipv4() { "v4" } else { "v6" };
            let name = format!("{}-{family}", router.endpoint.name);
            let spec = json!({
                "address": address, "asn": router.asn, "nodeSelector": {"rack": rack}, "holdSeconds": HOLD,
            });
            peers.push(peer(&name, spec));
        }
    }
    peers
}

/// A BGPPeer.
pub fn peer(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "weft.dev/v1alpha1", "kind": "BGPPeer", "metadata": {"name": name}, "spec": spec})
}
