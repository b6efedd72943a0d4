//! UDP sockets for probes: with a mark that chooses the path, and never fragmented.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::state::Family;

/// A socket that answers on `port` of every address of the family. It does not block.
///
/// # Errors
/// The port is taken, or the kernel lacks the family.
pub fn bind(family: Family, port: u16) -> io::Result<UdpSocket> {
    let socket = open(family)?;
    socket.bind(&SocketAddr::new(any(family), port).into())?;
    Ok(socket.into())
}

/// A socket whose packets carry `mark` and are never fragmented, neither here nor on the way, nor
/// held back by what path MTU discovery once found (`IP_PMTUDISC_PROBE`, ip(7)). It does not block.
///
/// # Errors
/// The kernel refuses; a mark needs `CAP_NET_ADMIN`.
pub fn probe_socket(family: Family, mark: Option<u32>) -> io::Result<UdpSocket> {
    let socket = open(family)?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    forbid_fragments(&socket, family)?;
    socket.bind(&SocketAddr::new(any(family), 0).into())?;
    Ok(socket.into())
}

fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn open(family: Family) -> io::Result<Socket> {
    let domain = if family == Family::V4 {
        Domain::IPV4
    } else {
        Domain::IPV6
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

// No safe wrapper of these two options exists in socket2 or nix.
#[allow(unsafe_code)]
fn forbid_fragments(socket: &Socket, family: Family) -> io::Result<()> {
    use nix::libc;
    use std::os::fd::AsRawFd;

    let (level, option, value) = match family {
        Family::V4 => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        ),
        Family::V6 => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        ),
    };
    // SAFETY: the descriptor is open for as long as `socket` lives, and the kernel reads an int of
    // the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            std::mem::size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
