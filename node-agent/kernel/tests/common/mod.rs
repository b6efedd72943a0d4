//! What the tests on a real kernel share.
#![allow(dead_code)] // Each test binary uses its part.

pub mod lab;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weft_kernel::{
    Action, DeviceName, FdbKey, Kernel, Mac, NeighbourKey, Nexthop, OwnAddress, Route, RouteKey,
    RouteTarget, Scope, Setting, SettingKey, State, Vxlan, apply, failures, observe, plan,
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
    let unused = RouteKey::send("10.244.0.0/26".parse().unwrap());
    state.routes.insert(unused, RouteTarget::Blackhole.into());
    let unused = RouteKey::send("fd00:10:244::/122".parse().unwrap());
    state.routes.insert(unused, RouteTarget::Unreachable.into());
    let local = RouteKey::path("10.244.0.0/27".parse().unwrap(), 2);
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
    let link_local = mac.link_local().into();
    for (family, address, gateway, source, bits) in
        [(0, v4, v4, own4, 26), (1, v6, link_local, own6, 122)]
    {
        let address_of = NeighbourKey {
            device,
            address: gateway,
        };
        state.neighbours.insert(address_of, mac);
        let id = 0x5700_0000 + u32::from(peer) * 2 - 1 + family;
        state.nexthops.insert(id, Nexthop::onlink(gateway, device));
        let block = IpNet::new(address, bits).unwrap();
        let by_path = RouteTarget::Device {
            device,
            gateway: Some(gateway),
            onlink: true,
        };
        for (path, target) in [(0, RouteTarget::Nexthop(id)), (1, by_path)] {
            let route = Route {
                target,
                source: Some(source),
                mtu: Some(1430),
            };
            state.routes.insert(RouteKey::path(block, path), route);
        }
    }
}

/// Prefixes that peers 1 and 3 share the packets of, one of each family.
fn add_groups(state: &mut State) {
    for (family, prefix) in [(0, "10.245.0.0/24"), (1, "fd00:10:245::/64")] {
        let id = 0x5780_0001 + family;
        let members = [1, 3].map(|peer| 0x5700_0000 + peer * 2 - 1 + family);
        state.groups.insert(id, members.into());
        let key = RouteKey::send(prefix.parse().unwrap());
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
    "ip -4 route show proto 87 | sed -n 's/^\\(\\(blackhole\\|unreachable\\) \\)\\?\\([^ ]*\\) .*metric \\([0-9]*\\).*/route del \\1\\3 metric \\4/p' | ip -4 -batch -",
    "ip -6 route show proto 87 | sed -n 's/^\\(\\(blackhole\\|unreachable\\) \\)\\?\\([^ ]*\\) .*metric \\([0-9]*\\).*/route del \\1\\3 metric \\4/p' | ip -6 -batch -",
    "ip route del 10.244.0.64/26 metric 87",
    "ip route del 10.244.0.64/26 metric 88",
    "ip -6 route del fd00:10:244:0:0:0:1:0/122 metric 87",
    "ip route replace 10.244.0.64/26 dev lo metric 87",
    "ip -6 route replace fd00:10:244:0:0:0:1:0/122 dev lo metric 87",
    "ip route replace blackhole 10.244.0.64/26 metric 87 proto 87",
    "ip -6 route replace blackhole fd00:10:244:0:0:0:1:0/122 metric 87 proto 87",
    "ip route replace 10.244.0.64/26 nhid 1459617793 metric 87 proto 87 mtu 1300",
    "ip nexthop del id 1468006401",
    "ip nexthop del id 1459617793",
    "ip nexthop replace id 1468006401 group 1459617793",
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
