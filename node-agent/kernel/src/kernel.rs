//! A handle on the kernel's network stack in one network namespace.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::names::DeviceName;
use crate::netlink::{Connection, Error, Family};
use crate::object::link;

/// The kernel, as seen from the network namespace in which this was opened.
pub struct Kernel {
    pub(crate) route: Connection,
    pub(crate) netfilter: Connection,
    /// For requests that are about devices and aren't made over netlink.
    control: OwnedFd,
}

impl Kernel {
    /// Opens the calling thread's network namespace. Changes need CAP_NET_ADMIN in it.
    pub fn open() -> Result<Self, Error> {
        let control = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .or_else(|_| {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Inet6, SockType::Datagram, flags, None)
        })
        .map_err(|errno| Error::Socket {
            operation: "socket",
            errno,
        })?;
        Ok(Self {
            route: Connection::open(Family::Route)?,
            netfilter: Connection::open(Family::Netfilter)?,
            control,
        })
    }

    /// Opens another network namespace (a file such as `/proc/PID/ns/net`), without
    /// moving the caller there. Needs CAP_SYS_ADMIN.
    pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Self, Error> {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Socket {
                    operation: "setns",
                    errno,
                })?;
                Self::open()
            });
            entered.join().unwrap_or(Err(Error::Lost))
        })
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

/// Device names to indexes, asked for once each: what a change costs must not depend on
/// how many devices there are.
#[derive(Default)]
pub(crate) struct Indexes(BTreeMap<DeviceName, u32>);

impl Indexes {
    /// The index of a device.
    pub(crate) fn of(&mut self, route: &mut Connection, name: DeviceName) -> Result<u32, Error> {
        if let Some(index) = self.0.get(&name) {
            return Ok(*index);
        }
        let mut found = None;
        route.get(&link::get(name), |message| {
            found = link::parse(message).map(|link| link.index)
        })?;
        let index = found.ok_or(Error::Lost)?;
        self.0.insert(name, index);
        Ok(index)
    }

    /// Forgets all, as devices have been made or deleted.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
