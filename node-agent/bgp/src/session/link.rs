//! One connection to the peer: how far its handshake is, and its timers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::collision::Direction;
use super::{Connection, Negotiated};
use crate::wire::{
    self, Capabilities, Decoded, Framer, Kind, Notification, Open, RouteRefresh, error,
};

/// How long to wait for an OPEN, and for its answer if there is no hold time (RFC 4271, section 8.2.2).
const HANDSHAKE: Duration = Duration::from_secs(240);

/// A message that may come in the state that the link is in.
pub(super) enum Message {
    Open(Open),
    Update(Decoded),
    Notification(Notification),
    Keepalive,
    /// `None` is to be ignored.
    RouteRefresh(Option<RouteRefresh>),
}

pub(super) enum Stage {
    OpenSent,
    OpenConfirm(Arc<Negotiated>),
    Established {
        negotiated: Arc<Negotiated>,
        since: Instant,
    },
}

pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) direction: Direction,
    pub(super) stage: Stage,
    /// When there was a connection.
    pub(super) since: Instant,
    /// When the peer's OPEN was answered: from when the answer arrives, the peer has a session.
    pub(super) answered: Option<Instant>,
    /// What the OPEN that was sent on it says of this end.
    pub(super) ours: Arc<Capabilities>,
    /// When the peer has been silent for too long.
    pub(super) hold: Option<Instant>,
    /// When the next KEEPALIVE is due.
    pub(super) keepalive: Option<Instant>,
    framer: Framer,
}

impl Link {
    /// A connection on which an OPEN has just been sent.
    pub(super) fn new(
        connection: Connection,
        direction: Direction,
        ours: Arc<Capabilities>,
        now: Instant,
    ) -> Self {
        let max = if ours.extended_message {
            wire::MAX_EXTENDED
        } else {
            wire::MAX
        };
        Self {
            connection,
            direction,
            stage: Stage::OpenSent,
            since: now,
            answered: None,
            ours,
            hold: Some(now + HANDSHAKE),
            keepalive: None,
            framer: Framer::new(max),
        }
    }

    pub(super) fn negotiated(&self) -> Option<&Arc<Negotiated>> {
        match &self.stage {
            Stage::OpenSent => None,
            Stage::OpenConfirm(negotiated) | Stage::Established { negotiated, .. } => {
                Some(negotiated)
            }
        }
    }

    pub(super) fn established(&self) -> Option<&Arc<Negotiated>> {
        self.negotiated()
            .filter(|_| matches!(self.stage, Stage::Established { .. }))
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.framer.push(bytes);
    }

    /// The next whole message; an error is what the connection must end with.
    pub(super) fn pop(&mut self) -> Result<Option<Message>, Notification> {
        let Some(frame) = self.framer.pop()? else {
            return Ok(None);
        };
        let message = match (frame.kind, &self.stage) {
            (Kind::Notification, _) => Message::Notification(Notification::decode(frame.body)),
            (Kind::Open, Stage::OpenSent) => Message::Open(Open::decode(frame.body)?),
            (_, Stage::OpenSent) => {
                return Err(unexpected(error::UNEXPECTED_IN_OPEN_SENT, frame.kind));
            }
            (Kind::Keepalive, _) => Message::Keepalive,
            (_, Stage::OpenConfirm(_)) => {
                return Err(unexpected(error::UNEXPECTED_IN_OPEN_CONFIRM, frame.kind));
            }
            (Kind::Open, _) => {
                return Err(unexpected(error::UNEXPECTED_IN_ESTABLISHED, frame.kind));
            }
            (Kind::Update, Stage::Established { negotiated, .. }) => {
                Message::Update(wire::decode(frame.body, &negotiated.receive)?)
            }
            (Kind::RouteRefresh, _) => Message::RouteRefresh(RouteRefresh::decode(frame.body)?),
        };
        Ok(Some(message))
    }

    /// The peer has said something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.hold = match (
            &self.stage,
            self.negotiated().map(|negotiated| negotiated.hold_time),
        ) {
            (Stage::OpenSent, _) => self.hold,
            (Stage::Established { .. }, Some(Duration::ZERO)) => None,
            (_, Some(Duration::ZERO) | None) => Some(now + HANDSHAKE),
            (_, Some(hold_time)) => Some(now + hold_time),
        };
    }
}

/// Which message was unexpected is in the data (RFC 6608, section 4).
fn unexpected(error: error::Error, kind: Kind) -> Notification {
    Notification::with_data(error, &[kind as u8])
}
