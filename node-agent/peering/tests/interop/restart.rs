//! Graceful restart (RFC 4724) and long-lived graceful restart (RFC 9494), of each side.

use rstest::rstest;

use crate::daemon::Daemon::{self, Bird, Frr, GoBgp};
use crate::daemon::THEIR4;
use crate::lab::Lab;
use crate::scene::{OUR4, Pair, Scene};
use crate::weft::Weft;

/// With times in seconds.
fn scene(restart: u16, long_lived: u32) -> Scene {
    let mut scene = Scene::ebgp();
    scene.plan.settings.restart_time = restart;
    scene.plan.settings.long_lived_time = long_lived;
    scene.neighbour().graceful = Some((restart, long_lived));
    scene
}

fn stale(pair: &Pair) -> usize {
    let status = pair.ours.status(pair.them());
    status.map_or(0, |status| status.ipv4.stale)
}

#[rstest]
fn theirs(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let lab = Lab::new();
    let mut pair = scene(20, 0).start(daemon, &lab).converged();
    let session = pair
        .ours
        .status(pair.them())
        .and_then(|status| status.session);
    assert_eq!(session.and_then(|facts| facts.restart_time), Some(20));
    let Pair { ours, theirs, .. } = &mut pair;
    ours.never_without(THEIR4, || {
        theirs.kill();
    });
    pair.until("their route waits", || stale(&pair) > 0);
    let Pair { ours, theirs, .. } = &mut pair;
    ours.never_without(THEIR4, || theirs.restart());
    pair.ours.never_without(THEIR4, || {
        pair.until("they confirm it", || {
            pair.ours.is_up(pair.them()) && stale(&pair) == 0
        });
    });
}

#[rstest]
fn ours(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let lab = Lab::new();
    let Pair {
        ours,
        theirs,
        scene,
    } = scene(20, 0).start(daemon, &lab).converged();
    ours.kill();
    assert!(!theirs.sees(OUR4).is_empty(), "they keep it");
    let ours = Weft::start(&lab.ours, scene.plan.clone(), true);
    let pair = Pair {
        ours,
        theirs,
        scene,
    };
    assert!(!pair.ours.view().complete);
    pair.until("we know all again", || {
        assert!(!pair.theirs.sees(OUR4).is_empty(), "they keep it");
        pair.ours.view().complete
    });
    assert!(pair.ours.route(THEIR4).is_some());
    pair.converge();
}

#[rstest]
fn theirs_that_takes_long(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let lab = Lab::new();
    let mut pair = scene(1, 60).start(daemon, &lab).converged();
    let session = pair
        .ours
        .status(pair.them())
        .and_then(|status| status.session);
    assert_eq!(session.and_then(|facts| facts.long_lived_time), Some(60));
    pair.theirs.kill();
    pair.until("their route is the last choice", || {
        let heard = pair.ours.received(pair.them(), THEIR4);
        heard
            .iter()
            .any(|path| path.communities.contains(&"llgr-stale".to_owned()))
    });
    let Pair { ours, theirs, .. } = &mut pair;
    ours.never_without(THEIR4, || theirs.restart());
    pair.until("they confirm it", || {
        pair.ours.is_up(pair.them()) && stale(&pair) == 0
    });
}

#[rstest]
fn ours_that_takes_long(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let lab = Lab::new();
    let Pair {
        ours,
        theirs,
        scene,
    } = scene(1, 60).start(daemon, &lab).converged();
    ours.kill();
    crate::lab::until(
        "our route is the last choice there",
        || {
            let seen = theirs.sees(OUR4);
            let stale = ["65535:6", "llgr-stale", "llgrStale"];
            seen.iter()
                .any(|path| path.communities.iter().any(|one| stale.contains(&&**one)))
        },
        || theirs.log(),
    );
    let ours = Weft::start(&lab.ours, scene.plan.clone(), true);
    let pair = Pair {
        ours,
        theirs,
        scene,
    };
    pair.until("it is as good as before", || {
        let seen = pair.theirs.sees(OUR4);
        seen.iter().any(|path| path.communities == ["64999:7"])
    });
}
