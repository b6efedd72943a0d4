//! No faults, at full rate; and how a run is watched and ended.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use weft_load::control::{self, Command};
use weft_load::merge::Merged;
use weft_load::report::{Counts, Report};

use crate::common::{Client, Server, free_port, plan, run_in, weft_load, wrong};

#[test]
fn fifty_thousand_packets_a_second_raise_no_false_alarm() {
    let server = Server::start();
    let mut flows = Vec::new();
    for address in ["127.0.0.1", "[::1]"] {
        let target = format!("{address}:{}", server.port);
        for number in 0..5 {
            flows.push(json!({
                "name": format!("u{number} {address}"), "kind": "udp", "target": target,
                "rate": 5_000, "size": 100, "df": number == 1,
            }));
        }
        flows.push(json!({
            "name": format!("t {address}"), "kind": "tcp", "target": target, "connections": 100,
        }));
        flows.push(json!({"name": format!("c {address}"), "kind": "connect", "target": target}));
        flows.push(json!({"name": format!("b {address}"), "kind": "bulk", "target": target}));
    }
    let report = run_in(None, json!(flows), 4.0);
    assert_eq!(report.flows.len(), 16);
    for flow in &report.flows {
        assert_eq!(wrong(&flow.counts), Counts::default(), "{flow:?}");
    }
    for flow in report.flows.iter().filter(|flow| flow.kind == "udp") {
        let server = flow.server.as_ref().expect("the server's account");
        assert_eq!(server.received, flow.counts.sent);
    }
    assert_eq!(Merged::of(&[report]).faults, Vec::<String>::new());
}

#[test]
fn a_run_is_watched_reset_and_stopped_through_its_control_port() {
    let server = Server::start();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let target = format!("127.0.0.1:{}", server.port);
    let flows = json!([
        {"name": "u", "kind": "udp", "target": target, "rate": 1000},
        {"name": "t", "kind": "tcp", "target": target, "interval_ms": 20},
    ]);
    let client = Client::start(None, &plan(flows), &["--control", &address.to_string()]);
    let limit = Duration::from_secs(20);
    let ready = control::wait_ready(address, limit).expect("ready");
    assert!(!ready.finished);
    std::thread::sleep(Duration::from_millis(500));
    let before = control::tell(address, Command::Reset, limit).expect("a report");
    assert!(
        before.kinds["udp"].sent > 0 && before.kinds["tcp"].sent > 0,
        "{before:?}"
    );
    let after = control::tell(address, Command::Status, limit).expect("a report");
    assert!(after.since_unix_ms > before.since_unix_ms);
    std::thread::sleep(Duration::from_millis(500));
    let end = control::tell(address, Command::Stop, limit).expect("a report");
    let printed = client.end();
    assert_eq!(printed.last(), Some(&end));
    assert!(
        printed[..printed.len() - 1]
            .iter()
            .all(|line| line.flows.is_empty())
    );
    assert!(end.finished);
    for flow in &end.flows {
        assert_eq!(wrong(&flow.counts), Counts::default(), "{flow:?}");
    }
    let account = end.flows[0].server.as_ref().expect("the server's account");
    assert_eq!(
        account.received, end.kinds["udp"].sent,
        "counted since the reset"
    );
}

#[test]
fn sigterm_ends_a_run_with_its_report_on_paper_too() {
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("report.json");
    let target = format!("[::1]:{}", server.port);
    let flows = json!([{"name": "u", "kind": "udp", "target": target}]);
    let arguments = ["--out", out.to_str().expect("a path")];
    let client = Client::start(None, &plan(flows), &arguments);
    std::thread::sleep(Duration::from_millis(700));
    kill(Pid::from_raw(client.pid()), Signal::SIGTERM).expect("a signal");
    let printed = client.end();
    let text = std::fs::read_to_string(&out).expect("a file");
    let written: Report = serde_json::from_str(&text).expect("a report");
    assert_eq!(printed.last(), Some(&written));
    assert!(written.finished && written.ready);

    let merge = |arguments: &[&str]| {
        let output = weft_load(None).arg("merge").args(arguments).output();
        output.expect("merge")
    };
    let path = out.to_str().expect("a path");
    assert!(merge(&[path, "--assert-zero"]).status.success());
    let mut lossy = written;
    lossy.flows[0].counts.lost = 1;
    std::fs::write(&out, serde_json::to_string(&lossy).expect("JSON")).expect("write");
    assert!(merge(&[path]).status.success());
    let refused = merge(&[path, "--assert-zero"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&refused.stderr), "test/u: 1 lost\n");
}

#[test]
fn losses_across_a_restart_of_the_server_are_blamed_on_no_direction() {
    let server = Server::start();
    let port = server.port;
    let flows = json!([{"name": "u", "kind": "udp", "target": format!("127.0.0.1:{port}")}]);
    let client = Client::start(None, &plan(flows), &["--duration", "2", "--quiet"]);
    std::thread::sleep(Duration::from_millis(700));
    drop(server);
    std::thread::sleep(Duration::from_millis(300));
    let _server = Server::start_in(None, port);
    let report = client.end().remove(0);
    let counts = &report.flows[0].counts;
    assert!(counts.lost > 0, "{report:?}");
    assert_eq!(
        (counts.lost_forward, counts.lost_back),
        (0, 0),
        "{report:?}"
    );
    assert!(report.flows[0].server.is_none());
}
