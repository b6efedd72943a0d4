//! Route reflection (RFC 4456), with a second speaker of ours as the third.

use rstest::rstest;

use crate::daemon::Daemon::{self, Bird, Frr, GoBgp};
use crate::daemon::{Neighbour, THEIR4};
use crate::lab::{A, B, DAEMON, Lab};
use crate::scene::{OUR4, OURS, Scene};
use crate::weft::{Weft, peer, plan};

/// What our second speaker originates.
const OTHER4: &str = "198.18.0.0/24";
const OTHER6: &str = "2001:db8:dead::/48";

#[rstest]
fn by_them(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let lab = Lab::new();
    let mut scene = Scene::ibgp();
    scene.neighbour().client = true;
    scene.config.neighbours.push(Neighbour {
        client: true,
        ..Neighbour::new(B.v4().into(), OURS)
    });
    let mut other = plan(B, OURS, [OTHER4, OTHER6]);
    other
        .peers
        .insert(DAEMON.v4().into(), peer(B, DAEMON, OURS, false));
    let pair = scene.start(daemon, &lab);
    let other = Weft::start(&lab.ours, other, false);
    pair.converge();
    pair.until("each has the route of the other", || {
        other.next_hop(OUR4) == Some(A.v4().into())
            && pair.ours.next_hop(OTHER4) == Some(B.v4().into())
    });
    assert_eq!(other.next_hop(THEIR4), Some(DAEMON.v4().into()));
}

#[rstest]
fn by_us(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let lab = Lab::new();
    let mut scene = Scene::ibgp();
    scene.peer().config.client = true;
    let mut client = peer(A, B, OURS, false);
    client.config.client = true;
    scene.plan.peers.insert(B.v4().into(), client);
    let mut other = plan(B, OURS, [OTHER4, OTHER6]);
    other.peers.insert(A.v4().into(), peer(B, A, OURS, false));
    let pair = scene.start(daemon, &lab);
    let other = Weft::start(&lab.ours, other, false);
    pair.converge();
    pair.until("the other has the route of the daemon", || {
        other.next_hop(THEIR4) == Some(DAEMON.v4().into())
    });
    pair.until("the daemon has that of the other", || {
        !pair.theirs.sees(OTHER4).is_empty()
    });
    let seen = pair.theirs.sees(OTHER4).remove(0);
    assert_eq!(seen.next_hop, B.v4().to_string());
    assert_eq!(seen.originator, Some(B.v4().to_string()));
}
