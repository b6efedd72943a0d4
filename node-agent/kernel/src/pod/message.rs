//! The netlink requests that make and change a pod link, as values.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

use super::names::HostIfname;
use super::{GATEWAY4, GATEWAY6, PodLink};
use crate::names::Mac;
use crate::netlink::Request;
use crate::state::{MAIN_TABLE, PROTOCOL, SEND_METRIC};

/// A request, and what it is for in the words of an error message.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) operation: String,
    pub(super) request: Request,
}

const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
const REPLACE: i32 = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
const INET: u16 = libc::AF_INET as u16;
const INET6: u16 = libc::AF_INET6 as u16;
/// `VETH_INFO_PEER` of linux/veth.h.
const VETH_INFO_PEER: u16 = 1;
/// `IFLA_INET_CONF` of linux/if_link.h, and what it holds by linux/ip.h.
const IFLA_INET_CONF: u16 = 1;
const IPV4_DEVCONF_RP_FILTER: u16 = 8;
const IPV4_DEVCONF_ROUTE_LOCALNET: u16 = 26;
/// `IFLA_INET6_ADDR_GEN_MODE` of linux/if_link.h.
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// `RTNH_F_ONLINK` of linux/rtnetlink.h.
pub(super) const RTNH_F_ONLINK: u32 = 4;
/// `RTAX_MTU` of linux/rtnetlink.h.
pub(super) const RTAX_MTU: u16 = 2;
/// The loopback device's number in every network namespace.
const LO: u32 = 1;

/// Makes the pair with both ends where they belong.
pub(super) fn create(link: &PodLink, netns: BorrowedFd<'_>, host: u32, pod: u32) -> Step {
    let name = &link.host_ifname;
    let mut request = Request::new(libc::RTM_NEWLINK, CREATE, &ifinfomsg(host, 0));
    // A veth has no use for more than one queue while nobody attaches XDP to it; without a word it gets one for each
    // processor, and to make these is what takes longest.
    request
        .text(libc::IFLA_IFNAME, name.as_str())
        .u32(libc::IFLA_MTU, link.link_mtu)
        .u32(libc::IFLA_NUM_TX_QUEUES, 1)
        .u32(libc::IFLA_NUM_RX_QUEUES, 1)
        .bytes(libc::IFLA_ADDRESS, &name.host_mac())
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&ifinfomsg(pod, 0))
                        .text(libc::IFLA_IFNAME, &link.ifname)
                        .u32(libc::IFLA_MTU, link.link_mtu)
                        .u32(libc::IFLA_NUM_TX_QUEUES, 1)
                        .u32(libc::IFLA_NUM_RX_QUEUES, 1)
                        .bytes(libc::IFLA_ADDRESS, &name.pod_mac())
                        .u32(libc::IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
                });
            });
        });
    step(
        format!("make the veth {name} with {} in the pod", link.ifname),
        request,
    )
}

/// What the node's end needs, up to the routes. Doing it twice is harmless.
pub(super) fn host_side(link: &PodLink, index: u32) -> Vec<Step> {
    let name = &link.host_ifname;
    let mut steps = vec![step(
        format!("set up interface {name}"),
        settings(index, Some(link.route_localnet)),
    )];
    steps.push(step(format!("take interface {name} up"), up(index)));
    for address in &link.addresses {
        steps.push(step(
            format!("add neighbour {address} on {name}"),
            neighbour(index, *address, &name.pod_mac()),
        ));
    }
    steps
}

/// The node's routes to the pod's addresses. Unless `replace`, one that is there already is an error.
pub(super) fn host_routes(link: &PodLink, index: u32, replace: bool) -> Vec<Step> {
    let flags = if replace { REPLACE } else { CREATE };
    let route = |address: &IpAddr| {
        step(
            format!("route {address} to {}", link.host_ifname),
            host_route(link, index, *address, flags),
        )
    };
    link.addresses.iter().map(route).collect()
}

/// What the pod's end needs, in the pod's namespace.
pub(super) fn pod_side(link: &PodLink, index: u32) -> Vec<Step> {
    let ifname = &link.ifname;
    let mut steps = vec![
        step("take the pod's lo up".to_owned(), up(LO)),
        step(format!("set up the pod's {ifname}"), settings(index, None)),
        step(format!("take the pod's {ifname} up"), up(index)),
    ];
    let link_local = link
        .has_ipv6()
        .then(|| (IpAddr::V6(Mac(link.host_ifname.pod_mac()).link_local()), 64));
    let addresses = link.addresses.iter().map(|ip| (*ip, bits(*ip)));
    for (address, prefix) in addresses.chain(link_local) {
        steps.push(step(
            format!("add address {address}/{prefix} to the pod's {ifname}"),
            pod_address(index, address, prefix),
        ));
    }
    for address in &link.addresses {
        let gateway = gateway(*address);
        steps.push(step(
            format!("add the neighbour {gateway} in the pod"),
            neighbour(index, gateway, &link.host_ifname.host_mac()),
        ));
    }
    steps.extend(default_routes(link, index));
    steps
}

/// The pod's default routes, with the MTU where it is not the interface's.
pub(super) fn default_routes(link: &PodLink, index: u32) -> Vec<Step> {
    let route = |address: &IpAddr| {
        let gateway = gateway(*address);
        let header = rtmsg(*address, 0, libc::RT_SCOPE_UNIVERSE, RTNH_F_ONLINK);
        let mut request = Request::new(libc::RTM_NEWROUTE, REPLACE, &header);
        request
            .u32(libc::RTA_TABLE, MAIN_TABLE)
            .u32(libc::RTA_OIF, index)
            .ip(libc::RTA_GATEWAY, gateway);
        if link.mtu != link.link_mtu {
            request.nest(libc::RTA_METRICS, |metrics| {
                metrics.u32(RTAX_MTU, link.mtu);
            });
        }
        step(format!("add the pod's default route by {gateway}"), request)
    };
    link.addresses.iter().map(route).collect()
}

/// Sets the MTU of an interface.
pub(super) fn set_mtu(name: &str, mtu: u32) -> Step {
    let mut request = Request::new(libc::RTM_SETLINK, 0, &ifinfomsg(0, 0));
    request
        .text(libc::IFLA_IFNAME, name)
        .u32(libc::IFLA_MTU, mtu);
    step(format!("set the MTU of {name} to {mtu}"), request)
}

/// Removes the pair.
pub(super) fn delete(name: &HostIfname) -> Step {
    let mut request = Request::new(libc::RTM_DELLINK, 0, &ifinfomsg(0, 0));
    request.text(libc::IFLA_IFNAME, name.as_str());
    step(format!("delete interface {name}"), request)
}

/// No IPv6 addresses of the kernel's making. On the node's end also strict reverse path filtering, so that a pod
/// sends from its own IPv4 address only.
fn settings(index: u32, host_route_localnet: Option<bool>) -> Request {
    let mut request = Request::new(libc::RTM_SETLINK, 0, &ifinfomsg(index, 0));
    request.nest(libc::IFLA_AF_SPEC, |spec| {
        if let Some(route_localnet) = host_route_localnet {
            spec.nest(INET, |inet| {
                inet.nest(IFLA_INET_CONF, |conf| {
                    conf.u32(IPV4_DEVCONF_RP_FILTER, 1)
                        .u32(IPV4_DEVCONF_ROUTE_LOCALNET, route_localnet.into());
                });
            });
        }
        if super::netns::kernel_has_ipv6() {
            spec.nest(INET6, |inet6| {
                inet6.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
            });
        }
    });
    request
}

fn up(index: u32) -> Request {
    let header = ifinfomsg(index, libc::IFF_UP as u32);
    Request::new(libc::RTM_NEWLINK, 0, &header)
}

fn neighbour(index: u32, address: IpAddr, mac: &[u8; 6]) -> Request {
    // struct ndmsg: family, 3 bytes of padding, index, state, flags, type.
    let mut header = [0; 12];
    header[0] = family(address);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    let mut request = Request::new(libc::RTM_NEWNEIGH, REPLACE, &header);
    request
        .ip(libc::NDA_DST, address)
        .bytes(libc::NDA_LLADDR, mac);
    request
}

fn host_route(link: &PodLink, index: u32, address: IpAddr, flags: i32) -> Request {
    let header = rtmsg(address, bits(address), libc::RT_SCOPE_LINK, 0);
    let mut request = Request::new(libc::RTM_NEWROUTE, flags, &header);
    request
        .ip(libc::RTA_DST, address)
        .u32(libc::RTA_TABLE, MAIN_TABLE)
        .u32(libc::RTA_PRIORITY, SEND_METRIC)
        .u32(libc::RTA_OIF, index);
    if let Some(source) = link.source_for(address) {
        request.ip(libc::RTA_PREFSRC, source);
    }
    request
}

fn pod_address(index: u32, address: IpAddr, prefix: u8) -> Request {
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let scope = match prefix {
        64 => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let mut header = [family(address), prefix, 0, scope, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if address.is_ipv6() {
        header[2] = libc::IFA_F_NODAD as u8;
    }
    let mut request = Request::new(libc::RTM_NEWADDR, REPLACE, &header);
    request
        .ip(libc::IFA_LOCAL, address)
        .ip(libc::IFA_ADDRESS, address);
    request
}

/// Where the default route of the address's family goes by.
pub(super) fn gateway(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAY4.into(),
        IpAddr::V6(_) => GATEWAY6.into(),
    }
}

pub(super) fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// Full prefix length of the address's family.
pub(super) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `struct ifinfomsg`; each flag given is to be set.
pub(super) fn ifinfomsg(index: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// `struct rtmsg` of a unicast route of ours; its table is given by an attribute.
fn rtmsg(address: IpAddr, bits: u8, scope: u8, flags: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = family(address);
    bytes[1] = bits;
    bytes[5] = PROTOCOL;
    bytes[6] = scope;
    bytes[7] = libc::RTN_UNICAST;
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn step(operation: String, request: Request) -> Step {
    Step { operation, request }
}
