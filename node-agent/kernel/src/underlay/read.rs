//! Reading what the node has, by rtnetlink's typed requests.
//!
//! The kernel gives default routes only with all others of the main table, where the routes to
//! peers are too: with many peers this takes long, and should be done only when
//! [`Changes::touch_underlay`](crate::Changes::touch_underlay) says so.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use nix::errno::Errno;
use rtnetlink::Handle;

use super::facts::{AddressFacts, DefaultRoute, Facts, LinkFacts, RouteTo};
use crate::names::DeviceName;
use crate::state::Family;

/// The kernel answers at once; without an answer in this time something is very wrong.
const TIMEOUT: Duration = Duration::from_secs(5);
/// "Temporary" of IPv6 and "secondary" of IPv4 are one bit.
const TEMPORARY: AddressFlags = AddressFlags::Secondary;

/// The kernel does not say what the node has.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no netlink socket to be had.
    #[error("cannot open a netlink socket: {0}; the agent has to be allowed to")]
    Open(#[source] io::Error),
    /// A request failed.
    #[error("cannot read the {what} of the node: {source}")]
    Request {
        /// What was asked for.
        what: &'static str,
        /// What the kernel says.
        source: rtnetlink::Error,
    },
    /// No answer came.
    #[error("cannot read the {0} of the node: the kernel gave no answer in 5 s")]
    Timeout(&'static str),
}

/// Names of devices by index.
type Names = BTreeMap<u32, DeviceName>;

/// Reads what the node has, and how `reach` is reached, in the network namespace of the calling
/// thread. Changes nothing. Has to be called inside a tokio runtime.
///
/// # Errors
/// The kernel cannot be read. That there is no route to `reach` is no error: then
/// [`Facts::route`] is empty.
pub async fn read(reach: Option<IpAddr>) -> Result<Facts, ReadError> {
    let (connection, handle, _) =
        rtnetlink::new_connection_with_strict_check().map_err(ReadError::Open)?;
    // It ends when the handle is dropped.
    tokio::spawn(connection);
    let links = ask("devices", links(&handle)).await?;
    let name = |message: &LinkMessage| Some((message.header.index, name_of(message)?));
    let names: Names = links.iter().filter_map(name).collect();
    let addresses = handle.address().get().execute();
    let addresses: Vec<AddressMessage> = ask("addresses", addresses.try_collect()).await?;
    let mut default_routes = Vec::new();
    for family in Family::BOTH {
        let routes = ask("default routes", main_routes(&handle, family)).await?;
        let found = routes
            .iter()
            .filter_map(|route| default_route(route, family, &names));
        default_routes.extend(found);
    }
    let route = match reach {
        Some(address) => ask("route to the target", lookup(&handle, address)).await?,
        None => None,
    };
    Ok(Facts {
        links: links.iter().filter_map(link_facts).collect(),
        addresses: addresses
            .iter()
            .filter_map(|address| address_facts(address, &names))
            .collect(),
        default_routes,
        route: route.and_then(|route| route_to(&route, &names)),
    })
}

pub(super) async fn ask<T>(
    what: &'static str,
    request: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, ReadError> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|source| ReadError::Request { what, source }),
        Err(_) => Err(ReadError::Timeout(what)),
    }
}

async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, rtnetlink::Error> {
    let get = handle.link().get();
    let get = get.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]);
    get.execute().try_collect().await
}

async fn main_routes(
    handle: &Handle,
    family: Family,
) -> Result<Vec<RouteMessage>, rtnetlink::Error> {
    let mut request = RouteMessage::default();
    request.header.address_family = address_family(family);
    request.header.table = RouteHeader::RT_TABLE_MAIN;
    match handle.route().get(request).execute().try_collect().await {
        // A table without routes need not exist.
        Err(error) if errno(&error) == Some(Errno::ENOENT) => Ok(Vec::new()),
        answer => answer,
    }
}

/// The route that packets to `destination` take, if there is one.
async fn lookup(
    handle: &Handle,
    destination: IpAddr,
) -> Result<Option<RouteMessage>, rtnetlink::Error> {
    let mut request = RouteMessage::default();
    request.header.address_family = address_family(Family::of(destination));
    request.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
    request
        .attributes
        .push(RouteAttribute::Destination(destination.into()));
    let mut answers = handle.route().get(request).execute();
    match answers.try_next().await {
        Err(error) if unreachable(&error) => Ok(None),
        answer => answer,
    }
}

fn unreachable(error: &rtnetlink::Error) -> bool {
    use Errno::{EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH};
    matches!(
        errno(error),
        Some(ENETUNREACH | EHOSTUNREACH | EACCES | EINVAL)
    )
}

fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            message.code.map(|code| Errno::from_raw(-code.get()))
        }
        _ => None,
    }
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn name_of(link: &LinkMessage) -> Option<DeviceName> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => name.parse().ok(),
            _ => None,
        })
}

fn link_facts(link: &LinkMessage) -> Option<LinkFacts> {
    let mut facts = LinkFacts {
        name: name_of(link)?,
        kind: String::new(),
        mtu: 0,
        usable: link
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::LowerUp),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        facts.kind = kind.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    Some(facts)
}

fn address_facts(found: &AddressMessage, names: &Names) -> Option<AddressFacts> {
    let device = *names.get(&found.header.index)?;
    let (mut local, mut other, mut label, mut protocol) = (None, None, None, None);
    let mut flags = AddressFlags::from_bits_retain(found.header.flags.bits().into());
    let mut expires = false;
    for attribute in &found.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            AddressAttribute::Label(text) => label = Some(text.clone()),
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Protocol(number) => protocol = Some((*number).into()),
            AddressAttribute::CacheInfo(cache) => expires = cache.ifa_valid != u32::MAX,
            _ => {}
        }
    }
    // Of a point-to-point device the other one is the far end's.
    let address = local.or(other)?;
    Some(AddressFacts {
        device,
        address: IpNet::new(address, found.header.prefix_len).ok()?,
        scope: found.header.scope.into(),
        secondary: address.is_ipv4() && flags.contains(AddressFlags::Secondary),
        temporary: address.is_ipv6() && flags.contains(TEMPORARY),
        deprecated: flags.contains(AddressFlags::Deprecated),
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        expires,
        label: label.filter(|label| label != device.as_str()),
        protocol,
    })
}

fn default_route(route: &RouteMessage, family: Family, names: &Names) -> Option<DefaultRoute> {
    let header = &route.header;
    if header.destination_prefix_length != 0 || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let metric = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        });
    Some(DefaultRoute {
        family,
        device: device_of(route, names)?,
        metric: metric.unwrap_or(0),
    })
}

fn route_to(route: &RouteMessage, names: &Names) -> Option<RouteTo> {
    let source = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(RouteAddress::Inet(source)) => Some(IpAddr::from(*source)),
            RouteAttribute::PrefSource(RouteAddress::Inet6(source)) => Some(IpAddr::from(*source)),
            _ => None,
        });
    Some(RouteTo {
        device: device_of(route, names)?,
        source,
    })
}

fn device_of(route: &RouteMessage, names: &Names) -> Option<DeviceName> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => names.get(index).copied(),
            _ => None,
        })
}
