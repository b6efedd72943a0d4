//! Reading messages and attributes. Nothing here fails: bytes which don't hold what
//! was asked for give `None`, as a newer kernel may say more than we know.

use std::net::IpAddr;

use nix::libc;

use super::message::HEADER;

/// One received netlink message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// Sequence number of the request it answers, 0 for notifications.
    pub sequence: u32,
    /// Port id of the socket whose request caused it.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Splits the first message off `buffer`; `None` when no whole one is left.
    pub fn split(buffer: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let header = buffer.get(..HEADER)?;
        let word = |at: usize| u32_at(header, at).unwrap_or_default();
        let length = word(0) as usize;
        let payload = buffer.get(HEADER..length)?;
        let rest = buffer.get(align(length)..).unwrap_or_default();
        let message = Self {
            kind: u16_at(header, 4)?,
            flags: u16_at(header, 6)?,
            sequence: word(8),
            port: word(12),
            payload,
        };
        Some((message, rest))
    }

    /// The structure of `length` bytes at the start of the payload, and the attributes
    /// behind it.
    pub fn after(&self, length: usize) -> Option<(&'a [u8], Attributes<'a>)> {
        let fixed = self.payload.get(..length)?;
        let rest = self.payload.get(align(length)..).unwrap_or_default();
        Some((fixed, Attributes(rest)))
    }
}

/// A sequence of attributes; iterates over (kind without flags, value).
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the last attribute of `kind`.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.filter(|(found, _)| *found == kind)
            .map(|(_, value)| value)
            .last()
    }

    /// The attributes inside attribute `kind`; empty when it is absent.
    pub fn nested(&self, kind: u16) -> Attributes<'a> {
        Attributes(self.get(kind).unwrap_or_default())
    }

    /// An 8-bit value.
    pub fn u8(&self, kind: u16) -> Option<u8> {
        self.get(kind)?.first().copied()
    }

    /// A 16-bit value in host byte order.
    pub fn u16(&self, kind: u16) -> Option<u16> {
        u16_at(self.get(kind)?, 0)
    }

    /// A 16-bit value in network byte order.
    pub fn be16(&self, kind: u16) -> Option<u16> {
        self.u16(kind).map(u16::from_be)
    }

    /// A 32-bit value in host byte order.
    pub fn u32(&self, kind: u16) -> Option<u32> {
        u32_at(self.get(kind)?, 0)
    }

    /// A 32-bit value in network byte order.
    pub fn be32(&self, kind: u16) -> Option<u32> {
        self.u32(kind).map(u32::from_be)
    }

    /// A 64-bit value in network byte order.
    pub fn be64(&self, kind: u16) -> Option<u64> {
        let bytes = self.get(kind)?.get(..8)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }

    /// A string, up to its terminating zero.
    pub fn text(&self, kind: u16) -> Option<String> {
        self.get(kind).map(text)
    }

    /// An address of 4 or 16 bytes.
    pub fn ip(&self, kind: u16) -> Option<IpAddr> {
        ip_address(self.get(kind)?)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind =
            u16_at(self.0, 2)? & !(libc::NLA_F_NESTED as u16 | libc::NLA_F_NET_BYTEORDER as u16);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The address in 4 or 16 bytes of network byte order.
pub fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The text in `bytes` up to a zero.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

pub(super) fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
