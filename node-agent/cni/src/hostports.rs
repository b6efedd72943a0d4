//! Host ports as entries of the nftables maps.

use std::net::IpAddr;

use weft_ipam::{Attachment, HostPort, NodeConfig, Protocol};
use weft_kernel::nft::{self, HostPortKey, HostPortTarget, NftTable};
use weft_kernel::{Family, Kernel};

use crate::spec::{Code, Failure};

/// The map entries of an attachment's host ports: one for each address of the pod that they can lead to.
pub fn host_ports(attachment: &Attachment) -> Vec<(HostPortKey, HostPortTarget)> {
    let entries = attachment.host_ports.iter().flat_map(|port| {
        let leads = |address: &&IpAddr| reaches(port, **address);
        let targets = attachment.addresses.iter().filter(leads);
        targets.map(|address| entry(port, *address))
    });
    entries.collect()
}

/// Opens an attachment's host ports. Where there is no table yet, as no agent has run since the node started, there is
/// one afterwards that does no more than this; the agent completes it.
pub(crate) fn open(attachment: &Attachment, node: &NodeConfig) -> Result<(), Failure> {
    let ports = host_ports(attachment);
    if ports.is_empty() {
        return Ok(());
    }
    let otherwise = NftTable {
        node_v4: node.node_pod_addresses.ipv4,
        node_v6: node.node_pod_addresses.ipv6,
        ..NftTable::default()
    };
    Kernel::open()
        .and_then(|mut kernel| nft::hostports_add(&mut kernel, &ports, &otherwise))
        .map_err(|error| failure("open", attachment, &error))
}

/// Closes them; those that are not open are as they should be.
pub(crate) fn close(attachment: &Attachment) -> Result<(), Failure> {
    let ports = host_ports(attachment);
    if ports.is_empty() {
        return Ok(());
    }
    Kernel::open()
        .and_then(|mut kernel| nft::hostports_remove(&mut kernel, &ports))
        .map_err(|error| failure("close", attachment, &error))
}

fn failure(
    operation: &str,
    attachment: &Attachment,
    error: &weft_kernel::netlink::Error,
) -> Failure {
    let ports: Vec<String> = attachment
        .host_ports
        .iter()
        .map(HostPort::to_string)
        .collect();
    let message = format!(
        "cannot {operation} host ports {} of {}: {error}",
        ports.join(", "),
        attachment.owner()
    );
    Failure::new(Code::Kernel, message)
}

fn entry(port: &HostPort, address: IpAddr) -> (HostPortKey, HostPortTarget) {
    let key = HostPortKey {
        family: Family::of(address),
        protocol: match port.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        },
        host: port.host_ip.filter(|ip| !ip.is_unspecified()),
        port: port.host_port,
    };
    let target = HostPortTarget {
        address,
        port: port.container_port,
    };
    (key, target)
}

/// Whether packets to the port's host address have the family of the pod's address.
fn reaches(port: &HostPort, address: IpAddr) -> bool {
    port.host_ip
        .is_none_or(|host| host.is_ipv4() == address.is_ipv4())
}
