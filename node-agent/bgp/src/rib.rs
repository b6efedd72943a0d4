//! What was heard from whom, what is believed, and what was said to whom.
//!
//! A [`Table`] is the Adj-RIBs-In and the Loc-RIB (RFC 4271, section 3.2) in one: every path to a prefix, the selected
//! ones first. [`Exports`] is the Adj-RIBs-Out: one view for all BGP peers that are told the same. Both are plain data:
//! UPDATEs go in, [`Table::decide`] lists what has changed, and [`Exports::apply`] turns that into UPDATEs.

mod admission;
mod advertise;
mod decision;
mod entry;
mod exports;
mod intern;
mod pack;
mod peer;
mod stale;
mod table;
#[cfg(test)]
mod testing;
mod view;

pub use admission::Refusal;
pub use advertise::{Export, NextHop};
pub use entry::Path;
pub use exports::Exports;
pub use pack::{Emission, Recipients};
pub use peer::{Kind, Limit, LimitEvent, Peer, PeerId, Speaker};
pub use table::{Change, Table};

/// Hashes with a seed that the caller gives: the same run with the same seed is the same in every detail, and another
/// seed makes other collisions.
type Hashing = foldhash::fast::FixedState;
