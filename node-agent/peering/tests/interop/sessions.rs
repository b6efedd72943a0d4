//! Which sessions there are, and which aren't.

use rstest::rstest;
use weft_bgp::session::State;
use weft_kernel::tcp::Hops;

use crate::daemon::Daemon::{self, Bird, Frr, GoBgp};
use crate::lab::Lab;
use crate::scene::{Scene, THEIRS};

#[rstest]
fn ebgp(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    Scene::ebgp().start(daemon, &Lab::new()).converge();
}

#[rstest]
fn ibgp(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    Scene::ibgp().start(daemon, &Lab::new()).converge();
}

#[rstest]
fn they_connect(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let mut scene = Scene::ebgp();
    scene.peer().config.passive = true;
    scene.start(daemon, &Lab::new()).converge();
}

#[rstest]
fn we_connect(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let mut scene = Scene::ebgp();
    scene.plan.listen.clear();
    scene.start(daemon, &Lab::new()).converge();
}

#[rstest]
fn ipv6_only(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    Scene::new(THEIRS, true)
        .start(daemon, &Lab::new())
        .converge();
}

#[rstest]
fn ttl_security(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let mut scene = Scene::ebgp();
    scene.peer().hops = Hops::OneAndNoMore;
    scene.neighbour().ttl_security = true;
    scene.start(daemon, &Lab::new()).converge();
}

/// Their packets could be from anywhere, and ours demand better, until they no longer do.
#[rstest]
fn no_ttl_security_there(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let mut scene = Scene::ebgp();
    scene.peer().hops = Hops::OneAndNoMore;
    scene.plan.listen.clear();
    let lab = Lab::new();
    let pair = scene.start(daemon, &lab);
    let them = pair.them();
    // Their kernel may answer from near enough, and they don't.
    pair.until("we hear nothing", || {
        let state = pair.ours.status(them).map(|status| status.state);
        state == Some(State::OpenSent) || pair.ours.last_error(them).contains("no answer")
    });
    let seen = pair.ours.status(them).map(|status| status.session);
    assert_eq!(seen, Some(None));
    pair.ours.edit(|plan| {
        let peer = plan.peers.get_mut(&them).unwrap();
        peer.hops = Hops::One;
    });
    pair.converge();
}

/// The daemon expects another AS of us.
#[rstest]
fn they_refuse_our_as(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let mut scene = Scene::ebgp();
    scene.neighbour().asn = 64599;
    let lab = Lab::new();
    let pair = scene.start(daemon, &lab);
    pair.until("we say why", || {
        let error = pair.ours.last_error(pair.them());
        error.contains("refuses AS 64512: it expects another AS here")
    });
}

/// We expect another AS of the daemon.
#[rstest]
fn we_refuse_their_as(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let mut scene = Scene::ebgp();
    scene.peer().config.asn = 64598;
    let lab = Lab::new();
    let pair = scene.start(daemon, &lab);
    pair.until("we say why", || {
        let error = pair.ours.last_error(pair.them());
        error.contains("AS 64513, expected 64598")
    });
}
