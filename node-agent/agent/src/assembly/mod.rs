//! The desired state of the node, kept: when something of one peer changes, what leads to that one is taken out
//! and put in anew, however many there are.
//!
//! It is always what [`network::desired`] makes from nothing. That is what makes it at the start, after a
//! change that concerns all, and wherever one peer's part cannot be told from the others':
//!
//! - in a mode whose paths to a peer follow from more than that peer;
//! - while two peers claim the same, as when an address goes from one node to another;
//! - when the number of a peer's nexthop object depends on other names than its own.

use std::collections::BTreeMap;

use ipnet::IpNet;
use weft_ipam::Attachment;
use weft_kernel::{NEXTHOP_IDS, Part, Route, RouteKey, State};
use weft_peering::View;

use crate::cluster::{Cluster, Config, Peer};
use crate::intake::Changed;
use crate::mode::{self, Here, Paths};
use crate::network::{self, Inputs};
use crate::probe::{Assignment, Sizes};

/// What leads to a peer follows from this and from the peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Ground {
    /// What the admin says.
    pub config: Config,
    /// This node.
    pub here: Here,
    /// MTU of the routes of pods, in bytes.
    pub mtu: u32,
    /// The size at which paths of another mode are to be proven, in bytes.
    pub proof_mtu: u32,
}

/// What the rest follows from too: it is about this node alone.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// Its blocks.
    pub blocks: &'a [IpNet],
    /// Its pods.
    pub attachments: &'a [Attachment],
    /// The kernel itself drops IPv4 packets of pods under strange sources.
    pub sources_checked: bool,
}

/// What changes of the probes.
#[derive(Debug)]
pub enum Probes {
    /// All that is to be.
    All(Assignment),
    /// For each peer what was, and what is to be.
    Of(Vec<[Assignment; 2]>),
}

/// The desired state, and what it follows from.
#[derive(Debug, Default)]
pub struct Assembly {
    ground: Option<Ground>,
    /// In the order of the names.
    peers: Vec<Peer>,
    paths: Paths,
    state: State,
    /// Those of its routes that lead to no peer.
    local: BTreeMap<RouteKey, Route>,
    /// Where `state` differs from what was last carried out. None: it is to be made from nothing.
    changed: Option<Part>,
    /// Each peer's part can be told from the rest.
    separate: bool,
}

impl Assembly {
    /// Takes changes of the cluster over.
    pub fn follow(
        &mut self,
        ground: Ground,
        changed: &Changed,
        cluster: &Cluster,
        view: &View,
    ) -> Probes {
        let same_ground = !changed.all && self.ground.as_ref() == Some(&ground);
        if self.separate && same_ground && self.changed.is_some() {
            let peers = cluster.peers_named(&changed.names);
            if let Some(probes) = self.replace(&ground, &changed.names, &peers) {
                return Probes::Of(probes);
            }
        }
        let former = std::mem::take(&mut self.paths);
        *self = Self {
            peers: cluster.peers(),
            ..Self::default()
        };
        self.paths = mode::paths(&ground.config, &ground.here, &self.peers, view, &former);
        let probes = Assignment::of(&self.peers, &self.paths, sizes(&ground));
        self.ground = Some(ground);
        Probes::All(probes)
    }

    /// The other nodes, in the order of their names.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The paths to them.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The desired state, and where it differs from what was last carried out (None: anywhere). Of what the kernel
    /// has, `observed`, some may be held.
    pub fn complete(&mut self, local: &Local, observed: Option<&State>) -> (&State, Option<&Part>) {
        let Some(ground) = &self.ground else {
            return (&self.state, None);
        };
        let inputs = inputs(ground, local, &self.peers, &self.paths);
        let alone = network::alone(&inputs);
        let exchanged = self.changed.as_mut().is_some_and(|changed| {
            exchange(&mut self.state.routes, &self.local, &alone.routes, changed)
        });
        if exchanged {
            self.state.vxlans = alone.vxlans;
            self.state.addresses = alone.addresses;
            self.state.settings = alone.settings;
            self.state.nft = alone.nft;
        } else {
            self.changed = None;
            self.state = network::desired(&inputs);
            if self.paths.held
                && let Some(observed) = observed
            {
                network::hold(&mut self.state, observed);
            }
        }
        self.local = alone.routes;
        (&self.state, self.changed.as_ref())
    }

    /// What [`Assembly::complete`] gave has been carried out.
    pub fn carried_out(&mut self) {
        if self.changed.replace(Part::default()).is_none() {
            self.separate = self.is_separate();
        }
    }

    /// Whether the parts of the peers and what leads to none make up the whole without a rest.
    fn is_separate(&self) -> bool {
        let Some(ground) = &self.ground else {
            return false;
        };
        if !mode::each_by_itself(&ground.here) || self.paths.held {
            return false;
        }
        let counts = |state: &State| {
            [
                state.neighbours.len(),
                state.fdb.len(),
                state.nexthops.len(),
                state.routes.len(),
            ]
        };
        let mut sum = [0, 0, 0, self.local.len()];
        for peer in &self.peers {
            let (_, part) = part(ground, peer);
            let of_part = counts(&part);
            (0..sum.len()).for_each(|n| sum[n] += of_part[n]);
        }
        sum == counts(&self.state)
    }

    /// Puts `now` in the place of the peers of these names; what changes of the probes. None, and nothing is
    /// changed that will not be made anew, when that cannot be done.
    fn replace(
        &mut self,
        ground: &Ground,
        names: &std::collections::BTreeSet<String>,
        now: &[Peer],
    ) -> Option<Vec<[Assignment; 2]>> {
        let mut probes = Vec::new();
        for name in names {
            let at = self.peers.binary_search_by(|peer| peer.name.cmp(name));
            let before = at.ok().map(|at| self.peers[at].clone());
            let after = now.iter().find(|peer| peer.name == *name);
            if before.as_ref() == after {
                continue;
            }
            let assignment = |peer: Option<&Peer>| {
                let paths = peer.map(|peer| part(ground, peer).0).unwrap_or_default();
                Assignment::of(
                    peer.map(std::slice::from_ref).unwrap_or_default(),
                    &paths,
                    sizes(ground),
                )
            };
            probes.push([assignment(before.as_ref()), assignment(after)]);
            self.exchange_peer(ground, before.as_ref(), after)?;
            match (at, after) {
                (Ok(at), Some(after)) => self.peers[at] = after.clone(),
                (Ok(at), None) => drop(self.peers.remove(at)),
                (Err(at), Some(after)) => self.peers.insert(at, after.clone()),
                (Err(_), None) => {}
            }
        }
        Some(probes)
    }

    fn exchange_peer(
        &mut self,
        ground: &Ground,
        before: Option<&Peer>,
        after: Option<&Peer>,
    ) -> Option<()> {
        let of = |peer: Option<&Peer>| peer.map(|peer| part(ground, peer)).unwrap_or_default();
        let ((old_paths, old), (new_paths, new)) = (of(before), of(after));
        // Devices come and go with those that need them.
        if old_paths.vxlans != new_paths.vxlans
            && !(old_paths.vxlans.is_empty() || new_paths.vxlans.is_empty())
        {
            return None;
        }
        let needed = mode::paths(
            &ground.config,
            &ground.here,
            &[],
            &View::default(),
            &Paths::default(),
        );
        let always = |paths: &Paths| {
            paths
                .vxlans
                .keys()
                .all(|name| needed.vxlans.contains_key(name))
        };
        if (before.is_none() || after.is_none()) && !(always(&old_paths) && always(&new_paths)) {
            return None;
        }
        // Where a number goes, another that was taken for it may have gone on to the next.
        let gone = old
            .nexthops
            .keys()
            .filter(|id| !new.nexthops.contains_key(id));
        let mut behind = gone.map(|id| {
            if id == NEXTHOP_IDS.end() {
                *NEXTHOP_IDS.start()
            } else {
                id + 1
            }
        });
        if behind.any(|id| self.state.nexthops.contains_key(&id)) {
            return None;
        }
        let changed = self.changed.as_mut()?;
        changed.add(&Part::of(&old));
        changed.add(&Part::of(&new));
        let State {
            neighbours,
            fdb,
            nexthops,
            routes,
            ..
        } = &mut self.state;
        let all = swap(neighbours, old.neighbours, new.neighbours)
            && swap(fdb, old.fdb, new.fdb)
            && swap(nexthops, old.nexthops, new.nexthops)
            && swap(routes, old.routes, new.routes);
        let name = before.or(after).map(|peer| peer.name.as_str())?;
        let start = self
            .paths
            .peers
            .partition_point(|paths| &*paths.peer < name);
        let end = self
            .paths
            .peers
            .partition_point(|paths| &*paths.peer <= name);
        self.paths.peers.splice(start..end, new_paths.peers);
        let whole = swap(
            &mut self.paths.neighbours,
            old_paths.neighbours,
            new_paths.neighbours,
        ) && swap(&mut self.paths.fdb, old_paths.fdb, new_paths.fdb);
        (all && whole).then_some(())
    }
}

fn sizes(ground: &Ground) -> Sizes {
    Sizes {
        used: ground.mtu,
        proof: ground.proof_mtu,
    }
}

fn inputs<'a>(
    ground: &'a Ground,
    local: &Local<'a>,
    peers: &'a [Peer],
    paths: &'a Paths,
) -> Inputs<'a> {
    Inputs {
        config: &ground.config,
        here: &ground.here,
        blocks: local.blocks,
        peers,
        paths,
        attachments: local.attachments,
        mtu: ground.mtu,
        proof_mtu: ground.proof_mtu,
        sources_checked: local.sources_checked,
    }
}

/// The paths to one peer, and what of the state leads to it.
fn part(ground: &Ground, peer: &Peer) -> (Paths, State) {
    let peers = std::slice::from_ref(peer);
    let paths = mode::paths(
        &ground.config,
        &ground.here,
        peers,
        &View::default(),
        &Paths::default(),
    );
    let local = Local {
        blocks: &[],
        attachments: &[],
        sources_checked: true,
    };
    let mut state = State::default();
    network::add_peers(&mut state, &inputs(ground, &local, peers, &paths));
    (paths, state)
}

/// Puts `new` in the place of `old`. False, with a part of it done, if `old` is not all there, or something of `new`
/// is there already.
fn swap<K: Ord, V: PartialEq>(
    map: &mut BTreeMap<K, V>,
    old: BTreeMap<K, V>,
    new: BTreeMap<K, V>,
) -> bool {
    old.iter()
        .all(|(key, value)| map.remove(key).as_ref() == Some(value))
        && new
            .into_iter()
            .all(|(key, value)| map.insert(key, value).is_none())
}

/// Puts the routes `new` in the place of `old`. False if one of `new` is there already for another reason.
fn exchange(
    routes: &mut BTreeMap<RouteKey, Route>,
    old: &BTreeMap<RouteKey, Route>,
    new: &BTreeMap<RouteKey, Route>,
    changed: &mut Part,
) -> bool {
    for key in old
        .iter()
        .filter(|(key, route)| new.get(key) != Some(route))
        .map(|(key, _)| key)
    {
        routes.remove(key);
        changed.routes.insert(*key);
    }
    let mut added = new
        .iter()
        .filter(|(key, route)| old.get(key) != Some(route));
    added.all(|(key, route)| {
        changed.routes.insert(*key);
        routes.insert(*key, route.clone()).is_none()
    })
}

#[cfg(test)]
mod tests;
