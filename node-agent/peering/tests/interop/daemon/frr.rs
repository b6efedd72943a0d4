//! The bgpd of FRR, without zebra: all next hops count as reachable.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Config, Neighbour, Seen, THEIR4, THEIR6};
use crate::lab::DAEMON;

pub fn command(directory: &Path, config: &Config) -> Command {
    std::fs::write(directory.join("frr.conf"), text(config)).unwrap();
    let mut command = Command::new("/usr/lib/frr/bgpd");
    command.args(["--no_zebra", "--skip_runas", "--vty_port", "0"]);
    command.args(["--config_file", "frr.conf", "--pid_file", "pid"]);
    command.args(["--log", "stdout", "--log-level", "debugging"]);
    command.arg("--vty_socket").arg(directory);
    command
}

pub fn ask(directory: &Path, question: &str) -> Command {
    let mut command = Command::new("vtysh");
    command.arg("--vty_socket").arg(directory);
    command.args(["-d", "bgpd", "-c", question]);
    command
}

fn text(config: &Config) -> String {
    let mut lines = vec![
        format!("router bgp {}", config.asn),
        format!("bgp router-id {}", DAEMON.v4()),
        "no bgp ebgp-requires-policy".to_owned(),
        "no bgp network import-check".to_owned(),
        "no bgp default ipv4-unicast".to_owned(),
    ];
    if let Some((restart, long_lived)) = config.neighbours.iter().find_map(|one| one.graceful) {
        lines.push("bgp graceful-restart".to_owned());
        lines.push("bgp graceful-restart preserve-fw-state".to_owned());
        lines.push(format!("bgp graceful-restart restart-time {restart}"));
        if long_lived > 0 {
            lines.push(format!(
                "bgp long-lived-graceful-restart stale-time {long_lived}"
            ));
        }
    }
    for neighbour in &config.neighbours {
        lines.extend(session(neighbour));
    }
    for (family, prefix) in [("ipv4", THEIR4), ("ipv6", THEIR6)] {
        lines.push(format!("address-family {family} unicast"));
        lines.push(format!("network {prefix} route-map OUT"));
        if let Some(also) = config.also.filter(|_| family == "ipv4") {
            lines.push(format!("network {also} route-map OUT"));
        }
        let of_family = |neighbour: &&Neighbour| match family {
            "ipv4" => neighbour.ipv4,
            _ => neighbour.ipv6,
        };
        for neighbour in config.neighbours.iter().filter(of_family) {
            let address = neighbour.address;
            lines.push(format!("neighbor {address} activate"));
            if neighbour.client {
                lines.push(format!("neighbor {address} route-reflector-client"));
            }
            if neighbour.add_path {
                lines.push(format!("neighbor {address} addpath-tx-all-paths"));
            }
        }
        lines.push("exit-address-family".to_owned());
    }
    lines.push(
        "exit
route-map OUT permit 10
set community 64999:1
set large-community 64999:1:2
set metric 50
set local-preference 200
exit
"
        .to_owned(),
    );
    lines.join("\n")
}

fn session(neighbour: &Neighbour) -> Vec<String> {
    let Neighbour { address, asn, .. } = neighbour;
    let mut lines = vec![
        format!("neighbor {address} remote-as {asn}"),
        format!("neighbor {address} update-source {}", neighbour.source()),
        format!("neighbor {address} timers 3 9"),
        format!("neighbor {address} timers connect 1"),
        format!("neighbor {address} advertisement-interval 0"),
    ];
    if let Some(password) = neighbour.password {
        lines.push(format!("neighbor {address} password {password}"));
    }
    if neighbour.graceful.is_some() {
        lines.push(format!("neighbor {address} graceful-restart"));
    }
    if neighbour.ttl_security {
        lines.push(format!("neighbor {address} ttl-security hops 1"));
    }
    if neighbour.ipv4 && address.is_ipv6() {
        lines.push(format!("neighbor {address} capability extended-nexthop"));
    }
    lines
}

pub fn seen(text: &str) -> Vec<Seen> {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let list = |value: &Value| -> Vec<Value> { value.as_array().cloned().unwrap_or_default() };
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let strings = |value: &Value| -> Vec<String> {
        let strings = list(&value["list"]).into_iter();
        strings
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    };
    let paths = list(&answer["paths"]).into_iter();
    let learned = paths.filter(|path| !path["sourced"].as_bool().unwrap_or_default());
    learned
        .map(|path| {
            let segments = list(&path["aspath"]["segments"]).into_iter();
            let hops = list(&path["nexthops"]);
            let global = hops.iter().find(|hop| hop["scope"] != "link-local");
            Seen {
                as_path: segments
                    .flat_map(|segment| list(&segment["list"]))
                    .filter_map(|asn| number(&asn))
                    .collect(),
                next_hop: global
                    .and_then(|hop| hop["ip"].as_str())
                    .unwrap_or_default()
                    .to_owned(),
                med: number(&path["metric"]),
                local_pref: number(&path["locPrf"]),
                communities: strings(&path["community"]),
                large_communities: strings(&path["largeCommunity"]),
                originator: path["originatorId"].as_str().map(str::to_owned),
            }
        })
        .collect()
}
