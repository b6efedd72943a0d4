//! The configuration of BIRD 2. Pure text.

use std::fmt::Write;

use super::speaker::{Neighbour, Nodes, Speaker, by_family, version};

/// The whole configuration of a speaker.
pub fn configuration(speaker: &Speaker) -> String {
    let mut text = format!(
        "log stderr {{ info, warning, error, fatal, bug, remote, auth }};\n\
         router id {};\n\
         # After a restart of its own, routes in the kernel stay until BGP peers have told theirs.\n\
         graceful restart wait 30;\n\n\
         protocol device {{ }}\n\n",
        speaker.router_id
    );
    let families = families(speaker);
    text.push_str(&connected(speaker, &families));
    for family in &families {
        text.push_str(&kernel(*family));
    }
    text.push_str(&origins(speaker, &families));
    text.push_str(&template(speaker.asn));
    for neighbour in &speaker.neighbours {
        text.push_str(&router(speaker, neighbour));
    }
    if let Some(nodes) = &speaker.nodes {
        text.push_str(&filters(nodes));
        text.push_str(&sessions_of_nodes(nodes));
    }
    text
}

fn families(speaker: &Speaker) -> Vec<u8> {
    let addresses = speaker.neighbours.iter().map(|there| there.address);
    by_family(addresses, |address| address)
        .into_iter()
        .map(|(family, _)| family)
        .collect()
}

fn connected(speaker: &Speaker, families: &[u8]) -> String {
    if speaker.connected.is_empty() {
        return String::new();
    }
    let mut text = String::from("protocol direct {\n");
    for family in families {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  ipv{family};");
    }
    let devices: Vec<String> = speaker
        .connected
        .iter()
        .map(|device| format!("{device:?}"))
        .collect();
    let _ = writeln!(text, "  interface {};\n}}\n", devices.join(", "));
    text
}

fn kernel(family: u8) -> String {
    format!(
        "protocol kernel kernel_v{family} {{\n  \
           ipv{family} {{ import none; export where source = RTS_BGP; }};\n  \
           merge paths on;\n  \
           persist;\n  \
           graceful restart on;\n\
         }}\n\n"
    )
}

/// What it announces without having learned it: default routes, and what scenarios want.
fn origins(speaker: &Speaker, families: &[u8]) -> String {
    let mut text = String::new();
    if speaker.default_route {
        for family in families {
            let all = if *family == 4 { "0.0.0.0/0" } else { "::/0" };
            let _ = writeln!(
                text,
                "protocol static default_v{family} {{ ipv{family}; route {all} blackhole; }}\n"
            );
        }
    }
    let settings = speaker.nodes.iter().map(|nodes| &nodes.settings);
    let announced = settings.flat_map(|settings| settings.announced.iter());
    for (family, prefixes) in by_family(announced, |net| net.addr()) {
        let _ = writeln!(
            text,
            "protocol static announced_v{family} {{\n  ipv{family};"
        );
        for prefix in prefixes {
            let _ = writeln!(text, "  route {prefix} blackhole;");
        }
        text.push_str("}\n\n");
    }
    text
}

fn template(asn: u32) -> String {
    format!(
        "template bgp peer {{\n  \
           local as {asn};\n  \
           hold time 15;\n  \
           connect delay time 1;\n  \
           connect retry time 2;\n  \
           error wait time 1, 4;\n  \
           graceful restart on;\n  \
           graceful restart time 120;\n  \
           long lived graceful restart on;\n  \
           long lived stale time 3600;\n\
         }}\n\n"
    )
}

fn router(speaker: &Speaker, there: &Neighbour) -> String {
    let family = version(there.address);
    let name = there.name.replace('-', "_");
    let mut told = vec!["RTS_BGP"];
    told.extend((!speaker.connected.is_empty()).then_some("RTS_DEVICE"));
    told.extend(speaker.default_route.then_some("RTS_STATIC"));
    format!(
        "protocol bgp {name}_v{family} from peer {{\n  \
           neighbor {} as {};\n  \
           ipv{family} {{ import all; export where source ~ [ {} ]; }};\n\
         }}\n\n",
        there.address,
        there.asn,
        told.join(", ")
    )
}

fn filters(nodes: &Nodes) -> String {
    let mut text = String::new();
    for (family, pools) in by_family(&nodes.pools, |net| net.addr()) {
        let pools: Vec<String> = pools.iter().map(|net| format!("{net}+")).collect();
        let _ = writeln!(
            text,
            "filter from_nodes_v{family} {{\n  if net ~ [ {} ] then accept;\n  reject;\n}}\n",
            pools.join(", ")
        );
    }
    let announced = &nodes.settings.announced;
    for (family, untold) in by_family(&nodes.untold, |net| net.addr()) {
        let mut all = vec![if family == 4 { "0.0.0.0/0" } else { "::/0" }.to_owned()];
        all.extend(untold.iter().map(|net| format!("{net}+")));
        let _ = writeln!(text, "filter to_nodes_v{family} {{");
        if announced.iter().any(|net| version(net.addr()) == family) {
            let _ = writeln!(text, "  if proto = \"announced_v{family}\" then accept;");
        }
        let _ = writeln!(
            text,
            "  if net ~ [ {} ] then reject;\n  accept;\n}}\n",
            all.join(", ")
        );
    }
    text
}

fn sessions_of_nodes(nodes: &Nodes) -> String {
    let password = nodes.settings.password.iter();
    let password: String = password
        .map(|password| format!("  password {password:?};\n"))
        .collect();
    let mut text = String::new();
    for range in &nodes.ranges {
        let family = version(range.addr());
        let _ = writeln!(
            text,
            "protocol bgp nodes_v{family} from peer {{\n  \
               neighbor range {range} external;\n  \
               dynamic name \"node_v{family}_\";\n\
             {password}  \
               ipv{family} {{ import filter from_nodes_v{family}; export filter to_nodes_v{family}; }};\n\
             }}\n"
        );
    }
    text
}
