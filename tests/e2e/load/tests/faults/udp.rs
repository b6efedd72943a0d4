//! One datagram dropped, doubled, damaged or late.

use rstest::rstest;
use serde_json::json;
use weft_load::report::Counts;

use crate::common::{Server, run_one, wrong};
use crate::relay::{self, Direction, Fault};

fn counts(set: impl FnOnce(&mut Counts)) -> Counts {
    let mut counts = Counts::default();
    set(&mut counts);
    counts
}

fn lost_forward(counts: &mut Counts) {
    counts.lost = 1;
    counts.lost_forward = 1;
}

fn lost_back(counts: &mut Counts) {
    counts.lost = 1;
    counts.lost_back = 1;
}

fn damaged_forward(counts: &mut Counts) {
    lost_forward(counts);
    counts.corrupt = 1;
}

fn damaged_back(counts: &mut Counts) {
    lost_back(counts);
    counts.corrupt = 1;
}

fn doubled(counts: &mut Counts) {
    counts.duplicated = 1;
}

fn late(counts: &mut Counts) {
    counts.reordered = 1;
}

#[rstest]
#[case::dropped_forward(Direction::Forward, Fault::Drop, lost_forward)]
#[case::dropped_back(Direction::Back, Fault::Drop, lost_back)]
#[case::doubled_forward(Direction::Forward, Fault::Duplicate, doubled)]
#[case::doubled_back(Direction::Back, Fault::Duplicate, doubled)]
#[case::late_forward(Direction::Forward, Fault::Hold, late)]
#[case::late_back(Direction::Back, Fault::Hold, late)]
#[case::body_damaged_forward(Direction::Forward, Fault::Flip(1000), damaged_forward)]
#[case::body_damaged_back(Direction::Back, Fault::Flip(1000), damaged_back)]
#[case::header_damaged_forward(Direction::Forward, Fault::Flip(70), damaged_forward)]
#[case::header_damaged_back(Direction::Back, Fault::Flip(70), damaged_back)]
#[case::cut_short_forward(Direction::Forward, Fault::Cut(20), damaged_forward)]
#[case::cut_short_back(Direction::Back, Fault::Cut(100), damaged_back)]
fn one_fault_is_noticed_as_itself(
    #[case] direction: Direction,
    #[case] fault: Fault,
    #[case] want: fn(&mut Counts),
) {
    let server = Server::start();
    let relay = relay::udp(server.port, direction, 50, fault);
    let flow = json!({
        "name": "u", "kind": "udp", "target": relay.to_string(), "rate": 500, "size": 200,
    });
    let report = run_one(flow, 0.5);
    assert_eq!(wrong(&report.counts), counts(want), "{report:?}");
}

#[test]
fn the_last_packet_is_missed_too() {
    // What is lost at the end leaves no hole between two numbers that arrived.
    let server = Server::start();
    let relay = relay::udp(server.port, Direction::Forward, 0, Fault::Drop);
    let flow = json!({"name": "u", "kind": "udp", "target": relay.to_string(), "rate": 1});
    let report = run_one(flow, 0.4);
    assert_eq!(
        (report.counts.sent, report.counts.lost),
        (1, 1),
        "{report:?}"
    );
    assert_eq!(report.counts.lost_forward, 1);
    assert_eq!(report.counts.faults(), ["1 lost", "nothing received"]);
}
