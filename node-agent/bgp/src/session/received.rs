//! What comes of each message of the peer.

use std::sync::Arc;
use std::time::Instant;

use super::collision::{Outcome, decide, survivor};
use super::ending::Ending;
use super::link::{Message, Stage};
use super::negotiate::negotiate;
use super::{Connection, Event, Phase, Session, understood};
use crate::wire::{Open, RouteRefresh};

impl Session {
    /// A message that may come in the state of its connection.
    pub(super) fn message(&mut self, connection: Connection, message: Message, now: Instant) {
        match message {
            Message::Open(open) => self.opened(connection, &open, now),
            Message::Keepalive => self.confirmed(connection, now),
            Message::Notification(notification) => {
                self.end(connection, Ending::Received(notification), now)
            }
            Message::Update(decoded) => {
                if let Some(defect) = decoded.defect {
                    self.event(Event::Defect(defect));
                }
                decoded
                    .updates
                    .into_iter()
                    .for_each(|update| self.event(Event::Update(update)));
                if let Some(family) = decoded.end_of_rib {
                    self.event(Event::EndOfRib(family));
                }
            }
            Message::RouteRefresh(refresh) => {
                let understood = |refresh: &RouteRefresh| {
                    self.negotiated()
                        .is_some_and(|negotiated| understood(negotiated, *refresh))
                };
                if let Some(refresh) = refresh.filter(understood) {
                    self.event(Event::RouteRefresh(refresh));
                }
            }
        }
    }

    /// The peer's OPEN has come.
    fn opened(&mut self, connection: Connection, open: &Open, now: Instant) {
        let Some(link) = self.links.iter().find(|link| link.connection == connection) else {
            return;
        };
        let negotiated = match negotiate(&self.config, &link.ours, open) {
            Ok(negotiated) => Arc::new(negotiated),
            Err(refusal) => {
                return self.end(
                    connection,
                    Ending::Sent(refusal.notification, refusal.why),
                    now,
                );
            }
        };
        if let Some(other) = self
            .links
            .iter()
            .find(|other| other.connection != connection)
        {
            let local = (self.config.id, self.config.local_as);
            let survivor = survivor(local, (negotiated.peer_id, negotiated.peer_as));
            match decide(other, link, survivor, now) {
                Outcome::Both => {}
                Outcome::OnlyOld => return self.end(connection, Ending::Collision, now),
                Outcome::OnlyNew => {
                    let restarted = other.established().is_some();
                    let ending = if restarted {
                        Ending::Replaced
                    } else {
                        Ending::Collision
                    };
                    self.end(other.connection, ending, now);
                }
            }
        }
        if let Phase::Connect(_) = self.phase {
            self.phase = Phase::Active(None);
        }
        if let Some(link) = self.link(connection) {
            link.stage = Stage::OpenConfirm(negotiated);
            link.answered = Some(now);
            link.heard(now);
        }
        self.keepalive(connection, now);
    }

    /// A KEEPALIVE has come; the first one says that the peer accepts our OPEN.
    fn confirmed(&mut self, connection: Connection, now: Instant) {
        let Some(link) = self.link(connection) else {
            return;
        };
        if let Stage::OpenConfirm(negotiated) = &link.stage {
            let negotiated = negotiated.clone();
            link.stage = Stage::Established {
                negotiated: negotiated.clone(),
                since: now,
            };
            link.heard(now);
            self.connect_delays.reset();
            self.event(Event::Established(negotiated));
        }
    }
}
