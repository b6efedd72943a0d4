//! UDP sockets for probes: each packet by a device of choice, and never fragmented.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use socket2::{Socket, Type};

use crate::names::DeviceName;
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

/// A socket whose packets are never fragmented, neither here nor on the way, nor held back by what
/// path MTU discovery once found (`IP_PMTUDISC_PROBE`, ip(7)). It does not block.
///
/// # Errors
/// The kernel refuses.
pub fn probe_socket(family: Family) -> io::Result<UdpSocket> {
    let socket = sockopt::open(family, Type::DGRAM)?;
    forbid_fragments(&socket, family)?;
    socket.bind(&SocketAddr::new(sockopt::any(family), 0).into())?;
    Ok(socket.into())
}

/// Sends one packet. If it is to go through `device`, only routes through that one count, whatever their
/// metric (`IP_PKTINFO`, ip(7)); the answer may come back by any.
///
/// # Errors
/// There is no such device, or the kernel refuses.
pub fn send(
    socket: &impl AsFd,
    packet: &[u8],
    to: SocketAddr,
    device: Option<DeviceName>,
) -> io::Result<()> {
    let index = device.map_or(Ok(0), |device| if_nametoindex(device.as_str()))?;
    let v4 = libc::in_pktinfo {
        ipi_ifindex: index.cast_signed(),
        ipi_spec_dst: libc::in_addr { s_addr: 0 },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let v6 = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
        ipi6_ifindex: index,
    };
    let through = if to.is_ipv4() {
        ControlMessage::Ipv4PacketInfo(&v4)
    } else {
        ControlMessage::Ipv6PacketInfo(&v6)
    };
    sendmsg(
        socket.as_fd().as_raw_fd(),
        &[IoSlice::new(packet)],
        &[through],
        MsgFlags::empty(),
        Some(&SockaddrStorage::from(to)),
    )?;
    Ok(())
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
