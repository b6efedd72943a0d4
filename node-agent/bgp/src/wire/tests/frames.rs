//! Headers, and the messages beside UPDATE.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::route::Family;
use crate::wire::samples;

fn header(length: u16, kind: u8) -> Vec<u8> {
    [[0xff; 16].as_slice(), &length.to_be_bytes(), &[kind]].concat()
}

#[rstest]
#[case::marker([&[0xff; 15][..], &[0xfe, 0, 19, 4]].concat(), (1, 1), &[])]
#[case::too_short(header(18, 4), (1, 2), &[0, 18])]
#[case::too_long(header(4097, 2), (1, 2), &[16, 1])]
#[case::short_open(header(28, 1), (1, 2), &[0, 28])]
#[case::short_update(header(22, 2), (1, 2), &[0, 22])]
#[case::short_notification(header(20, 3), (1, 2), &[0, 20])]
#[case::long_keepalive(header(20, 4), (1, 2), &[0, 20])]
#[case::short_refresh(header(22, 5), (1, 2), &[0, 22])]
#[case::type_0(header(19, 0), (1, 3), &[0])]
#[case::type_6(header(19, 6), (1, 3), &[6])]
fn bad_headers(#[case] bytes: Vec<u8>, #[case] error: (u8, u8), #[case] data: &[u8]) {
    let mut framer = Framer::new(MAX);
    framer.push(&bytes);
    for _ in 0..2 {
        assert_eq!(framer.pop(), Err(Notification::with_data(error, data)));
    }
}

#[rstest]
#[case::update(2, true)]
#[case::notification(3, true)]
#[case::refresh(5, true)]
#[case::open(1, false)]
fn extended_messages(#[case] kind: u8, #[case] allowed: bool) {
    let mut framer = Framer::new(MAX_EXTENDED);
    framer.push(&header(65_535, kind));
    assert_eq!(framer.pop().is_ok(), allowed);
}

fn open_body(asn: u16, parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![4];
    body.extend(asn.to_be_bytes());
    body.extend([0, 90, 10, 0, 0, 1, parameters.len() as u8]);
    body.extend(parameters);
    body
}

#[rstest]
#[case::version([&[3][..], &open_body(1, &[])[1..]].concat(), (2, 1), &[0, 4])]
#[case::parameter(open_body(1, &[1, 0]), (2, 4), &[1])]
#[case::parameter_too_long(open_body(1, &[2, 5, 2, 0]), (2, 0), &[])]
#[case::parameters_too_long([&open_body(1, &[])[..9], &[3, 2, 0]].concat(), (2, 0), &[])]
#[case::rest_after_parameters([&open_body(1, &[])[..], &[0]].concat(), (2, 0), &[])]
#[case::capability_too_long(open_body(1, &[2, 2, 2, 1]), (2, 0), &[])]
#[case::as4_of_two_octets(open_body(1, &[2, 4, 65, 2, 0, 1]), (2, 0), &[])]
#[case::multiprotocol_short(open_body(1, &[2, 5, 1, 3, 0, 1, 0]), (2, 0), &[])]
#[case::refresh_with_value(open_body(1, &[2, 3, 2, 1, 0]), (2, 0), &[])]
#[case::graceful_restart_uneven(open_body(1, &[2, 5, 64, 3, 0, 1, 0]), (2, 0), &[])]
#[case::add_path_uneven(open_body(1, &[2, 5, 69, 3, 0, 1, 1]), (2, 0), &[])]
#[case::long_lived_uneven(open_body(1, &[2, 6, 71, 4, 0, 1, 1, 0]), (2, 0), &[])]
#[case::empty(vec![], (2, 0), &[])]
fn bad_opens(#[case] body: Vec<u8>, #[case] error: (u8, u8), #[case] data: &[u8]) {
    assert_eq!(
        Open::decode(&body),
        Err(Notification::with_data(error, data))
    );
}

#[rstest]
#[case::nothing(&[], Capabilities::default())]
#[case::unknown_capability(&[2, 3, 200, 1, 7], Capabilities::default())]
#[case::unknown_family(&[2, 6, 1, 4, 0, 25, 0, 70], Capabilities { families: Some(PerFamily::default()), ..Default::default() })]
#[case::two_parameters(&[2, 2, 2, 0, 2, 2, 70, 0], Capabilities { route_refresh: true, enhanced_route_refresh: true, ..Default::default() })]
#[case::extended_lengths(&[255, 0, 5, 2, 0, 2, 2, 0], Capabilities { route_refresh: true, ..Default::default() })]
#[case::add_path_of_no_direction(&[2, 6, 69, 4, 0, 1, 1, 4], Capabilities::default())]
#[case::next_hop_of_other_family(&[2, 8, 5, 6, 0, 1, 0, 128, 0, 2], Capabilities::default())]
fn lenient_opens(#[case] parameters: &[u8], #[case] capabilities: Capabilities) {
    let open = Open::decode(&open_body(7, parameters)).unwrap();
    assert_eq!(
        open,
        Open {
            asn: 7,
            hold_time: 90,
            id: Ipv4Addr::new(10, 0, 0, 1),
            capabilities
        }
    );
}

#[test]
fn as_trans_where_two_octets_are_too_few() {
    let capabilities = Capabilities {
        as4: Some(70_000),
        ..Default::default()
    };
    let mut bytes = Vec::new();
    Open {
        asn: 70_000,
        hold_time: 90,
        id: Ipv4Addr::LOCALHOST,
        capabilities,
    }
    .encode(&mut bytes);
    assert_eq!(bytes[20..22], 23456_u16.to_be_bytes());
}

#[rstest]
#[case::request(&[0, 1, 0, 1], Some((Family::Ipv4, Refresh::Request)))]
#[case::begin(&[0, 2, 1, 1], Some((Family::Ipv6, Refresh::Begin)))]
#[case::end(&[0, 2, 2, 1], Some((Family::Ipv6, Refresh::End)))]
#[case::unknown_subtype(&[0, 1, 3, 1], None)]
#[case::unknown_family(&[0, 1, 0, 2], None)]
fn refreshes(#[case] body: &[u8], #[case] expected: Option<(Family, Refresh)>) {
    let expected = expected.map(|(family, refresh)| RouteRefresh { family, refresh });
    assert_eq!(RouteRefresh::decode(body), Ok(expected));
    if let Some(refresh) = expected {
        let mut bytes = Vec::new();
        refresh.encode(&mut bytes);
        assert_eq!(messages(&bytes), [(Kind::RouteRefresh, body.to_vec())]);
    }
}

#[test]
fn long_refresh_is_sent_back() {
    let error = RouteRefresh::decode(&[0, 1, 1, 1, 9]).unwrap_err();
    assert_eq!(error.error(), error::REFRESH_LENGTH);
    assert_eq!(
        messages(&error.data),
        [(Kind::RouteRefresh, vec![0, 1, 1, 1, 9])]
    );
}

#[rstest]
#[case::known(Notification::new((2, 2)), "OPEN: bad peer AS")]
#[case::subcode(Notification::new((6, 77)), "cease")]
#[case::code(Notification::new((77, 1)), "error 77 subcode 1")]
#[case::text(Cease::Shutdown.notification("wartung, ÄÖ"), "administrative shutdown: wartung, ÄÖ")]
#[case::no_text(Cease::Shutdown.notification(""), "administrative shutdown")]
#[case::none_carried(Cease::Deconfigured.notification("x"), "peer de-configured")]
#[case::hard(Cease::Shutdown.notification("bye").into_hard(), "hard reset: administrative shutdown: bye")]
#[case::hard_in_hard(Notification::new((6, 9)).into_hard(), "hard reset")]
#[case::hard_of_nothing(Notification::new((6, 9)), "hard reset")]
#[case::text_too_long(Notification::with_data((6, 2), &[9, b'a']), "administrative shutdown")]
#[case::no_utf8(Notification::with_data((6, 4), &[3, b'a', 0xff, b'\n']), "administrative reset: a\u{fffd} ")]
fn notifications_in_words(#[case] notification: Notification, #[case] words: &str) {
    assert_eq!(notification.to_string(), words);
}

#[test]
fn shutdown_text_is_cut_between_characters() {
    let notification = Cease::Shutdown.notification(&"ä".repeat(200));
    assert_eq!(notification.data.len(), 255);
    assert_eq!(notification.data[0], 254);
    assert!(notification.to_string().ends_with(&"ä".repeat(127)));
}

proptest! {
    #[test]
    fn open_and_back(open in samples::open()) {
        let mut bytes = Vec::new();
        open.encode(&mut bytes);
        let messages = messages(&bytes);
        prop_assert_eq!(messages.len(), 1);
        prop_assert_eq!(Open::decode(&messages[0].1), Ok(open));
    }

    #[test]
    fn notification_and_back(code: u8, subcode: u8, data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let notification = Notification { code, subcode, data };
        let mut bytes = Vec::new();
        notification.encode(&mut bytes);
        prop_assert_eq!(Notification::decode(&messages(&bytes)[0].1), notification);
    }

    /// However a stream is cut, the messages in it and the error at its end are the same.
    #[test]
    fn any_split(
        bodies in proptest::collection::vec((2..=3_u8, proptest::collection::vec(any::<u8>(), 4..200)), 0..8),
        garbage in proptest::collection::vec(any::<u8>(), 0..40),
        cuts in proptest::collection::vec(1..50_usize, 1..20),
    ) {
        let mut stream = Vec::new();
        for (kind, body) in &bodies {
            stream.extend(header(body.len() as u16 + 19, *kind));
            stream.extend(body);
        }
        stream.extend(&garbage);

        let read = |chunks: &mut dyn Iterator<Item = usize>| {
            let mut framer = Framer::new(MAX);
            let mut seen = Vec::new();
            let mut rest = stream.as_slice();
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(chunks.next().unwrap().min(rest.len()));
                framer.push(chunk);
                rest = after;
                loop {
                    match framer.pop() {
                        Ok(Some(frame)) => seen.push(Ok((frame.kind, frame.body.to_vec()))),
                        Ok(None) => break,
                        Err(error) => {
                            seen.push(Err(error));
                            return seen;
                        }
                    }
                }
            }
            seen
        };
        let whole = read(&mut std::iter::repeat(stream.len()));
        prop_assert_eq!(read(&mut cuts.into_iter().cycle()), whole);
    }
}
