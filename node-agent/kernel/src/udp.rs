//! UDP sockets for probes: with a mark that chooses the path, and never fragmented.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::libc;
use socket2::{Socket, Type};

use crate::sockopt;
use crate::state::Family;

/// A socket that answers on `port` of every address of the family. It does not block.
///
/// # Errors
/// The port is taken, or the kernel lacks the family.
pub fn bind(family: Family, port: u16) -> io::Result<UdpSocket> {
    let socket = sockopt::open(family, Type::DGRAM)?;
    socket.bind(&SocketAddr::new(sockopt::any(family), port).into())?;
    Ok(socket.into())
}

/// A socket whose packets carry `mark` and are never fragmented, neither here nor on the way, nor
/// held back by what path MTU discovery once found (`IP_PMTUDISC_PROBE`, ip(7)). It does not block.
///
/// # Errors
/// The kernel refuses; a mark needs `CAP_NET_ADMIN`.
pub fn probe_socket(family: Family, mark: Option<u32>) -> io::Result<UdpSocket> {
    let socket = sockopt::open(family, Type::DGRAM)?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    forbid_fragments(&socket, family)?;
    socket.bind(&SocketAddr::new(sockopt::any(family), 0).into())?;
    Ok(socket.into())
}

fn forbid_fragments(socket: &Socket, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => sockopt::set(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            &libc::IP_PMTUDISC_PROBE,
        ),
        Family::V6 => sockopt::set(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            &libc::IPV6_PMTUDISC_PROBE,
        ),
    }
}
