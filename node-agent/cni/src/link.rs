//! From what the store says of an attachment to what it is in the kernel.

use std::net::IpAddr;

use weft_ipam::{Attachment, HostPort, NodeConfig};
use weft_kernel::pod::{HostIfname, PodLink, host_ifname};

/// The pod link of an attachment on a node.
pub fn pod_link(attachment: &Attachment, node: &NodeConfig) -> PodLink {
    let sources = node.node_pod_addresses;
    PodLink {
        netns: attachment.netns.as_str().into(),
        ifname: attachment.id.ifname.clone(),
        host_ifname: host_end(attachment),
        addresses: attachment.addresses.clone(),
        sources: sources
            .ipv4
            .map(IpAddr::V4)
            .into_iter()
            .chain(sources.ipv6.map(IpAddr::V6))
            .collect(),
        mtu: node.mtu,
        link_mtu: node.link_mtu,
        route_localnet: attachment.host_ports.iter().any(leads_from_loopback),
    }
}

/// The node's end, by the name that is written down for it.
pub(crate) fn host_end(attachment: &Attachment) -> HostIfname {
    let id = &attachment.id;
    attachment
        .host_ifname
        .parse()
        .unwrap_or_else(|_| host_ifname(&id.container_id, &id.ifname))
}

/// Whether a connection to the IPv4 loopback address can come by it.
fn leads_from_loopback(port: &HostPort) -> bool {
    match port.host_ip {
        None => true,
        Some(IpAddr::V4(ip)) => ip.is_unspecified() || ip.is_loopback(),
        Some(IpAddr::V6(_)) => false,
    }
}
