//! All that a driver is told, as one value.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use ipnet::IpNet;
use weft_bgp::route::Attributes;
use weft_bgp::session::Backoff;
use weft_bgp::speaker::{self, PeerConfig};
use weft_kernel::tcp::{Hops, LONGEST_PASSWORD};

/// The port of BGP (RFC 4271, section 8.2.1).
pub const PORT: u16 = 179;

/// With whom to speak, how, and what to say. The driver does what differs from the plan before.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Who speaks.
    pub settings: Settings,
    /// Where it listens, one address of this node each, or all of a family; nowhere if there is none.
    pub listen: Vec<SocketAddr>,
    /// The BGP peers, by their addresses.
    pub peers: BTreeMap<IpAddr, PeerPlan>,
    /// What it is the origin of. An unspecified next hop is the one that each BGP peer is to be told.
    pub originate: BTreeMap<IpNet, Attributes>,
    /// The subnets of this node: a next hop on one of them costs nothing unless `costs` says otherwise.
    pub links: Vec<IpNet>,
    /// The next hops that can be reached besides, with the cost of the way to each.
    pub costs: HashMap<IpAddr, u32>,
}

/// Who speaks. Another AS or identifier is another speaker: all sessions end. All else changes while they go on.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// One BGP peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerPlan {
    /// What it is called in messages.
    pub name: String,
    /// How to speak with it. Its address is the key in [`Plan::peers`].
    pub config: PeerConfig,
    /// Its TCP port.
    pub port: u16,
    /// This node's address in connections to it.
    pub source: IpAddr,
    /// How far it can be.
    pub hops: Hops,
    /// What its packets are signed with (RFC 2385).
    pub password: Option<Password>,
}

/// A password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

/// Why something can't be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password of {length} bytes: from 1 to {LONGEST_PASSWORD} are possible")]
pub struct BadPassword {
    length: usize,
}

impl Password {
    /// A password of these bytes.
    ///
    /// # Errors
    /// There are none, or more than TCP can sign with.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BadPassword> {
        let bytes = bytes.into();
        let length = bytes.len();
        if (1..=LONGEST_PASSWORD).contains(&length) {
            Ok(Self(bytes))
        } else {
            Err(BadPassword { length })
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl Settings {
    /// The usual ones: one path to a prefix, a restart time of 120 s, long-lived routes for a day.
    pub fn new(asn: u32, router_id: Ipv4Addr) -> Self {
        let backoff = |first, max| Backoff {
            first: Duration::from_secs(first),
            max: Duration::from_secs(max),
        };
        Self {
            asn,
            router_id,
            cluster_id: router_id,
            multipath: NonZeroU16::MIN,
            restart_time: 120,
            long_lived_time: 24 * 3600,
            connect_retry: backoff(5, 120),
            idle_hold: backoff(5, 120),
        }
    }

    pub(crate) fn speaker(&self, seed: u64) -> speaker::Settings {
        speaker::Settings {
            asn: self.asn,
            router_id: self.router_id,
            cluster_id: self.cluster_id,
            multipath: self.multipath,
            restart_time: self.restart_time,
            long_lived_time: self.long_lived_time,
            connect_retry: self.connect_retry,
            idle_hold: self.idle_hold,
            seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, false)]
    #[case(1, true)]
    #[case(80, true)]
    #[case(81, false)]
    fn passwords_have_a_length(#[case] length: usize, #[case] good: bool) {
        assert_eq!(Password::new(vec![b'x'; length]).is_ok(), good);
    }

    #[test]
    fn a_password_is_not_shown() {
        let password = Password::new("secret").unwrap();
        assert_eq!(format!("{password:?}"), "(not shown)");
    }
}
