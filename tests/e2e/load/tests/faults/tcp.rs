//! One connection reset, closed or silent; one byte damaged.

use rstest::rstest;
use serde_json::json;
use weft_load::report::Counts;

use crate::common::{Server, run_one, wrong};
use crate::relay::{self, Cut, Direction};

/// Bytes of a frame's header.
const HEADER: usize = weft_load::frame::HEADER;

#[rstest]
#[case(Direction::Forward, Cut::Reset, "reset")]
#[case(Direction::Back, Cut::Reset, "reset")]
#[case(Direction::Forward, Cut::Close, "closed by the other side")]
#[case(Direction::Back, Cut::Silence, "nothing for 500 ms")]
fn one_broken_connection_of_many_is_counted_and_reopened(
    #[case] direction: Direction,
    #[case] cut: Cut,
    #[case] cause: &str,
) {
    let server = Server::start();
    // In the third request of the eighth connection.
    let relay = relay::tcp(server.port, 7, direction, 2 * (HEADER + 64) + 5, cut);
    let flow = json!({
        "name": "t", "kind": "tcp", "target": relay.to_string(), "connections": 20,
        "interval_ms": 50, "size": 64, "timeout_ms": 500,
    });
    let report = run_one(flow, 1.5);
    let want = Counts {
        lost: 1,
        broken: 1,
        reopened: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&report.counts), want, "{report:?}");
    assert_eq!(report.causes.len(), 1, "{report:?}");
    assert!(report.causes[0].what.contains(cause), "{report:?}");
}

#[rstest]
#[case::in_the_body(Direction::Forward, HEADER + 10, "the server received a damaged request")]
#[case::in_the_header(Direction::Forward, 12, "the server received a damaged request")]
#[case::in_the_answer(Direction::Back, HEADER + 10, "a response is not what was sent")]
#[case::in_its_header(Direction::Back, 12, "a frame is damaged")]
fn one_damaged_byte_of_a_request_is_noticed(
    #[case] direction: Direction,
    #[case] at: usize,
    #[case] cause: &str,
) {
    let server = Server::start();
    let at = 3 * (HEADER + 64) + at;
    let relay = relay::tcp(server.port, 0, direction, at, Cut::Flip);
    let flow = json!({
        "name": "t", "kind": "tcp", "target": relay.to_string(), "interval_ms": 50, "size": 64,
    });
    let report = run_one(flow, 1.0);
    let want = Counts {
        lost: 1,
        corrupt: 1,
        reopened: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&report.counts), want, "{report:?}");
    assert_eq!(report.causes[0].what, cause);
}

#[test]
fn one_new_connection_that_fails_is_counted() {
    let server = Server::start();
    let relay = relay::tcp(server.port, 5, Direction::Forward, 0, Cut::Reset);
    let flow = json!({
        "name": "c", "kind": "connect", "target": relay.to_string(), "interval_ms": 50,
    });
    let report = run_one(flow, 1.0);
    let want = Counts {
        lost: 1,
        broken: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&report.counts), want, "{report:?}");
    assert!(report.causes[0].what.contains("reset"), "{report:?}");
}

#[rstest]
#[case(Direction::Forward, HEADER + 70_001, "the server received a wrong byte at 70001 of 200000")]
#[case(Direction::Back, HEADER + 70_001, "received a wrong byte at 70001 of 200000")]
fn one_damaged_byte_of_a_transfer_is_noticed(
    #[case] direction: Direction,
    #[case] at: usize,
    #[case] cause: &str,
) {
    let server = Server::start();
    let relay = relay::tcp(server.port, 0, direction, at, Cut::Flip);
    let flow = json!({
        "name": "b", "kind": "bulk", "target": relay.to_string(), "size": 200_000, "rate": 4_000_000,
    });
    let report = run_one(flow, 1.0);
    let want = Counts {
        lost: 1,
        corrupt: 1,
        reopened: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&report.counts), want, "{report:?}");
    assert_eq!(report.causes[0].what, cause);
}

#[test]
fn a_transfer_that_is_reset_is_counted_and_begun_again() {
    let server = Server::start();
    let relay = relay::tcp(server.port, 0, Direction::Back, 100_000, Cut::Reset);
    let flow = json!({
        "name": "b", "kind": "bulk", "target": relay.to_string(), "size": 200_000, "rate": 4_000_000,
    });
    let report = run_one(flow, 1.0);
    let want = Counts {
        lost: 1,
        broken: 1,
        reopened: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&report.counts), want, "{report:?}");
}

#[test]
fn a_server_that_is_not_there_breaks_every_connection_once_the_start_is_over() {
    let port = crate::common::free_port();
    let flow = json!({
        "name": "t", "kind": "tcp", "target": format!("127.0.0.1:{port}"), "connections": 3,
    });
    let mut plan = crate::common::plan(json!([flow]));
    plan["start_timeout_ms"] = json!(300);
    let client = crate::common::Client::start(None, &plan, &["--duration", "1", "--quiet"]);
    let reports = client.end();
    let counts = &reports[0].flows[0].counts;
    assert_eq!(
        (counts.sent, counts.broken, counts.reopened),
        (0, 3, 0),
        "{reports:?}"
    );
    assert!(!reports[0].ready);
    assert_eq!(counts.faults(), ["3 broken", "nothing received"]);
}
