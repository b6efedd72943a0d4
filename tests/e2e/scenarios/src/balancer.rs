//! A load balancer before the servers, as a cloud gives one: addresses of the Service that are no node's. The routers of
//! the underlay lead packets from outside to a node, and kube-proxy does the rest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use serde_json::json;
use weft_e2e::routers::CORE;

use crate::stage::Stage;

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 0x80)),
];
/// Where packets from outside are led. No scenario takes its power.
const NODE: &str = "node1";

/// Gives the Service of the servers its addresses, and the routers a way to them. Gives those of the Service's families.
///
/// # Errors
/// The API server or a router does not take it.
pub async fn set(stage: &Stage) -> anyhow::Result<Vec<IpAddr>> {
    let families = stage.service("default", "server").await?;
    let mut addresses = ADDRESSES.to_vec();
    addresses.retain(|address| {
        families
            .iter()
            .any(|own| own.is_ipv4() == address.is_ipv4())
    });
    let ingress: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let spec = json!({"spec": {"type": "LoadBalancer"}}).to_string();
    let status = json!({"status": {"loadBalancer": {"ingress": ingress}}}).to_string();
    let patch = ["patch", "service", "server", "--type=merge", "--patch"];
    stage.kubectl(&[&patch[..], &[&spec]].concat()).await?;
    let status = [&patch[..], &[&status, "--subresource=status"]].concat();
    stage.kubectl(&status).await?;
    for address in &addresses {
        lead(stage, *address).await?;
    }
    Ok(addresses)
}

/// Leads packets to an address by way of the routers to the node.
async fn lead(stage: &Stage, address: IpAddr) -> anyhow::Result<()> {
    let same_family = |ips: Vec<IpAddr>| {
        let mut ips = ips.into_iter();
        let found = ips.find(|ip| ip.is_ipv4() == address.is_ipv4());
        found
            .with_context(|| format!("nobody on the way to {address} has an address of its family"))
    };
    let plan = stage.cluster.plan()?;
    let node = stage.cluster.node(NODE)?;
    let here = node.endpoint();
    let mut hops = vec![(CORE.to_owned(), same_family(here.ips())?)];
    let of_rack = plan
        .routers
        .iter()
        .find(|router| router.endpoint.bridge == here.bridge);
    if let Some(router) = of_rack {
        let uplink = router
            .uplink
            .router
            .iter()
            .map(ipnet::IpNet::addr)
            .collect();
        hops = vec![
            (CORE.to_owned(), same_family(uplink)?),
            (router.endpoint.name.clone(), same_family(here.ips())?),
        ];
    }
    for (router, next) in hops {
        let (address, next) = (address.to_string(), next.to_string());
        let order = ["ip", "route", "replace", &address, "via", &next];
        stage.cluster.command_in(&router, order)?.run().await?;
    }
    Ok(())
}
