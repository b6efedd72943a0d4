//! Datagrams in batches: one system call receives or sends up to [`BATCH`] of them, each with its
//! own addresses.
//!
//! nix's wrappers of recvmmsg and sendmmsg send the same control message with every datagram of a
//! batch; an echo must leave from the address that its datagram came to, so that each needs its
//! own. All pointers are made anew for each call and none outlives it.
#![allow(unsafe_code)]

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

/// Datagrams of one batch.
pub const BATCH: usize = 64;
/// Bytes of the largest datagram: a jumbo frame.
pub const LARGEST: usize = 9216;
/// Room for packet information, time stamp and drop count.
const CONTROL: usize = 128;

#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// What the kernel told about a received datagram, where the socket asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancillary {
    /// When it arrived, since 1970 (SO_TIMESTAMPNS).
    pub stamp: Option<Duration>,
    /// The address that it was sent to (IP_PKTINFO, IPV6_RECVPKTINFO).
    pub to: Option<IpAddr>,
    /// Datagrams that the socket has dropped so far for want of buffer (SO_RXQ_OVFL).
    pub drops: Option<u32>,
}

/// Buffers of [`BATCH`] datagrams.
pub struct Batch {
    data: Box<[u8]>,
    lengths: [usize; BATCH],
    names: Box<[libc::sockaddr_storage]>,
    name_lengths: [libc::socklen_t; BATCH],
    controls: Box<[Control]>,
    control_lengths: [usize; BATCH],
}

impl Default for Batch {
    fn default() -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage (of family AF_UNSPEC).
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self {
            data: vec![0; BATCH * LARGEST].into(),
            lengths: [0; BATCH],
            names: vec![name; BATCH].into(),
            name_lengths: [0; BATCH],
            controls: vec![Control([0; CONTROL]); BATCH].into(),
            control_lengths: [0; BATCH],
        }
    }
}

impl Batch {
    /// The whole buffer of datagram `index`, of [`LARGEST`] bytes.
    pub fn buffer(&mut self, index: usize) -> &mut [u8] {
        &mut self.data[index * LARGEST..][..LARGEST]
    }

    /// The bytes of datagram `index`.
    pub fn datagram(&self, index: usize) -> &[u8] {
        &self.data[index * LARGEST..][..self.lengths[index]]
    }

    /// How long datagram `index` is.
    pub fn length(&self, index: usize) -> usize {
        self.lengths[index]
    }

    /// Cuts datagram `index` to `length` bytes, addressed as it is.
    pub fn shorten(&mut self, index: usize, length: usize) {
        self.lengths[index] = self.lengths[index].min(length);
    }

    /// Makes datagram `index` one of `length` bytes, to be sent to the peer of a connected socket.
    pub fn address_peer(&mut self, index: usize, length: usize) {
        self.lengths[index] = length;
        self.name_lengths[index] = 0;
        self.control_lengths[index] = 0;
    }

    /// Makes datagram `index`, as received, one of `length` bytes back to where it came from, from
    /// the address that it was sent to.
    pub fn address_back(&mut self, index: usize, length: usize) {
        let to = self.ancillary(index).to;
        self.lengths[index] = length;
        self.control_lengths[index] = match to {
            Some(IpAddr::V4(address)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(address).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                self.put_control(index, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
            }
            Some(IpAddr::V6(address)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: address.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                self.put_control(index, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
            }
            None => 0,
        };
    }

    /// Makes `value` the one control message of datagram `index`; returns its length.
    fn put_control<T>(&mut self, index: usize, level: i32, kind: i32, value: T) -> usize {
        let control = &mut self.controls[index];
        *control = Control([0; CONTROL]);
        let size = size_of::<T>() as u32;
        // SAFETY: the header is aligned by the type Control, and CMSG_SPACE of either packet
        // information (40 bytes at most) is within its 128 bytes.
        unsafe {
            let header: *mut libc::cmsghdr = control.0.as_mut_ptr().cast();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
            libc::CMSG_SPACE(size) as usize
        }
    }

    /// Receives at least one datagram (waiting for it unless `flags` say otherwise) and as many
    /// more as there are. Returns how many.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, flags: MsgFlags) -> nix::Result<usize> {
        self.lengths = [LARGEST; BATCH];
        self.name_lengths = [size_of::<libc::sockaddr_storage>() as u32; BATCH];
        self.control_lengths = [CONTROL; BATCH];
        let mut vectors = self.vectors();
        let mut headers = self.headers(&mut vectors, 0..BATCH);
        // SAFETY: each header points to buffers of `self` (and to `vectors`) of the length that it
        // says; they outlive the call and are not otherwise used in it.
        let count = Errno::result(unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                flags.bits() as _,
                ptr::null_mut(),
            )
        })? as usize;
        for (index, header) in headers.iter().enumerate().take(count) {
            self.lengths[index] = header.msg_len as usize;
            self.name_lengths[index] = header.msg_hdr.msg_namelen;
            self.control_lengths[index] = header.msg_hdr.msg_controllen;
        }
        Ok(count)
    }

    /// Sends the datagrams of the given indices (at most [`BATCH`]). Returns how many of them, from
    /// the first on, were sent: fewer than all where the kernel refused the next one. An error is
    /// about the first one.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        indices: &[usize],
        flags: MsgFlags,
    ) -> nix::Result<usize> {
        let mut vectors = self.vectors();
        let mut headers = self.headers(&mut vectors, indices.iter().copied());
        // SAFETY: as in `receive`; the kernel only reads.
        let count = Errno::result(unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                indices.len().min(BATCH) as u32,
                flags.bits() as _,
            )
        })?;
        Ok(count as usize)
    }

    fn vectors(&mut self) -> [libc::iovec; BATCH] {
        let base = self.data.as_mut_ptr();
        std::array::from_fn(|index| libc::iovec {
            // Stays in `data`, which has BATCH * LARGEST bytes.
            iov_base: base.wrapping_add(index * LARGEST).cast(),
            iov_len: self.lengths[index],
        })
    }

    /// Headers in the order of `indices`; those beyond are empty.
    fn headers(
        &mut self,
        vectors: &mut [libc::iovec; BATCH],
        indices: impl Iterator<Item = usize>,
    ) -> [libc::mmsghdr; BATCH] {
        // SAFETY: all zeros is a valid mmsghdr: no name, no data, no control messages.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (header, index) in headers.iter_mut().zip(indices) {
            let header = &mut header.msg_hdr;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            if self.name_lengths[index] > 0 {
                header.msg_name = (&raw mut self.names[index]).cast();
                header.msg_namelen = self.name_lengths[index];
            }
            if self.control_lengths[index] > 0 {
                header.msg_control = self.controls[index].0.as_mut_ptr().cast();
                header.msg_controllen = self.control_lengths[index] as _;
            }
        }
        headers
    }

    /// Where received datagram `index` came from; nothing where it has no IP address.
    pub fn source(&self, index: usize) -> Option<SocketAddr> {
        let name = &raw const self.names[index];
        let length = self.name_lengths[index] as usize;
        // SAFETY: the kernel wrote an address of this family, and the storage is large enough and
        // aligned for any.
        unsafe {
            match i32::from((*name).ss_family) {
                libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
                    let name = &*name.cast::<libc::sockaddr_in>();
                    let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                    let port = u16::from_be(name.sin_port);
                    Some(SocketAddrV4::new(address, port).into())
                }
                libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                    let name = &*name.cast::<libc::sockaddr_in6>();
                    let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                    let port = u16::from_be(name.sin6_port);
                    Some(SocketAddrV6::new(address, port, 0, name.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }

    /// What the kernel told about received datagram `index`.
    pub fn ancillary(&self, index: usize) -> Ancillary {
        let mut told = Ancillary::default();
        let control = &self.controls[index];
        // SAFETY: all zeros is a valid msghdr.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_control = control.0.as_ptr().cast_mut().cast();
        header.msg_controllen = self.control_lengths[index] as _;
        // SAFETY: the kernel wrote control messages of this length in all; the macros stay within
        // them, and each message holds the type that belongs to its level and type.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&header);
            while !message.is_null() {
                let data = libc::CMSG_DATA(message);
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                        let time = data.cast::<libc::timespec>().read_unaligned();
                        told.stamp = Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
                    }
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        told.drops = Some(data.cast::<u32>().read_unaligned());
                    }
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                        let address = u32::from_be(info.ipi_spec_dst.s_addr);
                        told.to = Some(Ipv4Addr::from(address).into());
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        told.to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&header, message);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use nix::sys::socket::{setsockopt, sockopt};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1:0", "127.0.0.7")]
    #[case("[::1]:0", "::1")]
    fn an_echo_leaves_from_the_address_that_was_asked(#[case] client: &str, #[case] asked: &str) {
        let wildcard = if asked.contains(':') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let server = UdpSocket::bind(wildcard).expect("bind");
        setsockopt(&server, sockopt::ReceiveTimestampns, &true).expect("stamps");
        if asked.contains(':') {
            setsockopt(&server, sockopt::Ipv6RecvPacketInfo, &true).expect("packet information");
        } else {
            setsockopt(&server, sockopt::Ipv4PacketInfo, &true).expect("packet information");
        }
        let port = server.local_addr().expect("an address").port();
        let to = SocketAddr::new(asked.parse().expect("an address"), port);
        let client = UdpSocket::bind(client).expect("bind");
        client.connect(to).expect("connect");
        for number in 0..3u8 {
            client.send(&[number; 20]).expect("send");
        }

        let mut batch = Batch::default();
        let mut count = 0;
        while count < 3 {
            let got = batch
                .receive(server.as_fd(), MsgFlags::MSG_WAITFORONE)
                .expect("receive");
            for index in 0..got {
                assert_eq!(batch.datagram(index), [(count + index) as u8; 20]);
                assert_eq!(batch.source(index), client.local_addr().ok());
                assert_eq!(batch.ancillary(index).to, asked.parse().ok());
                assert!(batch.ancillary(index).stamp.is_some());
                batch.address_back(index, 10);
            }
            let indices: Vec<usize> = (0..got).collect();
            assert_eq!(
                batch.send(server.as_fd(), &indices, MsgFlags::empty()),
                Ok(got)
            );
            count += got;
        }
        let mut buffer = [0; 64];
        for number in 0..3u8 {
            assert_eq!(client.recv(&mut buffer).expect("an echo"), 10);
            assert_eq!(buffer[..10], [number; 10]);
        }
    }
}
