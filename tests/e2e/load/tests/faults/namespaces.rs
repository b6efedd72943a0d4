//! Faults that the kernel makes, between two network namespaces.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use weft_load::report::{Counts, FlowReport};

use crate::common::{Client, Server, plan, run_in, weft_load, wrong};

const PORT: u16 = 4701;
const SERVER: &str = "10.87.0.2:4701";
const SERVER6: &str = "[fd87::2]:4701";

fn run(command: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let status = Command::new(program).args(words).status().expect(program);
    assert!(status.success(), "{command}");
}

enum Side {
    Client,
    Server,
}

/// Two namespaces joined by a veth pair: 10.87.0.1 and .2, fd87::1 and ::2.
struct Pair {
    client: String,
    server: String,
}

impl Pair {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("wl-{}-{number}-{side}", std::process::id());
        let pair = Self {
            client: name("c"),
            server: name("s"),
        };
        let Self { client, server } = &pair;
        run(&format!("ip netns add {client}"));
        run(&format!("ip netns add {server}"));
        run(&format!(
            "ip -n {client} link add eth0 type veth peer name eth0 netns {server}"
        ));
        for (namespace, number) in [(client, 1), (server, 2)] {
            run(&format!(
                "ip -n {namespace} addr add 10.87.0.{number}/24 dev eth0"
            ));
            run(&format!(
                "ip -n {namespace} addr add fd87::{number}/64 dev eth0 nodad"
            ));
            run(&format!("ip -n {namespace} link set eth0 up"));
            run(&format!("ip -n {namespace} link set lo up"));
        }
        pair
    }

    /// Adds a rule to the chain of `hook` in a namespace.
    fn nft(&self, namespace: &str, hook: &str, rule: &str) {
        let nft = |command: &str| {
            run(&format!(
                "nsenter --net=/run/netns/{namespace} nft {command}"
            ));
        };
        nft("add table inet faults");
        nft(&format!(
            "add chain inet faults {hook} {{ type filter hook {hook} priority 0 ; }}"
        ));
        nft(&format!("add rule inet faults {hook} {rule}"));
    }

    fn run_one(&self, flow: serde_json::Value, seconds: f64) -> FlowReport {
        let report = run_in(Some(&self.client), json!([flow]), seconds);
        report.flows.into_iter().next().expect("one")
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.client, &self.server] {
            Command::new("ip")
                .args(["netns", "del", namespace])
                .status()
                .ok();
        }
    }
}

/// True for one packet only.
const ONCE: &str = "numgen inc mod 1000000000 == 100";

#[rstest]
#[case(SERVER)]
#[case(SERVER6)]
fn exactly_one_packet_dropped_on_the_way_there_or_back(#[case] target: &str) {
    let pair = Pair::new();
    let _server = Server::start_in(Some(&pair.server), PORT);
    let flow = json!({
        "name": "u", "kind": "udp", "target": target, "rate": 1000, "size": "mtu", "df": true,
    });
    let clean = pair.run_one(flow.clone(), 0.5);
    assert_eq!(wrong(&clean.counts), Counts::default(), "{clean:?}");

    pair.nft(
        &pair.server,
        "input",
        &format!("udp dport {PORT} {ONCE} drop"),
    );
    let forward = pair.run_one(flow.clone(), 0.5);
    let want = Counts {
        lost: 1,
        lost_forward: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&forward.counts), want, "{forward:?}");

    pair.nft(
        &pair.client,
        "input",
        &format!("udp sport {PORT} {ONCE} drop"),
    );
    let back = pair.run_one(flow, 0.5);
    let want = Counts {
        lost: 1,
        lost_back: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&back.counts), want, "{back:?}");
}

#[test]
fn flows_leave_from_the_address_and_the_device_that_the_plan_names() {
    let pair = Pair::new();
    let _server = Server::start_in(Some(&pair.server), PORT);
    run(&format!(
        "ip -n {} addr add 10.87.0.9/24 dev eth0",
        pair.client
    ));
    pair.nft(
        &pair.server,
        "input",
        "meta nfproto ipv4 ip saddr != 10.87.0.9 drop",
    );
    let flow = |kind: &str| {
        json!({
            "name": kind, "kind": kind, "target": SERVER, "source": "10.87.0.9", "device": "eth0",
        })
    };
    let flows = json!([flow("udp"), flow("tcp"), flow("connect"), flow("bulk")]);
    let report = run_in(Some(&pair.client), flows, 0.5);
    for flow in &report.flows {
        assert_eq!(wrong(&flow.counts), Counts::default(), "{flow:?}");
    }
}

#[test]
fn exactly_one_packet_doubled_by_the_kernel() {
    let pair = Pair::new();
    let _server = Server::start_in(Some(&pair.server), PORT);
    let nft = format!("nsenter --net=/run/netns/{} nft", pair.client);
    run(&format!("{nft} add table ip faults"));
    run(&format!(
        "{nft} add chain ip faults output {{ type filter hook output priority 0 ; }}"
    ));
    let rule = format!("udp dport {PORT} {ONCE} dup to 10.87.0.2 device eth0");
    run(&format!("{nft} add rule ip faults output {rule}"));
    let flow = json!({"name": "u", "kind": "udp", "target": SERVER, "rate": 1000});
    let report = pair.run_one(flow, 0.5);
    let want = Counts {
        duplicated: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&report.counts), want, "{report:?}");
    assert_eq!(report.server.expect("the server's account").duplicated, 1);
}

#[test]
fn exactly_one_connection_reset_by_the_kernel() {
    let pair = Pair::new();
    let _server = Server::start_in(Some(&pair.server), PORT);
    // Only packets with a request in them, so that no handshake is hit.
    let rule =
        format!("tcp dport {PORT} tcp flags & (psh|syn) == psh {ONCE} reject with tcp reset");
    pair.nft(&pair.server, "input", &rule);
    let flow = json!({
        "name": "t", "kind": "tcp", "target": SERVER6, "connections": 200, "interval_ms": 100,
    });
    let report = pair.run_one(flow, 1.0);
    let want = Counts {
        lost: 1,
        broken: 1,
        reopened: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&report.counts), want, "{report:?}");
    assert!(report.causes[0].what.contains("reset"), "{report:?}");
}

#[test]
fn a_packet_that_the_own_kernel_refuses_is_unsent() {
    let pair = Pair::new();
    let _server = Server::start_in(Some(&pair.server), PORT);
    pair.nft(
        &pair.client,
        "output",
        &format!("udp dport {PORT} {ONCE} drop"),
    );
    let flow = json!({"name": "u", "kind": "udp", "target": SERVER, "rate": 1000});
    let report = pair.run_one(flow, 0.5);
    let want = Counts {
        unsent: 1,
        ..Counts::default()
    };
    assert_eq!(wrong(&report.counts), want, "{report:?}");
    assert!(report.causes[0].what.contains("sending"), "{report:?}");
    assert_eq!(report.counts.faults(), ["1 unsent"]);
}

#[test]
fn an_echo_that_the_kernel_of_the_server_refuses_is_lost_on_the_way_back() {
    let pair = Pair::new();
    let _server = Server::start_in(Some(&pair.server), PORT);
    let rule = format!("udp sport {PORT} {ONCE} drop");
    pair.nft(&pair.server, "output", &rule);
    let flow = json!({"name": "u", "kind": "udp", "target": SERVER, "rate": 1000});
    let report = pair.run_one(flow, 0.5);
    let counts = wrong(&report.counts);
    assert_eq!(counts.unsent, 1, "{report:?}");
    assert_eq!((counts.lost_forward, counts.lost_back), (0, counts.lost));
}

/// Lowers the MTU of the client's or the server's route in the middle of a run.
fn run_with_lower_mtu(target: &str, lower: Side, size: serde_json::Value) -> FlowReport {
    let pair = Pair::new();
    let _server = Server::start_in(Some(&pair.server), PORT);
    let flow = json!({
        "name": "u", "kind": "udp", "target": target, "rate": 500, "size": size, "df": true,
    });
    let control = "127.0.0.1:4702";
    let arguments = ["--quiet", "--control", control];
    let client = Client::start(Some(&pair.client), &plan(json!([flow])), &arguments);
    let ctl = |action: &str| {
        let mut ctl = weft_load(Some(&pair.client));
        let output = ctl.args(["ctl", "--addr", control, action]).output();
        assert!(output.expect("ctl").status.success(), "{action}");
    };
    ctl("ready");
    thread::sleep(Duration::from_millis(300));
    let route = match target {
        SERVER6 => "fd87::/64 metric 256",
        _ => "10.87.0.0/24",
    };
    let namespace = match lower {
        Side::Client => &pair.client,
        Side::Server => &pair.server,
    };
    run(&format!(
        "ip -n {namespace} route replace {route} dev eth0 proto kernel mtu 1400"
    ));
    thread::sleep(Duration::from_millis(300));
    ctl("stop");
    client.end().remove(0).flows.remove(0)
}

#[rstest]
#[case(SERVER)]
#[case(SERVER6)]
fn a_flow_of_size_mtu_follows_a_lower_one_and_loses_nothing(#[case] target: &str) {
    for lower in [Side::Client, Side::Server] {
        let report = run_with_lower_mtu(target, lower, json!("mtu"));
        let counts = wrong(&report.counts);
        assert!(counts.emsgsize > 0, "{report:?}");
        let want = Counts {
            emsgsize: counts.emsgsize,
            ..Counts::default()
        };
        assert_eq!(counts, want, "{report:?}");
    }
}

#[test]
fn a_flow_of_fixed_size_reports_what_has_become_too_big() {
    let report = run_with_lower_mtu(SERVER, Side::Client, json!(1472));
    let counts = wrong(&report.counts);
    assert!(counts.emsgsize > 0 && counts.unsent > 0, "{report:?}");
    assert_eq!((counts.lost, counts.corrupt), (0, 0), "{report:?}");
    assert!(report.causes[0].what.contains("EMSGSIZE"), "{report:?}");

    let report = run_with_lower_mtu(SERVER, Side::Server, json!(1472));
    let counts = wrong(&report.counts);
    assert!(counts.lost > 0, "{report:?}");
    assert_eq!((counts.lost_forward, counts.lost_back), (0, counts.lost));
    assert_eq!(
        counts.unsent, counts.lost,
        "the server's kernel refused the echoes"
    );
}
