//! The configuration of bgpd of FRR. Pure text.

use std::fmt::Write;

use ipnet::IpNet;

use super::speaker::{Nodes, Speaker, by_family, version};

/// The whole configuration of a speaker.
pub fn configuration(speaker: &Speaker) -> String {
    let mut text = String::new();
    if let Some(nodes) = &speaker.nodes {
        text.push_str(&policy(nodes));
    }
    for (number, device) in (1..).zip(&speaker.connected) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "route-map own permit {number}\n match interface {device}\nexit\n!"
        );
    }
    text.push_str(&router(speaker));
    let settings = speaker.nodes.iter().map(|nodes| &nodes.settings);
    let announced: Vec<IpNet> = settings
        .flat_map(|settings| settings.announced.clone())
        .collect();
    text.push_str(&announcement(speaker.asn, &[], &announced));
    text
}

/// What makes a running bgpd announce other prefixes to nodes than before.
pub fn announcement(asn: u32, before: &[IpNet], now: &[IpNet]) -> String {
    if before.is_empty() && now.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "bgp community-list standard announced permit 64999:1\n!\n\
         route-map announced permit 1\n set community 64999:1\nexit\n!\n\
         route-map to-routers deny 1\n match community announced\nexit\n!\n",
    );
    for family in [4, 6] {
        let _ = writeln!(
            text,
            "route-map to-nodes-v{family} permit 1\n match community announced\nexit\n!"
        );
    }
    let _ = writeln!(text, "router bgp {asn}\n no bgp network import-check");
    let gone = before.iter().filter(|net| !now.contains(net));
    let new = now.iter().filter(|net| !before.contains(net));
    let lines = gone
        .map(|net| (net, format!("no network {net}")))
        .chain(new.map(|net| (net, format!("network {net} route-map announced"))));
    let lines: Vec<(&IpNet, String)> = lines.collect();
    for (family, lines) in by_family(&lines, |(net, _)| net.addr()) {
        let _ = writeln!(text, " address-family ipv{family} unicast");
        for (_, line) in lines {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str(" exit-address-family\n");
    }
    text.push_str("exit\n");
    text
}

/// What makes a running bgpd want another password of nodes.
pub fn password(asn: u32, nodes: &Nodes) -> String {
    let mut text = format!("router bgp {asn}\n");
    text.push_str(&passwords(nodes, true));
    text.push_str("exit\n");
    text
}

fn passwords(nodes: &Nodes, take_back: bool) -> String {
    let mut text = String::new();
    for range in &nodes.ranges {
        let family = version(range.addr());
        let _ = match &nodes.settings.password {
            Some(password) => writeln!(text, " neighbor nodes-v{family} password {password}"),
            None if take_back => writeln!(text, " no neighbor nodes-v{family} password"),
            None => Ok(()),
        };
    }
    text
}

fn policy(nodes: &Nodes) -> String {
    let mut text = String::new();
    let ip = |family: u8| if family == 4 { "ip" } else { "ipv6" };
    let longest = |family: u8| if family == 4 { 32 } else { 128 };
    for (family, pools) in by_family(&nodes.pools, |net| net.addr()) {
        let (ip, longest) = (ip(family), longest(family));
        for (number, pool) in (1..).zip(pools) {
            let _ = writeln!(
                text,
                "{ip} prefix-list pods-v{family} seq {number} permit {pool} le {longest}"
            );
        }
        let _ = writeln!(
            text,
            "!\nroute-map from-nodes-v{family} permit 10\n match {ip} address prefix-list pods-v{family}\nexit\n!"
        );
    }
    for (family, untold) in by_family(&nodes.untold, |net| net.addr()) {
        let (ip, longest) = (ip(family), longest(family));
        let all = if family == 4 { "0.0.0.0/0" } else { "::/0" };
        let _ = writeln!(text, "{ip} prefix-list untold-v{family} seq 1 permit {all}");
        for (number, range) in (2..).zip(untold) {
            let _ = writeln!(
                text,
                "{ip} prefix-list untold-v{family} seq {number} permit {range} le {longest}"
            );
        }
        let _ = writeln!(
            text,
            "!\nroute-map to-nodes-v{family} deny 10\n match {ip} address prefix-list untold-v{family}\nexit\n!\n\
             route-map to-nodes-v{family} permit 20\nexit\n!"
        );
    }
    text
}

fn router(speaker: &Speaker) -> String {
    let mut text = format!(
        "route-map to-routers permit 20\nexit\n!\n\
         router bgp {}\n \
           bgp router-id {}\n \
           no bgp default ipv4-unicast\n \
           no bgp ebgp-requires-policy\n \
           bgp bestpath as-path multipath-relax\n \
           bgp graceful-restart\n \
           bgp graceful-restart preserve-fw-state\n \
           bgp graceful-restart restart-time 120\n \
           bgp graceful-restart stalepath-time 360\n \
           bgp long-lived-graceful-restart stale-time 3600\n \
           timers bgp 5 15\n",
        speaker.asn, speaker.router_id
    );
    for there in &speaker.neighbours {
        let _ = writeln!(
            text,
            " neighbor {0} remote-as {1}\n neighbor {0} timers connect 2",
            there.address, there.asn
        );
    }
    if let Some(nodes) = &speaker.nodes {
        for range in &nodes.ranges {
            let group = format!("nodes-v{}", version(range.addr()));
            let _ = writeln!(
                text,
                " neighbor {group} peer-group\n neighbor {group} remote-as external"
            );
        }
        text.push_str(&passwords(nodes, false));
        for range in &nodes.ranges {
            let _ = writeln!(
                text,
                " bgp listen range {range} peer-group nodes-v{}",
                version(range.addr())
            );
        }
    }
    for (family, neighbours) in by_family(&speaker.neighbours, |there| there.address) {
        let _ = writeln!(text, " !\n address-family ipv{family} unicast");
        if !speaker.connected.is_empty() {
            text.push_str("  redistribute connected route-map own\n");
        }
        for there in neighbours {
            let address = there.address;
            let _ = writeln!(
                text,
                "  neighbor {address} activate\n  neighbor {address} route-map to-routers out"
            );
            if speaker.default_route {
                let _ = writeln!(text, "  neighbor {address} default-originate");
            }
        }
        let ranges = speaker.nodes.iter().flat_map(|nodes| &nodes.ranges);
        if ranges
            .into_iter()
            .any(|range| version(range.addr()) == family)
        {
            let _ = writeln!(
                text,
                "  neighbor nodes-v{family} activate\n  \
                   neighbor nodes-v{family} route-map from-nodes-v{family} in\n  \
                   neighbor nodes-v{family} route-map to-nodes-v{family} out"
            );
        }
        text.push_str("  maximum-paths 8\n exit-address-family\n");
    }
    text.push_str("exit\n!\n");
    text
}
