//! One speaker of ours and one daemon.

use crate::daemon::{Config, Daemon, Neighbour, Running, THEIR4, THEIR6};
use crate::lab::{A, DAEMON, Lab, until};
use crate::weft::{Weft, peer, plan};
use weft_peering::{PeerPlan, Plan};

/// Our AS, and that of the daemon over eBGP.
pub const OURS: u32 = 64512;
pub const THEIRS: u32 = 64513;

/// What our first speaker originates.
pub const OUR4: &str = "198.51.100.0/24";
pub const OUR6: &str = "2001:db8:beef::/48";

/// What two ends are told of each other.
#[derive(Clone)]
pub struct Scene {
    pub plan: Plan,
    pub config: Config,
    pub ipv6: bool,
}

impl Scene {
    pub fn ebgp() -> Self {
        Self::new(THEIRS, false)
    }

    pub fn ibgp() -> Self {
        Self::new(OURS, false)
    }

    pub fn new(their_as: u32, ipv6: bool) -> Self {
        let mut plan = plan(A, OURS, [OUR4, OUR6]);
        plan.peers
            .insert(DAEMON.address(ipv6), peer(A, DAEMON, their_as, ipv6));
        let neighbour = Neighbour::new(A.address(ipv6), OURS);
        let config = Config {
            asn: their_as,
            neighbours: vec![neighbour],
            also: None,
        };
        Self { plan, config, ipv6 }
    }

    /// What we are told of the daemon.
    pub fn peer(&mut self) -> &mut PeerPlan {
        self.plan.peers.values_mut().next().unwrap()
    }

    /// What the daemon is told of us.
    pub fn neighbour(&mut self) -> &mut Neighbour {
        &mut self.config.neighbours[0]
    }

    pub fn start(self, daemon: Daemon, lab: &Lab) -> Pair<'_> {
        let theirs = Running::start(daemon, lab, self.config.clone());
        let ours = Weft::start(&lab.ours, self.plan.clone(), false);
        Pair {
            ours,
            theirs,
            scene: self,
        }
    }
}

pub struct Pair<'a> {
    pub ours: Weft,
    pub theirs: Running<'a>,
    pub scene: Scene,
}

impl Pair<'_> {
    /// The same, once there is the session with all routes.
    pub fn converged(self) -> Self {
        self.converge();
        self
    }

    pub fn them(&self) -> std::net::IpAddr {
        DAEMON.address(self.scene.ipv6)
    }

    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        until(what, is_so, || {
            format!("{}\n{}", self.ours.describe(), self.theirs.log())
        });
    }

    /// Waits for the session and for the routes of both in the family of the session.
    pub fn converge(&self) {
        self.until("the session is established", || {
            self.ours.is_up(self.them())
        });
        let (our, their) = if self.scene.ipv6 {
            (OUR6, THEIR6)
        } else {
            (OUR4, THEIR4)
        };
        self.until("we have their route", || self.ours.route(their).is_some());
        self.until("they have our route", || !self.theirs.sees(our).is_empty());
    }
}
