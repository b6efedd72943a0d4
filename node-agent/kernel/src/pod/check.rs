//! Comparing a pod link with what it should be.

use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc;

use super::message::{RTAX_MTU, bits, family, gateway, ifinfomsg};
use super::netns::Netns;
use super::{Error, PodLink, conf, connect};
use crate::netlink::{Attributes, Connection, Message, Request};
use crate::state::{IPV6_METRIC, MAIN_TABLE, SEND_METRIC};

/// An interface as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) index: u32,
    pub(super) mtu: u32,
    flags: u32,
    mac: Vec<u8>,
    /// The number of the other end, in the other end's namespace.
    peer: Option<u32>,
    kind: String,
}

impl Found {
    pub(super) fn is_peer_of(&self, other: &Self) -> bool {
        self.kind == "veth"
            && other.kind == "veth"
            && self.peer == Some(other.index)
            && other.peer == Some(self.index)
    }

    fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }
}

/// The interface of this name in the connection's namespace.
pub(super) fn find(connection: &mut Connection, name: &str) -> Result<Option<Found>, Error> {
    let mut request = Request::new(libc::RTM_GETLINK, 0, &ifinfomsg(0, 0));
    request.text(libc::IFLA_IFNAME, name);
    let mut found = None;
    match connection.get(&request, |message| found = parse(message)) {
        Ok(()) => Ok(found),
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
        Err(error) => Err(Error::kernel(format!("read interface {name}"))(error)),
    }
}

fn parse(message: Message<'_>) -> Option<Found> {
    let (header, attributes) = message.after(16)?;
    let word = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some(Found {
        index: word(4)?,
        flags: word(8)?,
        mtu: attributes.u32(libc::IFLA_MTU)?,
        mac: attributes
            .get(libc::IFLA_ADDRESS)
            .unwrap_or_default()
            .to_vec(),
        peer: attributes.u32(libc::IFLA_LINK),
        kind: attributes
            .nested(libc::IFLA_LINKINFO)
            .text(libc::IFLA_INFO_KIND)
            .unwrap_or_default(),
    })
}

/// What of the link is not as it should be, one sentence each; empty if all is well.
pub fn check(link: &PodLink) -> Result<Vec<String>, Error> {
    let netns = Netns::open(&link.netns)?;
    let name = link.host_ifname.as_str();
    let mut wrong = Vec::new();
    let mut host = connect()?;
    let Some(outside) = find(&mut host, name)? else {
        return Ok(vec![format!("interface {name} is missing")]);
    };
    let inside = netns.run(|| {
        let mut pod = connect()?;
        let inside = find(&mut pod, &link.ifname)?;
        let deviations = match &inside {
            None => vec![format!("interface {} is missing in the pod", link.ifname)],
            Some(inside) => pod_side(&mut pod, link, inside)?,
        };
        Ok((inside, deviations))
    })?;
    let (inside, deviations) = inside;
    wrong.extend(deviations);
    if inside.is_some_and(|inside| !outside.is_peer_of(&inside)) {
        wrong.push(format!(
            "{name} and the pod's {} are not one pair",
            link.ifname
        ));
    }
    wrong.extend(device(name, &outside, link, &link.host_ifname.host_mac()));
    wrong.extend(host_settings(link));
    let neighbours = dump_neighbours(&mut host, outside.index)?;
    for address in &link.addresses {
        if !neighbours.contains(&(*address, link.host_ifname.pod_mac().to_vec())) {
            wrong.push(format!(
                "the neighbour entry of {address} on {name} is missing"
            ));
        }
        let wanted = Route {
            destination: Some((*address, bits(*address))),
            table: MAIN_TABLE,
            metric: SEND_METRIC,
            index: outside.index,
            gateway: None,
            source: link.source_for(*address),
            mtu: None,
        };
        wrong.extend(route_is(
            &mut host,
            &wanted,
            &format!("the route of {address} to {name}"),
        )?);
    }
    Ok(wrong)
}

fn pod_side(pod: &mut Connection, link: &PodLink, inside: &Found) -> Result<Vec<String>, Error> {
    let ifname = &link.ifname;
    let mut wrong = device(
        &format!("the pod's {ifname}"),
        inside,
        link,
        &link.host_ifname.pod_mac(),
    );
    if !find(pod, "lo")?.is_some_and(|lo| lo.is_up()) {
        wrong.push("the pod's lo is down".to_owned());
    }
    if link.has_ipv6() && setting_is("ipv6", ifname, "accept_ra", "0") == Some(false) {
        wrong.push(format!("the pod's {ifname} accepts router advertisements"));
    }
    let addresses = dump_addresses(pod, inside.index)?;
    let neighbours = dump_neighbours(pod, inside.index)?;
    for address in &link.addresses {
        if !addresses.contains(&(*address, bits(*address))) {
            wrong.push(format!(
                "address {address} is missing on the pod's {ifname}"
            ));
        }
        let gateway = gateway(*address);
        if !neighbours.contains(&(gateway, link.host_ifname.host_mac().to_vec())) {
            wrong.push(format!(
                "the neighbour entry of {gateway} is missing in the pod"
            ));
        }
        let wanted = Route {
            destination: None,
            table: MAIN_TABLE,
            metric: if address.is_ipv4() { 0 } else { IPV6_METRIC },
            index: inside.index,
            gateway: Some(gateway),
            source: None,
            mtu: (link.mtu != link.link_mtu).then_some(link.mtu),
        };
        wrong.extend(route_is(
            pod,
            &wanted,
            &format!("the pod's default route by {gateway}"),
        )?);
    }
    Ok(wrong)
}

fn device(what: &str, found: &Found, link: &PodLink, mac: &[u8; 6]) -> Vec<String> {
    let mut wrong = Vec::new();
    if !found.is_up() {
        wrong.push(format!("{what} is down"));
    }
    if found.mtu != link.link_mtu {
        wrong.push(format!(
            "{what} has MTU {}, not {}",
            found.mtu, link.link_mtu
        ));
    }
    if found.mac != mac {
        wrong.push(format!("{what} has another MAC address than it was given"));
    }
    wrong
}

fn host_settings(link: &PodLink) -> Option<String> {
    let name = link.host_ifname.as_str();
    let off = |setting, value| setting_is("ipv4", name, setting, value) == Some(false);
    if off("rp_filter", "1") {
        return Some(format!("{name} does not filter by the reverse path"));
    }
    let localnet = if link.route_localnet { "1" } else { "0" };
    off("route_localnet", localnet).then(|| format!("route_localnet of {name} is not {localnet}"))
}

/// `None` where there is no such setting to read.
fn setting_is(family: &str, ifname: &str, setting: &str, wanted: &str) -> Option<bool> {
    let value = std::fs::read_to_string(conf(family, ifname, setting)).ok()?;
    Some(value.trim() == wanted)
}

fn dump_addresses(connection: &mut Connection, index: u32) -> Result<Vec<(IpAddr, u8)>, Error> {
    let mut header = [0; 8];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let request = Request::new(libc::RTM_GETADDR, 0, &header);
    let parse = |message: Message<'_>| {
        let (header, attributes) = message.after(8)?;
        let address = attributes
            .ip(libc::IFA_LOCAL)
            .or_else(|| attributes.ip(libc::IFA_ADDRESS));
        Some((address?, header[1]))
    };
    connection
        .dump(&request, parse)
        .map_err(Error::kernel("read the addresses of the pod"))
}

/// The permanent ones.
fn dump_neighbours(
    connection: &mut Connection,
    index: u32,
) -> Result<Vec<(IpAddr, Vec<u8>)>, Error> {
    /// `NDA_IFINDEX` of linux/neighbour.h.
    const NDA_IFINDEX: u16 = 8;
    let mut request = Request::new(libc::RTM_GETNEIGH, 0, &[0; 12]);
    request.u32(NDA_IFINDEX, index);
    let parse = |message: Message<'_>| {
        let (header, attributes) = message.after(12)?;
        let state = u16::from_ne_bytes([header[8], header[9]]);
        let mac = attributes.get(libc::NDA_LLADDR)?.to_vec();
        (state & libc::NUD_PERMANENT != 0).then_some((attributes.ip(libc::NDA_DST)?, mac))
    };
    connection
        .dump(&request, parse)
        .map_err(Error::kernel("read neighbour entries"))
}

/// A route of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    /// Address and prefix length, `None` for a default route.
    destination: Option<(IpAddr, u8)>,
    table: u32,
    metric: u32,
    index: u32,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    mtu: Option<u32>,
}

/// What is wrong with the route, called `what` in the answer.
fn route_is(
    connection: &mut Connection,
    wanted: &Route,
    what: &str,
) -> Result<Option<String>, Error> {
    let of_family = wanted.destination.map(|(ip, _)| ip).or(wanted.gateway);
    let mut header = [0; 12];
    header[0] = of_family.map_or(0, family);
    let mut request = Request::new(libc::RTM_GETROUTE, 0, &header);
    request
        .u32(libc::RTA_TABLE, wanted.table)
        .u32(libc::RTA_OIF, wanted.index);
    let found = match connection.dump(&request, parse_route) {
        Ok(found) => found,
        // The table does not exist.
        Err(error) if error.errno() == Some(Errno::ENOENT) => Vec::new(),
        Err(error) => return Err(Error::kernel(format!("read {what}"))(error)),
    };
    let same = |route: &&Route| {
        route.destination == wanted.destination
            && route.table == wanted.table
            && route.metric == wanted.metric
            && route.index == wanted.index
    };
    Ok(match found.iter().find(same) {
        None => Some(format!("{what} is missing")),
        Some(route) if route != wanted => Some(format!("{what} is not as it was made")),
        Some(_) => None,
    })
}

/// The device through which the node sends to this address of a pod.
pub(super) fn route_device(
    connection: &mut Connection,
    address: IpAddr,
) -> Result<Option<u32>, Error> {
    let mut header = [0; 12];
    header[0] = family(address);
    let mut request = Request::new(libc::RTM_GETROUTE, 0, &header);
    request.u32(libc::RTA_TABLE, MAIN_TABLE);
    let found = connection
        .dump(&request, parse_route)
        .map_err(Error::kernel(format!("read the route of {address}")))?;
    let wanted = Some((address, bits(address)));
    Ok(found
        .into_iter()
        .find(|route| route.destination == wanted && route.metric == SEND_METRIC)
        .map(|route| route.index))
}

fn parse_route(message: Message<'_>) -> Option<Route> {
    let (header, attributes): (_, Attributes<'_>) = message.after(12)?;
    let destination = attributes.ip(libc::RTA_DST).map(|ip| (ip, header[1]));
    Some(Route {
        destination,
        table: attributes.u32(libc::RTA_TABLE)?,
        metric: attributes.u32(libc::RTA_PRIORITY).unwrap_or(0),
        index: attributes.u32(libc::RTA_OIF)?,
        gateway: attributes.ip(libc::RTA_GATEWAY),
        source: attributes.ip(libc::RTA_PREFSRC),
        mtu: attributes.nested(libc::RTA_METRICS).u32(RTAX_MTU),
    })
}
