//! Encoding of one netlink request.

use std::net::IpAddr;

use nix::libc;

/// Length of `struct nlmsghdr` in bytes.
pub(super) const HEADER: usize = 16;
const NESTED: u16 = libc::NLA_F_NESTED as u16;

/// One netlink message under construction: the header, the fixed part of its kind,
/// and attributes, in host byte order and padded to 4 bytes as netlink wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Starts a message of `kind` (`RTM_*`, or an nfnetlink type) with `NLM_F_REQUEST`
    /// and `flags`. `fixed` is the structure which follows the header, such as
    /// `struct rtmsg`.
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let mut request = Self { bytes };
        request.raw(fixed);
        request
    }

    /// Appends bytes without an attribute header, padded to 4.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value)
    }

    /// Appends an attribute without a value.
    pub fn flag(&mut self, kind: u16) -> &mut Self {
        self.bytes(kind, &[])
    }

    /// Appends an 8-bit attribute.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    /// Appends a 16-bit attribute in host byte order.
    pub fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Appends a 16-bit attribute in network byte order.
    pub fn be16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends a 32-bit attribute in host byte order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Appends a 32-bit attribute in network byte order (what nfnetlink uses).
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends a 64-bit attribute in network byte order.
    pub fn be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends a string with its terminating zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Appends an address: 4 or 16 bytes in network byte order.
    pub fn ip(&mut self, kind: u16, address: IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(v4) => self.bytes(kind, &v4.octets()),
            IpAddr::V6(v6) => self.bytes(kind, &v6.octets()),
        }
    }

    /// Appends an attribute that holds the attributes which `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.wrap(kind | NESTED, |request| fill(request))
    }

    /// Appends an attribute whose value `fill` writes, without the nested flag: some
    /// older attributes hold a structure followed by attributes.
    pub fn wrap(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes(kind, &[]);
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// What has been added so far, without the header.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Always false: there is at least a header.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sets length, sequence number and additional flags, and appends the message to `out`.
    pub(super) fn finish_into(&self, out: &mut Vec<u8>, sequence: u32, more_flags: u16) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let message = &mut out[start..];
        message[0..4].copy_from_slice(&(self.bytes.len() as u32).to_ne_bytes());
        let flags = u16::from_ne_bytes([message[6], message[7]]) | more_flags;
        message[6..8].copy_from_slice(&flags.to_ne_bytes());
        message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}
