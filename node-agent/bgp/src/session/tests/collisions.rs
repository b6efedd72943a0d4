//! More than one connection with a peer that is played by hand.

use rstest::rstest;

use super::*;
use crate::session::collision::survivor;

/// Two connections at once. The peer's identifier is greater or less than ours, and OPENs come on either first.
#[rstest]
#[case::they_win_theirs_first(2, [Connection(2), Connection(1)], Connection(2))]
#[case::they_win_ours_first(2, [Connection(1), Connection(2)], Connection(2))]
#[case::we_win_theirs_first(0, [Connection(2), Connection(1)], Connection(1))]
#[case::we_win_ours_first(0, [Connection(1), Connection(2)], Connection(1))]
fn collisions(#[case] last: u8, #[case] order: [Connection; 2], #[case] stays: Connection) {
    let open = Open {
        id: Ipv4Addr::new(10, 0, 0, last),
        ..peer()
    };
    let mut bench = Bench::connected(config());
    bench.session.accepted(Connection(2), bench.now);
    for connection in order {
        bench
            .session
            .bytes(connection, &open_bytes(&open), bench.now);
    }
    let seen = bench.seen();
    assert_eq!(seen.notification(), Some(Notification::new((6, 7))));
    assert_eq!(seen.closed.len(), 1);
    assert_ne!(seen.closed, [stays]);
    assert!(seen.events.is_empty(), "a collision is no failure");
    bench.session.bytes(stays, &keepalive_bytes(), bench.now);
    assert_eq!(bench.session.state(), State::Established);
}

/// The peer calls after its OPEN was answered: it has a session by then, whoever has the greater identifier.
#[test]
fn a_connection_that_was_answered_before_the_other_was_there_stays() {
    let open = Open {
        id: Ipv4Addr::new(10, 0, 0, 2),
        ..peer()
    };
    let mut bench = Bench::connected(config());
    bench.bytes(&open_bytes(&open));
    bench.after(Duration::from_millis(1));
    bench.session.accepted(Connection(2), bench.now);
    bench
        .session
        .bytes(Connection(2), &open_bytes(&open), bench.now);
    let seen = bench.seen();
    assert_eq!(seen.closed, [Connection(2)]);
    bench.bytes(&keepalive_bytes());
    assert_eq!(bench.session.state(), State::Established);
}

#[rstest]
#[case((1, 9), (2, 1), Direction::Incoming)]
#[case((2, 1), (1, 9), Direction::Outgoing)]
#[case::same_identifier((1, 1), (1, 2), Direction::Incoming)]
fn survivors(#[case] local: (u32, u32), #[case] remote: (u32, u32), #[case] expected: Direction) {
    assert_eq!(
        survivor((local.0.into(), local.1), (remote.0.into(), remote.1)),
        expected
    );
}

/// A second connection of the peer while a session is established.
#[rstest]
#[case::no_graceful_restart(false, 60, false)]
#[case::too_early(true, 1, false)]
#[case::restarted(true, 60, true)]
fn second_connections(#[case] restart: bool, #[case] seconds: u64, #[case] replaced: bool) {
    let with = |capabilities| {
        if restart {
            graceful(capabilities, true)
        } else {
            capabilities
        }
    };
    let open = Open {
        capabilities: with(capabilities(64513)),
        ..peer()
    };
    let mut bench = Bench::established(
        Config {
            capabilities: with(capabilities(64512)),
            hold_time: 0,
            ..config()
        },
        &open,
    );
    bench.after(Duration::from_secs(seconds));
    bench.session.accepted(Connection(2), bench.now);
    assert_eq!(
        bench.session.state(),
        State::Established,
        "nothing happens before the peer's OPEN"
    );
    bench
        .session
        .bytes(Connection(2), &open_bytes(&open), bench.now);
    let seen = bench.seen();
    if replaced {
        assert_eq!(seen.closed, [CONNECTION]);
        assert_eq!(
            seen.failure(),
            Some(("the peer has restarted and opened a new connection", true))
        );
        assert_eq!(bench.session.state(), State::OpenConfirm);
    } else {
        assert_eq!(seen.closed, [Connection(2)]);
        assert_eq!(seen.notification(), Some(Notification::new((6, 7))));
        assert_eq!(bench.session.state(), State::Established);
    }
}

#[test]
fn an_own_connection_that_leads_nowhere_is_not_in_the_way() {
    let mut bench = Bench::connected(config());
    bench.after(Duration::from_secs(10));
    bench.session.accepted(Connection(2), bench.now);
    let open = open_bytes(&Open {
        id: Ipv4Addr::new(10, 0, 0, 0),
        ..peer()
    });
    bench.session.bytes(Connection(2), &open, bench.now);
    bench
        .session
        .bytes(Connection(2), &keepalive_bytes(), bench.now);
    assert_eq!(bench.session.state(), State::Established);
    assert_eq!(bench.seen().closed, []);
}

#[test]
fn half_open_handshakes_do_not_add_up() {
    let mut bench = Bench::connected(config());
    for connection in 2..500 {
        bench.session.accepted(Connection(connection), bench.now);
    }
    let seen = bench.seen();
    assert_eq!(seen.closed.len(), 497);
    assert_eq!(bench.session.links.len(), 2);
}

#[test]
fn the_peers_choice_between_two_connections_is_no_reason_to_rest() {
    let mut bench = Bench::connected(config());
    bench.bytes(&notification_bytes(&Notification::new((6, 7))));
    assert_eq!(bench.session.state(), State::Active);
    bench.session.accepted(Connection(2), bench.now);
    assert_eq!(bench.session.state(), State::OpenSent);
}
