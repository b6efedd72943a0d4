//! What the daemons of others are told. Pure text.

use std::fmt::Write;

use super::{ASN, DAEMON, address};

/// Of BIRD 2.
pub fn bird(peers: usize, reflect: bool) -> String {
    let client = if reflect { "rr client;" } else { "" };
    let mut text = format!(
        "log stderr {{ error, fatal, bug }};\n\
         router id {DAEMON};\n\
         protocol device {{ }}\n\
         template bgp node {{\n  \
           local {DAEMON} as {ASN};\n  \
           direct; passive on; hold time 90; {client}\n  \
           ipv4 {{ import all; export all; }};\n\
         }}\n"
    );
    for number in 0..peers {
        let address = address(number);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "protocol bgp node{number} from node {{ neighbor {address} as {ASN}; }}"
        );
    }
    text
}

/// Of the bgpd of FRR. It tells at once what it has to tell, as the others do.
pub fn frr(peers: usize, reflect: bool) -> String {
    let mut text = format!(
        "router bgp {ASN}\n \
           bgp router-id {DAEMON}\n \
           no bgp network import-check\n \
           no bgp default ipv4-unicast\n \
           coalesce-time 0\n \
           timers bgp 30 90\n \
           neighbor nodes peer-group\n \
           neighbor nodes remote-as {ASN}\n \
           neighbor nodes passive\n \
           neighbor nodes advertisement-interval 0\n"
    );
    for number in 0..peers {
        let _ = writeln!(text, " neighbor {} peer-group nodes", address(number));
    }
    text.push_str(" address-family ipv4 unicast\n");
    if reflect {
        text.push_str("  neighbor nodes route-reflector-client\n");
    }
    text.push_str("  neighbor nodes activate\n exit-address-family\nexit\n");
    text
}

/// Of GoBGP.
pub fn gobgp(peers: usize, reflect: bool) -> String {
    let mut text = format!("[global.config]\nas = {ASN}\nrouter-id = \"{DAEMON}\"\nport = 179\n");
    for number in 0..peers {
        let address = address(number);
        let _ = writeln!(
            text,
            "[[neighbors]]\n\
             [neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {ASN}\n\
             [neighbors.timers.config]\nhold-time = 90\n\
             [neighbors.transport.config]\nlocal-address = \"{DAEMON}\"\npassive-mode = true\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\""
        );
        if reflect {
            let _ = writeln!(
                text,
                "[neighbors.route-reflector.config]\nroute-reflector-client = true\n\
                 route-reflector-cluster-id = \"{DAEMON}\""
            );
        }
    }
    text
}
