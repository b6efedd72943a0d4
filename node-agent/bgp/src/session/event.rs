//! What a session says and asks for.

use std::sync::Arc;

use super::Negotiated;
use crate::route::{Family, Update};
use crate::wire::{Defect, RouteRefresh};

/// One transport connection: a number that the caller never gives to two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection(pub u64);

/// Whole messages; BGP peers that are told the same share them.
pub type Bytes = Arc<Vec<u8>>;

/// How far a session is (RFC 4271, section 8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Stopped, or resting after an error; connections are refused.
    Idle,
    /// Waits for the peer to connect.
    Active,
    /// Connects.
    Connect,
    /// Waits for the peer's OPEN.
    OpenSent,
    /// Waits for the peer to accept our OPEN.
    OpenConfirm,
    /// Exchanges routes.
    Established,
}

/// What the caller has to do.
#[derive(Debug)]
pub enum Output {
    /// Connect to the peer, then say whether that worked. Takes the place of an attempt that is still under way.
    Connect,
    /// Send these bytes, in order.
    Write(Connection, Bytes),
    /// Close the connection once what was written on it has been sent, and tell no more about it.
    Close(Connection),
    /// Something that others should know.
    Event(Event),
}

/// What others should know.
#[derive(Debug)]
pub enum Event {
    /// Routes can be exchanged.
    Established(Arc<Negotiated>),
    /// They no longer can.
    Down {
        /// Why, in words.
        why: String,
        /// May the peer's routes be kept for a while (RFC 4724, section 4.2; RFC 8538, section 4)?
        graceful: bool,
    },
    /// An attempt to get a session failed, for the reason in these words.
    Failed(String),
    /// The peer's routes have changed.
    Update(Update),
    /// The peer has sent all its routes of a family.
    EndOfRib(Family),
    /// The peer wants routes again, or says where its own begin or end.
    RouteRefresh(RouteRefresh),
    /// An UPDATE was defective; what was left of it, if anything, follows.
    Defect(Defect),
}
