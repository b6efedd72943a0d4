//! What goes through an established session.

use rstest::rstest;

use super::*;
use crate::route::{Attributes, Nlri};

fn nlri(prefix: &str) -> Nlri {
    Nlri {
        prefix: prefix.parse().unwrap(),
        path_id: 0,
    }
}

fn update(first_as: u32) -> Update {
    let attributes = Attributes::plain("192.0.2.1".parse().unwrap(), &[first_as]);
    let announced = Some((Arc::new(attributes), vec![nlri("10.1.0.0/24")]));
    Update {
        family: Family::Ipv4,
        withdrawn: vec![nlri("10.2.0.0/24")],
        announced,
    }
}

fn bytes_of(updates: &[Update], bench: &Bench) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(
        updates,
        &bench.session.negotiated().unwrap().transmit,
        &mut bytes,
    );
    bytes
}

#[test]
fn updates_come_out_as_they_were_sent() {
    let mut bench = Bench::established(config(), &peer());
    bench.session.send(&[update(64512)], bench.now);
    assert_eq!(bench.seen().kinds(CONNECTION), [Kind::Update, Kind::Update]);

    let mut bytes = bytes_of(&[update(64513)], &bench);
    wire::end_of_rib(Family::Ipv4, &mut bytes);
    bench.bytes(&bytes);
    let sent = update(64513);
    let events = bench.seen().events;
    let [
        Event::Update(first),
        Event::Update(second),
        Event::EndOfRib(Family::Ipv4),
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (&first.withdrawn, &first.announced),
        (&sent.withdrawn, &None)
    );
    assert_eq!(
        (&second.withdrawn, &second.announced),
        (&vec![], &sent.announced)
    );
}

#[test]
fn an_update_puts_off_the_keepalive() {
    let mut bench = Bench::established(
        Config {
            hold_time: 9,
            ..config()
        },
        &peer(),
    );
    bench.now += Duration::from_millis(2200);
    bench.session.send(&[update(64512)], bench.now);
    bench.seen();
    bench.after(Duration::from_secs(2));
    assert_eq!(bench.seen().kinds(CONNECTION), []);
}

#[test]
fn nothing_is_sent_before_the_session_is_established() {
    let mut bench = Bench::connected(config());
    bench.session.send(&[update(64512)], bench.now);
    bench.session.send_end_of_rib(Family::Ipv4, bench.now);
    assert_eq!(bench.seen().written, []);
}

#[test]
fn a_defect_is_told_and_withdraws() {
    let mut bench = Bench::established(config(), &peer());
    let bytes = bytes_of(&[update(64999)], &bench);
    bench.bytes(&bytes);
    let events = bench.seen().events;
    let [Event::Update(_), Event::Defect(defect), Event::Update(last)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(defect.what, "AS_PATH: does not begin with the peer's AS");
    assert_eq!(
        (&last.withdrawn, &last.announced),
        (&vec![nlri("10.1.0.0/24")], &None)
    );
    assert_eq!(bench.session.state(), State::Established);
}

#[test]
fn prefixes_that_cannot_be_read_end_the_session() {
    let mut bench = Bench::established(config(), &peer());
    let mut bytes = Vec::new();
    wire::write(&mut bytes, Kind::Update, |out| {
        out.extend([0, 2, 99, 1, 0, 0])
    });
    bench.bytes(&bytes);
    assert_eq!(
        bench.seen().notification(),
        Some(Notification::new((3, 10)))
    );
}

/// A message that is longer than 4096 octets, by what this end has said (RFC 8654, section 4).
#[rstest]
#[case::announced(true)]
#[case::not_announced(false)]
fn extended_messages(#[case] extended_message: bool) {
    let capabilities = Capabilities {
        extended_message,
        ..capabilities(64512)
    };
    let mut bench = Bench::established(
        Config {
            capabilities,
            ..config()
        },
        &peer(),
    );
    let mut bytes = Vec::new();
    wire::write(&mut bytes, Kind::Update, |out| {
        out.extend(5000_u16.to_be_bytes());
        out.extend([0; 5002]);
    });
    bench.bytes(&bytes);
    assert_eq!(
        bench.session.state() == State::Established,
        extended_message
    );
}

/// Which refreshes go through, by what the peer can do.
#[rstest]
#[case::request(true, false, Refresh::Request, true)]
#[case::request_not_agreed_on(false, true, Refresh::Request, false)]
#[case::begin(false, true, Refresh::Begin, true)]
#[case::end_not_agreed_on(true, false, Refresh::End, false)]
fn refreshes(
    #[case] route_refresh: bool,
    #[case] enhanced: bool,
    #[case] refresh: Refresh,
    #[case] goes: bool,
) {
    let theirs = Capabilities {
        route_refresh,
        enhanced_route_refresh: enhanced,
        ..capabilities(64513)
    };
    let mut bench = Bench::established(
        config(),
        &Open {
            capabilities: theirs,
            ..peer()
        },
    );
    let message = RouteRefresh {
        family: Family::Ipv6,
        refresh,
    };
    bench.session.send_refresh(message, bench.now);
    assert_eq!(bench.seen().kinds(CONNECTION).len(), usize::from(goes));

    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bench.bytes(&bytes);
    let events = bench.seen().events;
    assert_eq!(
        matches!(events[..], [Event::RouteRefresh(heard)] if heard == message),
        goes
    );
}
