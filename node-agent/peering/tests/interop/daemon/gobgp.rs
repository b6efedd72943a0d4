//! GoBGP.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Config, Neighbour, Seen, THEIR4, THEIR6};
use crate::lab::DAEMON;

/// Where `make deps` has put it.
fn program(name: &str) -> PathBuf {
    let cache = std::env::var_os("WEFT_CACHE").map(PathBuf::from);
    let home = || {
        let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
        PathBuf::from(home).join(".cache/weft")
    };
    cache.unwrap_or_else(home).join("bin").join(name)
}

pub fn command(directory: &Path, config: &Config, restarted: bool) -> Command {
    std::fs::write(directory.join("gobgp.toml"), text(config)).unwrap();
    let mut command = Command::new(program("gobgpd"));
    command.args(["-f", "gobgp.toml", "--api-hosts", "127.0.0.1:50051"]);
    command.args(["--pprof-disable", "-l", "debug"]);
    if restarted {
        command.arg("-r");
    }
    command
}

pub fn ask(question: &str) -> Command {
    let mut command = Command::new(program("gobgp"));
    command.args(question.split(' '));
    command
}

/// The commands that make it originate what it does.
pub fn routes(config: &Config) -> Vec<String> {
    let attributes = "community 64999:1 large-community 64999:1:2 med 50 local-pref 200";
    let also = config.also.map(|prefix| ("ipv4", prefix));
    let all = [("ipv4", THEIR4), ("ipv6", THEIR6)].into_iter().chain(also);
    all.map(|(family, prefix)| format!("global rib add -a {family} {prefix} {attributes}"))
        .collect()
}

fn text(config: &Config) -> String {
    let neighbours: Vec<String> = config.neighbours.iter().map(neighbour).collect();
    format!(
        r#"[global.config]
as = {}
router-id = "{}"
{}"#,
        config.asn,
        DAEMON.v4(),
        neighbours.join("\n")
    )
}

fn neighbour(neighbour: &Neighbour) -> String {
    let mut text = format!(
        r#"[[neighbors]]
[neighbors.config]
neighbor-address = "{}"
peer-as = {}
auth-password = "{}"
[neighbors.timers.config]
connect-retry = 1
hold-time = 9
keepalive-interval = 3
idle-hold-time-after-reset = 1
[neighbors.transport.config]
local-address = "{}"
"#,
        neighbour.address,
        neighbour.asn,
        neighbour.password.unwrap_or_default(),
        neighbour.source(),
    );
    if neighbour.client {
        text += "[neighbors.route-reflector.config]\nroute-reflector-client = true\n";
        text += &format!("route-reflector-cluster-id = \"{}\"\n", DAEMON.v4());
    }
    if neighbour.ttl_security {
        text += "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n";
    }
    if let Some((restart, long_lived)) = neighbour.graceful {
        text +=
            "[neighbors.graceful-restart.config]\nenabled = true\nnotification-enabled = true\n";
        text += &format!(
            "restart-time = {restart}\nlong-lived-enabled = {}\n",
            long_lived > 0
        );
    }
    for (family, spoken) in [("ipv4", neighbour.ipv4), ("ipv6", neighbour.ipv6)] {
        if !spoken {
            continue;
        }
        text += "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\n";
        text += &format!("afi-safi-name = \"{family}-unicast\"\n");
        if neighbour.add_path {
            text += "[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8\n";
        }
        if let Some((_, long_lived)) = neighbour.graceful {
            text += "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n";
            if long_lived > 0 {
                text +=
                    "[neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true\n";
                text += &format!("restart-time = {long_lived}\n");
            }
        }
    }
    text
}

/// From `{"198.51.100.0/24": [{"peer-address": .., "attrs": [{"type": 2, "as_paths": ..}, ..]}]}`.
pub fn seen(text: &str) -> Vec<Seen> {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let prefixes = answer.as_object().into_iter().flatten();
    let paths = prefixes.filter_map(|(_, paths)| paths.as_array()).flatten();
    // Its own come from no peer.
    let learned = paths.filter(|path| path["peer-address"].is_string());
    learned.map(path).collect()
}

fn path(path: &Value) -> Seen {
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let list = |value: &Value| -> Vec<Value> { value.as_array().cloned().unwrap_or_default() };
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut seen = Seen::default();
    for attribute in list(&path["attrs"]) {
        match attribute["type"].as_u64() {
            Some(2) => {
                let segments = list(&attribute["as_paths"]).into_iter();
                let ases = segments.flat_map(|segment| list(&segment["asns"]));
                seen.as_path = ases.filter_map(|asn| number(&asn)).collect();
            }
            Some(3) | Some(14) => seen.next_hop = string(&attribute["nexthop"]),
            Some(4) => seen.med = number(&attribute["metric"]),
            Some(5) => seen.local_pref = number(&attribute["value"]),
            Some(8) => {
                let all = list(&attribute["communities"]).into_iter();
                let words = |one: u32| format!("{}:{}", one >> 16, one & 0xffff);
                seen.communities = all.filter_map(|one| number(&one)).map(words).collect();
            }
            Some(9) => seen.originator = Some(string(&attribute["value"])),
            Some(32) => {
                let all = list(&attribute["value"]).into_iter();
                let part = |one: &Value, name: &str| one[name].as_u64().unwrap_or_default();
                let words = |one: Value| {
                    let [a, b, c] =
                        ["ASN", "LocalData1", "LocalData2"].map(|name| part(&one, name));
                    format!("{a}:{b}:{c}")
                };
                seen.large_communities = all.map(words).collect();
            }
            _ => {}
        }
    }
    seen
}
