//! ADD-PATH (RFC 7911), with a second speaker of ours to have a second path from.

use std::num::NonZeroU16;

use rstest::rstest;

use crate::daemon::Daemon::{self, Bird, Frr, GoBgp};
use crate::daemon::Neighbour;
use crate::lab::{A, B, DAEMON, Lab};
use crate::scene::{OURS, Scene, THEIRS};
use crate::weft::{Weft, peer, plan};

/// What all three originate.
const ALL: &str = "10.9.0.0/24";
const OTHER: u32 = 64514;

#[rstest]
fn both_ways(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let lab = Lab::new();
    let mut scene = Scene::ebgp();
    scene
        .plan
        .originate
        .extend(plan(A, OURS, [ALL, ALL]).originate);
    scene.config.also = Some(ALL);
    scene.peer().config.add_path = NonZeroU16::new(8);
    scene.neighbour().add_path = true;
    let mut other = plan(B, OTHER, [ALL, ALL]);
    for (there, asn) in [(A, OURS), (DAEMON, THEIRS)] {
        other
            .peers
            .insert(there.v4().into(), peer(B, there, asn, false));
    }
    scene
        .plan
        .peers
        .insert(B.v4().into(), peer(A, B, OTHER, false));
    scene
        .config
        .neighbours
        .push(Neighbour::new(B.v4().into(), OTHER));
    let pair = scene.start(daemon, &lab);
    let _other = Weft::start(&lab.ours, other, false);
    pair.until("they send two paths", || {
        let paths = pair.ours.received(DAEMON.v4().into(), ALL);
        let paths: Vec<&str> = paths.iter().map(|path| &*path.as_path).collect();
        paths.contains(&"64513") && paths.contains(&"64513 64514")
    });
    pair.until("we send two paths", || {
        let paths = pair.theirs.sees(ALL);
        let has = |as_path: &[u32]| paths.iter().any(|path| path.as_path == as_path);
        has(&[OURS]) && has(&[OURS, OTHER])
    });
}
