//! One query not answered, answered with an error, or with rubbish.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;

use rstest::rstest;
use serde_json::json;
use weft_load::report::Counts;

use crate::common::{run_one, wrong};

#[derive(Clone, Copy, Debug)]
enum Fault {
    Drop,
    ServerFailure,
    Rubbish,
}

/// Answers every query but the fifth.
fn resolver(fault: Fault) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("bind");
    let address = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        for number in 0.. {
            let Ok((length, client)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let mut message = buffer[..length].to_vec();
            message[2] |= 0x80;
            match (number, fault) {
                (5, Fault::Drop) => continue,
                (5, Fault::ServerFailure) => message[3] |= 2,
                (5, Fault::Rubbish) => message.truncate(7),
                _ => {}
            }
            socket.send_to(&message, client).ok();
        }
    });
    address
}

#[rstest]
#[case(Fault::Drop, Counts { lost: 1, ..Counts::default() }, "a query: nothing for 400 ms")]
#[case(
    Fault::ServerFailure,
    Counts { lost: 1, broken: 1, ..Counts::default() },
    "a query: response code 2"
)]
#[case(Fault::Rubbish, Counts { lost: 1, corrupt: 1, ..Counts::default() }, "an answer is damaged")]
fn one_fault_is_noticed_as_itself(#[case] fault: Fault, #[case] want: Counts, #[case] cause: &str) {
    let flow = json!({
        "name": "d", "kind": "dns", "target": resolver(fault).to_string(),
        "interval_ms": 50, "timeout_ms": 400,
    });
    let report = run_one(flow, 1.0);
    assert_eq!(wrong(&report.counts), want, "{report:?}");
    assert_eq!(report.causes.len(), 1);
    assert_eq!(report.causes[0].what, cause);
}
