//! A whole speaker: the sessions with its BGP peers, what it believes of what they say, and what they are told.
//!
//! What happens goes in through one method each, with the time; what to do comes out of [`Speaker::poll`]. Routes are
//! not decided on at each message: the caller takes in what there is, then calls [`Speaker::settle`].

mod follow;
mod peer;
mod retention;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

pub use peer::{PeerConfig, PeerStatus};
pub use retention::Keep;

use crate::rib::{self, Emission, Exports, Path, PeerId, Table};
use crate::route::{Attributes, Family};
use crate::session::{Backoff, Bytes, Connection};
use crate::wire::{self, Cease, PerFamily, Transmit};
use peer::Slot;

/// What a speaker is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its AS.
    pub asn: u32,
    /// Its BGP identifier; not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// The cluster whose reflector it is (RFC 4456, section 7).
    pub cluster_id: Ipv4Addr,
    /// How many paths of equal cost share the traffic.
    pub multipath: NonZeroU16,
    /// How long BGP peers are to wait for it when it restarts, in seconds (less than 4096); 0: not at all.
    pub restart_time: u16,
    /// How long they are to keep its routes as the last choice after that, in seconds (less than 2^24); 0: not at all.
    pub long_lived_time: u32,
    /// How long an attempt to connect may take, and how long after it the next one comes.
    pub connect_retry: Backoff,
    /// How long to rest after a session has ended in error.
    pub idle_hold: Backoff,
    /// Any number that the outside can't guess.
    pub seed: u64,
}

/// What the caller has to do.
#[derive(Debug)]
pub enum Output {
    /// Connect to a BGP peer, then say whether that worked. Takes the place of an attempt that is still under way.
    Connect(PeerId),
    /// Send these bytes, in order.
    Write(PeerId, Connection, Bytes),
    /// Close the connection once what was written on it has been sent, and tell no more about it.
    Close(PeerId, Connection),
    /// Other paths are selected for these prefixes; see [`Speaker::selected`].
    Selected(Vec<IpNet>),
    /// Something to be said to people.
    Note(PeerId, String),
}

/// A speaker.
pub struct Speaker {
    settings: Settings,
    table: Table,
    exports: Exports,
    peers: BTreeMap<PeerId, Slot>,
    originated: BTreeSet<IpNet>,
    /// The next hops that can be reached.
    reach: Reach,
    /// Whether anything has happened since the last decision that it may depend on.
    unsettled: bool,
    start: Option<Start>,
    outputs: VecDeque<Output>,
}

/// The next hops that can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The subnets of this node: a next hop on one of them costs nothing unless `costs` says otherwise.
    pub links: Vec<IpNet>,
    /// The IGP cost (RFC 4271, section 9.1.2.2) to next hops, on a subnet or not.
    pub costs: HashMap<IpAddr, u32>,
}

impl Reach {
    /// `None` if it can't be reached.
    fn cost(&self, next_hop: IpAddr) -> Option<u32> {
        let near = || self.links.iter().any(|link| link.contains(&next_hop));
        let known = self.costs.get(&next_hop).copied();
        known.or_else(|| near().then_some(0))
    }
}

/// The time after a restart in which BGP peers are still saying what they know (RFC 4724, section 4.1).
struct Start {
    until: Instant,
    /// Prefixes with a decision that the caller hasn't heard of.
    held_back: BTreeSet<IpNet>,
}

impl Speaker {
    /// A speaker without BGP peers. If it has `restarted`, it says so, and for so long at the most it waits until it
    /// knows all that its BGP peers know before it tells of what it has selected.
    pub fn new(settings: Settings, restarted: Option<Duration>, now: Instant) -> Self {
        let us = rib::Speaker {
            asn: settings.asn,
            router_id: settings.router_id,
            cluster_id: settings.cluster_id,
            multipath: settings.multipath,
        };
        Self {
            table: Table::new(us, settings.seed),
            exports: Exports::new(settings.seed),
            peers: BTreeMap::new(),
            originated: BTreeSet::new(),
            reach: Reach::default(),
            unsettled: false,
            start: restarted.map(|wait| Start {
                until: now + wait,
                held_back: BTreeSet::new(),
            }),
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// The next thing to do, in this order.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Speaker::advance`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let start = self.start.as_ref().map(|start| start.until);
        let peers = self.peers.values().filter_map(Slot::deadline);
        peers.chain(start).min()
    }

    /// Speaks with a BGP peer, or goes on in another way with one that is known. A session ends only if it can't go on
    /// as it is.
    pub fn set_peer(&mut self, id: PeerId, config: PeerConfig, now: Instant) {
        if let Some(slot) = self.peers.get_mut(&id) {
            if slot.config == config {
                return;
            }
            if slot.config.needs_the_same_session(&config) {
                slot.config = config;
                let peer = slot.rib_peer(&self.settings);
                self.table.set_peer(id, peer);
                self.unsettled = true;
                self.tell(id, now);
                self.drain(id, now);
                return;
            }
            slot.session.stop(Cease::ConfigurationChanged, "", now);
            self.drain(id, now);
        }
        let mut slot = Slot::new(&self.settings, id, config, self.restarts());
        if let Some(former) = self.peers.remove(&id) {
            slot.inherit(former);
        }
        self.table.set_peer(id, slot.rib_peer(&self.settings));
        slot.session.start(now);
        self.peers.insert(id, slot);
        self.drain(id, now);
    }

    /// Speaks with a BGP peer no longer, and forgets what it said.
    pub fn remove_peer(&mut self, id: PeerId, now: Instant) {
        let Some(slot) = self.peers.get_mut(&id) else {
            return;
        };
        slot.session.stop(Cease::Deconfigured, "", now);
        self.drain(id, now);
        self.peers.remove(&id);
        self.table.forget_peer(id);
        self.unsettled = true;
    }

    /// Goes on with other settings while the sessions last. Its AS, its identifier, its cluster and its seed stay.
    pub fn reconfigure(&mut self, settings: &Settings) {
        self.settings = Settings {
            asn: self.settings.asn,
            router_id: self.settings.router_id,
            cluster_id: self.settings.cluster_id,
            seed: self.settings.seed,
            ..settings.clone()
        };
        self.unsettled |= self.table.set_multipath(settings.multipath);
        let restarts = self.restarts();
        for slot in self.peers.values_mut() {
            let capabilities = slot.config.capabilities(&self.settings, restarts);
            slot.session.set_capabilities(capabilities);
            slot.session
                .set_pace(settings.connect_retry, settings.idle_hold);
        }
    }

    /// Ends all sessions, for the same reason, until BGP peers are set anew.
    pub fn stop(&mut self, cease: Cease, now: Instant) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.with(id, now, |session| session.stop(cease, "", now));
        }
    }

    /// Says what this speaker is the origin of, instead of what it was until now.
    pub fn originate(&mut self, routes: BTreeMap<IpNet, Attributes>) {
        for gone in self
            .originated
            .iter()
            .filter(|prefix| !routes.contains_key(prefix))
        {
            self.table.retract(*gone);
        }
        self.originated = routes.keys().copied().collect();
        for (prefix, attributes) in routes {
            self.table.originate(prefix, attributes);
        }
        self.unsettled = true;
    }

    /// Says which next hops can be reached, and at what cost; none else can.
    pub fn set_reach(&mut self, reach: Reach) {
        let old = std::mem::replace(&mut self.reach, reach);
        let new = &self.reach;
        self.table
            .next_hops_changed(|next_hop| old.cost(next_hop) != new.cost(next_hop));
        self.unsettled |= old != self.reach;
    }

    /// The connection that [`Output::Connect`] asked for is there.
    pub fn connected(&mut self, id: PeerId, connection: Connection, now: Instant) {
        self.with(id, now, |session| session.connected(connection, now));
    }

    /// The BGP peer has connected.
    pub fn accepted(&mut self, id: PeerId, connection: Connection, now: Instant) {
        self.with(id, now, |session| session.accepted(connection, now));
    }

    /// The connection that [`Output::Connect`] asked for can't be made.
    pub fn connect_failed(&mut self, id: PeerId, why: &str, now: Instant) {
        self.with(id, now, |session| session.connect_failed(why));
    }

    /// A BGP peer has sent this.
    pub fn bytes(&mut self, id: PeerId, connection: Connection, bytes: &[u8], now: Instant) {
        self.with(id, now, |session| session.bytes(connection, bytes, now));
    }

    /// A connection is gone, and this end has not closed it.
    pub fn closed(&mut self, id: PeerId, connection: Connection, why: &str, now: Instant) {
        self.with(id, now, |session| session.closed(connection, why, now));
    }

    /// Time has passed.
    pub fn advance(&mut self, now: Instant) {
        let due = |slot: &Slot| slot.deadline().is_some_and(|deadline| deadline <= now);
        let ids: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, slot)| due(slot))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            for family in Family::ALL {
                let Some(slot) = self.peers.get_mut(&id) else {
                    break;
                };
                let act = slot.retention.get_mut(family).advance(now);
                self.act(id, family, act);
            }
            if let Some(slot) = self.peers.get_mut(&id) {
                slot.advance(now);
            }
            self.drain(id, now);
        }
        if self.start.as_ref().is_some_and(|start| start.until <= now) {
            self.started(now);
        }
    }

    /// Decides on all routes that may have changed, and tells everybody who has to know.
    pub fn settle(&mut self, now: Instant) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        let (reach, peers) = (&self.reach, &self.peers);
        // Prefixes beside each other mostly have the same next hop.
        let mut last = None;
        let changes = self.table.decide(|from, next_hop| {
            if let Some((same, cost)) = last
                && same == (from, next_hop)
            {
                return cost;
            }
            // What would come back here leads nowhere.
            let own = peers
                .get(&from)
                .is_some_and(|slot| slot.config.is_own(next_hop));
            let cost = reach.cost(next_hop).filter(|_| !own);
            last = Some(((from, next_hop), cost));
            cost
        });
        for emission in self.exports.apply(&self.table, &changes) {
            self.emit(&emission, now);
        }
        let selected = changes
            .iter()
            .filter(|change| change.best)
            .map(|change| change.prefix);
        match &mut self.start {
            Some(start) => start.held_back.extend(selected),
            None => {
                let selected: Vec<IpNet> = selected.collect();
                if !selected.is_empty() {
                    self.outputs.push_back(Output::Selected(selected));
                }
            }
        }
    }

    /// Tells all whom it concerns. What is the same for many of them is encoded once.
    fn emit(&mut self, Emission { update, to }: &Emission, now: Instant) {
        let mut encoded: Vec<(Transmit, Bytes)> = Vec::new();
        for id in to.iter() {
            let Some(slot) = self.peers.get_mut(&id) else {
                continue;
            };
            let Some(transmit) = slot.session.negotiated().map(|agreed| agreed.transmit) else {
                continue;
            };
            if slot.is_next_hop_of(update) {
                slot.send(vec![update.clone()], now);
            } else {
                let known = encoded.iter().find(|(of, _)| *of == transmit);
                let bytes = known.map(|(_, bytes)| bytes.clone()).unwrap_or_else(|| {
                    let mut bytes = Vec::new();
                    wire::encode(std::slice::from_ref(update), &transmit, &mut bytes);
                    let bytes = Arc::new(bytes);
                    encoded.push((transmit, bytes.clone()));
                    bytes
                });
                if !bytes.is_empty() {
                    slot.session.send_encoded(bytes, now);
                }
            }
            self.drain(id, now);
        }
    }

    /// The selected paths to a prefix, the best one first, as of the last decision.
    pub fn selected(&self, prefix: &IpNet) -> &[Path] {
        self.table.best(prefix)
    }

    /// Whether it doesn't wait, after a restart, for what its BGP peers know.
    pub fn is_complete(&self) -> bool {
        self.start.is_none()
    }

    /// All that was heard and decided.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// All that was told.
    pub fn exports(&self) -> &Exports {
        &self.exports
    }

    /// How things are with a BGP peer.
    pub fn status(&self, id: PeerId) -> Option<PeerStatus> {
        let slot = self.peers.get(&id)?;
        let count = |family| {
            (
                self.table.count(id, family).0,
                self.exports.count(id, family),
            )
        };
        Some(slot.status(PerFamily {
            ipv4: count(Family::Ipv4),
            ipv6: count(Family::Ipv6),
        }))
    }
}
