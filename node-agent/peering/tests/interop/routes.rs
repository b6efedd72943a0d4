//! What routes look like at the other end.

use rstest::rstest;
use weft_bgp::route::Family;

use crate::daemon::Daemon::{self, Bird, Frr, GoBgp};
use crate::daemon::{THEIR4, THEIR6};
use crate::lab::{A, DAEMON, Lab};
use crate::scene::{OUR4, OUR6, OURS, Pair, Scene, THEIRS};

/// What is said of our prefix there, and of theirs here.
fn check(pair: &Pair, our: &str, their: &str, next_hops_ipv6: bool) {
    let external = pair.scene.config.asn != OURS;
    let seen = pair.theirs.sees(our).remove(0);
    assert_eq!(seen.next_hop, A.address(next_hops_ipv6).to_string());
    assert_eq!(seen.communities, ["64999:7"]);
    assert_eq!(seen.large_communities, ["64999:7:8"]);
    assert_eq!(seen.med, Some(30));
    if external {
        assert_eq!(seen.as_path, [OURS]);
    } else {
        assert!(seen.as_path.is_empty());
        assert_eq!(seen.local_pref, Some(150));
    }

    let heard = pair.ours.received(pair.them(), their).remove(0);
    assert_eq!(heard.next_hop, DAEMON.address(next_hops_ipv6));
    assert_eq!(heard.communities, ["64999:1"]);
    assert_eq!(heard.large_communities, ["64999:1:2"]);
    assert_eq!(heard.med, Some(50));
    assert_eq!(heard.local_pref, (!external).then_some(200));
    assert_eq!(heard.as_path, if external { "64513" } else { "" });
    assert!(heard.best && heard.selected && !heard.stale, "{heard:?}");
    assert_eq!(pair.ours.next_hop(their), Some(heard.next_hop));
}

#[rstest]
fn keep_their_attributes(
    #[values(Bird, Frr, GoBgp)] daemon: Daemon,
    #[values(OURS, THEIRS)] their_as: u32,
    #[values(Family::Ipv4, Family::Ipv6)] family: Family,
) {
    let ipv6 = family == Family::Ipv6;
    let lab = Lab::new();
    let pair = Scene::new(their_as, ipv6).start(daemon, &lab);
    pair.converge();
    let (our, their) = if ipv6 { (OUR6, THEIR6) } else { (OUR4, THEIR4) };
    check(&pair, our, their, ipv6);
}

/// RFC 8950.
#[rstest]
fn of_ipv4_have_ipv6_next_hops(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let mut scene = Scene::new(THEIRS, true);
    scene.peer().config.own_address.ipv4 = Some(A.v6().into());
    scene.neighbour().ipv4 = true;
    let lab = Lab::new();
    let pair = scene.start(daemon, &lab);
    pair.converge();
    pair.until("we have their IPv4 route", || {
        pair.ours.route(THEIR4).is_some()
    });
    pair.until("they have our IPv4 route", || {
        !pair.theirs.sees(OUR4).is_empty()
    });
    check(&pair, OUR4, THEIR4, true);
    check(&pair, OUR6, THEIR6, true);
}

/// What is withdrawn at one end is gone at the other.
#[rstest]
fn go_when_they_are_withdrawn(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let lab = Lab::new();
    let pair = Scene::ebgp().start(daemon, &lab);
    pair.converge();
    pair.ours.edit(|plan| plan.originate.clear());
    pair.until("it is gone there", || pair.theirs.sees(OUR4).is_empty());
    assert!(pair.ours.is_up(pair.them()));
}
