//! Pod to pod across nodes: throughput and round-trip time of each path, beside the same topology
//! made by hand, and beside node to node.

mod handmade;
mod ping;
mod stream;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Child;
use weft_scenarios::stage::{PATIENCE, Stage};

use self::handmade::Handmade;
use crate::place::Place;
use crate::report::{Aim, Row, Section, Sense};
use crate::stats::percentile;
use crate::{progress, stage};

/// How long a stream lasts, in seconds. Many short ones tell more than a few long ones, since what
/// else the machine does comes and goes.
const STREAM: u32 = 1;
/// How long datagrams go there and back.
const PINGS: Duration = Duration::from_millis(500);
/// How often all pairs are measured between two changes of path.
const PASSES: usize = 2;
/// After a change of path, until agents have said all about it.
const CALM: Duration = Duration::from_secs(1);
/// What Weft should be of what was made by hand.
const OF_HANDMADE: Aim = Aim::AtLeast(0.98);

/// How packets get from one node to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// By a route.
    Direct,
    /// In VXLAN.
    Vxlan,
}

impl Path {
    /// What `spec.overlay.encapsulation` has to be for it, between nodes on one subnet.
    pub fn encapsulation(self) -> &'static str {
        match self {
            Self::Direct => "CrossSubnet",
            Self::Vxlan => "Always",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Weft,
    Handmade,
    Nodes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Forward,
    Reverse,
    RttLow,
    RttHalf,
    RttMost,
}

/// The low one is what the path itself costs, whatever else the machine does.
const RTT_PERCENTILES: [(What, f64); 3] = [
    (What::RttLow, 10.0),
    (What::RttHalf, 50.0),
    (What::RttMost, 99.0),
];

type Samples = BTreeMap<(Path, Who, What), Vec<f64>>;

/// Two ends and the servers at the second.
struct Pair {
    who: Who,
    here: Place,
    there: IpAddr,
    _stream: Child,
    _ping: ping::Server,
}

/// Measures all of it, on a cluster with pods on the first two nodes.
pub async fn run(stage: &Stage, rounds: usize) -> anyhow::Result<Vec<Section>> {
    let handmade = Handmade::make(&stage.cluster)
        .await
        .context("cannot make the topology by hand")?;
    let pairs = pairs(stage, &handmade).await?;
    let mut samples = Samples::new();
    for round in 0..rounds {
        let mut paths = [Path::Direct, Path::Vxlan];
        paths.rotate_left(round % 2);
        for path in paths {
            progress(&format!(
                "network: round {} of {rounds}, {path:?}",
                round + 1
            ));
            stage.encapsulate(path.encapsulation()).await?;
            stage.wait_ready(PATIENCE).await?;
            stage::check_sends(stage, path).await?;
            handmade.send(path).await?;
            tokio::time::sleep(CALM).await;
            for pass in 0..PASSES {
                one_pass(&pairs, path, round * PASSES + pass, &mut samples)
                    .await
                    .with_context(|| format!("{path:?}"))?;
            }
        }
    }
    Ok(vec![
        section(&samples, Path::Direct),
        section(&samples, Path::Vxlan),
    ])
}

async fn pairs(stage: &Stage, handmade: &Handmade) -> anyhow::Result<Vec<Pair>> {
    let mut pods = Vec::new();
    for server in stage.servers().await?.iter().take(2) {
        let address = server.addresses.iter().copied().find(IpAddr::is_ipv4);
        let address = address.with_context(|| format!("{} has no IPv4", server.name))?;
        pods.push((Place::of_file(server.netns(stage).await?), address));
    }
    let nodes: Vec<(Place, IpAddr)> = stage
        .cluster
        .nodes()?
        .iter()
        .map(|node| {
            let endpoint = node.endpoint();
            (Place::named(&endpoint.netns), endpoint.primary())
        })
        .collect();
    ensure!(pods.len() == 2 && nodes.len() >= 2, "two nodes are needed");
    let (hand_here, hand_there, hand_address) = handmade.ends();
    let ends = [
        (Who::Weft, pods[0].0.clone(), pods[1].clone()),
        (Who::Handmade, hand_here, (hand_there, hand_address)),
        (Who::Nodes, nodes[0].0.clone(), nodes[1].clone()),
    ];
    let mut pairs = Vec::new();
    for (who, here, (place, there)) in ends {
        pairs.push(Pair {
            who,
            here,
            there,
            _stream: stream::serve(&place)?,
            _ping: ping::Server::start(&place).await?,
        });
    }
    Ok(pairs)
}

/// Every pair is measured in each way right after another, beginning with another pair each time.
async fn one_pass(
    pairs: &[Pair],
    path: Path,
    turn: usize,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let order = || (0..pairs.len()).map(|n| &pairs[(n + turn) % pairs.len()]);
    let mut note = |who, what, value| samples.entry((path, who, what)).or_default().push(value);
    for (what, reverse) in [(What::Forward, false), (What::Reverse, true)] {
        for pair in order() {
            let rate = stream::measure(&pair.here, pair.there, STREAM, reverse).await;
            note(
                pair.who,
                what,
                rate.with_context(|| format!("{:?}", pair.who))?,
            );
        }
    }
    for pair in order() {
        let times = ping::measure(&pair.here, pair.there, PINGS).await;
        let times = times.with_context(|| format!("{:?}", pair.who))?;
        for (what, percent) in RTT_PERCENTILES {
            note(
                pair.who,
                what,
                percentile(&times, percent).context("no round trips")?,
            );
        }
    }
    Ok(())
}

fn section(samples: &Samples, path: Path) -> Section {
    let get = |who, what| {
        samples
            .get(&(path, who, what))
            .map_or(&[][..], Vec::as_slice)
    };
    let mut rows = Vec::new();
    for (other, name) in [(Who::Handmade, "hand-made"), (Who::Nodes, "node to node")] {
        for (what, label, unit, sense) in [
            (What::Forward, "TCP", "Gbit/s", Sense::More),
            (What::Reverse, "reverse", "Gbit/s", Sense::More),
            (What::RttLow, "RTT p10", "us", Sense::Less),
            (What::RttHalf, "RTT p50", "us", Sense::Less),
            (What::RttMost, "RTT p99", "us", Sense::Less),
        ] {
            let label = format!("{label}:{name}");
            let row = Row::new(label, unit, sense, get(Who::Weft, what), get(other, what));
            let aimed = other == Who::Handmade && what != What::RttMost;
            rows.push(if aimed { row.aim(OF_HANDMADE) } else { row });
        }
    }
    let path = match path {
        Path::Direct => "direct",
        Path::Vxlan => "VXLAN",
    };
    Section {
        title: format!("Pod to pod across nodes, {path}, one stream, one datagram (IPv4)"),
        rows,
    }
}
