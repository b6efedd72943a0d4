//! What follows from what happens in the sessions of a speaker.

use std::time::Instant;

use super::peer::{Restarts, Slot};
use super::retention::Act;
use super::{Output, Speaker};
use crate::rib::{self, PeerId};
use crate::route::Family;
use crate::session::{Event, Output as SessionOutput, Session};
use crate::wire::{GracefulRestart, LongLived, PerFamily, Refresh, RouteRefresh};

impl Speaker {
    /// Does something with a session, and then what follows from it.
    pub(super) fn with(&mut self, id: PeerId, now: Instant, input: impl FnOnce(&mut Session)) {
        if let Some(slot) = self.peers.get_mut(&id) {
            input(&mut slot.session);
            self.drain(id, now);
        }
    }

    /// Takes what a session has to say.
    pub(super) fn drain(&mut self, id: PeerId, now: Instant) {
        while let Some(output) = self.peers.get_mut(&id).and_then(|slot| slot.session.poll()) {
            let output = match output {
                SessionOutput::Event(event) => {
                    self.event(id, event, now);
                    continue;
                }
                SessionOutput::Connect => Output::Connect(id),
                SessionOutput::Write(connection, bytes) => Output::Write(id, connection, bytes),
                SessionOutput::Close(connection) => Output::Close(id, connection),
            };
            self.outputs.push_back(output);
        }
    }

    fn event(&mut self, id: PeerId, event: Event, now: Instant) {
        let Some(slot) = self.peers.get_mut(&id) else {
            return;
        };
        match event {
            Event::Established(negotiated) => {
                slot.established(negotiated, now);
                let peer = slot.rib_peer(&self.settings);
                self.table.set_peer(id, peer);
                for family in Family::ALL {
                    let Some(slot) = self.peers.get_mut(&id) else {
                        return;
                    };
                    let agreed = slot.agreed(family);
                    let keep = slot.config.keep;
                    let act = slot.retention.get_mut(family).up(keep, agreed, now);
                    self.act(id, family, act);
                }
                self.note(id, "established".to_owned());
                self.tell(id, now);
            }
            Event::Down { why, graceful } => {
                for family in Family::ALL {
                    let Some(slot) = self.peers.get_mut(&id) else {
                        return;
                    };
                    let act = slot.down(family, graceful, now);
                    self.act(id, family, act);
                    self.exports.leave(id, family);
                }
                if let Some(slot) = self.peers.get_mut(&id) {
                    let why = slot.ended(why);
                    self.note(id, why);
                }
            }
            Event::Failed(why) => {
                if slot.failed(&why) {
                    self.note(id, why);
                }
            }
            Event::Update(update) => {
                self.unsettled = true;
                match self.table.update(id, &update) {
                    Some(event) => self.limit(id, event),
                    None => self.room(id, now),
                }
            }
            Event::EndOfRib(family) => {
                slot.end_of_rib(family);
                let act = slot.retention.get_mut(family).confirmed();
                self.act(id, family, act);
                self.maybe_started(now);
            }
            Event::RouteRefresh(RouteRefresh { family, refresh }) => {
                self.refresh(id, family, refresh, now)
            }
            Event::Defect(defect) => self.note(id, format!("a defective UPDATE: {}", defect.what)),
        }
    }

    fn refresh(&mut self, id: PeerId, family: Family, refresh: Refresh, now: Instant) {
        let Some(slot) = self.peers.get_mut(&id) else {
            return;
        };
        match refresh {
            Refresh::Begin => {
                let act = slot.retention.get_mut(family).refreshing(now);
                self.act(id, family, Some(act));
            }
            Refresh::End => {
                let act = slot.retention.get_mut(family).confirmed();
                self.act(id, family, act);
            }
            Refresh::Request => {
                let updates = self.exports.refresh(id, family);
                let says = |refresh| RouteRefresh { family, refresh };
                slot.session.send_refresh(says(Refresh::Begin), now);
                slot.send(updates, now);
                slot.session.send_refresh(says(Refresh::End), now);
            }
        }
    }

    /// What a BGP peer announces beyond the limit is not taken. The session goes on, and with it all else that it says.
    fn limit(&mut self, id: PeerId, event: rib::LimitEvent) {
        match event {
            rib::LimitEvent::Warning { family, routes } => {
                self.note(
                    id,
                    format!("{routes} {family} prefixes: near the most that it may announce"),
                );
            }
            rib::LimitEvent::Exceeded { family, max } => {
                let why = format!(
                    "more than {max} {family} prefixes, those beyond are not taken: announce fewer, or raise the limit"
                );
                let slot = self.peers.get_mut(&id);
                if slot.is_some_and(|slot| slot.overflow(family, &why)) {
                    self.note(id, why);
                }
            }
        }
    }

    /// Asks for what was not taken, once there is room.
    fn room(&mut self, id: PeerId, now: Instant) {
        for family in Family::ALL {
            let routes = self.table.count(id, family).0;
            if let Some(slot) = self.peers.get_mut(&id)
                && slot.has_room_again(family, routes)
            {
                let refresh = Refresh::Request;
                slot.session
                    .send_refresh(RouteRefresh { family, refresh }, now);
                self.note(
                    id,
                    format!("{routes} {family} prefixes: all are asked for again"),
                );
            }
        }
    }

    pub(super) fn act(&mut self, id: PeerId, family: Family, act: Option<Act>) {
        let Some(act) = act else { return };
        match act {
            Act::Flush => self.table.flush(id, family),
            Act::Restarting => self.table.restarting(id, family),
            Act::Linger => self.table.linger(id, family),
            Act::Refreshing => self.table.refreshing(id, family),
            Act::Sweep => self.table.sweep(id, family),
        }
        self.unsettled = true;
    }

    /// Tells a BGP peer what it may know, or what of that is new to it.
    pub(super) fn tell(&mut self, id: PeerId, now: Instant) {
        for family in Family::ALL {
            let Some(slot) = self.peers.get_mut(&id) else {
                return;
            };
            let Some(export) = slot.export(family) else {
                continue;
            };
            let updates = self.exports.join(&self.table, id, export);
            slot.send(updates, now);
            // After a restart it is told that this is all only once it is (RFC 4724, section 4.1).
            if self.start.is_none() && slot.owes_end_of_rib(family) {
                slot.session.send_end_of_rib(family, now);
            }
        }
    }

    /// Ends the time after a restart if all BGP peers that will have said all they know.
    fn maybe_started(&mut self, now: Instant) {
        if self.start.is_some() && self.peers.values().all(Slot::has_said_all) {
            self.started(now);
        }
    }

    pub(super) fn started(&mut self, now: Instant) {
        self.unsettled = true;
        self.settle(now);
        let Some(start) = self.start.take() else {
            return;
        };
        if !start.held_back.is_empty() {
            self.outputs
                .push_back(Output::Selected(start.held_back.into_iter().collect()));
        }
        let restarts = self.restarts();
        for slot in self.peers.values_mut() {
            slot.session
                .set_capabilities(slot.config.capabilities(&self.settings, restarts));
            for family in Family::ALL {
                if slot.owes_end_of_rib(family) {
                    slot.session.send_end_of_rib(family, now);
                }
            }
        }
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.drain(id, now);
        }
    }

    /// What this speaker says of its restarts. Its node forwards while it restarts, whatever it is that restarts.
    pub(super) fn restarts(&self) -> Restarts {
        let families = |value| PerFamily {
            ipv4: value,
            ipv6: value,
        };
        Restarts {
            graceful: (self.settings.restart_time > 0).then_some(GracefulRestart {
                restarting: self.start.is_some(),
                notification: true,
                restart_time: self.settings.restart_time,
                families: families(Some(true)),
            }),
            long_lived: (self.settings.long_lived_time > 0).then_some(LongLived {
                forwarding: true,
                stale_time: self.settings.long_lived_time,
            }),
        }
    }

    pub(super) fn note(&mut self, id: PeerId, text: String) {
        self.outputs.push_back(Output::Note(id, text));
    }
}
