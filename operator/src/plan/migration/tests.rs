use std::sync::Arc;

use serde_json::json;
use weft_crds::{ModesReport, NetworkConfigStatus, PeerReport, TrialsReport};
use weft_migration::{Node, Phase, orders};

use super::*;
use crate::fixtures::{at, cluster, config};

/// Three nodes in mode Overlay whose admin wants another one.
fn observed(mode: Mode) -> Observed {
    let mut config = config(json!([{"cidr": "10.244.0.0/16"}]));
    config.spec.mode = mode;
    config.spec.migration.bake_seconds = 0;
    config.status = Some(NetworkConfigStatus {
        mode: Some(Mode::Overlay),
        ..NetworkConfigStatus::default()
    });
    let mut observed = cluster(config, &["a", "b", "c"]);
    for node in ["a", "b", "c"] {
        observed = observed.with_report(node, &[]);
    }
    obeyed(observed)
}

fn state(observed: &Observed) -> State<Mode> {
    let status = observed.config.as_ref().unwrap().status.as_ref().unwrap();
    status.state().unwrap()
}

/// All nodes do what the status says.
fn obeyed(mut observed: Observed) -> Observed {
    let state = state(&observed);
    for name in ["a", "b", "c"] {
        let orders = orders(
            &state,
            Node {
                name,
                canary: false,
            },
        );
        observed = observed.change_report(name, |report| {
            report.modes = Some(ModesReport {
                config_uid: "uid-config".into(),
                step: state.step,
                receives: orders.receive.into_iter().collect(),
                sends: vec![orders.send],
                sized: true,
                trials: orders.prove.map(|_| TrialsReport {
                    wanted: 4,
                    passed: 4,
                    ..TrialsReport::default()
                }),
                ..ModesReport::default()
            });
        });
    }
    observed
}

/// One look; the state is written.
fn look(observed: &mut Observed, memory: &mut Memory, seconds: i64) -> (Course, Vec<String>) {
    let config = observed.config.clone().unwrap();
    let mut out = Plan::default();
    let course = plan(observed, &config, memory, at(seconds), &mut out);
    memory.timers = out.timers.unwrap();
    let config = Arc::make_mut(observed.config.as_mut().unwrap());
    let status = config.status.get_or_insert_default();
    status.mode = Some(course.state.mode);
    status.step = course.state.step;
    status.migration = course.state.migration.clone();
    status.progress = course.progress.clone();
    status.failed_migration = course.state.failure.clone();
    let said = out.actions.into_iter().map(|action| match action {
        Action::Announce(said) => said.reason,
        other => panic!("{other:?}"),
    });
    (course, said.collect())
}

#[test]
fn a_change_of_the_mode_goes_through_all_phases_and_tells_of_each() {
    let (mut observed, mut memory) = (observed(Mode::BGP), Memory::default());
    let (mut said, mut seconds) = (Vec::new(), 0);
    for _ in 0..40 {
        seconds += 10;
        said.extend(look(&mut observed, &mut memory, seconds).1);
        observed = obeyed(observed);
    }
    assert_eq!(said.first().unwrap(), "MigrationStarted");
    assert_eq!(said.last().unwrap(), "MigrationEnded");
    let phases = said.iter().filter(|reason| *reason == "MigrationPhase");
    assert_eq!(phases.count(), 3 + 5, "three waves, and no smaller packets");
    let (course, said) = look(&mut observed, &mut memory, seconds);
    assert_eq!(
        (course.state.mode, course.verdict, said.len()),
        (Mode::BGP, None, 0)
    );
}

#[test]
fn whoever_is_waited_for_is_named_with_the_problem_that_it_reports() {
    let (mut observed, mut memory) = (observed(Mode::BGP), Memory::default());
    look(&mut observed, &mut memory, 0);
    observed = obeyed(observed).change_report("b", |report| {
        report.modes.as_mut().unwrap().step = 0;
        report.problems = vec![weft_crds::Problem {
            reason: "NotProgrammed".into(),
            message: "no".into(),
        }];
    });
    let (course, _) = look(&mut observed, &mut memory, 1);
    let verdict = course.verdict.unwrap();
    assert_eq!((verdict.stalled, verdict.reason), (false, "Migrating"));
    assert!(
        verdict
            .message
            .ends_with("waits for b hasn't followed yet (NotProgrammed: no)"),
        "{}",
        verdict.message
    );
    assert_eq!(course.progress.unwrap().summary, "2/3");
}

#[test]
fn a_report_about_another_config_says_nothing() {
    let (mut observed, mut memory) = (observed(Mode::BGP), Memory::default());
    look(&mut observed, &mut memory, 0);
    observed = obeyed(observed).change_report("c", |report| {
        report.modes.as_mut().unwrap().config_uid = "another".into();
    });
    let (course, _) = look(&mut observed, &mut memory, 1);
    assert_eq!(course.state.phase(), Some(Phase::Check));
    assert!(
        course
            .verdict
            .unwrap()
            .message
            .contains("c its agent hasn't reported")
    );
}

#[test]
fn a_node_is_down_only_if_neither_its_kubelet_nor_a_peer_says_otherwise() {
    let answers = |answers| {
        let peer = PeerReport {
            node: "c".into(),
            ipv4: None,
            ipv6: None,
            answers,
        };
        move |report: &mut weft_crds::NodeReportSpec| report.peers = vec![peer]
    };
    let mut observed = observed(Mode::BGP)
        .change_report("a", answers(false))
        .change_report("b", answers(true));
    let is_down = |observed: &Observed| is_down(observed, &observed.nodes["c"]);
    assert!(!is_down(&observed));
    observed.nodes.get_mut("c").unwrap().ready = false;
    assert!(!is_down(&observed), "b still hears it");
    let deaf = observed.clone().change_report("b", answers(false));
    assert!(is_down(&deaf));
    let silent = observed
        .change_report("a", |report| report.peers.clear())
        .change_report("b", |report| report.peers.clear());
    assert!(!is_down(&silent), "nobody has tried");
}

#[test]
fn a_config_without_a_status_is_where_the_nodes_are() {
    let fresh = |sends: [&[Mode]; 3]| {
        let mut observed = observed(Mode::BGP);
        for (name, sends) in ["a", "b", "c"].into_iter().zip(sends) {
            observed = observed.change_report(name, |report| {
                let modes = report.modes.as_mut().unwrap();
                (modes.sends, modes.step) = (sends.to_vec(), 7);
            });
        }
        Arc::make_mut(observed.config.as_mut().unwrap()).status = None;
        observed
    };
    let (overlay, bgp) = (&[Mode::Overlay][..], &[Mode::BGP][..]);
    let config = |observed: &Observed| observed.config.clone().unwrap();
    let all = fresh([overlay; 3]);
    let state = found(&all, &config(&all));
    assert_eq!(
        (state.mode, state.step, state.migration),
        (Mode::Overlay, 8, None)
    );
    let mixed = fresh([overlay, bgp, overlay]);
    let state = found(&mixed, &config(&mixed));
    let migration = state.migration.unwrap();
    assert_eq!(
        (state.mode, migration.from, migration.phase),
        (Mode::BGP, Mode::Overlay, Phase::Shift)
    );
    let nobody = fresh([&[]; 3]);
    assert_eq!(found(&nobody, &config(&nobody)).mode, Mode::BGP);
}

#[test]
fn what_kubectl_weft_says_counts_for_the_generation_that_it_is_about() {
    let mut observed = observed(Mode::BGP);
    let mut say = |name: &str, value: &str| {
        let config = Arc::make_mut(observed.config.as_mut().unwrap());
        let annotations = config.metadata.annotations.get_or_insert_default();
        annotations.insert(name.into(), value.into());
        wish(config, &State::rest(Mode::Overlay))
    };
    assert!(
        !say(annotation::ROLLBACK, "2").rollback,
        "the generation is 1"
    );
    assert!(say(annotation::ROLLBACK, "1").rollback);
    assert!(say(annotation::PAUSED, "true").paused);
    assert!(say(annotation::RETRY, "0").retry);
    assert!(!say(annotation::RETRY, "4").retry, "the step is 0");
}

#[test]
fn canaries_that_are_nowhere_keep_it_from_beginning() {
    let (mut observed, mut memory) = (observed(Mode::BGP), Memory::default());
    let config = Arc::make_mut(observed.config.as_mut().unwrap());
    config.spec.migration.canary_selector = Some([("canary".into(), "yes".into())].into());
    let (course, _) = look(&mut observed, &mut memory, 0);
    assert_eq!(course.verdict.unwrap().reason, "NoCanary");
    assert_eq!(course.state.migration, None);
    let labels = &mut observed.nodes.get_mut("b").unwrap().labels;
    labels.insert("canary".into(), "yes".into());
    let (course, _) = look(&mut observed, &mut memory, 1);
    assert_eq!(course.state.phase(), Some(Phase::Check));
}
