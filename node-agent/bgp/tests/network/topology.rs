//! Random networks: ASes inside which everybody hears of everything, by a full mesh or by reflectors.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// What a speaker is to others of its AS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// Speaks to all.
    Mesh,
    /// Speaks to all reflectors and clients.
    Reflector,
    /// Speaks to the reflectors.
    Client,
}

#[derive(Debug)]
pub struct Node {
    pub asn: u32,
    pub id: Ipv4Addr,
    pub role: Role,
    /// Paths that it tells others of its AS.
    pub add_path: Option<NonZeroU16>,
}

#[derive(Debug)]
pub struct Topology {
    pub nodes: Vec<Node>,
    /// Pairs of nodes, the lesser first.
    pub sessions: Vec<(usize, usize)>,
    /// Whether routes have a MED: with reflectors they might never settle (RFC 3345).
    pub med: bool,
}

impl Topology {
    /// Up to 12 nodes in up to 4 ASes; one in ten has up to 50 nodes.
    pub fn new(random: &mut Random) -> Self {
        let most = if random.one_in(10) { 50 } else { 12 };
        let ases = 1 + random.below(4);
        let mut nodes = Vec::new();
        for asn in 0..ases {
            let reflectors = random.below(3);
            let add_path = [None, None, NonZeroU16::new(2), NonZeroU16::new(99)];
            let add_path = *random.pick(&add_path);
            for at in 0..1 + random.below(most / ases) {
                nodes.push(Node {
                    asn: 64512 + asn as u32,
                    id: Ipv4Addr::new(10, random.below(200) as u8, asn as u8, nodes.len() as u8),
                    role: match reflectors {
                        0 => Role::Mesh,
                        reflectors if at < reflectors => Role::Reflector,
                        _ => Role::Client,
                    },
                    add_path,
                });
            }
        }
        let mut topology = Self {
            med: nodes.iter().all(|node| node.role == Role::Mesh),
            nodes,
            sessions: Vec::new(),
        };
        topology.connect(random);
        topology
    }

    pub fn is_external(&self, one: usize, other: usize) -> bool {
        self.nodes[one].asn != self.nodes[other].asn
    }

    /// Whether `to` is a client of `from`.
    pub fn reflects(&self, from: usize, to: usize) -> bool {
        let role = |node: usize| self.nodes[node].role;
        role(from) == Role::Reflector && role(to) == Role::Client
    }

    fn connect(&mut self, random: &mut Random) {
        for one in 0..self.nodes.len() {
            for other in one + 1..self.nodes.len() {
                let clients = [one, other].map(|node| self.nodes[node].role == Role::Client);
                if match self.is_external(one, other) {
                    true => random.one_in(5),
                    false => clients != [true; 2],
                } {
                    self.sessions.push((one, other));
                }
            }
        }
        // No AS is cut off from the one before.
        for other in 1..self.nodes.len() {
            let one = other - 1;
            if self.is_external(one, other) && !self.sessions.contains(&(one, other)) {
                self.sessions.push((one, other));
            }
        }
    }
}
