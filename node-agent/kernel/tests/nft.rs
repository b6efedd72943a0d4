//! The nftables table on a real kernel: what nft shows, drift, elements.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

mod common;

use common::converge;
use serde_json::Value;
use weft_kernel::nft::{
    HostPort, HostPortKey, HostPortTarget, NftTable, hostports_add, hostports_remove,
};
use weft_kernel::testing::{in_netns, sh};
use weft_kernel::{Action, Family, Kernel, Scope, State, observe, plan};

fn port(protocol: u8, host: Option<&str>, port: u16, pod: &str, to: u16) -> HostPort {
    let target = HostPortTarget {
        address: pod.parse().unwrap(),
        port: to,
    };
    let host = host.map(|host| host.parse().unwrap());
    (
        HostPortKey {
            family: Family::of(target.address),
            protocol,
            host,
            port,
        },
        target,
    )
}

fn ports() -> Vec<HostPort> {
    vec![
        port(6, None, 8080, "10.244.0.5", 80),
        port(17, None, 8053, "10.244.0.5", 53),
        port(132, None, 8132, "10.244.0.5", 132),
        port(6, Some("192.0.2.7"), 8081, "10.244.0.6", 81),
        port(6, None, 8080, "fd00:10:244::5", 80),
        port(6, Some("2001:db8::7"), 8081, "fd00:10:244::6", 81),
    ]
}

fn table() -> NftTable {
    NftTable {
        pools: ["10.244.0.0/16", "10.99.0.0/24", "fd00:10:244::/56"]
            .map(|p| p.parse().unwrap())
            .into(),
        node_v4: Some("10.244.0.1".parse().unwrap()),
        node_v6: Some("fd00:10:244::1".parse().unwrap()),
        hostports: ports().into_iter().collect(),
        ..NftTable::default()
    }
}

fn desired(table: NftTable) -> State {
    State {
        nft: Some(table),
        ..State::default()
    }
}

fn observed(kernel: &mut Kernel) -> Option<NftTable> {
    observe(kernel, &Scope::default()).unwrap().ours.nft
}

/// Each chain: family, name, type, hook, priority.
fn chains() -> Vec<String> {
    let words = |c: &Value| {
        format!(
            "{} {} {} {} {}",
            c["family"], c["name"], c["type"], c["hook"], c["prio"]
        )
        .replace('"', "")
    };
    shown("chain").iter().map(words).collect()
}

/// The single objects of a kind in what nft shows of the tables.
fn shown(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(&sh("nft -j list ruleset")).unwrap();
    all["nftables"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|o| o.get(kind).cloned())
        .collect()
}

#[test]
fn nft_shows_the_table_as_it_is_meant() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        converge(&mut kernel, &desired(table()));
        let always = [
            "inet hostports null null null",
            "inet hostport-pre nat prerouting -110",
            "inet hostport-out nat output -110",
            "inet pod-snat nat postrouting 90",
            "inet loopback filter input 0",
            "ip6 martian filter prerouting -300",
        ];
        let mut with_ipv4 = always.to_vec();
        with_ipv4.insert(5, "inet martian filter prerouting -300");
        for (ipv4_sources, expected) in [(true, &with_ipv4[..]), (false, &always)] {
            let table = NftTable {
                ipv4_sources,
                ..table()
            };
            converge(&mut kernel, &desired(table));
            assert_eq!(chains(), expected);
        }
    });
}

#[test]
fn the_rules_are_those_that_nft_makes_of_the_same_text() {
    let ours = in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let hostports = [
            port(6, None, 8080, "10.244.0.5", 80),
            port(6, Some("192.0.2.7"), 8081, "10.244.0.5", 81),
            port(6, None, 8080, "fd00:10:244::5", 80),
            port(6, Some("2001:db8::7"), 8081, "fd00:10:244::5", 81),
        ];
        let table = NftTable {
            hostports: hostports.into(),
            ..table()
        };
        converge(&mut kernel, &desired(table));
        sh("nft list ruleset")
    });
    // Comments hold hashes.
    let ours: Vec<_> = ours
        .lines()
        .map(|l| l.split(" comment ").next().unwrap_or(l))
        .collect();
    let reference = include_str!("weft.nft");
    let theirs = in_netns(|| {
        sh(&format!("nft -f - <<'EOF'\n{reference}\nEOF"));
        sh("nft list ruleset")
    });
    assert_eq!(ours, theirs.lines().collect::<Vec<_>>());
}

#[test]
fn a_family_without_node_pod_address_is_left_out() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        converge(
            &mut kernel,
            &desired(NftTable {
                node_v6: None,
                ..table()
            }),
        );
        let text = sh("nft list chain inet weft pod-snat");
        assert!(
            text.contains("snat ip to 10.244.0.1") && !text.contains("snat ip6"),
            "{text}"
        );
        converge(
            &mut kernel,
            &desired(NftTable {
                node_v4: None,
                ..table()
            }),
        );
        let text = sh("nft list chain inet weft pod-snat");
        assert!(
            text.contains("snat ip6 to fd00:10:244::1") && !text.contains("snat ip to"),
            "{text}"
        );
    });
}

#[test]
fn elements_change_without_the_rules() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        converge(&mut kernel, &desired(table()));
        let handles = sh("nft -a list chain inet weft pod-snat");
        let mut changed = table();
        changed.pools.insert("10.245.0.0/16".parse().unwrap());
        changed.pools.remove(&"10.99.0.0/24".parse().unwrap());
        changed.hostports.remove(&ports()[1].0);
        changed.hostports.insert(
            ports()[0].0,
            HostPortTarget {
                address: "10.244.0.9".parse().unwrap(),
                port: 90,
            },
        );
        let (key, target) = port(17, None, 53, "10.244.0.10", 53);
        changed.hostports.insert(key, target);
        converge(&mut kernel, &desired(changed));
        assert_eq!(sh("nft -a list chain inet weft pod-snat"), handles);
    });
}

#[test]
fn damage_by_hand_is_noticed_and_repaired() {
    let damage = [
        "nft delete table inet weft",
        "nft flush table inet weft",
        "nft flush ruleset",
        "nft flush chain inet weft pod-snat",
        "nft flush chain inet weft martian",
        "nft flush chain ip6 weft martian",
        "nft flush chain inet weft loopback",
        "nft flush chain inet weft martian; nft delete chain inet weft martian",
        "nft delete table ip6 weft",
        "nft add chain ip6 weft other",
        "nft add table ip6 weft '{ flags dormant; }'",
        "nft flush chain inet weft pod-snat; nft delete chain inet weft pod-snat",
        "nft add chain inet weft other",
        "nft add rule inet weft pod-snat accept",
        "nft insert rule inet weft martian accept",
        "nft delete rule inet weft hostport-pre handle \
            $(nft -a list chain inet weft hostport-pre | sed -n 's/.*# handle //p' | tail -1)",
        "nft replace rule inet weft hostport-pre handle \
            $(nft -a list chain inet weft hostport-pre | sed -n 's/.*# handle //p' | tail -1) accept",
        "nft add chain inet weft pod-snat '{ policy drop; }'",
        "nft delete element inet weft pools4 '{ 10.99.0.0/24 }'",
        "nft add element inet weft pools4 '{ 10.98.0.0/24 }'",
        "nft flush set inet weft pools6",
        "nft flush map inet weft hostports4",
        "nft delete element inet weft hostports4 '{ tcp . 8080 }'",
        "nft add element inet weft hostports4 '{ tcp . 22 : 10.244.0.66 . 22 }'",
        "nft flush set inet weft hairpin4",
        "nft add set inet weft more '{ type ipv4_addr; }'",
        "nft add table inet weft '{ flags dormant; }'",
    ];
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let desired = desired(table());
        converge(&mut kernel, &desired);
        for script in damage {
            sh(script);
            assert_ne!(observed(&mut kernel), desired.nft, "{script}: not noticed");
            converge(&mut kernel, &desired);
            assert_eq!(observed(&mut kernel), desired.nft, "{script}: not repaired");
        }
    });
}

#[test]
fn tables_of_others_are_left_alone() {
    in_netns(|| {
        let others = "add table ip weft
            add chain ip weft c { type nat hook postrouting priority 90; }
            add rule ip weft c accept
            add table inet other
            add set inet other pools4 { type ipv4_addr; elements = { 10.1.1.1 }; }";
        sh(&format!("nft -f - <<EOF\n{others}\nEOF"));
        let show = "nft -a list table ip weft; nft -a list table inet other";
        let before = sh(show);
        let mut kernel = Kernel::open().unwrap();
        converge(&mut kernel, &desired(table()));
        assert_eq!(sh(show), before);
        converge(&mut kernel, &State::default());
        assert_eq!(sh(show), before);
        assert_eq!(sh("nft list tables").lines().count(), 2);
    });
}

#[test]
fn host_ports_come_and_go_by_themselves() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let base = NftTable {
            hostports: Default::default(),
            ..table()
        };
        let all = ports();
        // Removing where there is nothing, not even the table.
        hostports_remove(&mut kernel, &all).unwrap();
        // The first one makes the table.
        hostports_add(&mut kernel, &all[..3], &base).unwrap();
        hostports_add(&mut kernel, &all[3..], &NftTable::default()).unwrap();
        assert_eq!(observed(&mut kernel), Some(table()));
        // Once more changes nothing.
        hostports_add(&mut kernel, &all, &base).unwrap();
        assert_eq!(observed(&mut kernel), Some(table()));
        // A port in use is refused, as a whole.
        let taken = [
            port(6, None, 9999, "10.244.0.7", 1),
            port(6, None, 8080, "10.244.0.7", 80),
        ];
        let error = hostports_add(&mut kernel, &taken, &base)
            .unwrap_err()
            .to_string();
        assert!(error.contains("hostports4"), "{error}");
        assert_eq!(observed(&mut kernel), Some(table()));
        // Some that are gone already don't keep the others from going.
        hostports_remove(&mut kernel, &all[..3]).unwrap();
        hostports_remove(&mut kernel, &all).unwrap();
        assert_eq!(observed(&mut kernel), Some(base));
    });
}

#[test]
fn thousands_of_host_ports_are_one_transaction() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let mut many = table();
        many.hostports = (1..10_000)
            .map(|n| port(6, None, n, "10.244.0.5", n))
            .collect();
        let desired = desired(many);
        let actions = plan(&desired, &State::default());
        assert!(matches!(actions[..], [Action::Nft(_)]));
        converge(&mut kernel, &desired);
        assert_eq!(observed(&mut kernel), desired.nft);
    });
}
