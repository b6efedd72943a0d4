//! Notifications: what somebody changed in the kernel.
//!
//! They are hints. The [`Reconciler`](crate::Reconciler) compares them with what it
//! remembers, so that its own changes wake nobody, and reads the kernel again where they
//! disagree.

use std::net::IpAddr;

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use std::os::fd::AsRawFd;
use tokio::io::unix::AsyncFd;

use crate::names::Mac;
use crate::netlink::{Error, Message};
use crate::nft;
use crate::object::address::Address;
use crate::object::link::Link;
use crate::object::uapi::*;
use crate::object::{address, link, neighbour, nexthop, route};
use crate::state::{MAIN_TABLE, PROTOCOL, Setting};

/// Receive buffer in bytes, for bursts such as a device with thousands of routes going down.
const BUFFER: usize = 4 << 20;
const READ: usize = 64 * 1024;

/// Groups of rtnetlink: links, neighbours, IPv4 addresses, routes; IPv6 addresses, routes;
/// IPv4 settings; nexthops.
const ROUTE_GROUPS: [u32; 8] = [1, 3, 5, 7, 9, 11, 24, 32];
const NFNLGRP_NFTABLES: u32 = 7;

/// One notification, as far as it may matter.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// A device: `usable` is false when it is down, without carrier or gone.
    Link {
        link: Box<Link>,
        usable: bool,
        present: bool,
    },
    /// An address.
    Address { address: Address, present: bool },
    /// A route of ours, or one in its place.
    Route {
        route: route::Observed,
        present: bool,
    },
    /// A default route that is not Weft's.
    DefaultRoute,
    /// A nexthop object.
    Nexthop {
        nexthop: nexthop::Observed,
        present: bool,
    },
    /// A neighbour that is permanent, or was.
    Neighbour {
        index: u32,
        address: IpAddr,
        mac: Option<Mac>,
    },
    /// An FDB entry.
    Fdb {
        index: u32,
        mac: Mac,
        remote: IpAddr,
        present: bool,
    },
    /// An IPv4 setting of a device.
    Setting {
        index: u32,
        setting: Setting,
        value: u32,
    },
    /// Something of the nftables table.
    Nft,
}

/// What changed since the last time.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub(crate) notices: Vec<Notice>,
    pub(crate) lost: bool,
}

impl Changes {
    /// Notifications were lost: anything may have changed.
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// A device that is not Weft's, an address or a default route changed, so that
    /// [`underlay::read`](crate::underlay::read) may give something else.
    pub fn touch_underlay(&self) -> bool {
        let touches = |notice: &Notice| match notice {
            // Pods come and go all the time.
            Notice::Link { link, .. } => !link.name.is_ours(),
            Notice::Address { .. } | Notice::DefaultRoute => true,
            _ => false,
        };
        self.lost || self.notices.iter().any(touches)
    }

    fn is_empty(&self) -> bool {
        self.notices.is_empty() && !self.lost
    }
}

/// Listens to changes in one network namespace.
pub struct Watcher {
    route: AsyncFd<Socket>,
    netfilter: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

impl Watcher {
    /// Listens in the calling thread's network namespace. Has to be called within a tokio
    /// runtime, and before the first observation, so that nothing is missed in between.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            route: listen(libc::NETLINK_ROUTE, &ROUTE_GROUPS)?,
            netfilter: listen(libc::NETLINK_NETFILTER, &[NFNLGRP_NFTABLES])?,
            buffer: vec![0; READ],
        })
    }

    /// Waits until something changed; returns all that is known of it by then. May be
    /// dropped while it waits, without losing anything.
    pub async fn changed(&mut self) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        while changes.is_empty() {
            let ready = tokio::select! {
                ready = self.route.readable() => ready,
                ready = self.netfilter.readable() => ready,
            };
            let mut ready = ready.map_err(|error| failed("wait", &error))?;
            ready.clear_ready();
            drop(ready);
            drain(&self.route, &mut self.buffer, read_route, &mut changes)?;
            drain(&self.netfilter, &mut self.buffer, read_nft, &mut changes)?;
        }
        Ok(changes)
    }
}

fn listen(protocol: i32, groups: &[u32]) -> Result<AsyncFd<Socket>, Error> {
    let mut socket = Socket::new(protocol as isize).map_err(|e| failed("socket", &e))?;
    socket
        .bind(&SocketAddr::new(0, 0))
        .map_err(|e| failed("bind", &e))?;
    socket
        .set_non_blocking(true)
        .map_err(|e| failed("O_NONBLOCK", &e))?;
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        // Without the privilege the ordinary limit serves.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER);
    }
    for group in groups {
        // A kernel without nexthop objects lacks their group.
        match socket.add_membership(*group) {
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
                return Err(failed("NETLINK_ADD_MEMBERSHIP", &error));
            }
            _ => {}
        }
    }
    register(socket)
}

#[allow(unsafe_code)] // What tokio asks for any descriptor.
fn register(socket: Socket) -> Result<AsyncFd<Socket>, Error> {
    // SAFETY: the socket owns its descriptor, always returns the same, and stays inside.
    let registered = unsafe { AsyncFd::register(socket) };
    registered.map_err(|error| failed("poll", &error.into_parts().1))
}

fn failed(operation: &'static str, error: &std::io::Error) -> Error {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    Error::Socket { operation, errno }
}

/// Reads all that is there.
fn drain(
    socket: &AsyncFd<Socket>,
    buffer: &mut [u8],
    read: impl Fn(Message<'_>) -> Vec<Notice>,
    changes: &mut Changes,
) -> Result<(), Error> {
    loop {
        let length = match recv(socket.get_ref().as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => length,
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => continue,
            Err(Errno::ENOBUFS) => {
                changes.lost = true;
                continue;
            }
            Err(errno) => {
                return Err(Error::Socket {
                    operation: "receive",
                    errno,
                });
            }
        };
        let mut rest = &buffer[..length];
        while let Some((message, next)) = Message::split(rest) {
            changes.notices.extend(read(message));
            rest = next;
        }
        if changes.lost {
            changes.notices.clear();
        }
    }
}

fn read_route(message: Message<'_>) -> Vec<Notice> {
    // Parsers know the message that announces; the one that takes back has the same form.
    let (kind, present) = match message.kind {
        RTM_DELLINK => (RTM_NEWLINK, false),
        RTM_DELADDR => (RTM_NEWADDR, false),
        RTM_DELROUTE => (RTM_NEWROUTE, false),
        RTM_DELNEIGH => (RTM_NEWNEIGH, false),
        RTM_DELNEXTHOP => (RTM_NEWNEXTHOP, false),
        kind => (kind, true),
    };
    let message = Message { kind, ..message };
    let notice = match kind {
        RTM_NEWLINK => link::parse(message).map(|link| {
            let usable = present && link.is_up() && link.has_carrier();
            Notice::Link {
                link: Box::new(link),
                usable,
                present,
            }
        }),
        RTM_NEWADDR => address::parse(message).map(|address| Notice::Address { address, present }),
        RTM_NEWROUTE => route::parse(message).and_then(|route| {
            if route.protocol == PROTOCOL || route.key.is_ours() {
                return Some(Notice::Route { route, present });
            }
            let key = &route.key;
            let default = key.table == MAIN_TABLE && key.destination.prefix_len() == 0;
            default.then_some(Notice::DefaultRoute)
        }),
        RTM_NEWNEXTHOP => {
            nexthop::parse(message).map(|nexthop| Notice::Nexthop { nexthop, present })
        }
        RTM_NEWNEIGH => read_neighbour(message, present),
        RTM_NEWNETCONF => return read_settings(message),
        _ => None,
    };
    notice.into_iter().collect()
}

fn read_neighbour(message: Message<'_>, present: bool) -> Option<Notice> {
    if let Some((index, mac, remote)) = neighbour::parse_fdb(message) {
        return Some(Notice::Fdb {
            index,
            mac,
            remote,
            present,
        });
    }
    let (index, address) = neighbour::parse_address(message)?;
    let permanent = neighbour::parse(message).filter(|_| present);
    Some(Notice::Neighbour {
        index,
        address,
        mac: permanent.map(|(_, _, mac)| mac),
    })
}

fn read_settings(message: Message<'_>) -> Vec<Notice> {
    let Some((_, values)) = message.after(4) else {
        return Vec::new();
    };
    let Some(index) = values.u32(NETCONFA_IFINDEX) else {
        return Vec::new();
    };
    let known = [
        (NETCONFA_FORWARDING, Setting::Forwarding),
        (NETCONFA_RP_FILTER, Setting::RpFilter),
    ];
    let read = |(kind, setting)| {
        Some(Notice::Setting {
            index,
            setting,
            value: values.u32(kind)?,
        })
    };
    known.into_iter().filter_map(read).collect()
}

fn read_nft(message: Message<'_>) -> Vec<Notice> {
    if nft::is_about_our_table(message) {
        vec![Notice::Nft]
    } else {
        Vec::new()
    }
}
