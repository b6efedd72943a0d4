//! One BGP peer: how to speak with it, and how that goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Settings;
use super::retention::{Act, Agreed, Keep, Retention};
use crate::policy::Policy;
use crate::rib::{self, Export, Kind, Limit, NextHop, PeerId};
use crate::route::{Family, Update};
use crate::session::{Config, Negotiated, Session, State};
use crate::wire::{AddPath, Capabilities, GracefulRestart, LongLived, PerFamily};

/// How to speak with a BGP peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// Whether routes are reflected to and from it (RFC 4456), if it is of the same AS.
    pub client: bool,
    /// Waits for it to connect.
    pub passive: bool,
    /// The hold time that is offered, in seconds: 0 for none, or at least 3.
    pub hold_time: u16,
    /// The address that it is told as next hop, for each family that is spoken with it.
    pub own_address: PerFamily<Option<IpAddr>>,
    /// The link-local address beside that of IPv6, if it is on the same link (RFC 2545).
    pub own_link_local: Option<Ipv6Addr>,
    /// Which next hop it is told.
    pub next_hop: NextHop,
    /// What is believed of what it says. Without one: all over iBGP, nothing over eBGP (RFC 8212).
    pub import: Option<Arc<Policy>>,
    /// What it is told. Without one: all over iBGP, over eBGP only what is originated here.
    pub export: Option<Arc<Policy>>,
    /// How many times this AS may be in the path of what it announces (RFC 4271, section 9.1.2, says: not once). More
    /// than that is a loop.
    pub own_as_allowed: u8,
    /// How many prefixes of each family it may announce.
    pub limit: PerFamily<Option<Limit>>,
    /// How many paths to a prefix it is told, if it wants more than the best (RFC 7911).
    pub add_path: Option<NonZeroU16>,
    /// How long its routes outlive the session.
    pub keep: Keep,
}

impl PeerConfig {
    /// Whether an address is this speaker's, towards this BGP peer.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        let own = [self.own_address.ipv4, self.own_address.ipv6];
        own.contains(&Some(address))
    }

    /// Whether a session goes on as it is when the configuration becomes the other.
    pub(super) fn needs_the_same_session(&self, other: &Self) -> bool {
        let session = |config: &Self| {
            (
                config.address,
                config.asn,
                config.client,
                config.passive,
                config.hold_time,
                config.own_address,
                config.add_path,
            )
        };
        session(self) == session(other)
    }

    /// What an OPEN to it says of this end.
    pub(super) fn capabilities(&self, settings: &Settings, restarts: Restarts) -> Capabilities {
        let families = self.families();
        let spoken = |family: bool| family.then_some(());
        let of = |family| spoken(*families.get(family));
        let each = |family| AddPath {
            send: self.add_path.is_some() && *families.get(family),
            receive: true,
        };
        Capabilities {
            families: Some(families),
            as4: Some(settings.asn),
            route_refresh: true,
            enhanced_route_refresh: true,
            extended_message: true,
            extended_next_hop: families.ipv4 && families.ipv6,
            add_path: PerFamily {
                ipv4: each(Family::Ipv4),
                ipv6: each(Family::Ipv6),
            },
            graceful_restart: restarts.graceful.map(|graceful| GracefulRestart {
                families: PerFamily {
                    ipv4: of(Family::Ipv4).and(graceful.families.ipv4),
                    ipv6: of(Family::Ipv6).and(graceful.families.ipv6),
                },
                ..graceful
            }),
            long_lived: PerFamily {
                ipv4: of(Family::Ipv4).and(restarts.long_lived),
                ipv6: of(Family::Ipv6).and(restarts.long_lived),
            },
        }
    }

    fn families(&self) -> PerFamily<bool> {
        PerFamily {
            ipv4: self.own_address.ipv4.is_some(),
            ipv6: self.own_address.ipv6.is_some(),
        }
    }

    fn kind(&self, asn: u32) -> Kind {
        if self.asn == asn {
            Kind::Internal {
                client: self.client,
            }
        } else {
            Kind::External
        }
    }
}

/// What this speaker says of its own restarts, for any family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restarts {
    pub graceful: Option<GracefulRestart>,
    pub long_lived: Option<LongLived>,
}

/// How things are with a BGP peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// How far the session is.
    pub state: State,
    /// Since when it is established.
    pub since: Option<Instant>,
    /// What was agreed on, while it is established.
    pub negotiated: Option<Arc<Negotiated>>,
    /// Why there is no session, or what is wrong with the one that there is.
    pub last_error: Option<String>,
    /// For each family, how many prefixes it has announced and how many it was told.
    pub prefixes: PerFamily<(usize, usize)>,
}

/// A BGP peer.
pub(super) struct Slot {
    pub config: PeerConfig,
    pub session: Session,
    pub retention: PerFamily<Retention>,
    asn: u32,
    /// Its identifier in the session that there is, or in the last: routes of that are still here.
    router_id: Ipv4Addr,
    /// What was agreed on for the session that there is.
    negotiated: Option<Arc<Negotiated>>,
    since: Option<Instant>,
    last_error: Option<String>,
    /// It has announced too much, and why that is so; the session is about to end, or has ended.
    overflow: PerFamily<Option<String>>,
    /// Families whose routes it has said all of since it came back.
    said_all: PerFamily<bool>,
    /// Families that it was told everything of.
    told_all: PerFamily<bool>,
}

impl Slot {
    pub(super) fn new(
        settings: &Settings,
        id: PeerId,
        config: PeerConfig,
        restarts: Restarts,
    ) -> Self {
        let session = Session::new(Config {
            local_as: settings.asn,
            peer_as: config.asn,
            id: settings.router_id,
            hold_time: config.hold_time,
            passive: config.passive,
            check_first_as: true,
            capabilities: config.capabilities(settings, restarts),
            connect_retry: settings.connect_retry,
            idle_hold: settings.idle_hold,
            seed: settings.seed.wrapping_add(id.0.into()),
        });
        Self {
            config,
            session,
            retention: PerFamily::default(),
            asn: settings.asn,
            router_id: Ipv4Addr::UNSPECIFIED,
            negotiated: None,
            since: None,
            last_error: None,
            overflow: PerFamily::default(),
            said_all: PerFamily::default(),
            told_all: PerFamily::default(),
        }
    }

    /// Goes on with the routes that a former session has left.
    pub(super) fn inherit(&mut self, former: Self) {
        self.retention = former.retention;
        self.router_id = former.router_id;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let retention = [&self.retention.ipv4, &self.retention.ipv6];
        let waits = retention.into_iter().filter_map(Retention::deadline);
        waits.chain(self.session.deadline()).min()
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.session.advance(now);
    }

    pub(super) fn rib_peer(&self, settings: &Settings) -> rib::Peer {
        rib::Peer {
            kind: self.config.kind(settings.asn),
            address: self.config.address,
            router_id: self.router_id,
            import: self.config.import.clone(),
            own_as_allowed: self.config.own_as_allowed,
            limit_ipv4: self.config.limit.ipv4,
            limit_ipv6: self.config.limit.ipv6,
        }
    }

    /// What it is told of a family, if it is spoken in the session that there is.
    pub(super) fn export(&self, family: Family) -> Option<Export> {
        let negotiated = self.negotiated.as_ref()?;
        negotiated.families.get(family).then_some(())?;
        Some(Export {
            family,
            to: self.config.kind(self.asn),
            policy: self.config.export.clone(),
            next_hop: self.config.next_hop,
            own_address: (*self.config.own_address.get(family))?,
            own_link_local: self
                .config
                .own_link_local
                .filter(|_| family == Family::Ipv6),
            ipv6_next_hops: negotiated.transmit.extended_next_hop,
            llgr: negotiated.long_lived.get(family).is_some(),
            add_path: self
                .config
                .add_path
                .filter(|_| *negotiated.transmit.add_path.get(family)),
        })
    }

    /// Whether an update would tell it to send packets to itself.
    pub(super) fn is_next_hop_of(&self, update: &Update) -> bool {
        let announced = update.announced.as_ref();
        announced.is_some_and(|(attributes, _)| attributes.next_hop == self.config.address)
    }

    /// Tells it, but for routes whose next hop it is itself (RFC 4271, section 5.1.3): to it, there are none.
    pub(super) fn send(&mut self, mut updates: Vec<Update>, now: Instant) {
        for update in &mut updates {
            if self.is_next_hop_of(update)
                && let Some((_, nlri)) = update.announced.take()
            {
                update.withdrawn.extend(nlri);
            }
        }
        self.session.send(&updates, now);
    }

    /// What it said of its own restarts; `None` if the family isn't spoken.
    pub(super) fn agreed(&self, family: Family) -> Option<Agreed> {
        let negotiated = self.negotiated.as_ref()?;
        negotiated.families.get(family).then_some(())?;
        let graceful = negotiated.graceful_restart.as_ref();
        let forwarding = graceful.and_then(|graceful| *graceful.families.get(family));
        let long_lived = negotiated.long_lived.get(family).as_ref();
        let restart = graceful.filter(|_| forwarding.is_some());
        Some(Agreed {
            restart: restart.map(|graceful| Duration::from_secs(graceful.restart_time.into())),
            long_lived: long_lived.map(|long| Duration::from_secs(long.stale_time.into())),
            forwarding: forwarding == Some(true) || long_lived.is_some_and(|long| long.forwarding),
        })
    }

    pub(super) fn established(&mut self, negotiated: Arc<Negotiated>, now: Instant) {
        self.router_id = negotiated.peer_id;
        self.negotiated = Some(negotiated);
        self.since = Some(now);
        self.said_all = PerFamily::default();
        self.told_all = PerFamily::default();
    }

    /// The session ends in a family.
    pub(super) fn down(&mut self, family: Family, graceful: bool, now: Instant) -> Option<Act> {
        let agreed = self.agreed(family)?;
        Some(
            self.retention
                .get_mut(family)
                .down(self.config.keep, graceful, agreed, now),
        )
    }

    /// The session has ended. Gives the reason.
    pub(super) fn ended(&mut self, why: String) -> String {
        self.overflow = PerFamily::default();
        self.negotiated = None;
        self.since = None;
        self.last_error = Some(why.clone());
        why
    }

    /// There is still no session. True if that is for another reason than before.
    pub(super) fn failed(&mut self, why: &str) -> bool {
        let new = self.last_error.as_deref() != Some(why);
        self.last_error = Some(why.to_owned());
        new
    }

    /// There is no room for all that it announces. True if that is new.
    pub(super) fn overflow(&mut self, family: Family, why: &str) -> bool {
        let before = self.overflow.get_mut(family).replace(why.to_owned());
        before.is_none()
    }

    /// Whether there was no room, and is again for what has not been taken.
    pub(super) fn has_room_again(&mut self, family: Family, routes: usize) -> bool {
        let limit = self.config.limit.get(family);
        let room = limit.is_none_or(|limit| routes <= limit.warn);
        room && self.overflow.get_mut(family).take().is_some()
    }

    pub(super) fn end_of_rib(&mut self, family: Family) {
        *self.said_all.get_mut(family) = true;
    }

    /// Whether nothing more is to be waited for from it after a restart of this speaker.
    pub(super) fn has_said_all(&self) -> bool {
        let Some(negotiated) = &self.negotiated else {
            return false;
        };
        let says_when = negotiated
            .graceful_restart
            .is_some_and(|theirs| !theirs.restarting);
        let said = |family| *self.said_all.get(family) || !negotiated.families.get(family);
        !says_when || Family::ALL.into_iter().all(said)
    }

    /// Whether it has yet to be told that a family is complete; from then on it hasn't.
    pub(super) fn owes_end_of_rib(&mut self, family: Family) -> bool {
        let spoken = self.export(family).is_some();
        spoken && !std::mem::replace(self.told_all.get_mut(family), true)
    }

    /// What is wrong now.
    fn complaint(&self) -> Option<String> {
        if self.since.is_none() {
            return self.last_error.clone();
        }
        let PerFamily { ipv4, ipv6 } = &self.overflow;
        ipv4.as_ref().or(ipv6.as_ref()).cloned()
    }

    pub(super) fn status(&self, prefixes: PerFamily<(usize, usize)>) -> PeerStatus {
        PeerStatus {
            state: self.session.state(),
            since: self.since,
            negotiated: self.negotiated.clone(),
            last_error: self.complaint(),
            prefixes,
        }
    }
}
