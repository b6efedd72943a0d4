//! BIRD 2.

use std::path::Path;
use std::process::Command;

use super::{Config, Neighbour, Seen, THEIR4, THEIR6};
use crate::lab::DAEMON;

pub fn command(directory: &Path, config: &Config, restarted: bool) -> Command {
    std::fs::write(directory.join("bird.conf"), text(config)).unwrap();
    let mut command = Command::new("bird");
    command.args(["-f", "-c", "bird.conf", "-s", "socket", "-P", "pid"]);
    if restarted {
        command.arg("-R");
    }
    command
}

pub fn ask(directory: &Path, question: &str) -> Command {
    let mut command = Command::new("birdc");
    command.arg("-s").arg(directory.join("socket"));
    command.args(question.split(' '));
    command
}

fn text(config: &Config) -> String {
    let bgp = config.neighbours.iter().enumerate();
    let bgp: Vec<String> = bgp
        .map(|(n, neighbour)| protocol(n, config.asn, neighbour))
        .collect();
    let also = config
        .also
        .map(|prefix| format!("route {prefix} blackhole;"));
    format!(
        r#"log "log" all;
router id {id};
protocol device {{}}
protocol direct {{ ipv4; ipv6; }}
protocol static {{ ipv4; route {THEIR4} blackhole; {also} }}
protocol static {{ ipv6; route {THEIR6} blackhole; }}
filter told {{
    if source = RTS_DEVICE then reject;
    if source = RTS_STATIC then {{
        bgp_community.add((64999, 1));
        bgp_large_community.add((64999, 1, 2));
        bgp_med = 50;
        bgp_local_pref = 200;
    }}
    accept;
}}
{bgp}"#,
        id = DAEMON.v4(),
        also = also.unwrap_or_default(),
        bgp = bgp.join("\n"),
    )
}

fn protocol(n: usize, asn: u32, neighbour: &Neighbour) -> String {
    let mut lines = vec![
        format!("local {} as {asn};", neighbour.source()),
        format!("neighbor {} as {};", neighbour.address, neighbour.asn),
        "direct; hold time 9; keepalive time 3; connect delay time 1; connect retry time 2;"
            .to_owned(),
        "error wait time 1, 2;".to_owned(),
    ];
    if let Some(password) = neighbour.password {
        lines.push(format!("password \"{password}\";"));
    }
    if neighbour.client {
        lines.push("rr client;".to_owned());
    }
    if neighbour.ttl_security {
        lines.push("ttl security on;".to_owned());
    }
    if let Some((restart, long_lived)) = neighbour.graceful {
        lines.push(format!(
            "graceful restart on; graceful restart time {restart};"
        ));
        if long_lived > 0 {
            lines.push(format!(
                "long lived graceful restart on; long lived stale time {long_lived};"
            ));
        }
    }
    let add_path = if neighbour.add_path {
        "add paths on;"
    } else {
        ""
    };
    let extended = if neighbour.ipv4 && neighbour.address.is_ipv6() {
        "extended next hop on;"
    } else {
        ""
    };
    for (family, spoken) in [("ipv4", neighbour.ipv4), ("ipv6", neighbour.ipv6)] {
        if spoken {
            lines.push(format!(
                "{family} {{ import all; export filter told; {add_path} {extended} }};"
            ));
        }
    }
    format!(
        "protocol bgp weft{n} {{\n    {}\n}}\n",
        lines.join("\n    ")
    )
}

/// From lines such as `BGP.as_path: 64512 64514`, after one for each path that has the protocol in brackets.
pub fn seen(text: &str) -> Vec<Seen> {
    let mut paths: Vec<Seen> = Vec::new();
    let mut learned = false;
    for line in text.lines() {
        if line.contains('[') {
            learned = line.contains("[weft");
            paths.extend(learned.then(Seen::default));
        }
        let (Some((name, value)), Some(path), true) =
            (line.trim().split_once(": "), paths.last_mut(), learned)
        else {
            continue;
        };
        let numbers = |value: &str| -> Vec<u32> {
            let parts = value.split_whitespace();
            parts.filter_map(|part| part.parse().ok()).collect()
        };
        let tuples = |value: &str| -> Vec<String> {
            let tuples = value
                .split(['(', ')'])
                .map(|tuple| tuple.replace(", ", ":").replace(',', ":"));
            tuples.filter(|tuple| !tuple.trim().is_empty()).collect()
        };
        match name {
            "BGP.as_path" => path.as_path = numbers(value),
            "BGP.next_hop" => {
                path.next_hop = value.split(' ').next().unwrap_or_default().to_owned();
            }
            "BGP.med" => path.med = value.parse().ok(),
            "BGP.local_pref" => path.local_pref = value.parse().ok(),
            "BGP.community" => path.communities = tuples(value),
            "BGP.large_community" => path.large_communities = tuples(value),
            "BGP.originator_id" => path.originator = Some(value.to_owned()),
            _ => {}
        }
    }
    paths
}
