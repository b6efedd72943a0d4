//! Pod attachment: the veth between a pod and its node, with its addresses, routes and neighbours.
//!
//! Everything is synchronous and needs nothing but the kernel: the plugin runs it once per pod and exits. One ADD is
//! three netlink exchanges: the pair is made (the pod's end inside the pod's namespace from the start), the node's end
//! is set up, the pod's end is set up.
//!
//! Pod side: /32 and /128 addresses, default routes by way of 169.254.1.1 and fe80::1, which are nowhere: permanent
//! neighbour entries lead to the node's end. So no address of the node is on the link, and pods need no ARP and no
//! neighbour discovery, which others could answer. IPv6 link-local addresses, which some programs expect, are given by
//! us without duplicate address detection: they work at once, and the node's end has none that could collide.

mod check;
mod detach;
mod list;
mod message;
mod mtu;
mod names;
mod netns;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::netlink::{self, Connection, Family, Request};
use detach::delete;
use message::Step;
use netns::Netns;

pub use check::check;
pub use detach::{detach, detach_without_waiting};
pub use list::list;
pub use mtu::set_pod_mtu;
pub use names::{HostIfname, host_ifname};

/// What every pod's default route goes by, IPv4.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// What every pod's default route goes by, IPv6.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// All that an attachment is in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// The interface in the pod.
    pub ifname: String,
    /// The node's end.
    pub host_ifname: HostIfname,
    /// The pod's addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// The node pod address of each family that has one: what the node's own packets to the pod come from.
    pub sources: Vec<IpAddr>,
    /// The largest packet that the pod sends, in bytes: its routes' MTU.
    pub mtu: u32,
    /// The largest packet that it accepts, in bytes: its interface's MTU. No less than `mtu`.
    pub link_mtu: u32,
    /// Whether host ports of the pod can be reached by the node's loopback addresses.
    pub route_localnet: bool,
}

impl PodLink {
    pub(crate) fn source_for(&self, address: IpAddr) -> Option<IpAddr> {
        self.sources
            .iter()
            .copied()
            .find(|source| source.is_ipv4() == address.is_ipv4())
    }

    pub(crate) fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }
}

/// What [`attach`] found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The link was made.
    Made,
    /// It was there, exactly as wanted.
    AlreadyThere,
}

/// Why a pod link is not as wanted. Of what [`attach`] made before failing nothing is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod's network namespace cannot be entered.
    #[error("cannot {operation} the pod's network namespace {}: {}", path.display(), errno.desc())]
    Netns {
        /// Its path.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why not.
        errno: Errno,
    },
    /// Something else has the pod's interface name.
    #[error("the pod's network namespace {} has an interface {ifname} already that is not of this attachment; remove it, or choose another interface name", netns.display())]
    Foreign {
        /// The interface.
        ifname: String,
        /// The namespace that it is in.
        netns: PathBuf,
    },
    /// A route of the node leads to another pod with this address.
    #[error(
        "address {0} is in use by another pod of this node, though the address store does not know it; it will be tried again with another address"
    )]
    AddressInUse(IpAddr),
    /// The kernel refused a request.
    #[error("cannot {operation}: {source}")]
    Kernel {
        /// What was tried, with the object.
        operation: String,
        /// Why not.
        source: netlink::Error,
    },
    /// A setting could not be written.
    #[error("cannot set {}: {}", path.display(), errno.desc())]
    Setting {
        /// Its file.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
}

impl Error {
    fn kernel(operation: impl Into<String>) -> impl FnOnce(netlink::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Kernel { operation, source }
    }

    fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { source, .. } => source.errno(),
            Self::Netns { errno, .. } | Self::Setting { errno, .. } => Some(*errno),
            Self::Foreign { .. } | Self::AddressInUse(_) => None,
        }
    }

    /// Whether the pod's network namespace is not there (any more).
    pub fn is_netns_missing(&self) -> bool {
        matches!(
            self,
            Self::Netns {
                errno: Errno::ENOENT,
                ..
            }
        )
    }
}

/// How often other numbers are tried when those picked for the two interfaces are taken.
const NUMBER_TRIES: usize = 8;

/// Makes the link. For one that is there already and exactly so, does nothing; one that is ours and incomplete (its
/// maker was killed) is made anew.
pub fn attach(link: &PodLink) -> Result<Outcome, Error> {
    let netns = Netns::open(&link.netns)?;
    let mut host = connect()?;
    let index = match create(&mut host, link, &netns)? {
        Some(index) => index,
        None => {
            if !clear_way(&mut host, link, &netns)? {
                return Ok(Outcome::AlreadyThere);
            }
            let foreign = || Error::Foreign {
                ifname: link.ifname.clone(),
                netns: link.netns.clone(),
            };
            create(&mut host, link, &netns)?.ok_or_else(foreign)?
        }
    };
    let done = set_up_outside(&mut host, link, index.host)
        .and_then(|()| netns.run(|| set_up_inside(link, index.pod)));
    if let Err(error) = done {
        // What is wrong is said by the first error.
        let _ = delete(&mut host, &link.host_ifname);
        return Err(error);
    }
    Ok(Outcome::Made)
}

/// Puts back whatever is missing of the node's end: its settings, routes and neighbours. The link must be there.
pub fn repair_host(link: &PodLink) -> Result<(), Error> {
    let mut host = connect()?;
    let name = link.host_ifname.as_str();
    let found = check::find(&mut host, name)?.ok_or_else(|| Error::Kernel {
        operation: format!("find interface {name}"),
        source: netlink::Error::Kernel {
            errno: Errno::ENODEV,
            message: String::new(),
        },
    })?;
    let mut steps = message::host_side(link, found.index);
    steps.extend(message::host_routes(link, found.index, true));
    perform(&mut host, steps)
}

/// The numbers of the two interfaces.
#[derive(Debug, Clone, Copy)]
struct Indexes {
    host: u32,
    pod: u32,
}

/// Makes the pair, both ends down. `None` when one of the names is taken.
fn create(host: &mut Connection, link: &PodLink, netns: &Netns) -> Result<Option<Indexes>, Error> {
    // The numbers are picked here, so that nothing has to be asked back. The first interface of a pod is 2, as it
    // would be anyway.
    let mut index = Indexes {
        host: names::random_index(),
        pod: 2,
    };
    for _ in 0..NUMBER_TRIES {
        let step = message::create(link, netns.fd(), index.host, index.pod);
        match host.execute_one(&step.request) {
            Ok(()) => return Ok(Some(index)),
            Err(error) => match error.errno() {
                Some(Errno::EEXIST) => return Ok(None),
                Some(Errno::EBUSY) => {
                    index = Indexes {
                        host: names::random_index(),
                        pod: names::random_index(),
                    };
                }
                _ => return Err(Error::kernel(step.operation)(error)),
            },
        }
    }
    Err(Error::kernel(format!(
        "number interface {}",
        link.host_ifname
    ))(netlink::Error::Kernel {
        errno: Errno::EBUSY,
        message: String::new(),
    }))
}

/// Deals with a name that is taken. True when the link is to be made again, false when it is there as wanted.
fn clear_way(host: &mut Connection, link: &PodLink, netns: &Netns) -> Result<bool, Error> {
    let outside = check::find(host, link.host_ifname.as_str())?;
    let inside = netns.run(|| check::find(&mut connect()?, &link.ifname))?;
    let ours = match (&outside, &inside) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(outside), Some(inside)) => outside.is_peer_of(inside),
    };
    if !ours {
        return Err(Error::Foreign {
            ifname: link.ifname.clone(),
            netns: link.netns.clone(),
        });
    }
    if inside.is_some() && check(link)?.is_empty() {
        return Ok(false);
    }
    delete(host, &link.host_ifname)?;
    Ok(true)
}

fn set_up_outside(host: &mut Connection, link: &PodLink, index: u32) -> Result<(), Error> {
    let mut steps = message::host_side(link, index);
    steps.extend(message::host_routes(link, index, false));
    match perform(host, steps) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {}
        other => return other,
    }
    // Either the agent repaired a route before we came to it, or another pod has the address: then it keeps it.
    for address in &link.addresses {
        match check::route_device(host, *address)? {
            Some(other) if other != index => return Err(Error::AddressInUse(*address)),
            _ => {}
        }
    }
    perform(host, message::host_routes(link, index, true))
}

fn set_up_inside(link: &PodLink, index: u32) -> Result<(), Error> {
    netns::settings(&link.ifname, link.has_ipv6())?;
    perform(&mut connect()?, message::pod_side(link, index))
}

fn connect() -> Result<Connection, Error> {
    Connection::open(Family::Route).map_err(Error::kernel("open a netlink socket"))
}

/// Carries out all steps in one exchange. The first that failed is the error.
fn perform(connection: &mut Connection, steps: Vec<Step>) -> Result<(), Error> {
    let (operations, requests): (Vec<String>, Vec<Request>) = steps
        .into_iter()
        .map(|step| (step.operation, step.request))
        .unzip();
    let results = connection.execute(&requests);
    for (operation, result) in operations.into_iter().zip(results) {
        result.map_err(Error::kernel(operation))?;
    }
    Ok(())
}

/// Where the kernel keeps a device's settings of one family, for the calling thread's network namespace.
fn conf(family: &str, ifname: &str, setting: &str) -> PathBuf {
    Path::new("/proc/sys/net")
        .join(family)
        .join("conf")
        .join(ifname)
        .join(setting)
}

#[cfg(test)]
mod tests;
