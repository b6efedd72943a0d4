//! Properties of plans, on a model of the kernel.

use std::net::IpAddr;

use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use proptest::sample::select;

use super::model::{consistent, step};
use super::*;
use crate::names::Mac;
use crate::nft::{HostPort, HostPortKey, HostPortTarget, NftTable};
use crate::part::Part;
use crate::record::record;
use crate::state::{
    FdbKey, NeighbourKey, Nexthop, OwnAddress, Route, RouteKey, Setting, SettingKey,
};

const ETH: &str = "eth0";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn a_vxlan() -> impl Strategy<Value = Vxlan> {
    let local = select(vec!["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    let rest = (
        select(vec![1400, 1450]),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    (1..3u32, 1..3u16, local, 1..3u8, rest).prop_map(|(vni, port, local, mac, rest)| Vxlan {
        vni,
        port,
        local: ip(local),
        mac: Mac([2, 0, 0, 0, 0, mac]),
        mtu: rest.0,
        tx_checksum: rest.1,
        up: rest.2,
        learning: rest.3,
    })
}

fn a_mac() -> impl Strategy<Value = Mac> {
    (0..6u8).prop_map(|last| Mac([2, 0, 0, 0, 1, last]))
}

fn an_address() -> impl Strategy<Value = IpAddr> {
    select(vec!["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]).prop_map(ip)
}

fn a_device() -> impl Strategy<Value = DeviceName> {
    let eth: DeviceName = ETH.parse().unwrap();
    select(vec![DeviceName::VX4, DeviceName::VX6, eth])
}

fn a_target() -> impl Strategy<Value = RouteTarget> {
    prop_oneof![
        6 => (1..6u32).prop_map(RouteTarget::Nexthop),
        3 => (11..14u32).prop_map(RouteTarget::Nexthop),
        2 => a_device().prop_map(RouteTarget::device),
        1 => Just(RouteTarget::Blackhole),
        1 => Just(RouteTarget::Unreachable),
    ]
}

fn a_route() -> impl Strategy<Value = (RouteKey, Route)> {
    let destination = select(vec![
        "10.1.0.0/26",
        "10.2.0.0/26",
        "10.3.0.0/26",
        "fd01::/122",
        "fd02::/122",
    ]);
    let key =
        (0..2u8, destination).prop_map(|(path, to)| RouteKey::path(to.parse().unwrap(), path));
    let source = proptest::option::of(an_address());
    let mtu = proptest::option::of(select(vec![1400, 1450]));
    (key, a_target(), source, mtu).prop_map(|(key, target, source, mtu)| {
        (
            key,
            Route {
                target,
                source,
                mtu,
            },
        )
    })
}

fn an_own_address() -> impl Strategy<Value = OwnAddress> {
    let device = select(vec![DeviceName::LO, DeviceName::VX4]);
    (device, an_address()).prop_map(|(device, address)| OwnAddress { device, address })
}

fn a_table() -> impl Strategy<Value = NftTable> {
    let pools = btree_set(
        select(vec!["10.0.0.0/16", "10.9.0.0/16", "fd00::/56"]),
        0..3,
    );
    let ports = btree_map(1..4u16, 1..4u8, 0..4);
    let node = proptest::option::of(select(vec![[10, 0, 0, 1], [10, 0, 0, 2]]));
    (pools, ports, node).prop_map(|(pools, ports, node)| NftTable {
        pools: pools
            .into_iter()
            .map(|pool| pool.parse().unwrap())
            .collect(),
        node_v4: node.map(Into::into),
        hostports: ports
            .into_iter()
            .map(|(port, pod)| a_hostport(port, pod))
            .collect(),
        ..NftTable::default()
    })
}

fn a_hostport(port: u16, pod: u8) -> HostPort {
    let key = HostPortKey {
        family: Family::V4,
        protocol: 6,
        host: None,
        port,
    };
    (
        key,
        HostPortTarget {
            address: IpAddr::from([10, 0, 0, pod]),
            port: 80,
        },
    )
}

/// Any state that a kernel can be in: what hangs on something that isn't there is left out.
fn a_state() -> impl Strategy<Value = State> {
    let vxlans = btree_map(
        select(vec![DeviceName::VX4, DeviceName::VX6]),
        a_vxlan(),
        0..3,
    );
    let neighbour =
        (a_device(), an_address()).prop_map(|(device, address)| NeighbourKey { device, address });
    let fdb = (a_device(), a_mac()).prop_map(|(device, mac)| FdbKey { device, mac });
    let nexthop =
        (an_address(), a_device()).prop_map(|(gateway, device)| Nexthop::onlink(gateway, device));
    let setting = a_device().prop_map(|device| SettingKey {
        device,
        setting: Setting::RpFilter,
    });
    let nexthops = (
        btree_map(1..6u32, nexthop, 0..6),
        btree_map(11..14u32, btree_set(1..6u32, 1..4), 0..3),
    );
    let parts = (
        vxlans,
        btree_set(an_own_address(), 0..4),
        btree_map(neighbour, a_mac(), 0..6),
        btree_map(fdb, an_address(), 0..6),
        nexthops,
        proptest::collection::vec(a_route(), 0..10),
        btree_map(setting, 0..3u32, 0..3),
        proptest::option::of(a_table()),
    );
    parts.prop_map(
        |(vxlans, addresses, neighbours, fdb, (nexthops, groups), routes, settings, nft)| {
            let mut state = State {
                vxlans,
                addresses,
                neighbours,
                fdb,
                nexthops,
                groups,
                settings,
                nft,
                ..State::default()
            };
            state.routes = routes.into_iter().collect();
            for route in state.routes.values_mut() {
                route.source = route
                    .source
                    .filter(|source| state.addresses.contains(&OwnAddress::on_lo(*source)));
            }
            let ours = [DeviceName::VX4, DeviceName::VX6];
            let missing: Vec<_> = ours
                .into_iter()
                .filter(|name| !state.vxlans.contains_key(name))
                .collect();
            state.neighbours.retain(|key, _| key.device.is_ours());
            state.fdb.retain(|key, _| key.device.is_ours());
            without_links(state, &missing)
        },
    )
}

/// Small changes of a state, as they happen to one peer.
fn a_pair() -> impl Strategy<Value = (State, State)> {
    let pair = prop_oneof![
        (a_state(), a_state()),
        (a_state(), a_state()).prop_map(|(one, other)| {
            let vxlans = one.vxlans.clone();
            let missing: Vec<_> = other
                .vxlans
                .keys()
                .filter(|name| !vxlans.contains_key(name))
                .copied()
                .collect();
            let other = State { vxlans, ..other };
            (one, without_links(other, &missing))
        })
    ];
    (pair, any::<bool>()).prop_map(|((mut observed, desired), damaged)| {
        if let Some(table) = &mut observed.nft {
            table.intact = !damaged;
        }
        (observed, desired)
    })
}

/// What the kernel keeps of `observed` that `desired` doesn't name: settings only.
fn result_of(desired: &State, observed: &State) -> State {
    let mut settings = observed.settings.clone();
    let gone = |name: &DeviceName| !desired.vxlans.contains_key(name) && name.is_ours();
    settings.retain(|key, _| !gone(&key.device));
    for name in remade_links(desired, observed) {
        settings.retain(|key, _| key.device != name);
    }
    settings.extend(desired.settings.clone());
    State {
        settings,
        ..desired.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_plan_leads_to_what_is_desired_and_is_consistent_throughout((observed, desired) in a_pair()) {
        let mut state = observed.clone();
        let mut remembered = observed.clone();
        let remade = remade_links(&desired, &observed);
        let kept = without_links(observed.clone(), &remade);
        let lasting: Vec<_> = kept.routes.keys().filter(|key| desired.routes.contains_key(key)).collect();
        for action in plan(&desired, &observed) {
            prop_assert_eq!(step(&mut state, &action), Ok(()));
            prop_assert_eq!(consistent(&state), Ok(()), "after {}", action);
            record(&mut remembered, &action);
            prop_assert_eq!(&remembered, &state, "what is remembered after {}", action);
            for key in &lasting {
                prop_assert!(state.routes.contains_key(key), "no route to {} after {action}", key.destination);
            }
        }
        prop_assert_eq!(state, result_of(&desired, &observed));
    }

    #[test]
    fn where_nothing_else_differs_the_plan_for_a_part_is_the_plan((observed, desired) in a_pair(), more in a_state()) {
        let desired = State { vxlans: observed.vxlans.clone(), ..desired };
        let differing = |part: &Part, a: &State, b: &State| {
            let mut part = part.clone();
            part.neighbours.retain(|key| a.neighbours.get(key) != b.neighbours.get(key));
            part.fdb.retain(|key| a.fdb.get(key) != b.fdb.get(key));
            part.nexthops.retain(|key| a.nexthops.get(key) != b.nexthops.get(key));
            part.routes.retain(|key| a.routes.get(key) != b.routes.get(key));
            part
        };
        let mut all = Part::of(&observed);
        all.add(&Part::of(&desired));
        let mut part = differing(&all, &observed, &desired);
        let whole = plan(&desired, &observed);
        prop_assert_eq!(&plan(&desired.only(&part), &observed.only(&part)), &whole);
        part.add(&Part::of(&more));
        prop_assert_eq!(plan(&desired.only(&part), &observed.only(&part)), whole);
    }

    #[test]
    fn nothing_is_done_when_all_is_as_desired(state in a_state()) {
        prop_assert_eq!(plan(&state, &state), vec![]);
    }

    #[test]
    fn a_change_of_path_is_one_replacement((observed, desired) in a_pair()) {
        let remade = remade_links(&desired, &observed);
        let kept = without_links(observed.clone(), &remade);
        let actions = plan(&desired, &observed);
        for (key, route) in &desired.routes {
            let about = |action: &&Action| matches!(action,
                Action::AddRoute(k, _) | Action::ReplaceRoute(k, _) | Action::DeleteRoute(k) if k == key);
            let found: Vec<_> = actions.iter().filter(about).collect();
            match kept.routes.get(key) {
                Some(now) if now == route => prop_assert!(found.is_empty()),
                Some(_) => prop_assert!(matches!(found[..], [Action::ReplaceRoute(..)]), "{found:?}"),
                None => prop_assert!(matches!(found[..], [Action::AddRoute(..)]), "{found:?}"),
            }
        }
    }

    #[test]
    fn states_survive_being_saved(state in a_state()) {
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
