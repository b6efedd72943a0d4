//! What it costs to tell 1,000 BGP peers of 1,000 prefixes, each with attributes of its own: the time of one
//! `settle`, all bytes made.
//!
//!     cargo run --release -p weft-bgp --example fanout

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use weft_bgp::rib::{NextHop, PeerId};
use weft_bgp::route::Attributes;
use weft_bgp::session::{Backoff, Connection};
use weft_bgp::speaker::{Keep, Output, PeerConfig, Reach, Settings, Speaker};
use weft_bgp::wire::PerFamily;

const PEERS: u32 = 1000;
const PREFIXES: u32 = 1000;

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + n + 1)
}

fn speaker(n: u32, now: Instant) -> Speaker {
    let pace = Backoff {
        first: Duration::from_secs(5),
        max: Duration::from_secs(5),
    };
    let settings = Settings {
        asn: 64512,
        router_id: address(n),
        cluster_id: address(n),
        multipath: NonZeroU16::MIN,
        restart_time: 120,
        long_lived_time: 0,
        connect_retry: pace,
        idle_hold: pace,
        seed: n.into(),
    };
    Speaker::new(settings, None, now)
}

fn config(here: u32, there: u32) -> PeerConfig {
    PeerConfig {
        address: address(there).into(),
        asn: 64512,
        client: false,
        passive: here == 0,
        hold_time: 90,
        own_address: PerFamily {
            ipv4: Some(address(here).into()),
            ipv6: None,
        },
        own_link_local: None,
        next_hop: NextHop::OwnUnlessReflected,
        import: None,
        export: None,
        limit: PerFamily::default(),
        add_path: None,
        own_as_allowed: 0,
        keep: Keep::AsAgreed,
    }
}

/// Hands over what one has to say to the other. True if there was anything.
fn hand_over(from: &mut Speaker, to: &mut Speaker, as_peer: PeerId, on: Connection) -> bool {
    let mut any = false;
    while let Some(output) = from.poll() {
        if let Output::Write(_, _, bytes) = output {
            to.bytes(as_peer, on, &bytes, Instant::now());
            any = true;
        }
    }
    any
}

fn main() {
    let now = Instant::now();
    let mut hub = speaker(0, now);
    hub.set_reach(Reach {
        costs: HashMap::from([(IpAddr::from(address(0)), 1)]),
        ..Reach::default()
    });
    for n in 1..=PEERS {
        let (id, connection) = (PeerId(n), Connection(n.into()));
        let mut other = speaker(n, now);
        hub.set_peer(id, config(0, n), now);
        other.set_peer(PeerId(0), config(n, 0), now);
        other.connected(PeerId(0), connection, now);
        hub.accepted(id, connection, now);
        while hand_over(&mut hub, &mut other, PeerId(0), connection)
            | hand_over(&mut other, &mut hub, id, connection)
        {}
    }
    let routes: BTreeMap<IpNet, Attributes> = (0..PREFIXES)
        .filter_map(|n| {
            let net = Ipv4Net::new(Ipv4Addr::from(0x6440_0000 + (n << 8)), 24).ok()?;
            let mut attributes = Attributes::plain(Ipv4Addr::UNSPECIFIED.into(), &[]);
            attributes.communities = vec![n];
            Some((net.into(), attributes))
        })
        .collect();
    hub.originate(routes);
    let begun = Instant::now();
    hub.settle(now);
    let settled = begun.elapsed();
    let (mut writes, mut bytes) = (0, 0);
    while let Some(output) = hub.poll() {
        if let Output::Write(_, _, written) = output {
            writes += 1;
            bytes += written.len();
        }
    }
    println!("settled in {settled:?}: {writes} writes, {bytes} bytes");
}
