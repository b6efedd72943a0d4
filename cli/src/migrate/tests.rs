use indicatif::{InMemoryTerm, ProgressDrawTarget, TermLike};
use kube::ResourceExt;
use rstest::rstest;
use serde_json::json;
use weft_crds::{Approval, NodeReport, Problem};
use weft_migration::{EVERYBODY, Migration, Phase, position};

use super::bars::Bars;
use super::*;
use crate::fixtures::{cluster, fits, object, report_of};
use crate::text::USUAL_WIDTH;

const NAMES: [&str; 3] = ["node-1", "node-2", "node-3"];

fn rendered(report: &Report) -> String {
    fits(render(report, USUAL_WIDTH))
}

/// What a node that follows in full reports of modes.
fn modes(
    step: u64,
    receives: &[Mode],
    sends: Mode,
    trials: Option<serde_json::Value>,
) -> serde_json::Value {
    json!({
        "configUID": "uid", "step": step, "receives": receives, "sends": [sends], "sized": true,
        "trials": trials,
    })
}

fn set_modes(report: &mut NodeReport, modes: serde_json::Value) {
    report.spec.modes = Some(object(modes));
}

/// The conditions of a cluster that is not ready, as the operator writes them.
fn set_verdict(config: &mut NetworkConfig, type_: &str, reason: &str, text: &str) {
    let generation = config.metadata.generation;
    let status = config.status.as_mut().unwrap();
    let heading = status.migration.as_ref().map(|way| {
        let (from, to) = (way.from.as_str(), way.to.as_str());
        format!("from {from} to {to}, phase {:?}: ", way.phase)
    });
    let message = heading.unwrap_or_default() + text;
    let condition = |type_: &str, status: &str| {
        object(json!({
            "type": type_, "status": status, "reason": reason, "message": message,
            "observedGeneration": generation, "lastTransitionTime": "2026-11-24T11:59:00Z",
        }))
    };
    status.conditions = vec![
        condition(condition::READY, "False"),
        condition(type_, "True"),
    ];
}

/// From Overlay to BGP, in this phase at step 7; all nodes follow, none sends in BGP before phase Confirm.
fn on_the_way(phase: Phase) -> Cluster {
    let mut cluster = cluster(&NAMES);
    cluster.config.metadata.uid = Some("uid".into());
    cluster.config.spec.mode = Mode::BGP;
    let status = cluster.config.status.as_mut().unwrap();
    status.step = 7;
    status.migration = Some(Migration {
        phase,
        ..Migration::new(Mode::Overlay, Mode::BGP)
    });
    status.progress = Some(object(json!({
        "summary": "3/3", "began": "2026-11-24T11:57:00Z", "stepBegan": "2026-11-24T11:59:48Z",
    })));
    set_verdict(
        &mut cluster.config,
        condition::RECONCILING,
        "Migrating",
        "goes on",
    );
    for name in NAMES {
        let sends = if phase >= Phase::Confirm {
            Mode::BGP
        } else {
            Mode::Overlay
        };
        let both = [Mode::Overlay, Mode::BGP];
        let trials = json!({"wanted": 4, "passed": 4, "sent": 512, "lost": 0});
        set_modes(
            report_of(&mut cluster, name),
            modes(7, &both, sends, Some(trials)),
        );
    }
    cluster
}

/// In wave 2 of 3: the first node has moved, the second is behind.
fn in_the_second_wave() -> Cluster {
    let mut cluster = on_the_way(Phase::Shift);
    let mut names = NAMES;
    names.sort_by_key(|name| position(name));
    let migration = cluster
        .config
        .status
        .as_mut()
        .unwrap()
        .migration
        .as_mut()
        .unwrap();
    (migration.wave, migration.share) = (2, position(names[1]) + 1);
    let first = report_of(&mut cluster, names[0])
        .spec
        .modes
        .as_mut()
        .unwrap();
    first.sends = vec![Mode::BGP];
    first.trials.as_mut().unwrap().lost = 1;
    report_of(&mut cluster, names[1]).spec.problems = vec![Problem {
        reason: "NotProgrammed".into(),
        message: "the kernel refused a route".into(),
    }];
    cluster
}

#[test]
fn at_rest() {
    let report = report(&cluster(&NAMES));
    assert_eq!(report.standing, Standing::Rest);
    insta::assert_snapshot!(rendered(&report));
    assert_eq!(line(&report).lines().count(), 1);
}

#[test]
fn in_the_middle_of_shift() {
    let report = report(&in_the_second_wave());
    assert_eq!(report.standing, Standing::UnderWay);
    insta::assert_snapshot!(rendered(&report));
    insta::assert_snapshot!(line(&report));
    insta::assert_json_snapshot!(report);
}

#[test]
fn on_a_terminal_lines_are_redrawn_in_place() {
    let screen = InMemoryTerm::new(40, USUAL_WIDTH);
    let mut bars = Bars::new(
        ProgressDrawTarget::term_like(Box::new(screen.clone())),
        USUAL_WIDTH,
    );
    let mut cluster = in_the_second_wave();
    bars.show(&report(&cluster), None);
    screen.flush().unwrap();
    insta::assert_snapshot!(screen.contents());
    // Later: nothing is left of lines that are no more.
    let status = cluster.config.status.as_mut().unwrap();
    (status.mode, status.migration) = (Some(Mode::BGP), None);
    bars.show(&report(&cluster), Some("no answer from the API server"));
    insta::assert_snapshot!(screen.contents());
    bars.clear().unwrap();
    assert_eq!(screen.contents(), "");
}

#[test]
fn the_way_back_says_why() {
    let mut cluster = on_the_way(Phase::Shift);
    let status = cluster.config.status.as_mut().unwrap();
    status.migration = Some(Migration {
        phase: Phase::Shift,
        wave: 1,
        share: EVERYBODY,
        back: true,
        ..Migration::new(Mode::BGP, Mode::Overlay)
    });
    status.failed_migration = Some(Failure {
        generation: 4,
        asked: false,
        message: "12 of 600 probes in the new mode were lost, and 10 of 1000 may be".into(),
    });
    for name in NAMES {
        let both = [Mode::Overlay, Mode::BGP];
        set_modes(
            report_of(&mut cluster, name),
            modes(7, &both, Mode::Overlay, None),
        );
    }
    let back = report(&cluster);
    assert_eq!(back.standing, Standing::UnderWay);
    insta::assert_snapshot!(rendered(&back));
    cluster.config.status.as_mut().unwrap().migration = None;
    set_verdict(
        &mut cluster.config,
        condition::STALLED,
        "MigrationFailed",
        "it went back",
    );
    let failed = report(&cluster);
    assert_eq!(failed.standing, Standing::Failed);
    insta::assert_snapshot!(rendered(&failed));
}

#[test]
fn what_stands_in_the_way_is_named() {
    let mut cluster = on_the_way(Phase::Check);
    let modes = report_of(&mut cluster, "node-2")
        .spec
        .modes
        .as_mut()
        .unwrap();
    modes.obstacles = vec!["the kernel lacks VXLAN".into()];
    report_of(&mut cluster, "node-3").spec.modes = None;
    set_verdict(
        &mut cluster.config,
        condition::STALLED,
        "MigrationObstacle",
        "node-2: the kernel lacks VXLAN",
    );
    cluster.config.spec.migration.paused = true;
    let report = report(&cluster);
    assert_eq!(report.standing, Standing::Stalled);
    let progress = report.migration.as_ref().unwrap();
    assert_eq!(progress.nodes, Counted { done: 1, all: 3 });
    insta::assert_snapshot!(rendered(&report));
}

#[test]
fn whatever_waits_for_an_admin_says_so() {
    let mut cluster = on_the_way(Phase::Verify);
    let text = "probes have come through between all nodes; run kubectl weft migrate approve";
    set_verdict(
        &mut cluster.config,
        condition::RECONCILING,
        "AwaitsApproval",
        text,
    );
    let waits = report(&cluster);
    assert_eq!(waits.standing, Standing::UnderWay);
    assert!(
        line(&waits).ends_with(&format!("AwaitsApproval: {text}")),
        "{}",
        line(&waits)
    );
    // Before it begins.
    cluster.config.status.as_mut().unwrap().migration = None;
    set_verdict(
        &mut cluster.config,
        condition::RECONCILING,
        "MigrationPaused",
        "paused",
    );
    let waits = report(&cluster);
    assert_eq!(waits.standing, Standing::Begins);
    assert!(
        line(&waits).ends_with("MigrationPaused: paused"),
        "{}",
        line(&waits)
    );
    set_verdict(
        &mut cluster.config,
        condition::STALLED,
        "NoCanary",
        "matches no node",
    );
    assert_eq!(report(&cluster).standing, Standing::Stalled);
}

#[test]
fn nodes_that_are_left_out_are_not_counted() {
    let mut cluster = on_the_way(Phase::Confirm);
    let migration = cluster
        .config
        .status
        .as_mut()
        .unwrap()
        .migration
        .as_mut()
        .unwrap();
    migration.excluded = ["node-2".to_owned(), "gone".to_owned()].into();
    set_modes(
        report_of(&mut cluster, "node-2"),
        modes(3, &[], Mode::Overlay, None),
    );
    let report = report(&cluster);
    let progress = report.migration.as_ref().unwrap();
    assert_eq!(progress.nodes, Counted { done: 2, all: 2 });
    assert_eq!(progress.behind, []);
    rendered(&report);
}

#[test]
fn reports_about_an_earlier_config_count_for_nothing() {
    let mut cluster = on_the_way(Phase::Prepare);
    cluster.config.metadata.uid = Some("another".into());
    let progress = report(&cluster).migration.unwrap();
    assert_eq!(progress.nodes.done, 0);
    assert_eq!(progress.behind[0].what, "its agent hasn't reported");
}

#[rstest]
#[case(Phase::Check)]
#[case(Phase::LowerMTU)]
#[case(Phase::Prepare)]
#[case(Phase::Verify)]
#[case(Phase::Confirm)]
fn all_nodes_have_done_what_a_phase_asks_for(#[case] phase: Phase) {
    let progress = report(&on_the_way(phase)).migration.unwrap();
    assert_eq!(progress.nodes, Counted { done: 3, all: 3 }, "{progress:?}");
}

#[test]
fn what_the_operator_has_not_seen_yet_is_not_over() {
    let mut cluster = cluster(&NAMES);
    cluster.config.metadata.generation = Some(5);
    assert_eq!(report(&cluster).standing, Standing::Begins);
    cluster.config.status.as_mut().unwrap().observed_generation = Some(5);
    let report = report(&cluster);
    assert_eq!(
        report.standing,
        Standing::NotReady,
        "Ready is of generation 4"
    );
    rendered(&report);
}

fn deed_of(cluster: &Cluster, action: Action) -> act::Deed {
    act::deed(&cluster.config, action).unwrap()
}

const APPROVE: Action = Action::Approve { generation: None };

#[test]
fn each_action_writes_its_annotations_and_says_what_it_did() {
    let mut cluster = on_the_way(Phase::Shift);
    cluster.config.spec.migration.approval = Approval::Manual;
    let mut all = String::new();
    for action in [Action::Pause, Action::Resume, Action::Rollback, APPROVE] {
        let deed = deed_of(&cluster, action);
        all.push_str(&format!("{action:?}, done: {}\n", deed.done));
        all.push_str(&act::render(&deed, USUAL_WIDTH));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn where_there_is_nothing_to_do_nothing_is_written() {
    let rest = cluster(&NAMES);
    let mut late = on_the_way(Phase::Retire);
    late.config.spec.migration.approval = Approval::Manual;
    let mut all = String::new();
    for (cluster, action) in [
        (&rest, Action::Resume),
        (&rest, Action::Rollback),
        (&rest, APPROVE),
        (&late, Action::Rollback),
    ] {
        let deed = deed_of(cluster, action);
        assert!(deed.annotations.is_empty(), "{deed:?}");
        all.push_str(&format!("done: {}: {}\n", deed.done, deed.message));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn resume_tries_again_what_went_back() {
    let mut cluster = cluster(&NAMES);
    cluster.config.spec.mode = Mode::BGP;
    cluster.config.annotations_mut().extend([
        (annotation::ROLLBACK.to_owned(), "4".to_owned()),
        (annotation::PAUSED.to_owned(), "true".to_owned()),
    ]);
    let status = cluster.config.status.as_mut().unwrap();
    status.step = 12;
    status.failed_migration = Some(Failure {
        generation: 4,
        asked: true,
        message: "as was asked for".into(),
    });
    let resumed = deed_of(&cluster, Action::Resume);
    let expected = [
        (annotation::PAUSED, None),
        (annotation::ROLLBACK, None),
        (annotation::RETRY, Some("12".to_owned())),
    ];
    assert_eq!(resumed.annotations, expected.into());
    cluster.config.spec.migration.paused = true;
    assert!(
        !deed_of(&cluster, Action::Resume).done,
        "the spec still holds it"
    );
}

#[test]
fn what_was_looked_at_is_what_is_approved() {
    let mut cluster = on_the_way(Phase::Verify);
    cluster.config.spec.migration.approval = Approval::Manual;
    let of = |generation| {
        let action = Action::Approve {
            generation: Some(generation),
        };
        act::deed(&cluster.config, action)
    };
    let approved = of(4).unwrap();
    assert_eq!(
        approved.annotations,
        [(annotation::APPROVED, Some("4".to_owned()))].into()
    );
    assert!(
        of(3)
            .unwrap_err()
            .to_string()
            .contains("generation 4 now, not 3")
    );
}
