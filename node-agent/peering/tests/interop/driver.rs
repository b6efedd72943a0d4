//! The driver against plain sockets and against itself.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use weft_kernel::testing::{Netns, sh};
use weft_peering::{PORT, Password};

use crate::lab::{A, B, until};
use crate::scene::{OUR4, OUR6};
use crate::weft::{Weft, peer, plan};

const OTHER4: &str = "198.18.0.0/24";
const OTHER6: &str = "2001:db8:dead::/48";
const ASN: u32 = 64512;

/// A namespace in which our two speakers have their addresses.
fn netns() -> Netns {
    let netns = Netns::new();
    netns.run(|| {
        for ends in [A, B] {
            sh(&format!("ip addr add {} dev lo", ends.v4()));
            sh(&format!("ip addr add {} dev lo nodad", ends.v6()));
        }
    });
    netns
}

/// Connects to our first speaker from an address. What it is sent first, and the connection; none if it is refused.
fn knock(from: Ipv4Addr) -> Option<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let at = |address: Ipv4Addr, port| SocketAddr::new(address.into(), port).into();
    socket.bind(&at(from, 0)).unwrap();
    socket.connect(&at(A.v4(), PORT)).unwrap();
    let mut stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut marker = [0; 16];
    match stream.read_exact(&mut marker) {
        Ok(()) => {
            assert_eq!(marker, [0xff; 16]);
            Some(stream)
        }
        Err(error) => {
            let refused = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
            assert!(refused.contains(&error.kind()), "{error}");
            None
        }
    }
}

#[test]
fn strangers_are_refused_and_peers_are_limited() {
    let netns = netns();
    let mut ours = plan(A, ASN, [OUR4, OUR6]);
    let mut them = peer(A, B, ASN, false);
    them.config.passive = true;
    ours.peers.insert(B.v4().into(), them);
    let weft = Weft::start(&netns, ours, false);
    netns.run(|| {
        until(
            "it listens",
            || TcpStream::connect(SocketAddr::new(A.v4().into(), PORT)).is_ok(),
            || weft.describe(),
        );
        assert!(knock(Ipv4Addr::LOCALHOST).is_none());
        let knocks: Vec<Option<TcpStream>> = (0..10).map(|_| knock(B.v4())).collect();
        let heard = knocks.iter().flatten().count();
        assert!((1..=4).contains(&heard), "{heard} of 10");
    });
}

#[test]
fn a_listener_that_can_not_be_is_reported_and_tried_again() {
    let netns = Netns::new();
    let weft = Weft::start(&netns, plan(A, ASN, [OUR4, OUR6]), false);
    let problems = || weft.view().problems.join("\n");
    until(
        "it is said",
        || {
            problems()
                .contains("can't listen on 192.0.2.1 port 179: can't assign requested address")
                || problems()
                    .contains("can't listen on 192.0.2.1 port 179: cannot assign requested address")
        },
        || weft.describe(),
    );
    netns.run(|| {
        sh(&format!("ip addr add {} dev lo", A.v4()));
        sh(&format!("ip addr add {} dev lo nodad", A.v6()));
    });
    until(
        "it listens",
        || weft.view().problems.is_empty(),
        || weft.describe(),
    );
}

fn secret(text: &str) -> Option<Password> {
    Some(Password::new(text).unwrap())
}

/// Two of ours that speak with each other.
fn pair(netns: &Netns) -> (Weft, Weft) {
    let mut ours = plan(A, ASN, [OUR4, OUR6]);
    let mut theirs = plan(B, ASN, [OTHER4, OTHER6]);
    for (plan, here, there) in [(&mut ours, A, B), (&mut theirs, B, A)] {
        let mut peer = peer(here, there, ASN, false);
        peer.password = secret("old");
        plan.peers.insert(there.v4().into(), peer);
    }
    let pair = (
        Weft::start(netns, ours, false),
        Weft::start(netns, theirs, false),
    );
    until(
        "both know the way",
        || pair.0.route(OTHER4).is_some() && pair.1.route(OUR4).is_some(),
        || pair.0.describe(),
    );
    pair
}

#[test]
fn what_can_change_changes_without_a_new_session() {
    let netns = netns();
    let (ours, theirs) = pair(&netns);
    let them: IpAddr = B.v4().into();
    let since = || ours.status(them).map(|status| status.since);
    let begun = since();
    for (weft, there) in [(&ours, B), (&theirs, A)] {
        weft.edit(|plan| {
            plan.settings.restart_time = 33;
            plan.settings.multipath = std::num::NonZeroU16::new(4).unwrap();
            let peer = plan.peers.get_mut(&IpAddr::from(there.v4())).unwrap();
            peer.password = secret("new");
            peer.name = "renamed".to_owned();
        });
    }
    theirs.edit(|plan| {
        let (_, attributes) = plan.originate.first_key_value().unwrap();
        let attributes = attributes.clone();
        plan.originate
            .insert("198.18.9.0/24".parse().unwrap(), attributes);
    });
    until(
        "the new route comes, signed anew",
        || ours.route("198.18.9.0/24").is_some(),
        || ours.describe(),
    );
    assert_eq!(since(), begun);
    assert_eq!(ours.last_error(them), "");
    assert_eq!(&*ours.status(them).unwrap().name, "renamed");
}

#[test]
fn another_identifier_is_another_speaker() {
    let netns = netns();
    let (ours, theirs) = pair(&netns);
    ours.edit(|plan| plan.settings.router_id = Ipv4Addr::new(192, 0, 2, 77));
    let us: IpAddr = A.v4().into();
    theirs.never_without(OUR4, || {
        until(
            "it is known by its new identifier",
            || {
                let session = theirs.status(us).and_then(|status| status.session);
                session.is_some_and(|facts| facts.router_id == Ipv4Addr::new(192, 0, 2, 77))
                    && ours.view().complete
            },
            || theirs.describe(),
        );
    });
    assert!(ours.route(OTHER4).is_some());
}
