//! Opening sockets with the options that the traffic needs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::plan::Flow;

/// Enough for a second of 50,000 small datagrams at the kernel's accounting of each.
const BUFFER: usize = 32 << 20;
/// Bytes of the headers below a UDP payload.
const HEADERS_V4: usize = 20 + 8;
const HEADERS_V6: usize = 40 + 8;

/// Whether datagrams carry DF (IPv6: are not fragmented by the sender).
pub fn set_df(socket: &UdpSocket, v6: bool, df: bool) -> nix::Result<()> {
    let (level, option, value) = match (v6, df) {
        (false, true) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DO,
        ),
        (false, false) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DONT,
        ),
        (true, true) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DO,
        ),
        (true, false) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DONT,
        ),
    };
    set_int(socket, level, option, value)
}

/// nix has no names for the path MTU options.
#[allow(unsafe_code)]
fn set_int(socket: &UdpSocket, level: i32, option: i32, value: i32) -> nix::Result<()> {
    // SAFETY: the option takes an int, which outlives the call.
    nix::errno::Errno::result(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    })
    .map(drop)
}

/// The largest UDP payload that fits the path of a connected socket, by what the kernel knows.
#[allow(unsafe_code)]
pub fn payload_of_mtu(socket: &UdpSocket, v6: bool) -> nix::Result<usize> {
    let (level, option, headers) = match v6 {
        false => (libc::IPPROTO_IP, libc::IP_MTU, HEADERS_V4),
        true => (libc::IPPROTO_IPV6, libc::IPV6_MTU, HEADERS_V6),
    };
    let mut mtu: i32 = 0;
    let mut length = size_of::<i32>() as u32;
    // SAFETY: the option gives an int, for which there is room.
    nix::errno::Errno::result(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut mtu).cast(),
            &raw mut length,
        )
    })?;
    Ok((mtu.max(0) as usize).saturating_sub(headers))
}

/// A UDP socket connected to the target of `flow`, non-blocking.
pub fn connected_udp(flow: &Flow) -> io::Result<UdpSocket> {
    let socket = bound(flow, Type::DGRAM, Protocol::UDP)?;
    socket.connect(&flow.target.into())?;
    Ok(socket.into())
}

/// A TCP socket bound as `flow` wants, non-blocking, not yet connected.
pub fn unconnected_tcp(flow: &Flow) -> io::Result<tokio::net::TcpSocket> {
    let socket = bound(flow, Type::STREAM, Protocol::TCP)?;
    socket.set_tcp_nodelay(true)?;
    Ok(tokio::net::TcpSocket::from_std_stream(socket.into()))
}

fn bound(flow: &Flow, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(flow.target), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(device) = &flow.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(source) = flow.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// A UDP socket of one family on `port` of all addresses, which says where each datagram was sent
/// to and gives up waiting for one after `wait`.
pub fn listening_udp(v6: bool, port: u16, wait: Duration) -> io::Result<UdpSocket> {
    let socket = listening(v6, port, Type::DGRAM, Protocol::UDP)?;
    socket.set_read_timeout(Some(wait))?;
    if v6 {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    let socket = socket.into();
    observe(&socket)?;
    Ok(socket)
}

/// A TCP listener of one family on `port` of all addresses. To be called within a tokio runtime.
pub fn listening_tcp(v6: bool, port: u16) -> io::Result<tokio::net::TcpListener> {
    let socket = listening(v6, port, Type::STREAM, Protocol::TCP)?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket.into())
}

fn listening(v6: bool, port: u16, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let (domain, any): (_, IpAddr) = match v6 {
        false => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        true => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if v6 {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SocketAddr::new(any, port).into())?;
    Ok(socket)
}

/// Lets a UDP socket tell when datagrams arrived and how many it dropped, and gives it a large
/// buffers: a loss of the tool's own would be a false alarm.
pub fn observe(socket: &UdpSocket) -> io::Result<()> {
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(socket, sockopt::RxqOvfl, &1)?;
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN, which a pod need not have.
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &BUFFER)?;
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER).is_err() {
        setsockopt(socket, sockopt::SndBuf, &BUFFER)?;
    }
    Ok(())
}

/// Turns the kernel's times of arrival, which are of the wall clock, into times of `clock`.
pub struct Stamps {
    wall: Duration,
    now: Duration,
}

impl Stamps {
    /// `now` is the present time of the clock in question.
    pub fn at(now: Duration) -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            wall: wall.unwrap_or_default(),
            now,
        }
    }

    /// When something happened that the kernel stamped with `stamp`.
    pub fn convert(&self, stamp: Option<Duration>) -> Duration {
        let age = stamp.map_or(Duration::ZERO, |stamp| self.wall.saturating_sub(stamp));
        self.now.saturating_sub(age)
    }
}
