//! A BGP speaker as a program of its own, for experiments: it installs no routes.
//!
//!     bgpd CONFIGURATION
//!
//! The configuration is the JSON of [`Configuration`]. Each change is one line of JSON on standard output. On standard
//! input it takes `routes`, `received ADDRESS` and `advertised ADDRESS`, and answers each with a line of JSON.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use weft_bgp::policy::Policy;
use weft_bgp::rib::NextHop;
use weft_bgp::route::Attributes;
use weft_bgp::speaker::{Keep, PeerConfig};
use weft_bgp::wire::PerFamily;
use weft_kernel::tcp::Hops;
use weft_peering::{PORT, Password, PeerPlan, Plan, Queries, Settings, start};

#[derive(Deserialize)]
struct Configuration {
    asn: u32,
    router_id: Ipv4Addr,
    #[serde(default)]
    listen: Vec<SocketAddr>,
    peers: Vec<Peer>,
    #[serde(default)]
    originate: Vec<IpNet>,
    /// What can be reached besides the BGP peers.
    #[serde(default)]
    next_hops: Vec<IpAddr>,
}

/// A BGP peer on the same link. All that it says is believed, and it is told everything.
#[derive(Deserialize)]
struct Peer {
    address: IpAddr,
    asn: u32,
    source: IpAddr,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    client: bool,
    #[serde(default)]
    passive: bool,
}

impl Configuration {
    fn plan(self) -> Result<Plan, Box<dyn Error>> {
        let own = Attributes::plain(Ipv4Addr::UNSPECIFIED.into(), &[]);
        let addresses = self.peers.iter().map(|peer| peer.address);
        let next_hops: Vec<IpAddr> = addresses.chain(self.next_hops).collect();
        let mut plan = Plan {
            settings: Settings::new(self.asn, self.router_id),
            listen: self.listen,
            peers: Default::default(),
            originate: self
                .originate
                .into_iter()
                .map(|prefix| (prefix, own.clone()))
                .collect(),
            links: Vec::new(),
            costs: next_hops
                .into_iter()
                .map(|next_hop| (next_hop, 1))
                .collect(),
        };
        for peer in self.peers {
            plan.peers.insert(peer.address, peer.plan()?);
        }
        Ok(plan)
    }
}

impl Peer {
    fn plan(self) -> Result<PeerPlan, Box<dyn Error>> {
        let own = |ipv4| (self.source.is_ipv4() == ipv4).then_some(self.source);
        Ok(PeerPlan {
            name: self.address.to_string(),
            config: PeerConfig {
                address: self.address,
                asn: self.asn,
                client: self.client,
                passive: self.passive,
                hold_time: 90,
                own_address: PerFamily {
                    ipv4: own(true),
                    ipv6: own(false),
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
            port: self.port.unwrap_or(PORT),
            source: self.source,
            hops: Hops::One,
            password: self.password.map(Password::new).transpose()?,
        })
    }
}

async fn answer(queries: &Queries, question: &str) -> Result<String, Box<dyn Error>> {
    let paths = match question.split_once(' ') {
        None if question == "routes" => queries.routes(None).await,
        Some(("received", peer)) => queries.received(peer.parse()?).await,
        Some(("advertised", peer)) => queries.advertised(peer.parse()?).await,
        _ => return Err("routes, received ADDRESS, or advertised ADDRESS".into()),
    };
    Ok(serde_json::to_string(&paths)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("usage: bgpd CONFIGURATION")?;
    let configuration: Configuration = serde_json::from_slice(&std::fs::read(file)?)?;
    let (_plans, plan) = watch::channel(Some(Arc::new(configuration.plan()?)));
    let mut handle = start(plan, None);
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    let mut asks = true;
    loop {
        tokio::select! {
            changed = handle.view.changed() => {
                changed?;
                println!("{}", serde_json::to_string(&**handle.view.borrow_and_update())?);
            }
            question = questions.next_line(), if asks => match question? {
                Some(question) => match answer(&handle.queries, question.trim()).await {
                    Ok(answer) => println!("{answer}"),
                    Err(error) => eprintln!("{question}: {error}"),
                },
                None => asks = false,
            }
        }
    }
}
