//! Sockets of one family, and the one way to an option that no library has a safe wrapper for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;
use socket2::{Domain, Socket, Type};

use crate::state::Family;

/// A socket that does not block and speaks one family only.
pub(crate) fn open(family: Family, type_: Type) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, type_, None)?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// All addresses of a family.
pub(crate) fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Sets an option to a value that the kernel reads as the bytes of `T`: an int, or a struct of C.
///
/// # Errors
/// The kernel refuses it.
#[allow(unsafe_code)]
pub(crate) fn set<T>(socket: &impl AsFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, so it is open; and the kernel reads no more than the length given,
    // all of it within `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
