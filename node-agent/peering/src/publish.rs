//! From the speaker to the [`View`] that others have of it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::Instant;
use weft_bgp::rib::{self, PeerId};
use weft_bgp::route::Family;
use weft_bgp::session::{Negotiated, State};
use weft_bgp::speaker::{PeerStatus, Speaker};
use weft_bgp::wire::PerFamily;

use crate::driver::Peers;
use crate::plan::{PeerPlan, Plan};
use crate::view::{Facts, NextHop, Prefixes, Route, Status, View};

/// The time between two views, at the least. Longer if making one takes long: that is a tenth of the time at the most.
const PACE: Duration = Duration::from_millis(20);

/// For how long a view waits at the most while more and more comes.
const FLOOD: Duration = Duration::from_millis(200);
/// More prefixes than these, waiting for a view, are a flood: it waits until none has come for [`QUIET`].
const MANY: usize = 1000;
const QUIET: Duration = Duration::from_millis(5);

/// From this part of all routes on it is quicker to merge others into them than to look for the place of each.
const MERGED: usize = 16;

/// Makes views, not too many of them.
pub(crate) struct Publisher {
    view: watch::Sender<Arc<View>>,
    /// Prefixes that are not in the last view as they are, some of them more than once.
    selected: Vec<IpNet>,
    names: HashMap<PeerId, Arc<str>>,
    changed: bool,
    /// When the next view can be made.
    next: Instant,
    /// When it has to be made, whatever else waits.
    latest: Option<Instant>,
    /// When the last prefixes came.
    last: Instant,
}

impl Publisher {
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<View>>) {
        let (view, receiver) = watch::channel(Arc::default());
        let now = Instant::now();
        let publisher = Self {
            view,
            selected: Vec::new(),
            names: HashMap::new(),
            changed: false,
            next: now,
            latest: None,
            last: now,
        };
        (publisher, receiver)
    }

    /// Other paths are selected for these.
    pub(crate) fn selected(&mut self, prefixes: Vec<IpNet>) {
        self.selected.extend(prefixes);
        self.last = Instant::now();
    }

    /// Something may be otherwise than in the last view.
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// There is another speaker, or none.
    pub(crate) fn forget(&mut self) {
        self.selected.clear();
        self.names.clear();
        self.changed = true;
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            view.complete = false;
            view.routes = Arc::default();
        });
    }

    /// When [`Self::publish`] is to be called next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.changed.then_some(self.next)
    }

    /// Publishes how things are, if anything is otherwise and it is time. While `more` waits to be taken in, or prefixes
    /// come by the thousand, that time has not come yet, within reason.
    pub(crate) fn publish(
        &mut self,
        running: Option<(&Speaker, &Plan, &Peers)>,
        problems: Vec<String>,
        more: bool,
    ) {
        let begun = Instant::now();
        if !self.changed || begun < self.next {
            return;
        }
        let latest = *self.latest.get_or_insert(begun + FLOOD);
        if more && begun < latest {
            return;
        }
        let quiet = self.last + QUIET;
        if self.selected.len() > MANY && begun < quiet.min(latest) {
            self.next = quiet.min(latest);
            return;
        }
        self.latest = None;
        let old = self.view.borrow().clone();
        let mut view = View {
            complete: running.is_some_and(|(speaker, ..)| speaker.is_complete()),
            routes: old.routes.clone(),
            peers: BTreeMap::new(),
            problems,
        };
        if let Some((speaker, plan, peers)) = running {
            self.update_routes(&mut view, speaker, plan, peers);
            let statuses = peers.iter().filter_map(|(address, id)| {
                let status = speaker.status(id)?;
                let peer = plan.peers.get(&address)?;
                let name = self.name(id, peer);
                let old = old.peers.get(&address);
                Some((address, judge(speaker, id, name, peer, status, old)))
            });
            view.peers = statuses.collect();
        }
        self.changed = false;
        if *old != view {
            self.view.send_replace(Arc::new(view));
        }
        let end = Instant::now();
        self.next = end + PACE.max(10 * end.duration_since(begun));
    }

    fn update_routes(&mut self, view: &mut View, speaker: &Speaker, plan: &Plan, peers: &Peers) {
        let mut selected = std::mem::take(&mut self.selected);
        if selected.is_empty() {
            return;
        }
        selected.sort_unstable();
        selected.dedup();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        // Many prefixes have the same next hops, those beside each other above all.
        let mut known: HashMap<Vec<(PeerId, IpAddr)>, Route> = HashMap::new();
        let mut last: Option<(Vec<(PeerId, IpAddr)>, Route)> = None;
        for prefix in selected {
            let paths = speaker.selected(&prefix);
            if let Some((same, route)) = &last
                && next_hops(paths).eq(same.iter().copied())
            {
                added.push((prefix, route.clone()));
                continue;
            }
            let next_hops: Vec<(PeerId, IpAddr)> = next_hops(paths).collect();
            if next_hops.is_empty() {
                removed.push(prefix);
                continue;
            }
            let route = match known.get(&next_hops) {
                Some(route) => route.clone(),
                None => {
                    let route = self.route(&next_hops, plan, peers);
                    known.insert(next_hops.clone(), route.clone());
                    route
                }
            };
            added.push((prefix, route.clone()));
            last = Some((next_hops, route));
        }
        let routes = Arc::make_mut(&mut view.routes);
        for prefix in removed {
            routes.remove(&prefix);
        }
        if added.len() > routes.len() / MERGED {
            routes.append(&mut added.into_iter().collect());
        } else {
            routes.extend(added);
        }
    }

    fn route(&mut self, next_hops: &[(PeerId, IpAddr)], plan: &Plan, peers: &Peers) -> Route {
        let next_hops = next_hops.iter().map(|(from, address)| {
            let peer = peers.address(*from);
            let peer = peer.and_then(|address| plan.peers.get(&address));
            NextHop {
                address: *address,
                from: peer.map_or_else(|| "".into(), |peer| self.name(*from, peer)),
            }
        });
        Route {
            next_hops: next_hops.collect(),
        }
    }

    fn name(&mut self, id: PeerId, peer: &PeerPlan) -> Arc<str> {
        let name = self.names.entry(id).or_insert_with(|| (*peer.name).into());
        if **name != *peer.name {
            *name = (*peer.name).into();
        }
        name.clone()
    }
}

/// What was learned from others. What is originated here has none: nobody is to be sent packets for it.
fn next_hops(paths: &[rib::Path]) -> impl Iterator<Item = (PeerId, IpAddr)> {
    let learned = paths.iter().filter(|path| path.from() != PeerId::LOCAL);
    learned.filter_map(|path| Some((path.from(), path.accepted()?.next_hop)))
}

/// How many prefixes that are refused are named.
const EXAMPLES: usize = 16;

fn judge(
    speaker: &Speaker,
    id: PeerId,
    name: Arc<str>,
    peer: &PeerPlan,
    status: PeerStatus,
    old: Option<&Status>,
) -> Status {
    let up = |state| state == State::Established;
    let same = old.filter(|old| up(old.state) == up(status.state));
    let prefixes = |family, (received, advertised)| Prefixes {
        received,
        refused: speaker.table().refused(id, family),
        stale: speaker.table().count(id, family).1,
        advertised,
    };
    let [ipv4, ipv6] = [
        prefixes(Family::Ipv4, status.prefixes.ipv4),
        prefixes(Family::Ipv6, status.prefixes.ipv6),
    ];
    let many = ipv4.refused + ipv6.refused;
    let known = old.filter(|old| old.ipv4.refused + old.ipv6.refused == many);
    Status {
        name,
        asn: peer.config.asn,
        state: status.state,
        since: same.map_or_else(SystemTime::now, |old| old.since),
        ipv4,
        ipv6,
        refused: match known {
            Some(old) => old.refused.clone(),
            None => refused(speaker, id, many),
        },
        last_error: status.last_error,
        session: status.negotiated.as_deref().map(facts),
    }
}

/// Some of so many. Looked for only when their number has changed.
fn refused(speaker: &Speaker, id: PeerId, many: usize) -> Vec<IpNet> {
    let received = speaker.table().received(id);
    let refused = received.filter(|(_, path)| path.accepted().is_none());
    let mut some: Vec<IpNet> = refused
        .map(|(prefix, _)| *prefix)
        .take(many.min(EXAMPLES))
        .collect();
    some.sort();
    some
}

fn facts(negotiated: &Negotiated) -> Facts {
    let paths = |families: PerFamily<bool>| families.ipv4 || families.ipv6;
    let long_lived = [negotiated.long_lived.ipv4, negotiated.long_lived.ipv6];
    Facts {
        router_id: negotiated.peer_id,
        hold_time: negotiated.hold_time.as_secs(),
        ipv4: negotiated.families.ipv4,
        ipv6: negotiated.families.ipv6,
        ipv6_next_hops: negotiated.transmit.extended_next_hop,
        restart_time: negotiated
            .graceful_restart
            .filter(|restart| restart.families != PerFamily::default())
            .map(|restart| restart.restart_time),
        long_lived_time: long_lived
            .into_iter()
            .flatten()
            .map(|long| long.stale_time)
            .max(),
        receives_paths: paths(negotiated.receive.add_path),
        sends_paths: paths(negotiated.transmit.add_path),
    }
}
