//! A small netlink transport: encode requests, send many of them in one system
//! call, read the errors back and say which request each belongs to.
//!
//! The messages are written and read as attributes here rather than through typed
//! message libraries: nexthop objects, address protocols and several nftables
//! expressions are missing from those, and a dump must not fail because a newer
//! kernel sends an attribute of an unexpected length.

mod message;
mod parse;
mod socket;

pub use message::Request;
pub use parse::{Attributes, Message, ip_address, text};
pub use socket::{Connection, Error, Family};
