//! Which address is chosen, as a table.

use super::*;
use crate::underlay::{DefaultRoute, RouteTo};
use rstest::rstest;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn link(name: &str, kind: &str, mtu: u32) -> LinkFacts {
    LinkFacts {
        name: name.parse().unwrap(),
        kind: kind.into(),
        mtu,
        usable: true,
    }
}

fn address(device: &str, text: &str) -> AddressFacts {
    AddressFacts {
        device: device.parse().unwrap(),
        address: net(text),
        scope: 0,
        secondary: false,
        temporary: false,
        deprecated: false,
        tentative: false,
        expires: false,
        label: None,
        protocol: None,
    }
}

/// A node with two networks, floating addresses on the first, and devices of all sorts.
fn node() -> Facts {
    let links = vec![
        link("lo", "", 65536),
        link("eth0", "", 1500),
        link("eth1", "", 9000),
        link("wg0", "wireguard", 1420),
        link("docker0", "bridge", 1500),
        link("weft.vx4", "vxlan", 1450),
        link("cali0123", "veth", 1450),
        LinkFacts {
            usable: false,
            ..link("eth2", "", 1500)
        },
        link("eth3", "", 1500),
    ];
    let addresses = vec![
        AddressFacts {
            scope: 254,
            ..address("lo", "127.0.0.1/8")
        },
        address("lo", "10.244.0.1/32"),
        address("eth0", "192.0.2.250/32"),
        AddressFacts {
            label: Some("eth0:vip".into()),
            ..address("eth0", "192.0.2.251/24")
        },
        address("eth0", "192.0.2.7/24"),
        AddressFacts {
            secondary: true,
            ..address("eth0", "192.0.2.252/24")
        },
        address("eth0", "2001:db8::250/128"),
        AddressFacts {
            temporary: true,
            expires: true,
            ..address("eth0", "2001:db8::1:2/64")
        },
        AddressFacts {
            deprecated: true,
            ..address("eth0", "2001:db8::3/64")
        },
        AddressFacts {
            tentative: true,
            ..address("eth0", "2001:db8::4/64")
        },
        AddressFacts {
            expires: true,
            ..address("eth0", "2001:db8::9/128")
        },
        AddressFacts {
            scope: 253,
            ..address("eth0", "fe80::1/64")
        },
        address("eth1", "198.51.100.7/25"),
        address("eth1", "fd00::7/64"),
        address("wg0", "203.0.113.7/24"),
        address("docker0", "172.17.0.1/16"),
        address("cali0123", "169.254.1.1/32"),
        address("eth2", "192.0.2.77/24"),
        AddressFacts {
            label: Some("eth3:vip".into()),
            ..address("eth3", "203.0.113.99/24")
        },
    ];
    let eth0 = "eth0".parse().unwrap();
    let default = |family| DefaultRoute {
        family,
        device: eth0,
        metric: 100,
    };
    Facts {
        links,
        addresses,
        default_routes: Family::BOTH.map(default).into(),
        route: None,
    }
}

fn internal(addresses: &[&str]) -> Method {
    Method::NodeInternalIp(addresses.iter().map(|a| a.parse().unwrap()).collect())
}

fn within(ranges: &[&str]) -> Method {
    Method::Cidr(ranges.iter().map(|range| net(range)).collect())
}

fn interface(names: &[&str]) -> Method {
    Method::Interface(names.iter().map(ToString::to_string).collect())
}

#[rstest]
#[case(internal(&["192.0.2.7"]), "eth0 1500 192.0.2.7/24 -")]
#[case(internal(&["192.0.2.7", "2001:db8::9"]), "eth0 1500 192.0.2.7/24 2001:db8::9/128")]
#[case(internal(&["192.0.2.250"]), "eth0 1500 192.0.2.250/32 -")]
#[case(internal(&["192.0.2.252"]), "eth0 1500 192.0.2.252/24 -")]
#[case(internal(&["203.0.113.7"]), "wg0 1420 203.0.113.7/24 -")]
#[case(internal(&["198.51.100.7", "2001:db8::9"]), "eth1 1500 198.51.100.7/25 2001:db8::9/128")]
#[case(within(&["192.0.2.0/24"]), "eth0 1500 192.0.2.7/24 -")]
#[case(within(&["0.0.0.0/0"]), "eth0 1500 192.0.2.7/24 -")]
#[case(within(&["0.0.0.0/0", "::/0"]), "eth0 1500 192.0.2.7/24 2001:db8::9/128")]
#[case(within(&["198.51.100.0/24", "192.0.2.0/24"]), "eth1 9000 198.51.100.7/25 -")]
#[case(within(&["fd00::/8"]), "eth1 9000 - fd00::7/64")]
#[case(interface(&["eth0"]), "eth0 1500 192.0.2.7/24 2001:db8::9/128")]
#[case(interface(&["eth*"]), "eth0 1500 192.0.2.7/24 2001:db8::9/128")]
#[case(interface(&["missing", "eth1"]), "eth1 9000 198.51.100.7/25 fd00::7/64")]
#[case(interface(&["eth2", "eth1"]), "eth1 9000 198.51.100.7/25 fd00::7/64")]
#[case(interface(&["eth3"]), "eth3 1500 203.0.113.99/24 -")]
#[case(interface(&["eth[3]", "eth?", "eth3"]), "eth0 1500 192.0.2.7/24 2001:db8::9/128")]
#[case(interface(&["wg0"]), "wg0 1420 203.0.113.7/24 -")]
#[case(interface(&["wg*", "eth1"]), "eth1 9000 198.51.100.7/25 fd00::7/64")]
#[case(interface(&["docker0", "eth0"]), "eth0 1500 192.0.2.7/24 2001:db8::9/128")]
fn chosen(#[case] method: Method, #[case] expected: &str) {
    let found = choose_address(&method, &node()).unwrap();
    assert_eq!(in_words(&found), expected);
}

fn in_words(found: &NodeAddress) -> String {
    let NodeAddress {
        device,
        mtu,
        v4,
        v6,
    } = found;
    let v4 = v4.map_or("-".into(), |v4| v4.to_string());
    let v6 = v6.map_or("-".into(), |v6| v6.to_string());
    format!("{device} {mtu} {v4} {v6}")
}

#[rstest]
#[case(internal(&[]), &["--node-ip"])]
#[case(internal(&["192.0.2.99"]), &["192.0.2.99", "--node-ip"])]
#[case(internal(&["172.17.0.1"]), &["172.17.0.1/16 on docker0: its device is one of pods"])]
#[case(internal(&["2001:db8::4"]), &["2001:db8::4/64 on eth0: it is tentative"])]
#[case(internal(&["192.0.2.77"]), &["192.0.2.77/24 on eth2: its device is down"])]
#[case(internal(&["10.244.0.1"]), &["10.244.0.1/32 on lo"])]
#[case(within(&["192.0.2.248/29"]), &["192.0.2.250/32 on eth0: it has no subnet", "192.0.2.252/24 on eth0: it is secondary", "192.0.2.251/24 on eth0: it has the label eth0:vip"])]
#[case(within(&["2001:db8::/125"]), &["2001:db8::3/64 on eth0: it is deprecated"])]
#[case(within(&["2001:db8::1:0/112"]), &["it is temporary"])]
#[case(within(&["203.0.113.0/24"]), &["203.0.113.7/24 on wg0: its device is of kind wireguard"])]
#[case(within(&["10.0.0.0/16"]), &["10.0.0.0/16"])]
#[case(interface(&["docker*", "cali*"]), &["docker*, cali*", "there are lo, eth0", "172.17.0.1/16 on docker0"])]
#[case(interface(&["enp*"]), &["enp*"])]
#[case(Method::CanReach([192, 0, 2, 1].into()), &["no route to 192.0.2.1"])]
fn refused(#[case] method: Method, #[case] words: &[&str]) {
    let error = choose_address(&method, &node()).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[rstest]
#[case(
    "eth0",
    Some("192.0.2.7"),
    Ok("eth0 1500 192.0.2.7/24 2001:db8::9/128")
)]
// The kernel would use a floating address, which it was told to prefer: we do not.
#[case(
    "eth0",
    Some("192.0.2.250"),
    Ok("eth0 1500 192.0.2.7/24 2001:db8::9/128")
)]
#[case(
    "eth1",
    Some("198.51.100.7"),
    Ok("eth1 9000 198.51.100.7/25 fd00::7/64")
)]
#[case(
    "lo",
    Some("192.0.2.7"),
    Err("lo, which leads to 192.0.2.1, has no usable address")
)]
fn towards(
    #[case] device: &str,
    #[case] source: Option<&str>,
    #[case] expected: Result<&str, &str>,
) {
    let source = source.map(|source| source.parse().unwrap());
    let route = Some(RouteTo {
        device: device.parse().unwrap(),
        source,
    });
    let facts = Facts { route, ..node() };
    let found = choose_address(&Method::CanReach([192, 0, 2, 1].into()), &facts);
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(in_words(&found), expected),
        (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[test]
fn a_cloud_that_gives_whole_addresses_only_is_served() {
    let facts = Facts {
        links: vec![link("ens4", "", 1460)],
        addresses: vec![AddressFacts {
            expires: true,
            ..address("ens4", "10.128.0.5/32")
        }],
        ..Facts::default()
    };
    let found = choose_address(&within(&["10.0.0.0/8"]), &facts).unwrap();
    assert_eq!(in_words(&found), "ens4 1460 10.128.0.5/32 -");
    // A floating one that is set beside it does not expire.
    let mut facts = facts;
    facts
        .addresses
        .insert(0, address("ens4", "10.128.0.250/32"));
    let found = choose_address(&within(&["10.0.0.0/8"]), &facts).unwrap();
    assert_eq!(in_words(&found), "ens4 1460 10.128.0.5/32 -");
}
