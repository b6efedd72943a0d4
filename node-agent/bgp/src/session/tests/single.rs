//! One session and a peer that is played by hand.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[test]
fn a_whole_life() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.session.state(), State::Idle);
    bench.session.start(bench.now);
    assert_eq!(bench.session.state(), State::Connect);
    assert_eq!(bench.seen().connects, 1);

    bench.session.connected(CONNECTION, bench.now);
    assert_eq!(bench.session.state(), State::OpenSent);
    let seen = bench.seen();
    let ours = Open {
        asn: 64512,
        hold_time: 90,
        id: config().id,
        capabilities: capabilities(64512),
    };
    assert_eq!(Open::decode(&seen.written[0].2), Ok(ours));

    bench.bytes(&open_bytes(&peer()));
    assert_eq!(bench.session.state(), State::OpenConfirm);
    assert_eq!(bench.seen().kinds(CONNECTION), [Kind::Keepalive]);

    bench.bytes(&keepalive_bytes());
    assert_eq!(bench.session.state(), State::Established);
    assert!(matches!(bench.seen().events[..], [Event::Established(_)]));

    bench.session.stop(Cease::Shutdown, "night", bench.now);
    let seen = bench.seen();
    assert_eq!(
        seen.notification(),
        Some(Cease::Shutdown.notification("night"))
    );
    assert_eq!(
        seen.failure(),
        Some(("stopped here: administrative shutdown: night", false))
    );
    assert_eq!(seen.closed, [CONNECTION]);
    assert_eq!(
        (bench.session.state(), bench.session.deadline()),
        (State::Idle, None)
    );
}

#[test]
fn keepalives_come_at_a_third_of_the_hold_time() {
    let mut bench = Bench::established(config(), &peer());
    for _ in 0..20 {
        let delay = bench.next_deadline();
        assert!((7.5..=10.0).contains(&delay.as_secs_f64()), "{delay:?}");
        assert_eq!(bench.seen().kinds(CONNECTION), [Kind::Keepalive]);
        bench.bytes(&keepalive_bytes());
    }
}

#[test]
fn silence_ends_the_session_after_the_hold_time() {
    let mut bench = Bench::established(config(), &peer());
    let mut silent = Duration::ZERO;
    while bench.session.state() == State::Established {
        silent += bench.next_deadline();
    }
    assert_eq!(silent, Duration::from_secs(30));
    let seen = bench.seen();
    assert_eq!(seen.notification(), Some(Notification::new((4, 0))));
    assert_eq!(
        seen.failure(),
        Some(("hold time over: nothing came from the peer", false))
    );
}

#[rstest]
#[case::open_sent(false, 90, 240)]
#[case::open_confirm(true, 90, 30)]
#[case::open_confirm_without_a_hold_time(true, 0, 240)]
fn silence_ends_the_handshake(#[case] opened: bool, #[case] hold_time: u16, #[case] seconds: u64) {
    let mut bench = Bench::connected(Config {
        hold_time,
        ..config()
    });
    if opened {
        bench.bytes(&open_bytes(&peer()));
    }
    let mut silent = Duration::ZERO;
    while bench.session.state() != State::Idle {
        silent += bench.next_deadline();
    }
    assert_eq!(silent, Duration::from_secs(seconds));
    assert_eq!(bench.seen().notification(), Some(Notification::new((4, 0))));
}

#[test]
fn bytes_in_time_keep_a_session_that_was_not_advanced() {
    let mut bench = Bench::established(config(), &peer());
    bench.now += Duration::from_secs(60);
    bench.bytes(&keepalive_bytes());
    bench.after(Duration::ZERO);
    assert_eq!(bench.session.state(), State::Established);
}

/// Rests after errors: longer each time, up to the most, with jitter; and short again after a session that lasted.
#[test]
fn rests_grow() {
    let mut bench = Bench::connected(config());
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        bench.bytes(&notification_bytes(&Notification::new((2, 2))));
        assert_eq!(bench.session.state(), State::Idle);
        let most = Duration::from_secs(expected);
        let delay = bench.next_deadline();
        assert!(
            delay <= most && delay >= most.mul_f64(0.75),
            "{delay:?} of {most:?}"
        );
        bench.session.connected(CONNECTION, bench.now);
    }
    bench.bytes(&[open_bytes(&peer()), keepalive_bytes()].concat());
    bench.now += Duration::from_secs(60);
    bench.session.closed(CONNECTION, "reset", bench.now);
    assert!(bench.next_deadline() <= Duration::from_secs(1));
}

#[test]
fn attempts_come_less_and_less_often() {
    let mut bench = Bench::new(config());
    bench.session.start(bench.now);
    for expected in [5, 10, 20, 40, 80, 120, 120] {
        bench.session.connect_failed("refused");
        assert_eq!(bench.session.state(), State::Active);
        assert_eq!(
            bench.seen().failure(),
            Some(("can't connect: refused", false))
        );
        let most = Duration::from_secs(expected);
        let delay = bench.next_deadline();
        assert!(
            delay <= most && delay >= most.mul_f64(0.75),
            "{delay:?} of {most:?}"
        );
        assert_eq!(bench.session.state(), State::Connect);
    }
}

/// The next attempt may take so long.
fn attempt(bench: &mut Bench) -> Duration {
    assert_eq!(bench.session.state(), State::Connect);
    bench.next_deadline()
}

#[test]
fn delays_are_short_again_after_a_start() {
    let mut bench = Bench::new(config());
    bench.session.start(bench.now);
    while attempt(&mut bench) < Duration::from_secs(60) {}
    for _ in 0..6 {
        bench.session.connected(CONNECTION, bench.now);
        bench.bytes(&notification_bytes(&Notification::new((2, 2))));
        bench.next_deadline();
    }
    bench.session.stop(Cease::Shutdown, "", bench.now);
    bench.session.start(bench.now);
    assert!(attempt(&mut bench) <= Duration::from_secs(5));
    bench.session.connected(CONNECTION, bench.now);
    bench.bytes(&notification_bytes(&Notification::new((2, 2))));
    assert!(bench.next_deadline() <= Duration::from_secs(1));
}

#[test]
fn attempts_are_short_again_after_a_session() {
    let mut bench = Bench::new(config());
    bench.session.start(bench.now);
    while attempt(&mut bench) < Duration::from_secs(60) {}
    bench.session.connected(CONNECTION, bench.now);
    bench.bytes(&[open_bytes(&peer()), keepalive_bytes()].concat());
    bench.session.closed(CONNECTION, "reset", bench.now);
    bench.next_deadline();
    assert!(attempt(&mut bench) <= Duration::from_secs(5));
}

#[test]
fn no_attempt_is_made_beside_a_connection() {
    let mut bench = Bench::new(config());
    bench.session.start(bench.now);
    bench.session.accepted(CONNECTION, bench.now);
    bench.seen();
    assert!(bench.next_deadline() <= Duration::from_secs(5));
    assert_eq!(
        (bench.seen().connects, bench.session.state()),
        (0, State::OpenSent)
    );
}

#[test]
fn an_attempt_without_an_answer_is_made_again() {
    let mut bench = Bench::new(config());
    bench.session.start(bench.now);
    assert_eq!(bench.seen().connects, 1);
    bench.next_deadline();
    assert_eq!(
        (bench.session.state(), bench.seen().connects),
        (State::Connect, 1)
    );
}

#[test]
fn passive_only_waits() {
    let mut bench = Bench::new(Config {
        passive: true,
        ..config()
    });
    bench.session.start(bench.now);
    assert_eq!(
        (bench.session.state(), bench.session.deadline()),
        (State::Active, None)
    );
    bench.session.accepted(CONNECTION, bench.now);
    bench.bytes(&[open_bytes(&peer()), keepalive_bytes()].concat());
    assert_eq!(bench.session.state(), State::Established);
    assert_eq!(bench.seen().connects, 0);
}

#[test]
fn idle_refuses_connections() {
    let mut bench = Bench::new(config());
    bench.session.accepted(CONNECTION, bench.now);
    let seen = bench.seen();
    assert_eq!((seen.closed, seen.written.len()), (vec![CONNECTION], 0));
    bench.session.connected(Connection(2), bench.now);
    assert_eq!(bench.seen().closed, [Connection(2)]);
}

#[test]
fn a_peer_that_closes_before_its_open_is_no_reason_to_rest() {
    let mut bench = Bench::connected(config());
    bench.session.closed(CONNECTION, "end of stream", bench.now);
    assert_eq!(bench.session.state(), State::Active);
    assert_eq!(
        bench.seen().failure(),
        Some(("connection closed: end of stream", false))
    );
}

#[rstest]
#[case::their_refusal(Notification::new((2, 2)), "the peer refuses AS 64512: it expects another AS here")]
#[case::shutdown(Cease::Shutdown.notification("work on the rack"), "ended by the peer: administrative shutdown: work on the rack")]
fn what_the_peer_says(#[case] notification: Notification, #[case] words: &str) {
    let mut bench = Bench::connected(config());
    bench.bytes(&notification_bytes(&notification));
    let seen = bench.seen();
    assert_eq!(seen.failure(), Some((words, false)));
    assert_eq!((seen.notification(), seen.closed), (None, vec![CONNECTION]));
}

#[rstest]
#[case::keepalive_for_open(0, keepalive_bytes(), (5, 1))]
#[case::open_for_keepalive(1, open_bytes(&peer()), (5, 2))]
#[case::open_again(2, open_bytes(&peer()), (5, 3))]
#[case::bad_header(2, vec![0; 19], (1, 1))]
#[case::bad_header_first(0, vec![0; 19], (1, 1))]
fn messages_out_of_order(#[case] stage: usize, #[case] bytes: Vec<u8>, #[case] error: (u8, u8)) {
    let mut bench = Bench::connected(config());
    for bytes in [open_bytes(&peer()), keepalive_bytes()].iter().take(stage) {
        bench.bytes(bytes);
    }
    bench.bytes(&bytes);
    let seen = bench.seen();
    assert_eq!(
        seen.notification().map(|notification| notification.error()),
        Some(error)
    );
    assert_eq!(
        (seen.closed, bench.session.state()),
        (vec![CONNECTION], State::Idle)
    );
}

/// Whether routes may be kept: ours and the peer's capabilities, and how the session ends.
#[derive(Clone, Copy)]
enum End {
    Lost,
    Silence,
    Told(u8, u8),
    Stop(Cease),
}

#[rstest]
#[case::no_restart(None, None, End::Lost, false)]
#[case::only_ours(Some(true), None, End::Lost, false)]
#[case::only_theirs(None, Some(true), End::Lost, false)]
#[case::lost(Some(false), Some(false), End::Lost, true)]
#[case::told(Some(false), Some(false), End::Told(6, 4), false)]
#[case::told_without_notification_support(Some(true), Some(false), End::Told(6, 4), false)]
#[case::told_with_support(Some(true), Some(true), End::Told(6, 4), true)]
#[case::told_hard(Some(true), Some(true), End::Told(6, 9), false)]
#[case::silence(Some(false), Some(false), End::Silence, false)]
#[case::silence_with_support(Some(true), Some(true), End::Silence, true)]
#[case::reset(Some(true), Some(true), End::Stop(Cease::Reset), true)]
#[case::shutdown(Some(true), Some(true), End::Stop(Cease::Shutdown), false)]
#[case::too_many(Some(true), Some(true), End::Stop(Cease::MaximumPrefixes), false)]
fn routes_that_outlive_a_session(
    #[case] ours: Option<bool>,
    #[case] theirs: Option<bool>,
    #[case] end: End,
    #[case] expected: bool,
) {
    let with = |capabilities: Capabilities, support: Option<bool>| match support {
        Some(notification) => graceful(capabilities, notification),
        None => capabilities,
    };
    let config = Config {
        capabilities: with(capabilities(64512), ours),
        ..config()
    };
    let open = Open {
        capabilities: with(capabilities(64513), theirs),
        ..peer()
    };
    let mut bench = Bench::established(config, &open);
    match end {
        End::Lost => bench.session.closed(CONNECTION, "reset", bench.now),
        End::Silence => bench.after(Duration::from_secs(30)),
        End::Told(code, subcode) => {
            bench.bytes(&notification_bytes(&Notification::new((code, subcode))))
        }
        End::Stop(cease) => bench.session.stop(cease, "", bench.now),
    }
    let seen = bench.seen();
    assert_eq!(seen.failure().unwrap().1, expected);
    if let (End::Stop(cease), Some(notification)) = (end, seen.notification()) {
        assert_eq!(notification.is_hard(), cease.is_hard());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Garbage at any stage ends the connection with a NOTIFICATION, or waits for more; nothing panics.
    #[test]
    fn arbitrary_bytes(
        stage in 0..3_usize,
        framed: bool,
        kind in 0..7_u8,
        body in proptest::collection::vec(prop_oneof![any::<u8>(), 0..5_u8], 0..120),
        chunk in 1..40_usize,
    ) {
        let mut bench = Bench::connected(config());
        for bytes in [open_bytes(&peer()), keepalive_bytes()].iter().take(stage) {
            bench.bytes(bytes);
        }
        bench.seen();
        let before = bench.session.state();
        let bytes = if framed {
            [&[0xff; 16][..], &(body.len() as u16 + 19).to_be_bytes(), &[kind], &body].concat()
        } else {
            body
        };
        for bytes in bytes.chunks(chunk) {
            bench.bytes(bytes);
        }
        let after = bench.session.state();
        let told_us = framed && kind == Kind::Notification as u8;
        let seen = bench.seen();
        prop_assert!(after == State::Idle || after >= before);
        prop_assert_eq!(after == State::Idle, seen.closed == [CONNECTION]);
        prop_assert_eq!(after == State::Idle && !(told_us && bytes.len() >= 21), seen.notification().is_some());
        prop_assert_eq!(after == State::Idle, seen.failure().is_some());
    }
}
