//! Speakers, and what is on its way between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;
use weft_bgp::policy::Policy;
use weft_bgp::rib::{Export, Exports, Kind, NextHop, Peer, PeerId, Speaker, Table};
use weft_bgp::route::{Attributes, Family, Origin, Update};

use super::topology::{Random, Topology};

pub const FAMILY: Family = Family::Ipv4;

/// Messages after which a network that has not settled never will.
const PATIENCE: usize = 200_000;

pub struct Rib {
    pub table: Table,
    pub exports: Exports,
    pub originated: BTreeMap<IpNet, Attributes>,
}

enum Message {
    Update(Update),
    /// All will be said again.
    Begin,
    /// All was said.
    End,
}

pub struct Simulation {
    pub topology: Topology,
    pub ribs: Vec<Rib>,
    /// Sessions that are established.
    pub up: BTreeSet<(usize, usize)>,
    on_the_way: BTreeMap<(usize, usize), VecDeque<Message>>,
}

pub fn peer_id(node: usize) -> PeerId {
    PeerId(node as u32)
}

fn prefix(number: u64) -> IpNet {
    IpNet::new_assert(Ipv4Addr::new(10, 244, number as u8, 0).into(), 24)
}

impl Simulation {
    /// A network without routes, and all sessions established.
    pub fn new(topology: Topology, seed: u64) -> Self {
        let rib = |node: usize| {
            let of = &topology.nodes[node];
            let us = Speaker {
                asn: of.asn,
                router_id: of.id,
                cluster_id: of.id,
                multipath: NonZeroU16::MIN,
            };
            Rib {
                table: Table::new(us, seed),
                exports: Exports::new(seed),
                originated: BTreeMap::new(),
            }
        };
        let mut simulation = Self {
            ribs: (0..topology.nodes.len()).map(rib).collect(),
            topology,
            up: BTreeSet::new(),
            on_the_way: BTreeMap::new(),
        };
        simulation.heal();
        simulation
    }

    /// Establishes all sessions that are not.
    pub fn heal(&mut self) {
        for session in self.topology.sessions.clone() {
            if !self.up.contains(&session) {
                self.establish(session);
            }
        }
    }

    /// One thing that happens.
    pub fn event(&mut self, random: &mut Random) {
        let node = random.below(self.ribs.len() as u64) as usize;
        let number = random.below(4);
        match random.below(10) {
            0..3 => {
                let med = self.topology.med.then(|| random.below(3) as u32);
                let communities = random.below(2) as usize;
                self.originate(node, prefix(number), med, communities);
            }
            3..5 => {
                self.ribs[node].originated.remove(&prefix(number));
                self.ribs[node].table.retract(prefix(number));
            }
            5..7 if !self.topology.sessions.is_empty() => {
                let session = *random.pick(&self.topology.sessions);
                match self.up.contains(&session) {
                    true => self.lose(session, random),
                    false => self.establish(session),
                }
            }
            7 if !self.up.is_empty() => {
                let up: Vec<_> = self.up.iter().copied().collect();
                self.refresh(*random.pick(&up));
            }
            8 => self.decide(node),
            _ => {
                for _ in 0..random.below(20) {
                    self.deliver(random);
                }
            }
        }
    }

    /// Delivers all there is, and ends the time of what is stale.
    pub fn settle(&mut self, random: &mut Random) {
        for (one, other) in self.topology.sessions.clone() {
            if !self.up.contains(&(one, other)) {
                self.ribs[one].table.sweep(peer_id(other), FAMILY);
                self.ribs[other].table.sweep(peer_id(one), FAMILY);
            }
        }
        for _ in 0..PATIENCE {
            if self.deliver(random) {
                continue;
            }
            (0..self.ribs.len()).for_each(|node| self.decide(node));
            if self.on_the_way.is_empty() {
                return;
            }
        }
        panic!("does not settle");
    }

    fn originate(&mut self, node: usize, prefix: IpNet, med: Option<u32>, communities: usize) {
        let attributes = Attributes {
            origin: Origin::Igp,
            as_path: Vec::new(),
            next_hop: Ipv4Addr::UNSPECIFIED.into(),
            link_local: None,
            med,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: vec![node as u32; communities],
            large_communities: Vec::new(),
            extended_communities: Vec::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            opaque: Vec::new(),
        };
        let rib = &mut self.ribs[node];
        rib.originated.insert(prefix, attributes.clone());
        rib.table.originate(prefix, attributes);
    }

    fn establish(&mut self, session: (usize, usize)) {
        self.up.insert(session);
        for (from, to) in both_ways(session) {
            let export = self.export(from, to);
            let peer = self.peer(from, to);
            let rib = &mut self.ribs[from];
            rib.table.set_peer(peer_id(to), peer);
            let updates = rib.exports.join(&rib.table, peer_id(to), export);
            updates
                .into_iter()
                .for_each(|update| self.send(from, to, Message::Update(update)));
            self.send(from, to, Message::End);
        }
    }

    fn lose(&mut self, session: (usize, usize), random: &mut Random) {
        self.up.remove(&session);
        let how = random.below(3);
        for (from, to) in both_ways(session) {
            self.on_the_way.remove(&(from, to));
            let Rib { table, exports, .. } = &mut self.ribs[from];
            exports.leave(peer_id(to), FAMILY);
            if how == 0 {
                table.flush(peer_id(to), FAMILY);
                continue;
            }
            table.restarting(peer_id(to), FAMILY);
            if how == 1 {
                table.linger(peer_id(to), FAMILY);
            }
        }
    }

    fn refresh(&mut self, session: (usize, usize)) {
        for (from, to) in both_ways(session) {
            let updates = self.ribs[from].exports.refresh(peer_id(to), FAMILY);
            self.send(from, to, Message::Begin);
            updates
                .into_iter()
                .for_each(|update| self.send(from, to, Message::Update(update)));
            self.send(from, to, Message::End);
        }
    }

    fn decide(&mut self, node: usize) {
        let Rib { table, exports, .. } = &mut self.ribs[node];
        let changes = table.decide(|_, _| Some(1));
        for emission in exports.apply(table, &changes) {
            for to in emission.to.iter() {
                self.send(
                    node,
                    to.0 as usize,
                    Message::Update(emission.update.clone()),
                );
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        self.on_the_way
            .entry((from, to))
            .or_default()
            .push_back(message);
    }

    /// Delivers a message of any session; the others of the same session wait for it.
    fn deliver(&mut self, random: &mut Random) -> bool {
        let sessions: Vec<_> = self.on_the_way.keys().copied().collect();
        if sessions.is_empty() {
            return false;
        }
        let (from, to) = *random.pick(&sessions);
        let Some(queue) = self.on_the_way.get_mut(&(from, to)) else {
            return false;
        };
        let message = queue.pop_front();
        if queue.is_empty() {
            self.on_the_way.remove(&(from, to));
        }
        let table = &mut self.ribs[to].table;
        match message {
            Some(Message::Update(update)) => drop(table.update(peer_id(from), &update)),
            Some(Message::Begin) => table.refreshing(peer_id(from), FAMILY),
            Some(Message::End) => table.sweep(peer_id(from), FAMILY),
            None => {}
        }
        if random.one_in(3) {
            self.decide(to);
        }
        true
    }

    fn kind(&self, from: usize, to: usize) -> Kind {
        match self.topology.is_external(from, to) {
            true => Kind::External,
            false => Kind::Internal {
                client: self.topology.reflects(from, to),
            },
        }
    }

    /// What `of` is to `node`.
    fn peer(&self, node: usize, of: usize) -> Peer {
        let id = self.topology.nodes[of].id;
        Peer {
            kind: self.kind(node, of),
            address: IpAddr::V4(id),
            router_id: id,
            import: Some(Arc::new(Policy::accept_all())),
            own_as_allowed: 0,
            limit_ipv4: None,
            limit_ipv6: None,
        }
    }

    fn export(&self, from: usize, to: usize) -> Export {
        let kind = self.kind(from, to);
        let node = &self.topology.nodes[from];
        let external = kind == Kind::External;
        Export {
            family: FAMILY,
            to: kind,
            policy: Some(Arc::new(Policy::accept_all())),
            next_hop: match external {
                true => NextHop::Own,
                false => NextHop::OwnUnlessReflected,
            },
            own_address: IpAddr::V4(node.id),
            own_link_local: None,
            ipv6_next_hops: false,
            llgr: true,
            add_path: node.add_path.filter(|_| !external),
        }
    }
}

fn both_ways((one, other): (usize, usize)) -> [(usize, usize); 2] {
    [(one, other), (other, one)]
}
