//! BGP messages to and from bytes: RFC 4271 with the extensions that are named where they are.
//!
//! A [`Framer`] cuts the stream into messages, and each type of message has its own file. Prefixes and attributes
//! of UPDATEs are read one by one, because RFC 7606 lets each defect have its own outcome.

mod as_path;
mod attribute;
mod bytes;
mod capability;
mod frame;
mod multiprotocol;
mod nlri;
mod notification;
mod open;
mod pack;
mod refresh;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod update;

pub use attribute::{Defect, Remedy};
pub use capability::{AddPath, Capabilities, GracefulRestart, LongLived, PerFamily};
pub use frame::{Frame, Framer, Kind, MAX, MAX_EXTENDED};
pub use notification::{Cease, Notification};
pub use pack::encode;
pub use refresh::{Refresh, RouteRefresh};
pub use update::{Decoded, decode};

pub(crate) use capability::multiprotocol;
pub(crate) use frame::write;
pub(crate) use notification::error;
pub(crate) use open::Open;
pub(crate) use pack::end_of_rib;

use as_path::Width;

/// How a peer writes its UPDATEs, as agreed on in the OPENs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Is it an eBGP peer?
    pub external: bool,
    /// The AS that every path must begin with, if that is checked (RFC 4271, section 6.3).
    pub first_as: Option<u32>,
    /// Do AS numbers have four octets?
    pub as4: bool,
    /// The families that are taken; others are ignored.
    pub families: PerFamily<bool>,
    /// Have prefixes a path identifier (RFC 7911)?
    pub add_path: PerFamily<bool>,
    /// May IPv4 prefixes have an IPv6 next hop (RFC 8950)?
    pub extended_next_hop: bool,
}

/// How UPDATEs are written for a peer, as agreed on in the OPENs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Do AS numbers have four octets?
    pub as4: bool,
    /// Have prefixes a path identifier (RFC 7911)?
    pub add_path: PerFamily<bool>,
    /// May IPv4 prefixes have an IPv6 next hop (RFC 8950)?
    pub extended_next_hop: bool,
    /// The families that are sent; others are left out.
    pub families: PerFamily<bool>,
    /// The longest message, in octets: [`MAX`] or [`MAX_EXTENDED`].
    pub max: usize,
}

impl Receive {
    fn width(&self) -> Width {
        if self.as4 { Width::Four } else { Width::Two }
    }
}

impl Transmit {
    fn width(&self) -> Width {
        if self.as4 { Width::Four } else { Width::Two }
    }
}
