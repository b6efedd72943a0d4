//! What the tests on a real kernel share.
#![allow(dead_code)] // Each test binary uses its part.

pub mod lab;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weft_kernel::{
    Action, DeviceName, Family, FdbKey, Kernel, Mac, Mark, NeighbourKey, Nexthop, OwnAddress,
    Route, RouteKey, RouteTarget, Rule, SEND_TABLE, Scope, Setting, SettingKey, State, Vxlan,
    apply, failures, observe, plan,
};

/// Applies the actions; panics if any of them fails.
pub fn apply_all(kernel: &mut Kernel, actions: &[Action]) {
    let results = apply(kernel, actions);
    let failed: Vec<_> = failures(actions, results)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Brings the kernel to `desired` and checks that it is there.
pub fn converge(kernel: &mut Kernel, desired: &State) {
    let scope = Scope::of(desired, &[]);
    let observed = observe(kernel, &scope).unwrap().ours;
    apply_all(kernel, &plan(desired, &observed));
    let observed = observe(kernel, &scope).unwrap().ours;
    let rest: Vec<_> = plan(desired, &observed)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(rest.is_empty(), "{rest:#?}");
}

/// A VXLAN device of the sample.
pub fn vxlan(local: IpAddr) -> Vxlan {
    Vxlan {
        vni: 4873,
        port: 4789,
        local,
        mac: Mac([2, 0x57, 0xff, 0, 0, local.is_ipv6().into()]),
        mtu: 1450,
        tx_checksum: true,
        up: true,
        learning: false,
    }
}

/// A node with `peers` peers: odd ones over an IPv4, even ones over an IPv6 underlay;
/// each with an IPv4 and an IPv6 block.
pub fn sample(peers: u16) -> State {
    let mut state = State::default();
    state
        .vxlans
        .insert(DeviceName::VX4, vxlan("192.0.2.100".parse().unwrap()));
    state
        .vxlans
        .insert(DeviceName::VX6, vxlan("2001:db8::100".parse().unwrap()));
    state.vxlans.get_mut(&DeviceName::VX6).unwrap().mtu = 1430;
    state.vxlans.get_mut(&DeviceName::VX4).unwrap().tx_checksum = false;
    let (v4, v6) = pod_addresses(0);
    state.addresses.extend([v4, v6].map(OwnAddress::on_lo));
    for peer in 1..=peers {
        add_peer(&mut state, peer);
    }
    if peers >= 3 {
        add_groups(&mut state);
    }
    for family in Family::BOTH {
        let rule = Rule {
            priority: 8710,
            family,
            mark: None,
            table: SEND_TABLE,
        };
        let mark = Some(Mark {
            value: 0x51_0000,
            mask: 0xff_0000,
        });
        let probe = Rule {
            priority: 8700,
            family,
            mark,
            table: 8701,
        };
        state.rules.extend([rule, probe]);
    }
    let unused = RouteKey::new(SEND_TABLE, "10.244.0.0/26".parse().unwrap());
    state.routes.insert(unused, RouteTarget::Blackhole.into());
    let unused = RouteKey::new(SEND_TABLE, "fd00:10:244::/122".parse().unwrap());
    state.routes.insert(unused, RouteTarget::Unreachable.into());
    let local = RouteKey::new(8702, "10.244.0.0/27".parse().unwrap());
    let device = Route {
        target: RouteTarget::device(DeviceName::VX4),
        source: Some(v4),
        mtu: None,
    };
    state.routes.insert(local, device);
    let filter = SettingKey {
        device: DeviceName::VX4,
        setting: Setting::RpFilter,
    };
    state.settings.insert(filter, 2);
    state
}

/// The addresses of node `n`'s first blocks, one each.
pub fn pod_addresses(n: u16) -> (IpAddr, IpAddr) {
    let v4 = u32::from(Ipv4Addr::new(10, 244, 0, 1)) + u32::from(n) * 64;
    let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, n, 1);
    (Ipv4Addr::from(v4).into(), v6.into())
}

/// All that leads to one peer.
pub fn add_peer(state: &mut State, peer: u16) {
    let over_v4 = peer % 2 == 1;
    let device = if over_v4 {
        DeviceName::VX4
    } else {
        DeviceName::VX6
    };
    let remote: IpAddr = if over_v4 {
        Ipv4Addr::new(192, 0, 2, peer as u8).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, peer).into()
    };
    let [high, low] = peer.to_be_bytes();
    let mac = Mac([2, 0x57, 0, 0, high, low]);
    state.fdb.insert(FdbKey { device, mac }, remote);
    let (v4, v6) = pod_addresses(peer);
    let (own4, own6) = pod_addresses(0);
    for (family, address, source, bits) in [(0, v4, own4, 26), (1, v6, own6, 122)] {
        state
            .neighbours
            .insert(NeighbourKey { device, address }, mac);
        let id = 0x5700_0000 + u32::from(peer) * 2 - 1 + family;
        state.nexthops.insert(id, Nexthop::onlink(address, device));
        let block = IpNet::new(address, bits).unwrap();
        let target = RouteTarget::Nexthop(id);
        let route = Route {
            target,
            source: Some(source),
            mtu: Some(1430),
        };
        state.routes.insert(RouteKey::new(SEND_TABLE, block), route);
    }
}

/// Prefixes that peers 1 and 3 share the packets of, one of each family.
fn add_groups(state: &mut State) {
    for (family, prefix) in [(0, "10.245.0.0/24"), (1, "fd00:10:245::/64")] {
        let id = 0x5780_0001 + family;
        let members = [1, 3].map(|peer| 0x5700_0000 + peer * 2 - 1 + family);
        state.groups.insert(id, members.into());
        let key = RouteKey::new(SEND_TABLE, prefix.parse().unwrap());
        state.routes.insert(key, RouteTarget::Nexthop(id).into());
    }
}

/// What somebody may do by hand to the sample with its four peers.
pub const DAMAGE: &[&str] = &[
    "ip link del weft.vx4",
    "ip link set weft.vx4 down",
    "ip link set weft.vx6 mtu 1280",
    "ip link set weft.vx4 address 02:00:00:00:00:99",
    "ip link set weft.vx4 type vxlan learning",
    "ip addr flush dev lo",
    "ip addr del 10.244.0.1/32 dev lo",
    "ip route flush table 8702",
    "for r in $(ip -6 route show table 8700 | cut -d' ' -f1); do ip -6 route del $r table 8700 || true; done",
    "ip route del 10.244.0.64/26 table 8700",
    "ip route replace 10.244.0.64/26 dev lo table 8700",
    "ip route replace blackhole 10.244.0.64/26 table 8700 proto 87",
    "ip -6 route replace blackhole fd00:10:244:0:0:0:1:0/122 table 8700 proto 87",
    "ip route replace 10.244.0.64/26 nhid 1459617793 table 8700 proto 87 mtu 1300",
    "ip nexthop del id 1468006401",
    "ip nexthop del id 1459617793",
    "ip nexthop replace id 1468006401 group 1459617793",
    "ip rule del priority 8710",
    "ip -6 rule del priority 8710",
    "ip rule flush; ip rule add priority 32766 table main",
    "ip neigh flush dev weft.vx4 nud permanent",
    "ip neigh replace 10.244.0.65 lladdr 02:00:00:00:00:99 nud permanent dev weft.vx4",
    "bridge fdb del 02:57:00:00:00:01 dev weft.vx4 dst 192.0.2.1",
    "bridge fdb replace 02:57:00:00:00:01 dev weft.vx4 dst 192.0.2.99",
    "ip nexthop flush proto 87",
    "ip nexthop del id 1459617793",
    "ip nexthop replace id 1459617793 via 10.244.0.77 dev weft.vx4 onlink",
    "ip nexthop replace id 1459617795 blackhole proto 87",
    "sysctl -qw net.ipv4.conf.weft/vx4.rp_filter=1",
];
