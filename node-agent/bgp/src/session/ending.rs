//! How a connection ends, and what comes next.

use std::time::Instant;

use super::link::Stage;
use super::{Connection, Event, HURRY, Negotiated, Output, Phase, Session};
use crate::wire::{Capabilities, Cease, Notification, error};

/// Why a connection ends.
pub(super) enum Ending {
    /// This end has found a reason, which the peer is told.
    Sent(Notification, String),
    /// The peer has told its reason.
    Received(Notification),
    /// The transport failed, or the peer closed it without a word.
    Lost(String),
    /// The other of two connections stays.
    Collision,
    /// The peer has restarted, and has opened a new connection.
    Replaced,
}

impl Ending {
    /// What the peer is told.
    pub(super) fn notification(&self) -> Option<Notification> {
        match self {
            Self::Sent(notification, _) => Some(notification.clone()),
            Self::Collision => Some(Notification::new(error::COLLISION)),
            Self::Received(_) | Self::Lost(_) | Self::Replaced => None,
        }
    }

    /// May routes outlive the session that was agreed on so?
    pub(super) fn is_graceful(&self, negotiated: &Negotiated, ours: &Capabilities) -> bool {
        negotiated.graceful_restart.is_some()
            && match self {
                Self::Sent(notification, _) | Self::Received(notification) => {
                    !notification.is_hard() && negotiated.outlives_notification(ours)
                }
                Self::Lost(_) | Self::Replaced => true,
                Self::Collision => false,
            }
    }

    /// Is it what happens between two speakers that are as they should be? One that rests or has another connection
    /// closes at once, and its other connection may not have been seen here yet.
    fn is_harmless(&self, stage: &Stage) -> bool {
        match (self, stage) {
            (Self::Lost(_), Stage::OpenSent) => true,
            (Self::Received(notification), Stage::OpenSent | Stage::OpenConfirm(_)) => {
                notification.error() == error::COLLISION
            }
            _ => false,
        }
    }

    /// For an admin of the speaker with AS `local_as`.
    pub(super) fn words(&self, local_as: u32) -> String {
        match self {
            Self::Sent(_, why) | Self::Lost(why) => why.clone(),
            Self::Received(notification) if notification.error() == error::BAD_PEER_AS => {
                format!("the peer refuses AS {local_as}: it expects another AS here")
            }
            Self::Received(notification) => format!("ended by the peer: {notification}"),
            Self::Collision => "another connection to the peer stays".to_owned(),
            Self::Replaced => "the peer has restarted and opened a new connection".to_owned(),
        }
    }
}

impl Session {
    /// Ends a connection, and, if it was the last, decides what comes next.
    pub(super) fn end(&mut self, connection: Connection, ending: Ending, now: Instant) {
        let Some(at) = self
            .links
            .iter()
            .position(|link| link.connection == connection)
        else {
            return;
        };
        let link = self.links.remove(at);
        if let Some(notification) = ending.notification() {
            self.write(connection, |out| notification.encode(out));
        }
        if !matches!(ending, Ending::Lost(_)) {
            self.outputs.push_back(Output::Close(connection));
        }
        let mut harmless = ending.is_harmless(&link.stage);
        if let Stage::Established { negotiated, since } = &link.stage {
            if let Ending::Lost(_) | Ending::Replaced = ending {
                harmless = true;
                self.hurry = Some(now + HURRY);
                self.connect_delays.reset();
            }
            if now.saturating_duration_since(*since) >= self.config.idle_hold.max {
                self.idle_delays.reset();
            }
            let graceful = ending.is_graceful(negotiated, &link.ours);
            self.event(Event::Down {
                why: ending.words(self.config.local_as),
                graceful,
            });
        } else if self.links.is_empty() {
            self.event(Event::Failed(ending.words(self.config.local_as)));
        }
        if self.links.is_empty() {
            self.rest(harmless, now);
        }
    }

    /// There is no connection any more: tries again after a while, and rests first if something was wrong.
    fn rest(&mut self, nothing_wrong: bool, now: Instant) {
        self.phase = match self.phase {
            Phase::Connect(until) if nothing_wrong => Phase::Connect(until),
            _ if nothing_wrong && self.config.passive => Phase::Active(None),
            _ if nothing_wrong => Phase::Active(Some(now + self.delay(now))),
            _ => Phase::Idle(Some(now + self.idle_delays.next(&mut self.jitter))),
        };
    }

    /// The NOTIFICATION for a stop on one connection: hard where the session could outlive it otherwise.
    pub(super) fn cease(&self, connection: Connection, cease: Cease, text: &str) -> Notification {
        let notification = cease.notification(text);
        let link = self.links.iter().find(|link| link.connection == connection);
        let outlives = link.is_some_and(|link| {
            link.negotiated()
                .is_some_and(|negotiated| negotiated.outlives_notification(&link.ours))
        });
        if outlives && cease.is_hard() {
            notification.into_hard()
        } else {
            notification
        }
    }
}
