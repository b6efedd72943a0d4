//! What the store remembers of one attachment.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What names an attachment: a container and an interface in it (CNI specification, "Parameters").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentId {
    /// The runtime's name of the container (of the sandbox, for a pod).
    pub container_id: String,
    /// The interface inside the container, such as `eth0`.
    pub ifname: String,
}

impl AttachmentId {
    /// The id of `ifname` in `container_id`.
    pub fn new(container_id: impl Into<String>, ifname: impl Into<String>) -> Self {
        Self {
            container_id: container_id.into(),
            ifname: ifname.into(),
        }
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of container {}", self.ifname, self.container_id)
    }
}

/// The pod that an attachment is for. All empty when the runtime named none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRef {
    /// Its namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// A transport protocol of a host port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A port of the node that leads to a port of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// The node's address that it is bound to; `None` is all of them, in both families, and an unspecified
    /// address (`0.0.0.0`, `::`) is all of its family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The port on the node.
    pub host_port: u16,
    /// The port in the pod.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl HostPort {
    /// Whether one packet could be meant for both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let addresses = match (self.host_ip, other.host_ip) {
            (None, _) | (_, None) => true,
            (Some(a), Some(b)) => {
                a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
            }
        };
        addresses && self.host_port == other.host_port && self.protocol == other.protocol
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            None => write!(f, "{}/{}", self.host_port, self.protocol),
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:{}/{}", self.host_port, self.protocol),
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}/{}", self.host_port, self.protocol),
        }
    }
}

/// One interface of one container, and what it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Which one.
    #[serde(flatten)]
    pub id: AttachmentId,
    /// Name of the network configuration that it belongs to.
    #[serde(default)]
    pub network: String,
    /// Path of the container's network namespace.
    pub netns: String,
    /// The host end of its veth.
    pub host_ifname: String,
    /// The pod that it is for.
    #[serde(default)]
    pub pod: PodRef,
    /// Its addresses, at most one per family, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Ports of the node that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
    /// When it was made, in seconds since 1970.
    pub since: u64,
    /// The boot of the node that it was made in: no attachment outlives its boot.
    #[serde(default)]
    pub boot: String,
}

impl Attachment {
    /// How messages name it: by its pod when that is known, else by its container.
    pub fn owner(&self) -> String {
        if self.pod.name.is_empty() {
            format!("container {}", self.id.container_id)
        } else {
            format!("pod {}/{}", self.pod.namespace, self.pod.name)
        }
    }
}
