//! What a route is, apart from how it is written on the wire and from who said it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

/// An address family that is routed (RFC 4760); SAFI is always unicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4,
    /// AFI 2, SAFI 1.
    Ipv6,
}

impl Family {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of a prefix.
    pub fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4,
            IpNet::V6(_) => Self::Ipv6,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// A prefix, and which of a BGP peer's paths to it (RFC 7911, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nlri {
    /// The prefix, without host bits.
    pub prefix: IpNet,
    /// The path identifier; 0 where ADD-PATH was not negotiated.
    pub path_id: u32,
}

/// Where a route came from in the first place (RFC 4271, section 5.1.1); less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// From within the AS.
    Igp,
    /// From EGP.
    Egp,
    /// From elsewhere.
    Incomplete,
}

/// A piece of an AS path (RFC 4271, section 4.3). Confederations (RFC 5065) are not spoken: a path that has
/// their segments is malformed here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// ASes in the order in which they were crossed, the last crossed first.
    Sequence(Vec<u32>),
    /// ASes in no order; counts as one in the path's length (RFC 4271, section 9.1.2.2).
    Set(Vec<u32>),
}

/// Who made an aggregate (RFC 4271, section 5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aggregator {
    /// Its AS.
    pub asn: u32,
    /// Its router ID.
    pub id: Ipv4Addr,
}

/// A large community (RFC 8092): administrator and two values of its choice.
pub type LargeCommunity = (u32, u32, u32);

/// Communities that every speaker must heed.
pub mod community {
    /// Not to be advertised to eBGP peers (RFC 1997; there are no confederations here).
    pub const NO_EXPORT: u32 = 0xffff_ff01;
    /// Not to be advertised to anybody (RFC 1997).
    pub const NO_ADVERTISE: u32 = 0xffff_ff02;
    /// Not to be advertised outside the confederation member, which is the AS here (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
    /// Stale by long-lived graceful restart, and so the last choice (RFC 9494, section 2).
    pub const LLGR_STALE: u32 = 0xffff_0006;
    /// Not to be kept by long-lived graceful restart (RFC 9494, section 2).
    pub const NO_LLGR: u32 = 0xffff_0007;
}

/// An optional transitive attribute that means nothing here and is passed on (RFC 4271, section 9).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Opaque {
    /// The flags as received; the partial bit is set when it is passed on.
    pub flags: u8,
    /// The attribute's type.
    pub code: u8,
    /// Its value.
    pub value: Vec<u8>,
}

/// The attributes of a route, shared by all prefixes that came with them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH, merged with AS4_PATH (RFC 6793).
    pub as_path: Vec<Segment>,
    /// NEXT_HOP, or the global address of MP_REACH_NLRI; IPv6 for an IPv4 prefix by RFC 8950.
    pub next_hop: IpAddr,
    /// The link-local next hop beside a global one (RFC 2545, section 3).
    pub link_local: Option<Ipv6Addr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; absent on eBGP.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR, merged with AS4_AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (RFC 1997), sorted, each once.
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY (RFC 8092), sorted, each once.
    pub large_communities: Vec<LargeCommunity>,
    /// EXTENDED COMMUNITIES (RFC 4360), as received.
    pub extended_communities: Vec<[u8; 8]>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456), the last cluster first.
    pub cluster_list: Vec<Ipv4Addr>,
    /// What is passed on untouched, sorted by code.
    pub opaque: Vec<Opaque>,
}

impl Attributes {
    /// Of origin IGP, with this next hop and this path in sequences, and nothing else.
    pub fn plain(next_hop: IpAddr, as_path: &[u32]) -> Self {
        let segment = |ases: &[u32]| Segment::Sequence(ases.to_vec());
        Self {
            origin: Origin::Igp,
            as_path: as_path.chunks(255).map(segment).collect(),
            next_hop,
            link_local: None,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
            extended_communities: Vec::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            opaque: Vec::new(),
        }
    }
}

/// One UPDATE of one family, as it means: first the withdrawals, then the announcements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The family of all prefixes in it.
    pub family: Family,
    /// No longer reachable this way; prefixes of a malformed announcement are here (RFC 7606, treat-as-withdraw).
    pub withdrawn: Vec<Nlri>,
    /// Reachable with these attributes; replaces what was said of the same NLRI before.
    pub announced: Option<(Arc<Attributes>, Vec<Nlri>)>,
}
