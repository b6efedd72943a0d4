//! What the agent says of the modes that its node is in: facts by which a migration goes on or back.

use std::collections::BTreeSet;

use weft_crds::{LONGEST_MESSAGE, Mode, ModesReport, TrialsReport};
use weft_kernel::Family;
use weft_migration::{Orders, Phase};

use crate::cluster::Stage;
use crate::mode::{Paths, PeerPaths, Proof};
use crate::probe::{Channel, News, Verdict};

/// The most texts of a kind that are told.
const MOST: usize = 8;

/// What a step has made of the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// The step.
    pub stage: Stage,
    /// What the node does at it.
    pub orders: Orders<Mode>,
    /// Packets of pods have the size that it wants.
    pub sized: bool,
    /// Packets of pods would have to become smaller for the new mode.
    pub shrinks: bool,
    /// What is in the way of the new mode.
    pub obstacles: Vec<String>,
    /// The size at which paths in the new mode are to be proven, in bytes.
    pub proof_mtu: u32,
}

/// What is said of it, by the paths that are in the kernel and what their probes say.
pub fn report(followed: &Followed, paths: &Paths, news: &News) -> ModesReport {
    let orders = &followed.orders;
    let waited_for = paths
        .peers
        .iter()
        .filter(|peer| !orders.left_out.contains(&peer.peer));
    let mut sends: BTreeSet<Mode> = waited_for.map(|peer| peer.mode).collect();
    if sends.is_empty() {
        sends.insert(orders.send);
    }
    let texts = |texts: &[String]| {
        texts
            .iter()
            .take(MOST)
            .map(|text| shortened(text))
            .collect()
    };
    ModesReport {
        config_uid: followed.stage.config_uid.clone(),
        step: followed.stage.state.step,
        receives: orders.receive.iter().copied().collect(),
        sends: sends.into_iter().collect(),
        sized: followed.sized,
        shrinks: followed.shrinks,
        obstacles: texts(&followed.obstacles),
        trials: orders.prove.map(|mode| trials(followed, mode, paths, news)),
    }
}

fn trials(followed: &Followed, mode: Mode, paths: &Paths, news: &News) -> TrialsReport {
    // A path that was proven and then went is judged by what the probes of the path in its place say.
    let first_proof = matches!(
        followed.stage.state.phase(),
        Some(Phase::Prepare | Phase::Verify)
    );
    let mut trials = TrialsReport {
        sent: coarse(news.proofs.sent),
        lost: news.proofs.lost,
        ..TrialsReport::default()
    };
    for peer in &paths.peers {
        let left_out = followed.orders.left_out.contains(&peer.peer);
        if peer.proof == Proof::None || left_out || is_gone(peer, news) {
            continue;
        }
        trials.wanted += 1;
        match outcome(peer, news) {
            Outcome::Passed => trials.passed += 1,
            Outcome::Open => {}
            Outcome::Missing if !first_proof => {}
            failed => {
                if trials.failed.len() < MOST {
                    trials.failed.push(shortened(&in_words(
                        peer,
                        mode,
                        followed.proof_mtu,
                        failed,
                    )));
                }
            }
        }
    }
    trials
}

/// What is known of a path that is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Open,
    Missing,
    Silent,
    Narrow,
}

fn outcome(peer: &PeerPaths, news: &News) -> Outcome {
    let Proof::Of(path) = peer.proof else {
        return Outcome::Missing;
    };
    let of_peer = news.verdicts.get(&peer.peer);
    let verdict = of_peer.and_then(|of_peer| of_peer.get(&(peer.family, Channel::Proof(path))));
    match verdict {
        Some(Verdict::Answers) => Outcome::Passed,
        Some(Verdict::Silent) => Outcome::Silent,
        Some(Verdict::Narrow) => Outcome::Narrow,
        Some(Verdict::Unknown) | None => Outcome::Open,
    }
}

/// Not even the underlay reaches it: it says nothing of any path.
fn is_gone(peer: &PeerPaths, news: &News) -> bool {
    let Some(of_peer) = news.verdicts.get(&peer.peer) else {
        return false;
    };
    let underlay = Family::BOTH.map(|family| of_peer.get(&(family, Channel::Underlay)));
    underlay.contains(&Some(&Verdict::Silent)) && !underlay.contains(&Some(&Verdict::Answers))
}

fn in_words(peer: &PeerPaths, mode: Mode, size: u32, outcome: Outcome) -> String {
    let (name, family, mode) = (&peer.peer, peer.family, mode.as_str());
    match outcome {
        Outcome::Missing => format!(
            "to {name}, {family}: there is no path in {mode}; no router announces its blocks, or the nodes share no network"
        ),
        Outcome::Narrow => format!(
            "to {name}, {family}, in {mode}: packets of {size} bytes do not arrive, and small ones do; the underlay carries less than its devices say: set spec.mtu lower, or mend its MTU"
        ),
        _ => format!(
            "to {name}, {family}, in {mode}: packets do not arrive, though the underlay reaches it; look for a firewall or a router that drops them in this direction"
        ),
    }
}

/// Rounded down to a power of two, so that a report is not written for every probe.
fn coarse(count: u64) -> u64 {
    if count == 0 { 0 } else { 1 << count.ilog2() }
}

/// The API server refuses a longer text, and so all that the report says.
fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_MESSAGE)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode;
    use crate::testing::migrating;

    fn on_the_way(phase: Phase) -> (Followed, Paths) {
        let (state, here, paths) = migrating(phase, &[]);
        let stage = Stage {
            config_uid: "uid".into(),
            state,
        };
        let followed = Followed {
            stage,
            orders: here.orders,
            sized: true,
            shrinks: false,
            obstacles: Vec::new(),
            proof_mtu: 1500,
        };
        (followed, paths)
    }

    fn news(proof: Verdict, underlay: Verdict) -> News {
        let of_b = [
            ((Family::V4, Channel::Proof(mode::Path::Direct)), proof),
            ((Family::V4, Channel::Underlay), underlay),
        ];
        News {
            verdicts: [("b".to_owned(), of_b.into())].into(),
            ..News::default()
        }
    }

    #[test]
    fn a_node_sends_in_both_modes_while_one_peer_has_no_path_in_the_new_one() {
        let (followed, paths) = on_the_way(Phase::Shift);
        let report = report(&followed, &paths, &News::default());
        assert_eq!(report.receives, [Mode::Overlay, Mode::BGP]);
        assert_eq!(report.sends, [Mode::Overlay, Mode::BGP]);
        let (mut followed, paths) = on_the_way(Phase::Prepare);
        assert_eq!(
            super::report(&followed, &paths, &News::default()).sends,
            [Mode::Overlay]
        );
        // Nobody waits for one that is left out.
        (followed.orders.send, followed.orders.left_out) = (Mode::BGP, ["c".to_owned()].into());
        let (_, shifted) = on_the_way(Phase::Shift);
        let mut only_v4 = shifted.clone();
        only_v4.peers.retain(|peer| peer.family == Family::V4);
        assert_eq!(
            super::report(&followed, &only_v4, &News::default()).sends,
            [Mode::BGP]
        );
    }

    #[test]
    fn what_is_not_proven_is_named_with_its_direction_family_and_size() {
        let (followed, paths) = on_the_way(Phase::Verify);
        let trials = |news: &News| report(&followed, &paths, news).trials.unwrap();
        let passed = trials(&news(Verdict::Answers, Verdict::Answers));
        // To b in IPv4; in IPv6, and to c, there is no path.
        assert_eq!(
            (passed.wanted, passed.passed, passed.failed.len()),
            (4, 1, 3)
        );
        assert!(passed.failed[0].starts_with("to b, IPv6: there is no path in BGP"));
        let narrow = trials(&news(Verdict::Narrow, Verdict::Answers));
        assert!(narrow.failed[0].contains("to b, IPv4, in BGP: packets of 1500 bytes"));
        let silent = trials(&news(Verdict::Silent, Verdict::Answers));
        assert!(silent.failed[0].contains("in this direction"));
        let gone = trials(&news(Verdict::Silent, Verdict::Silent));
        assert_eq!((gone.wanted, gone.failed.len()), (2, 2), "c alone");
    }

    #[test]
    fn a_path_that_goes_after_it_was_proven_is_no_evidence_by_itself() {
        let (followed, paths) = on_the_way(Phase::Shift);
        let trials = report(&followed, &paths, &news(Verdict::Answers, Verdict::Answers)).trials;
        assert!(trials.unwrap().failed.is_empty());
    }

    #[test]
    fn numbers_of_probes_change_rarely() {
        let all: Vec<u64> = [0, 1, 2, 3, 4, 1000, 1023, 1024].map(coarse).into();
        assert_eq!(all, [0, 1, 2, 2, 4, 512, 512, 1024]);
    }
}
