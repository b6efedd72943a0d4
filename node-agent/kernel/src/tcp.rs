//! TCP sockets for BGP: with passwords (RFC 2385) and a limit on how far a peer can be (RFC 5082).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::libc;
use socket2::{SockAddr, SockAddrStorage, Type};

use crate::sockopt;
use crate::state::Family;

/// The longest password, in bytes (tcp.h, TCP_MD5SIG_MAXKEYLEN).
pub const LONGEST_PASSWORD: usize = 80;

/// The greatest number of hops there is.
const FAR: u8 = 255;

/// How far a peer can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hops {
    /// On the same link; packets go no further.
    One,
    /// On the same link, and packets from further are dropped by the kernel (RFC 5082).
    OneAndNoMore,
    /// Behind up to so many routers.
    UpTo(u8),
}

/// Listens on an address of this node, or on all of its family. It does not block. From the beginning, each of these
/// peers is heard with its password only. Whoever it answers can limit the hops: its packets live as long as packets
/// can.
///
/// # Errors
/// The port is taken, the node has no such address, or the kernel refuses an option; a password may be too long.
pub fn listen<'a>(
    at: SocketAddr,
    passwords: impl IntoIterator<Item = (IpAddr, &'a [u8])>,
) -> io::Result<TcpListener> {
    let family = Family::of(at.ip());
    let socket = sockopt::open(family, Type::STREAM)?;
    socket.set_reuse_address(true)?;
    set_lifetime(&socket, family, FAR)?;
    for (peer, password) in passwords {
        set_password(&socket, peer, Some(password))?;
    }
    socket.bind(&at.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// A socket that is to be connected to a peer, from an address of this node, or from the one that the route to it
/// prefers. It does not block.
///
/// # Errors
/// The node has no such address, or the kernel refuses an option; the password may be too long.
pub fn dial(
    from: Option<IpAddr>,
    peer: IpAddr,
    hops: Hops,
    password: Option<&[u8]>,
) -> io::Result<TcpStream> {
    let socket = sockopt::open(Family::of(peer), Type::STREAM)?;
    limit_hops(&socket, peer, hops)?;
    set_password(&socket, peer, password)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    Ok(socket.into())
}

/// Limits how far the peer of a socket, connected or not, can be.
///
/// # Errors
/// The kernel refuses.
pub fn limit_hops(socket: &impl AsFd, peer: IpAddr, hops: Hops) -> io::Result<()> {
    let family = Family::of(peer);
    let (lifetime, least) = match hops {
        Hops::One => (1, 0),
        Hops::OneAndNoMore => (FAR, FAR),
        Hops::UpTo(hops) => (hops, 0),
    };
    set_lifetime(socket, family, lifetime)?;
    let (level, option) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_MINTTL),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    sockopt::set(socket, level, option, &i32::from(least))
}

/// With a password, only packets signed with it are taken from `peer`, and only such are sent to it; with none, only
/// packets that are not signed. On a listener it goes for connections to come. A connection that is there goes on with
/// what it began with, unless it is set for that too.
///
/// # Errors
/// The password is empty or longer than [`LONGEST_PASSWORD`], or the kernel can't do it.
pub fn set_password(socket: &impl AsFd, peer: IpAddr, password: Option<&[u8]>) -> io::Result<()> {
    let key = password.unwrap_or_default();
    if password.is_some() && (key.is_empty() || key.len() > LONGEST_PASSWORD) {
        let message = format!("a password has from 1 to {LONGEST_PASSWORD} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut signature = Signature {
        address: SockAddr::from(SocketAddr::new(peer, 0)).as_storage(),
        flags: 0,
        prefix_length: 0,
        key_length: key.len() as u16,
        device: 0,
        key: [0; LONGEST_PASSWORD],
    };
    signature.key[..key.len()].copy_from_slice(key);
    match sockopt::set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &signature) {
        // There was none to be removed.
        Err(error) if key.is_empty() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

fn set_lifetime(socket: &impl AsFd, family: Family, lifetime: u8) -> io::Result<()> {
    let (level, option) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_TTL),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    };
    sockopt::set(socket, level, option, &i32::from(lifetime))
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Signature {
    address: SockAddrStorage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    device: i32,
    key: [u8; LONGEST_PASSWORD],
}
