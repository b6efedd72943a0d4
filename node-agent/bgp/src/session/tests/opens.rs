//! What an OPEN may say, and what comes of it.

use rstest::rstest;

use super::*;

fn of(change: impl FnOnce(&mut Open)) -> Open {
    let mut open = peer();
    change(&mut open);
    open
}

const IPV6_ONLY: PerFamily<bool> = PerFamily {
    ipv4: false,
    ipv6: true,
};
const IPV4_ONLY: PerFamily<bool> = PerFamily {
    ipv4: true,
    ipv6: false,
};

/// Each defect: what this end wants, what the peer says, code, subcode and data of the answer, and the words.
#[rstest]
#[case::another_as(config(), of(|open| { open.asn = 64514; open.capabilities.as4 = Some(64514) }), (2, 2), &[], "the peer has AS 64514, expected 64513")]
#[case::as_0(Config { peer_as: 0, ..config() }, of(|open| { open.asn = 0; open.capabilities.as4 = Some(0) }), (2, 2), &[], "the peer has AS 0, expected 0")]
#[case::as_4_octets(config(), of(|open| open.capabilities.as4 = Some(70_000)), (2, 2), &[], "the peer has AS 70000, expected 64513")]
#[case::no_identifier(config(), of(|open| open.id = Ipv4Addr::UNSPECIFIED), (2, 3), &[0, 0, 0, 0], "the peer has no BGP identifier")]
#[case::our_identifier(Config { peer_as: 64512, ..config() }, of(|open| { open.asn = 64512; open.capabilities.as4 = Some(64512); open.id = config().id }), (2, 3), &[10, 0, 0, 1], "the peer has this end's BGP identifier, 10.0.0.1")]
#[case::hold_time_1(config(), of(|open| open.hold_time = 1), (2, 6), &[0, 1], "the peer wants a hold time of 1 s: at least 3 s are needed")]
#[case::hold_time_2(config(), of(|open| open.hold_time = 2), (2, 6), &[0, 2], "the peer wants a hold time of 2 s: at least 3 s are needed")]
#[case::no_family(Config { capabilities: Capabilities { families: Some(IPV6_ONLY), ..capabilities(64512) }, ..config() }, of(|open| open.capabilities.families = Some(IPV4_ONLY)), (2, 7), &[1, 4, 0, 2, 0, 1], "no address family in common: the peer speaks IPv4 only, this end IPv6 only")]
#[case::no_multiprotocol(Config { capabilities: Capabilities { families: Some(IPV6_ONLY), ..capabilities(64512) }, ..config() }, of(|open| open.capabilities.families = None), (2, 7), &[1, 4, 0, 2, 0, 1], "no address family in common: the peer speaks IPv4 only, this end IPv6 only")]
fn refused(
    #[case] ours: Config,
    #[case] open: Open,
    #[case] error: (u8, u8),
    #[case] data: &[u8],
    #[case] words: &str,
) {
    let mut bench = Bench::connected(ours);
    bench.bytes(&open_bytes(&open));
    let seen = bench.seen();
    assert_eq!(
        seen.notification(),
        Some(Notification::with_data(error, data))
    );
    assert_eq!(seen.failure(), Some((words, false)));
    assert_eq!(seen.closed, [CONNECTION]);
    assert_eq!(bench.session.state(), State::Idle);
}

/// Defects of the form; more of them are with the message itself.
#[rstest]
#[case::version(&[3, 0, 1, 0, 90, 1, 1, 1, 1, 0], (2, 1), &[0, 4])]
#[case::parameter(&[4, 0, 1, 0, 90, 1, 1, 1, 1, 2, 9, 0], (2, 4), &[9])]
#[case::lengths(&[4, 0, 1, 0, 90, 1, 1, 1, 1, 9], (2, 0), &[])]
fn malformed(#[case] body: &[u8], #[case] error: (u8, u8), #[case] data: &[u8]) {
    let mut bench = Bench::connected(config());
    let mut bytes = Vec::new();
    wire::write(&mut bytes, Kind::Open, |out| out.extend(body));
    bench.bytes(&bytes);
    assert_eq!(
        bench.seen().notification(),
        Some(Notification::with_data(error, data))
    );
    assert_eq!(bench.session.state(), State::Idle);
}

#[rstest]
#[case::the_less(90, 30, 30)]
#[case::ours(9, 30, 9)]
#[case::none_ours(0, 30, 0)]
#[case::none_theirs(90, 0, 0)]
#[case::least(90, 3, 3)]
fn hold_times(#[case] ours: u16, #[case] theirs: u16, #[case] seconds: u64) {
    let bench = Bench::established(
        Config {
            hold_time: ours,
            ..config()
        },
        &of(|open| open.hold_time = theirs),
    );
    assert_eq!(
        bench.session.negotiated().unwrap().hold_time,
        Duration::from_secs(seconds)
    );
    assert_eq!(bench.session.deadline().is_none(), seconds == 0);
}

#[test]
fn the_same_identifier_is_fine_between_ases() {
    Bench::established(config(), &of(|open| open.id = config().id));
}

#[test]
fn what_is_agreed_on() {
    let mut ours = graceful(capabilities(64512), true);
    ours.extended_message = true;
    ours.extended_next_hop = true;
    ours.add_path.ipv4 = AddPath {
        send: true,
        receive: true,
    };
    ours.long_lived.ipv6 = Some(LongLived {
        forwarding: false,
        stale_time: 600,
    });
    let mut theirs = graceful(capabilities(64513), false);
    theirs.families = Some(IPV4_ONLY);
    theirs.extended_message = true;
    theirs.add_path.ipv4 = AddPath {
        send: false,
        receive: true,
    };
    let llgr = LongLived {
        forwarding: true,
        stale_time: 3600,
    };
    theirs.long_lived = PerFamily {
        ipv4: Some(llgr),
        ipv6: Some(llgr),
    };
    let restart = theirs.graceful_restart;

    let bench = Bench::established(
        Config {
            capabilities: ours,
            ..config()
        },
        &of(|open| open.capabilities = theirs.clone()),
    );
    let families = IPV4_ONLY;
    let expected = Negotiated {
        peer_as: 64513,
        peer_id: Ipv4Addr::new(10, 0, 0, 2),
        external: true,
        hold_time: Duration::from_secs(30),
        families,
        route_refresh: true,
        enhanced_route_refresh: true,
        graceful_restart: restart,
        long_lived: PerFamily {
            ipv4: None,
            ipv6: Some(llgr),
        },
        receive: wire::Receive {
            external: true,
            first_as: Some(64513),
            as4: true,
            families,
            add_path: PerFamily::default(),
            extended_next_hop: false,
        },
        transmit: wire::Transmit {
            as4: true,
            families,
            add_path: PerFamily {
                ipv4: true,
                ipv6: false,
            },
            extended_next_hop: false,
            max: MAX_EXTENDED,
        },
    };
    assert_eq!(bench.session.negotiated(), Some(&expected));
}

#[test]
fn a_peer_of_two_octets() {
    let bench = Bench::established(config(), &of(|open| open.capabilities.as4 = None));
    let negotiated = bench.session.negotiated().unwrap();
    assert!(!negotiated.receive.as4 && !negotiated.transmit.as4);
}

#[test]
fn long_lived_needs_graceful_restart() {
    let long_lived = LongLived {
        forwarding: true,
        stale_time: 3600,
    };
    let long_lived = PerFamily {
        ipv4: Some(long_lived),
        ipv6: None,
    };
    let config = Config {
        capabilities: Capabilities {
            long_lived,
            ..capabilities(64512)
        },
        ..config()
    };
    let open = of(|open| open.capabilities.long_lived = long_lived);
    let bench = Bench::established(config, &open);
    assert_eq!(
        bench.session.negotiated().unwrap().long_lived,
        PerFamily::default()
    );
}

#[test]
fn new_capabilities_are_for_the_next_open() {
    let mut bench = Bench::connected(config());
    bench
        .session
        .set_capabilities(graceful(capabilities(64512), true));
    let theirs = graceful(capabilities(64513), true);
    bench.bytes(&open_bytes(&of(|open| open.capabilities = theirs)));
    bench.bytes(&keepalive_bytes());
    assert_eq!(bench.session.negotiated().unwrap().graceful_restart, None);
}
