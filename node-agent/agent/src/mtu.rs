//! The MTU of pods: one size in the whole cluster, so that no path is too narrow for what a pod sends.
//!
//! Invariant I2: pods send less at once, and accept less only after what is in flight has arrived; they
//! accept more at once, and send more only after every node has had time to accept it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weft_crds::Mode;
use weft_migration::RAISE_AFTER;

use crate::cluster::{Cluster, Config, Endpoint};
use crate::mode;

/// From sending smaller packets to accepting only these: until all nodes have heard of it, and the
/// larger ones in flight have arrived.
const LOWER_AFTER: Duration = Duration::from_secs(15);

/// IPv6 needs links of at least this size (RFC 8200, section 5).
const IPV6_MINIMUM: u32 = 1280;
/// Every IPv4 host takes packets of this size (RFC 791).
const IPV4_MINIMUM: u32 = 576;

/// What the MTU of pods could be, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// In bytes.
    pub mtu: u32,
    /// Why it isn't what somebody expects, in words.
    pub problem: Option<String>,
    /// There is no room for what the families of pods need at least.
    pub too_small: bool,
}

/// The MTU that every path of every node can carry in each of these modes.
pub fn wanted(
    config: &Config,
    modes: &BTreeSet<Mode>,
    cluster: &Cluster,
    here: &Endpoint,
) -> Wanted {
    let room = |endpoint: &Endpoint| endpoint.mtu.saturating_sub(mode::overhead(modes, endpoint));
    let own = room(here);
    let others = cluster.smallest_of_others(room);
    let room = others.map_or(own, |others| others.min(own));
    let minimum = if config.pools.iter().any(|pool| pool.cidr.addr().is_ipv6()) {
        IPV6_MINIMUM
    } else {
        IPV4_MINIMUM
    };
    if room < minimum {
        let problem = format!(
            "the underlay leaves {room} bytes for packets of pods, fewer than the {minimum} that their address family needs; raise the MTU of the network between the nodes"
        );
        return Wanted {
            mtu: minimum,
            problem: Some(problem),
            too_small: true,
        };
    }
    let fits = config.mtu.filter(|asked| *asked <= room);
    let problem = config.mtu.filter(|asked| *asked > room).map(|asked| {
        format!(
            "spec.mtu: {asked} does not fit into the underlay, which leaves {room} bytes; lower spec.mtu or leave it out, or raise the MTU of the network between the nodes"
        )
    });
    Wanted {
        mtu: fits.unwrap_or(room),
        problem,
        too_small: false,
    }
}

/// Sizes of packets, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The largest that pods send.
    pub send: u32,
    /// The largest that their interfaces accept; never less.
    pub accept: u32,
}

/// The sizes that are in use, and one that they are on their way to.
#[derive(Debug, Clone, Default)]
pub struct Mtu {
    current: Option<Sizes>,
    moving: Option<(u32, Instant)>,
}

impl Mtu {
    /// Goes on from the sizes that the pods of this node have.
    pub fn resume(current: Option<Sizes>) -> Self {
        Self {
            current,
            moving: None,
        }
    }

    /// The sizes to use now, when `wanted` would be right.
    pub fn follow(&mut self, wanted: u32, now: Instant) -> Sizes {
        let settled = Sizes {
            send: wanted,
            accept: wanted,
        };
        let current = *self.current.get_or_insert(settled);
        if current == settled {
            self.moving = None;
            return settled;
        }
        let since = match self.moving {
            Some((target, since)) if target == wanted => since,
            _ => now,
        };
        self.moving = Some((wanted, since));
        let lowered = wanted <= current.send;
        let wait = if lowered { LOWER_AFTER } else { RAISE_AFTER };
        let sizes = if now.duration_since(since) >= wait {
            self.moving = None;
            settled
        } else {
            Sizes {
                send: current.send.min(wanted),
                accept: current.accept.max(wanted),
            }
        };
        self.current = Some(sizes);
        sizes
    }

    /// The largest packet that pods send now, in bytes.
    pub fn send(&self) -> Option<u32> {
        self.current.map(|sizes| sizes.send)
    }

    /// When [`Mtu::follow`] should be asked again.
    pub fn deadline(&self) -> Option<Instant> {
        let (wanted, since) = self.moving?;
        let lowered = self.current.is_some_and(|current| wanted <= current.send);
        Some(since + if lowered { LOWER_AFTER } else { RAISE_AFTER })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, endpoint};
    use weft_crds::Encapsulation;

    fn overlay() -> BTreeSet<Mode> {
        BTreeSet::from([Mode::Overlay])
    }

    #[test]
    fn between_two_modes_the_narrower_one_decides() {
        let (config, cluster) = (config(Encapsulation::Always), Cluster::default());
        let of = |modes: &[Mode]| {
            let modes = modes.iter().copied().collect();
            wanted(&config, &modes, &cluster, &endpoint(1, "192.0.2.1/24")).mtu
        };
        assert_eq!(of(&[Mode::BGP]), 1500);
        assert_eq!(of(&[Mode::Overlay, Mode::BGP]), 1450);
    }

    #[test]
    fn the_narrowest_node_decides() {
        let config = config(Encapsulation::Always);
        let mut cluster = Cluster::default();
        assert_eq!(
            wanted(&config, &overlay(), &cluster, &endpoint(1, "192.0.2.1/24")).mtu,
            1450
        );
        let mut narrow = weft_crds::NodeNetworkSpec {
            node_uid: "2".into(),
            ipv4: Some("192.0.2.2/24".into()),
            mac: "02:00:00:00:00:02".into(),
            mtu: 1400,
            ..Default::default()
        };
        cluster
            .apply_node(&weft_crds::NodeNetwork::new("b", narrow.clone()))
            .unwrap();
        assert_eq!(
            wanted(&config, &overlay(), &cluster, &endpoint(1, "192.0.2.1/24")).mtu,
            1350
        );
        narrow.mtu = 1300;
        cluster
            .apply_node(&weft_crds::NodeNetwork::new("b", narrow))
            .unwrap();
        let wanted = wanted(&config, &overlay(), &cluster, &endpoint(1, "192.0.2.1/24"));
        assert_eq!(wanted.mtu, 1280);
        assert!(wanted.too_small && wanted.problem.unwrap().contains("1250 bytes"));
    }

    #[test]
    fn encapsulation_does_not_change_the_mtu() {
        let of = |encapsulation| {
            wanted(
                &config(encapsulation),
                &overlay(),
                &Cluster::default(),
                &endpoint(1, "192.0.2.1/24"),
            )
            .mtu
        };
        assert_eq!(of(Encapsulation::Always), of(Encapsulation::CrossSubnet));
    }

    #[test]
    fn what_the_admin_asks_for_is_used_if_it_fits() {
        let mut config = config(Encapsulation::Always);
        config.mtu = Some(1400);
        let here = endpoint(1, "192.0.2.1/24");
        assert_eq!(
            wanted(&config, &overlay(), &Cluster::default(), &here),
            Wanted {
                mtu: 1400,
                problem: None,
                too_small: false,
            }
        );
        config.mtu = Some(9000);
        let wanted = wanted(&config, &overlay(), &Cluster::default(), &here);
        assert_eq!(wanted.mtu, 1450);
        assert!(wanted.problem.unwrap().starts_with("spec.mtu"));
    }

    fn sizes(send: u32, accept: u32) -> Sizes {
        Sizes { send, accept }
    }

    #[test]
    fn lower_sends_less_first_and_raise_sends_more_last() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut mtu = Mtu::default();
        assert_eq!(mtu.follow(1450, at(0)), sizes(1450, 1450));
        assert_eq!(mtu.follow(1350, at(1)), sizes(1350, 1450));
        assert_eq!(mtu.deadline(), Some(at(16)));
        assert_eq!(mtu.follow(1350, at(16)), sizes(1350, 1350));
        assert_eq!(mtu.deadline(), None);
        assert_eq!(mtu.follow(1450, at(20)), sizes(1350, 1450));
        assert_eq!(mtu.follow(1450, at(34)), sizes(1350, 1450));
        assert_eq!(mtu.follow(1450, at(35)), sizes(1450, 1450));
    }

    #[test]
    fn a_target_that_moves_waits_anew() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut mtu = Mtu::resume(Some(sizes(1350, 1350)));
        assert_eq!(mtu.follow(1400, at(0)), sizes(1350, 1400));
        assert_eq!(mtu.follow(1450, at(10)), sizes(1350, 1450));
        assert_eq!(mtu.follow(1450, at(20)), sizes(1350, 1450));
        assert_eq!(mtu.follow(1450, at(25)), sizes(1450, 1450));
    }

    proptest::proptest! {
        #[test]
        fn nobody_sends_what_it_would_not_accept(
            steps in proptest::collection::vec((0u64..30, 1280u32..1500), 1..50)
        ) {
            let (mut now, mut mtu) = (Instant::now(), Mtu::default());
            for (seconds, wanted) in steps {
                now += Duration::from_secs(seconds);
                let sizes = mtu.follow(wanted, now);
                proptest::prop_assert!(sizes.send <= sizes.accept && sizes.send <= wanted);
            }
        }
    }
}
