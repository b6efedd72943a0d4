//! Two connections between two speakers: which one stays (RFC 4271, section 6.8).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::link::{Link, Stage};

/// What is younger than this may have crossed with what the peer does at the same time.
const SETTLED: Duration = Duration::from_secs(5);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// This end did.
    Outgoing,
    /// The peer did.
    Incoming,
}

/// The direction of the connection that stays: that which was opened by the speaker with the greater identifier, or
/// the greater AS number if the identifiers are the same (RFC 6286, section 2.3). Both ends come to the same result.
pub(super) fn survivor(local: (Ipv4Addr, u32), remote: (Ipv4Addr, u32)) -> Direction {
    if local > remote {
        Direction::Outgoing
    } else {
        Direction::Incoming
    }
}

/// What becomes of two connections when the peer's OPEN has come on the newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Both go on, until there is an OPEN on the older one too.
    Both,
    OnlyOld,
    OnlyNew,
}

/// What becomes of `old` and `new`, if the survivor is that in direction `survivor`.
pub(super) fn decide(old: &Link, new: &Link, survivor: Direction, now: Instant) -> Outcome {
    let settled = |since: Instant| now.saturating_duration_since(since) >= SETTLED;
    match &old.stage {
        // The peer has restarted before the old connection was seen to be dead (RFC 4724, section 5).
        Stage::Established { negotiated, since }
            if negotiated.graceful_restart.is_some() && settled(*since) =>
        {
            Outcome::OnlyNew
        }
        Stage::Established { .. } => Outcome::OnlyOld,
        // The peer, which decides as this end does, had the answer on the old one before it could have the OPEN on the new
        // one. For it there is a session by now, so it closes the new one; a router would forget its routes with the old.
        Stage::OpenConfirm(_)
            if survivor == Direction::Incoming
                && old.answered.is_some_and(|answered| answered < new.since) =>
        {
            Outcome::OnlyOld
        }
        Stage::OpenConfirm(_) if survivor == new.direction => Outcome::OnlyNew,
        Stage::OpenConfirm(_) => Outcome::OnlyOld,
        // Accepting the new one now, and the old one in a moment, would race with the peer, which may by then take
        // the new one as established. Only for a moment: the old one may lead nowhere.
        Stage::OpenSent
            if old.direction == Direction::Outgoing
                && survivor == old.direction
                && !settled(old.since) =>
        {
            Outcome::OnlyOld
        }
        Stage::OpenSent => Outcome::Both,
    }
}
