//! Small values that the tests of several modules begin with.

use weft_crds::{BgpSettings, Encapsulation, LogLevel, Mode, NodeAddressSettings};
use weft_kernel::Mac;

use weft_migration::{EVERYBODY, Migration, Node, Orders, Phase, State, orders};
use weft_peering::View;

use crate::cluster::{Config, Endpoint, Peer, Pool, Stage};
use crate::mode::{self, Here, Paths};

/// A config with one pool of each family.
pub(crate) fn config(encapsulation: Encapsulation) -> Config {
    let pool = |cidr: &str| Pool {
        cidr: cidr.parse().unwrap(),
        disabled: false,
    };
    Config {
        generation: 1,
        stage: Stage {
            config_uid: "uid".into(),
            state: State::rest(Mode::Overlay),
        },
        canaries: None,
        pools: vec![pool("10.244.0.0/16"), pool("fd00:10:244::/56")],
        encapsulation,
        vni: 4873,
        port: 4789,
        node_address: NodeAddressSettings::default(),
        mtu: None,
        masquerade_bit: 14,
        log_level: LogLevel::Info,
        bgp: BgpSettings::default(),
        services: vec!["10.96.0.0/16".parse().unwrap()],
    }
}

/// A node with IPv4 in the underlay and the `n`th block of each pool.
pub(crate) fn endpoint(n: u8, ipv4: &str) -> Endpoint {
    Endpoint {
        uid: format!("uid-{n}"),
        ipv4: Some(ipv4.parse().unwrap()),
        ipv6: None,
        mac: Mac([2, 0, 0, 0, 0, n]),
        pod_ipv4: Some([10, 244, n, 1].into()),
        pod_ipv6: Some(format!("fd00:10:244:{n:x}::1").parse().unwrap()),
        mtu: 1500,
        bgp: None,
    }
}

/// This node, 192.0.2.1 on eth0.
pub(crate) fn here(n: u8) -> Here {
    Here {
        endpoint: endpoint(n, "192.0.2.1/24"),
        device: "eth0".parse().unwrap(),
        tx_checksum: true,
        orders: Orders::rest(Mode::Overlay),
    }
}

/// This node in a phase from Overlay to BGP, in which all nodes have moved: where it is, and the paths to b, on its
/// subnet, and c, beyond a router that announces nothing.
pub(crate) fn migrating(phase: Phase, left_out: &[&str]) -> (State<Mode>, Here, Paths) {
    let mut state = State::rest(Mode::Overlay);
    state.migration = Some(Migration {
        phase,
        share: EVERYBODY,
        excluded: left_out.iter().map(|name| (*name).to_owned()).collect(),
        ..Migration::new(Mode::Overlay, Mode::BGP)
    });
    let node = Node {
        name: "a",
        canary: false,
    };
    let here = Here {
        orders: orders(&state, node),
        ..here(1)
    };
    let peers = [
        peer("b", 2, "192.0.2.2/24"),
        peer("c", 3, "198.51.100.3/24"),
    ];
    let view = View {
        complete: true,
        ..View::default()
    };
    let config = config(Encapsulation::Always);
    let paths = mode::paths(&config, &here, &peers, &view, &Paths::default());
    (state, here, paths)
}

/// Another node with the `n`th block of each pool.
pub(crate) fn peer(name: &str, n: u8, ipv4: &str) -> Peer {
    Peer {
        name: name.into(),
        endpoint: endpoint(n, ipv4),
        blocks: vec![
            format!("10.244.{n}.0/26").parse().unwrap(),
            format!("fd00:10:244:{n:x}::/122").parse().unwrap(),
        ],
    }
}
