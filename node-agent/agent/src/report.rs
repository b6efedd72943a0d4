//! What the agent says of itself to the operator, from what it knows.

use std::collections::BTreeMap;

use ipnet::IpNet;
use weft_crds::{
    BlockUsage, LONGEST_MESSAGE, ModesReport, NodeReportSpec, PeerPath, PeerReport, Problem,
    USAGE_STEP,
};
use weft_kernel::Family;
use weft_peering::View;

use crate::mode::{Path, Paths, PeerPaths, Proof};
use crate::probe::{Channel, Verdict, Verdicts};
use crate::sessions::sessions;

/// The most peers that a report lists.
const MOST_PEERS: usize = 64;
/// The most problems that a report lists.
const MOST_PROBLEMS: usize = 16;

/// How a peer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// The underlay carries packets to it, the path that is used does not.
    Broken,
    /// Nothing reaches it: it is down, or its agent is.
    Gone,
    /// Too early to say.
    Unknown,
    /// Probes come back in every family.
    Answers,
}

/// How each peer is doing, going by the probes of the paths that are used.
pub fn health(paths: &Paths, verdicts: &Verdicts) -> BTreeMap<String, Health> {
    health_by(paths, verdicts, |peer| Channel::Path(peer.send))
}

/// The same, but where VXLAN is to be proven before it is used, going by that proof. None: it is nowhere.
pub fn health_in_vxlan(paths: &Paths, verdicts: &Verdicts) -> Option<BTreeMap<String, Health>> {
    let vxlan = Proof::Of(Path::Vxlan);
    let mut peers = paths.peers.iter();
    peers.any(|peer| peer.proof == vxlan).then(|| {
        health_by(paths, verdicts, |peer| match peer.proof == vxlan {
            true => Channel::Proof(Path::Vxlan),
            false => Channel::Path(peer.send),
        })
    })
}

fn health_by(
    paths: &Paths,
    verdicts: &Verdicts,
    channel: impl Fn(&PeerPaths) -> Channel,
) -> BTreeMap<String, Health> {
    let mut all: BTreeMap<String, Health> = BTreeMap::new();
    for used in &paths.peers {
        let of_peer = verdicts.get(&used.peer);
        let verdict = |family, channel| {
            let known = of_peer.and_then(|of_peer| of_peer.get(&(family, channel)));
            known.copied().unwrap_or(Verdict::Unknown)
        };
        let health = match verdict(used.family, channel(used)) {
            Verdict::Answers => Health::Answers,
            Verdict::Unknown => Health::Unknown,
            Verdict::Silent | Verdict::Narrow => {
                let underlay = Family::BOTH
                    .map(|family| verdict(family, Channel::Underlay))
                    .contains(&Verdict::Answers);
                if underlay {
                    Health::Broken
                } else {
                    Health::Gone
                }
            }
        };
        match all.get_mut(&used.peer) {
            Some(worst) => *worst = health.min(*worst),
            None => drop(all.insert(used.peer.clone(), health)),
        }
    }
    all
}

/// Whether this node forwards, so far as the peers can tell: some peer answers, or none is there
/// that could. A peer that is gone says nothing of this node.
pub fn forwards(health: &BTreeMap<String, Health>) -> bool {
    let any = |wanted: Health| health.values().any(|health| *health == wanted);
    any(Health::Answers) || !(any(Health::Broken) || any(Health::Unknown))
}

/// A block and how full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The range.
    pub block: IpNet,
    /// Addresses that pods can have.
    pub capacity: u64,
    /// Addresses that pods have.
    pub used: u64,
    /// Whether new pods may get addresses of it.
    pub open: bool,
}

/// What a report follows from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// UID of the node.
    pub uid: &'a str,
    /// The generation that the kernel follows in full.
    pub generation: Option<i64>,
    /// Everything that should be in the kernel is.
    pub programmed: bool,
    /// The paths in use.
    pub paths: &'a Paths,
    /// How the peers are doing.
    pub health: &'a BTreeMap<String, Health>,
    /// MTU of the pods.
    pub mtu: Option<u32>,
    /// The blocks of the node.
    pub usage: &'a [Usage],
    /// What is known by BGP.
    pub view: &'a View,
    /// The modes that the node is in.
    pub modes: Option<&'a ModesReport>,
    /// What is wrong.
    pub problems: &'a [Problem],
}

/// The report.
pub fn report(facts: &Facts) -> NodeReportSpec {
    let health = facts.health;
    let answering = health
        .values()
        .filter(|health| **health == Health::Answers)
        .count();
    let mut problems = facts.problems.to_vec();
    problems.extend(broken_peers(health));
    problems.truncate(MOST_PROBLEMS);
    problems.iter_mut().for_each(shorten);
    NodeReportSpec {
        node_uid: facts.uid.into(),
        observed_generation: facts.generation,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        forwarding: facts.programmed && forwards(health),
        summary: format!("{answering}/{}", health.len()),
        mtu: facts.mtu,
        blocks: facts.usage.iter().map(block_usage).collect(),
        peers: peer_reports(facts.paths, health),
        sessions: sessions(facts.view),
        modes: facts.modes.cloned(),
        problems,
    }
}

fn block_usage(usage: &Usage) -> BlockUsage {
    let exact = usage.used + USAGE_STEP >= usage.capacity || usage.used == 0;
    // One in use must not look like none: an empty block is taken back.
    let coarse = (usage.used / USAGE_STEP * USAGE_STEP).max(1);
    BlockUsage {
        cidr: usage.block.to_string(),
        capacity: usage.capacity,
        used: if exact { usage.used } else { coarse },
        drained: !usage.open && usage.used == 0,
    }
}

/// The API server refuses a report with a longer message, and so all that it says.
fn shorten(problem: &mut Problem) {
    if problem.message.len() > LONGEST_MESSAGE {
        let room = LONGEST_MESSAGE - '…'.len_utf8();
        problem
            .message
            .truncate(problem.message.floor_char_boundary(room));
        problem.message.push('…');
    }
}

fn broken_peers(health: &BTreeMap<String, Health>) -> Option<Problem> {
    let broken: Vec<&str> = health
        .iter()
        .filter(|(_, health)| **health == Health::Broken)
        .map(|(peer, _)| peer.as_str())
        .collect();
    let (first, more) = (broken.first()?, broken.len() - 1);
    let others = if more > 0 {
        format!(" and {more} others")
    } else {
        String::new()
    };
    Some(Problem {
        reason: "PathBroken".into(),
        message: format!(
            "packets of full size do not come back from {first}{others}, though the underlay reaches it; look for a firewall that drops the packets of the mode, or an underlay whose MTU is smaller than its devices say"
        ),
    })
}

/// Those that don't answer first.
fn peer_reports(paths: &Paths, health: &BTreeMap<String, Health>) -> Vec<PeerReport> {
    let of = |answers: bool| {
        let peers = health.iter();
        let peers = peers.filter(move |(_, health)| (**health == Health::Answers) == answers);
        peers.map(move |(name, _)| PeerReport {
            node: name.clone(),
            ipv4: None,
            ipv6: None,
            answers,
        })
    };
    let mut reports: Vec<PeerReport> = of(false).chain(of(true)).take(MOST_PEERS).collect();
    let listed = reports.iter_mut();
    let mut listed: BTreeMap<String, &mut PeerReport> =
        listed.map(|report| (report.node.clone(), report)).collect();
    for used in &paths.peers {
        let Some(report) = listed.get_mut(&used.peer) else {
            continue;
        };
        let path = match used.send {
            Path::Vxlan => PeerPath::VXLAN,
            Path::Direct => PeerPath::Direct,
            Path::Routed => PeerPath::Routed,
        };
        match used.family {
            Family::V4 => report.ipv4 = Some(path),
            Family::V6 => report.ipv6 = Some(path),
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode;
    use crate::testing::{config, here, peer};
    use rstest::rstest;
    use weft_crds::Encapsulation;

    fn paths() -> Paths {
        let peers = [
            peer("b", 2, "192.0.2.2/24"),
            peer("c", 3, "198.51.100.3/24"),
        ];
        let config = config(Encapsulation::Always);
        mode::paths(
            &config,
            &here(1),
            &peers,
            &View::default(),
            &Paths::default(),
        )
    }

    fn verdicts(paths: Verdict, underlay: Verdict) -> Verdicts {
        let mut verdicts = Verdicts::new();
        for peer in ["b", "c"] {
            for family in Family::BOTH {
                for (channel, verdict) in [
                    (Channel::Path(Path::Vxlan), paths),
                    (Channel::Underlay, underlay),
                ] {
                    let of_peer: &mut BTreeMap<_, _> = verdicts.entry(peer.into()).or_default();
                    of_peer.insert((family, channel), verdict);
                }
            }
        }
        verdicts
    }

    fn reported(paths: &Paths, verdicts: &Verdicts) -> NodeReportSpec {
        report(&Facts {
            uid: "1",
            generation: Some(1),
            programmed: true,
            paths,
            health: &health(paths, verdicts),
            mtu: Some(1450),
            usage: &[],
            view: &View::default(),
            modes: None,
            problems: &[],
        })
    }

    #[rstest]
    #[case(Verdict::Answers, Verdict::Answers, true)]
    #[case(Verdict::Silent, Verdict::Silent, true)]
    #[case(Verdict::Silent, Verdict::Answers, false)]
    #[case(Verdict::Unknown, Verdict::Answers, false)]
    fn forwarding_needs_evidence_and_dead_peers_are_none_against_it(
        #[case] path: Verdict,
        #[case] underlay: Verdict,
        #[case] forwards: bool,
    ) {
        let (paths, verdicts) = (paths(), verdicts(path, underlay));
        assert_eq!(reported(&paths, &verdicts).forwarding, forwards);
    }

    #[test]
    fn a_node_alone_forwards() {
        assert!(reported(&Paths::default(), &Verdicts::new()).forwarding);
    }

    #[test]
    fn one_silent_family_is_enough_to_be_listed_first_and_named() {
        let paths = paths();
        let mut verdicts = verdicts(Verdict::Answers, Verdict::Answers);
        let of_c = verdicts.get_mut("c").unwrap();
        of_c.insert((Family::V6, Channel::Path(Path::Vxlan)), Verdict::Silent);
        let report = reported(&paths, &verdicts);
        assert!(report.forwarding, "b still answers");
        assert_eq!(report.summary, "1/2");
        assert_eq!(
            (report.peers[0].node.as_str(), report.peers[0].answers),
            ("c", false)
        );
        assert!(report.problems[0].message.contains("come back from c,"));
    }

    #[test]
    fn of_many_peers_those_that_are_silent_are_listed() {
        let peers: Vec<_> = (0..200)
            .map(|n| peer(&format!("p{n:03}"), n, "192.0.2.2/24"))
            .collect();
        let config = config(Encapsulation::Always);
        let former = Paths::default();
        let paths = mode::paths(&config, &here(1), &peers, &View::default(), &former);
        let mut verdicts = Verdicts::new();
        for (n, peer) in peers.iter().enumerate() {
            let verdict = match n % 50 {
                49 => Verdict::Silent,
                _ => Verdict::Answers,
            };
            let of_peer =
                Family::BOTH.map(|family| ((family, Channel::Path(Path::Vxlan)), verdict));
            verdicts.insert(peer.name.clone(), of_peer.into());
        }
        let report = reported(&paths, &verdicts);
        assert_eq!(report.summary, "196/200");
        assert_eq!(report.peers.len(), MOST_PEERS);
        let names: Vec<&str> = report.peers.iter().map(|peer| &*peer.node).collect();
        assert_eq!(names[..6], ["p049", "p099", "p149", "p199", "p000", "p001"]);
        let both = |peer: &PeerReport| peer.ipv4.is_some() && peer.ipv6.is_some();
        assert!(report.peers.iter().all(both));
    }

    #[rstest]
    #[case(0, 0)]
    #[case(1, 1)]
    #[case(15, 1)]
    #[case(30, 16)]
    #[case(46, 46)]
    #[case(62, 62)]
    fn counts_are_coarse_while_there_is_room(#[case] used: u64, #[case] reported: u64) {
        let block = "10.244.0.0/26".parse().unwrap();
        let usage = Usage {
            block,
            capacity: 62,
            used,
            open: true,
        };
        assert_eq!(block_usage(&usage).used, reported);
    }

    #[test]
    fn a_message_is_never_longer_than_the_api_server_takes() {
        for message in ["x".repeat(1024), "x".repeat(1025), "\u{e4}".repeat(1000)] {
            let mut problem = Problem {
                reason: "R".into(),
                message: message.clone(),
            };
            shorten(&mut problem);
            assert!(problem.message.len() <= LONGEST_MESSAGE);
            assert_eq!(problem.message == message, message.len() <= LONGEST_MESSAGE);
        }
    }

    #[test]
    fn only_an_empty_block_that_takes_no_pods_is_drained() {
        let block = "10.244.0.0/26".parse().unwrap();
        let usage = Usage {
            block,
            capacity: 62,
            used: 0,
            open: true,
        };
        assert!(!block_usage(&usage).drained);
        assert!(
            block_usage(&Usage {
                open: false,
                ..usage
            })
            .drained
        );
        assert!(
            !block_usage(&Usage {
                open: false,
                used: 1,
                ..usage
            })
            .drained
        );
    }
}
