//! A small netlink transport: encode requests, send many of them in one system
//! call, read the errors back and say which request each belongs to.
//!
//! Where neither speed nor an attribute is lacking, as in [`crate::underlay`], rtnetlink's
//! typed requests serve. Here the messages are written and read as attributes instead:
//! batches, nexthop objects and several nftables expressions are missing there, and a dump
//! must not fail because a newer kernel sends an attribute of an unexpected length.

mod message;
mod parse;
mod socket;

pub use message::Request;
pub use parse::{Attributes, Message, ip_address, text};
pub use socket::{Connection, Error, Family};
