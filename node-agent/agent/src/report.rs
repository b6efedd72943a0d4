//! What the agent says of itself to the operator, from what it knows.

use std::collections::BTreeMap;

use ipnet::IpNet;
use weft_crds::{
    BlockUsage, LONGEST_MESSAGE, NodeReportSpec, PeerPath, PeerReport, Problem, USAGE_STEP,
};
use weft_kernel::Family;
use weft_peering::View;

use crate::mode::{Path, Paths};
use crate::probe::{Channel, Key, Verdict, Verdicts};
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
    let verdict = |peer: &str, family, channel| {
        let key = Key {
            peer: peer.into(),
            family,
            channel,
        };
        verdicts.get(&key).copied().unwrap_or(Verdict::Unknown)
    };
    let mut all = BTreeMap::new();
    for used in &paths.peers {
        let health = match verdict(&used.peer, used.family, Channel::Path(used.send)) {
            Verdict::Answers => Health::Answers,
            Verdict::Unknown => Health::Unknown,
            Verdict::Silent => {
                let underlay = Family::BOTH
                    .map(|family| verdict(&used.peer, family, Channel::Underlay))
                    .contains(&Verdict::Answers);
                if underlay {
                    Health::Broken
                } else {
                    Health::Gone
                }
            }
        };
        let worst = all.entry(used.peer.clone()).or_insert(health);
        *worst = health.min(*worst);
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
    /// What the probes say.
    pub verdicts: &'a Verdicts,
    /// MTU of the pods.
    pub mtu: Option<u32>,
    /// The blocks of the node.
    pub usage: &'a [Usage],
    /// What is known by BGP.
    pub view: &'a View,
    /// What is wrong.
    pub problems: &'a [Problem],
}

/// The report.
pub fn report(facts: &Facts) -> NodeReportSpec {
    let health = health(facts.paths, facts.verdicts);
    let answering = health
        .values()
        .filter(|health| **health == Health::Answers)
        .count();
    let mut problems = facts.problems.to_vec();
    problems.extend(broken_peers(&health));
    problems.truncate(MOST_PROBLEMS);
    problems.iter_mut().for_each(shorten);
    NodeReportSpec {
        node_uid: facts.uid.into(),
        observed_generation: facts.generation,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        forwarding: facts.programmed && forwards(&health),
        summary: format!("{answering}/{}", health.len()),
        mtu: facts.mtu,
        blocks: facts.usage.iter().map(block_usage).collect(),
        peers: peer_reports(facts.paths, &health),
        sessions: sessions(facts.view),
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

fn peer_reports(paths: &Paths, health: &BTreeMap<String, Health>) -> Vec<PeerReport> {
    let mut reports: BTreeMap<&str, PeerReport> = BTreeMap::new();
    for used in &paths.peers {
        let answers = health.get(&used.peer) == Some(&Health::Answers);
        let report = reports.entry(&used.peer).or_insert_with(|| PeerReport {
            node: used.peer.clone(),
            ipv4: None,
            ipv6: None,
            answers,
        });
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
    let mut reports: Vec<PeerReport> = reports.into_values().collect();
    reports.sort_by_key(|report| report.answers);
    reports.truncate(MOST_PEERS);
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
                    verdicts.insert(
                        Key {
                            peer: peer.into(),
                            family,
                            channel,
                        },
                        verdict,
                    );
                }
            }
        }
        verdicts
    }

    fn facts<'a>(paths: &'a Paths, verdicts: &'a Verdicts, usage: &'a [Usage]) -> Facts<'a> {
        Facts {
            uid: "1",
            generation: Some(1),
            programmed: true,
            paths,
            verdicts,
            mtu: Some(1450),
            usage,
            view: NOTHING.get_or_init(View::default),
            problems: &[],
        }
    }

    static NOTHING: std::sync::OnceLock<View> = std::sync::OnceLock::new();

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
        assert_eq!(report(&facts(&paths, &verdicts, &[])).forwarding, forwards);
    }

    #[test]
    fn a_node_alone_forwards() {
        assert!(report(&facts(&Paths::default(), &Verdicts::new(), &[])).forwarding);
    }

    #[test]
    fn one_silent_family_is_enough_to_be_listed_first_and_named() {
        let paths = paths();
        let mut verdicts = verdicts(Verdict::Answers, Verdict::Answers);
        let key = Key {
            peer: "c".into(),
            family: Family::V6,
            channel: Channel::Path(Path::Vxlan),
        };
        verdicts.insert(key, Verdict::Silent);
        let report = report(&facts(&paths, &verdicts, &[]));
        assert!(report.forwarding, "b still answers");
        assert_eq!(report.summary, "1/2");
        assert_eq!(
            (report.peers[0].node.as_str(), report.peers[0].answers),
            ("c", false)
        );
        assert!(report.problems[0].message.contains("come back from c,"));
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
