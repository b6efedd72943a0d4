//! Our speaker as a program of its own, as it runs in an agent.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::sync::Arc;

use clap::Args;
use ipnet::IpNet;
use tokio::sync::watch;
use weft_bgp::policy::Policy;
use weft_bgp::rib::NextHop;
use weft_bgp::speaker::{Keep, PeerConfig};
use weft_bgp::wire::PerFamily;
use weft_kernel::tcp::Hops;
use weft_peering::{PORT, PeerPlan, Plan, Settings, start};

use super::{ASN, DAEMON, address};

/// What it speaks with.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// How many BGP peers there are.
    #[arg(long)]
    peers: usize,
    /// They are clients, and what one says is told to the others.
    #[arg(long)]
    reflect: bool,
}

/// Speaks until standard input ends. To each line, a prefix, it answers with how many prefixes it has, and 1 if that is
/// one of them or 0.
pub fn run(options: Options) -> anyhow::Result<()> {
    // A thread that runs tasks can't start a runtime of several.
    std::thread::scope(|scope| {
        let speaking = scope.spawn(|| speak(options));
        speaking
            .join()
            .map_err(|_| anyhow::anyhow!("it panicked"))?
    })
}

fn speak(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (_plans, plan) = watch::channel(Some(Arc::new(plan(options))));
    let handle = runtime.block_on(async { start(plan, None) });
    for line in std::io::stdin().lock().lines() {
        let prefix: IpNet = line?.trim().parse()?;
        let paths = runtime.block_on(handle.queries.routes(Some(prefix)));
        let has = paths.is_some_and(|paths| paths.iter().any(|path| path.best));
        println!("{} {}", handle.view.borrow().routes.len(), u8::from(has));
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn plan(options: Options) -> Plan {
    let peers = (0..options.peers).map(|number| {
        let peer = peer(address(number).into(), options.reflect);
        (peer.config.address, peer)
    });
    Plan {
        settings: Settings::new(ASN, DAEMON),
        listen: vec![(DAEMON, PORT).into()],
        peers: peers.collect(),
        originate: BTreeMap::new(),
        links: vec![IpNet::new_assert(DAEMON.into(), 16)],
        costs: HashMap::new(),
    }
}

fn peer(address: std::net::IpAddr, client: bool) -> PeerPlan {
    PeerPlan {
        name: address.to_string(),
        config: PeerConfig {
            address,
            asn: ASN,
            client,
            passive: true,
            hold_time: 90,
            own_address: PerFamily {
                ipv4: Some(DAEMON.into()),
                ipv6: None,
            },
            own_link_local: None,
            next_hop: NextHop::OwnUnlessReflected,
            import: Some(Arc::new(Policy::accept_all())),
            export: Some(Arc::new(Policy::accept_all())),
            limit: PerFamily::default(),
            add_path: None,
            own_as_allowed: 0,
            keep: Keep::AsAgreed,
        },
        port: PORT,
        source: DAEMON.into(),
        hops: Hops::One,
        password: None,
    }
}
