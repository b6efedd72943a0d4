//! Programs the paths to many peers, beside `ip -batch` and `bridge -batch` doing the same,
//! each in an empty network namespace of its own, in turn. Prints one JSON object with the
//! times in milliseconds. Needs root.
//!
//!     program_peers [PEERS] [ROUNDS]     (default 5000 and 5)

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use weft_kernel::{
    Action, DeviceName, FdbKey, Kernel, Mac, NeighbourKey, Nexthop, OwnAddress, Part, Reconciler,
    Route, RouteKey, RouteTarget, Scope, State, Vxlan,
};

/// The device by which packets leave the node without encapsulation.
const UNDERLAY: &str = "eth0";
/// So many peers are changed, one after the other.
const CHANGES: usize = 21;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let peers = arguments.next().transpose()?.unwrap_or(5000);
    let rounds = arguments.next().transpose()?.unwrap_or(5);
    let desired = state(peers)?;
    let mut flipped = desired.clone();
    for (nexthop, number) in flipped.nexthops.values_mut().zip(1..) {
        // Those of the underlay, of which no block is a part.
        let gateway = match nexthop.gateway {
            Some(IpAddr::V4(_)) => Ipv4Addr::from(0xac10_0000_u32 + number).into(),
            _ => Ipv6Addr::from((0xfe80_u128 << 112) + u128::from(number)).into(),
        };
        *nexthop = Nexthop::onlink(gateway, UNDERLAY.parse()?);
    }
    let (mut weft, mut batch, mut change) = (Vec::new(), Vec::new(), Vec::new());
    let (mut flip, mut flip_batch) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (all, one, moved) = apart(|| program_weft(&desired, &flipped))?;
        weft.push(all);
        change.push(one);
        flip.push(moved);
        let (all, moved) = apart(|| program_batch(&desired, &flipped))?;
        batch.push(all);
        flip_batch.push(moved);
    }
    let objects = desired.fdb.len()
        + desired.neighbours.len()
        + desired.nexthops.len()
        + desired.routes.len();
    let report = json!({
        "peers": peers,
        "objects": objects,
        "rounds": rounds,
        "weft_ms": weft,
        "ip_batch_ms": batch,
        "one_peer_change_ms": change,
        "flip_ms": flip,
        "flip_batch_ms": flip_batch,
        "median": {
            "weft_ms": median(&weft),
            "ip_batch_ms": median(&batch),
            "one_peer_change_ms": median(&change),
            "weft_of_ip_batch": median(&weft) / median(&batch),
        },
    });
    println!("{report}");
    Ok(())
}

/// Runs `program` on a thread in a network namespace of its own.
fn apart<T: Send>(program: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            run("ip", &["link", "set", "lo", "up"], "")?;
            let wire = [
                "link", "add", UNDERLAY, "up", "type", "veth", "peer", "name", "wire",
            ];
            run("ip", &wire, "")?;
            run("ip", &["link", "set", "wire", "up"], "")?;
            program()
        });
        thread.join().map_err(|_| "a round failed")?
    })
}

/// Time to program everything from nothing, observation included; that for the change of one peer
/// afterwards, the median of several; and that to move the sending to all peers to another device.
fn program_weft(desired: &State, flipped: &State) -> Result<(f64, f64, f64)> {
    let scope = Scope::of(desired, &[]);
    let start = Instant::now();
    let mut reconciler = Reconciler::new(Kernel::open()?);
    let report = reconciler.reconcile(desired, &scope)?;
    let all = milliseconds(start);
    if let Some(failure) = report.failures.first() {
        return Err(failure.to_string().into());
    }
    // Each of other peers, from all over, so that none finds what it needs in the processor's cache.
    let mut changed = desired.clone();
    let keys: Vec<FdbKey> = desired.fdb.keys().copied().collect();
    let mut times = Vec::new();
    for number in 0..CHANGES {
        let key = keys[number * keys.len() / CHANGES];
        let remote = IpAddr::from([192, 0, 2, 1]);
        changed.fdb.insert(key, remote);
        let part = Part {
            fdb: [key].into(),
            ..Part::default()
        };
        let start = Instant::now();
        let report = reconciler.reconcile_part(&changed, Some(&part), &scope)?;
        times.push(milliseconds(start));
        if report.actions != [Action::SetFdb(key, remote)] || !report.failures.is_empty() {
            return Err(format!("the change of one peer did {:?}", report.actions).into());
        }
    }
    let one = median(&times);
    changed.nexthops = flipped.nexthops.clone();
    let part = Part {
        nexthops: changed.nexthops.keys().copied().collect(),
        ..Part::default()
    };
    let start = Instant::now();
    let report = reconciler.reconcile_part(&changed, Some(&part), &scope)?;
    let moved = milliseconds(start);
    if report.actions.len() != changed.nexthops.len() || !report.failures.is_empty() {
        let (actions, failure) = (report.actions.len(), report.failures.first());
        return Err(format!("moving all peers did {actions} things; {failure:?}").into());
    }
    Ok((all, one, moved))
}

/// Times for all, and for moving all, by the usual tools. Making the text isn't counted.
fn program_batch(desired: &State, flipped: &State) -> Result<(f64, f64)> {
    let (links, ip, bridge) = scripts(desired)?;
    let start = Instant::now();
    run("ip", &["-batch", "-"], &links)?;
    run("bridge", &["-batch", "-"], &bridge)?;
    run("ip", &["-batch", "-"], &ip)?;
    let all = milliseconds(start);
    let mut moves = String::new();
    for (id, nexthop) in &flipped.nexthops {
        writeln!(moves, "{}", nexthop_order("replace", *id, nexthop)?)?;
    }
    let start = Instant::now();
    run("ip", &["-batch", "-"], &moves)?;
    Ok((all, milliseconds(start)))
}

fn nexthop_order(verb: &str, id: u32, nexthop: &Nexthop) -> Result<String> {
    let gateway = nexthop.gateway.ok_or("a nexthop without gateway")?;
    let device = &nexthop.device;
    Ok(format!(
        "nexthop {verb} id {id} via {gateway} dev {device} onlink proto 87"
    ))
}

fn scripts(desired: &State) -> Result<(String, String, String)> {
    let (mut links, mut ip, mut bridge) = (String::new(), String::new(), String::new());
    for (name, vxlan) in &desired.vxlans {
        let Vxlan {
            vni,
            port,
            local,
            mac,
            mtu,
            ..
        } = vxlan;
        writeln!(
            links,
            "link add {name} address {mac} mtu {mtu} type vxlan id {vni} dstport {port} local {local} nolearning\nlink set {name} up"
        )?;
    }
    for own in &desired.addresses {
        writeln!(links, "addr add {} dev {}", own.address, own.device)?;
    }
    for (key, remote) in &desired.fdb {
        writeln!(
            bridge,
            "fdb replace {} dev {} dst {remote}",
            key.mac, key.device
        )?;
    }
    for (key, mac) in &desired.neighbours {
        let NeighbourKey { device, address } = key;
        writeln!(
            ip,
            "neigh replace {address} lladdr {mac} dev {device} nud permanent"
        )?;
    }
    for (id, nexthop) in &desired.nexthops {
        writeln!(ip, "{}", nexthop_order("add", *id, nexthop)?)?;
    }
    for (key, route) in &desired.routes {
        let (RouteTarget::Nexthop(id), Some(source)) = (&route.target, route.source) else {
            return Err("an unusual route".into());
        };
        writeln!(
            ip,
            "route replace {} nhid {id} table {} metric {} proto 87 src {source}",
            key.destination, key.table, key.metric
        )?;
    }
    Ok((links, ip, bridge))
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} {arguments:?}: {status}").into())
    }
}

/// The paths by VXLAN over IPv4 to `peers` peers, each with an IPv4 and an IPv6 block.
fn state(peers: u16) -> Result<State> {
    let device = DeviceName::VX4;
    let mut state = State::default();
    let vxlan = Vxlan {
        vni: 4873,
        port: 4789,
        local: IpAddr::from([192, 0, 2, 1]),
        mac: Mac([2, 0x57, 0xff, 0, 0, 1]),
        mtu: 1450,
        tx_checksum: true,
        up: true,
        learning: false,
    };
    state.vxlans.insert(device, vxlan);
    let own: [IpAddr; 2] = ["100.64.0.1".parse()?, "fd00::1".parse()?];
    state.addresses.extend(own.map(OwnAddress::on_lo));
    for peer in 1..=peers {
        let [high, low] = peer.to_be_bytes();
        let mac = Mac([2, 0x57, 0, 0, high, low]);
        let remote = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 0)) + u32::from(peer));
        state.fdb.insert(FdbKey { device, mac }, remote.into());
        let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + u32::from(peer) * 64);
        let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, peer, 1);
        for (index, (address, bits)) in [(v4.into(), 26), (v6.into(), 122)].into_iter().enumerate()
        {
            state
                .neighbours
                .insert(NeighbourKey { device, address }, mac);
            let id = 0x5700_0000 + u32::from(peer) * 2 + index as u32;
            state.nexthops.insert(id, Nexthop::onlink(address, device));
            let target = RouteTarget::Nexthop(id);
            let route = Route {
                target,
                source: Some(own[index]),
                mtu: None,
            };
            let block = ipnet::IpNet::new(address, bits)?;
            state.routes.insert(RouteKey::send(block), route);
        }
    }
    Ok(state)
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
