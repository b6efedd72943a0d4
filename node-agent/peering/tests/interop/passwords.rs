//! TCP MD5 signatures (RFC 2385).

use rstest::rstest;
use weft_peering::Password;

use crate::daemon::Daemon::{self, Bird, Frr, GoBgp};
use crate::lab::Lab;
use crate::scene::Scene;

fn scene(ours: Option<&str>, theirs: Option<&'static str>) -> Scene {
    let mut scene = Scene::ebgp();
    scene.peer().password = ours.map(|ours| Password::new(ours).unwrap());
    scene.neighbour().password = theirs;
    scene
}

#[rstest]
fn right(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    let scene = scene(Some("secret"), Some("secret"));
    scene.start(daemon, &Lab::new()).converge();
}

fn no_session(daemon: Daemon, ours: Option<&str>, theirs: Option<&'static str>, words: &str) {
    let lab = Lab::new();
    let pair = scene(ours, theirs).start(daemon, &lab);
    pair.until("we say why", || {
        pair.ours.last_error(pair.them()).contains(words)
    });
    assert!(!pair.ours.is_up(pair.them()));
}

#[rstest]
fn wrong(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    no_session(
        daemon,
        Some("wrong"),
        Some("secret"),
        "a wrong password looks like this",
    );
}

#[rstest]
fn missing_here(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    no_session(daemon, None, Some("secret"), "no answer");
}

#[rstest]
fn missing_there(#[values(Bird, Frr, GoBgp)] daemon: Daemon) {
    no_session(
        daemon,
        Some("secret"),
        None,
        "a wrong password looks like this",
    );
}
