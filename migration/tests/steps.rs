//! Migrations of a few nodes that do at once what they are told, step by step.

mod common;

use std::time::Duration;

use common::{Cluster, wish};
use weft_migration::{Phase, Standing};

#[test]
fn all_phases_are_gone_through_in_their_order_and_the_end_is_rest() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.shrinks = true;
    let mut phases = Vec::new();
    while cluster.state.mode != 'B' {
        cluster.obey();
        cluster.advance(&wish('B'));
        if let Some(phase) = cluster.state.phase()
            && phases.last() != Some(&phase)
        {
            phases.push(phase);
        }
    }
    assert_eq!(phases, Phase::ALL);
    assert_eq!(cluster.state.migration, None);
    cluster.obey();
    assert_eq!(cluster.advance(&wish('B')).standing, Standing::Rest);
}

#[test]
fn packets_that_fit_already_are_not_made_smaller() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.until(&wish('B'), Phase::Prepare);
    assert_eq!(cluster.state.step, 2, "Check, then Prepare");
}

#[test]
fn a_node_that_does_not_follow_is_waited_for_by_name() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.until(&wish('B'), Phase::Prepare);
    cluster.obey_only(&["a"]);
    let Standing::Waits(waits) = cluster.advance(&wish('B')).standing else {
        panic!("{:?}", cluster.state);
    };
    assert_eq!(waits, [("b".to_owned(), "hasn't followed yet".to_owned())]);
}

#[test]
fn what_is_in_the_way_stops_it_in_check_and_nothing_has_changed() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.until(&wish('B'), Phase::Check);
    cluster.obey();
    cluster.fact("b").obstacles = vec!["no VXLAN".into()];
    let standing = cluster.advance(&wish('B')).standing;
    assert_eq!(
        standing,
        Standing::Obstacles(vec![("b".into(), "no VXLAN".into())])
    );
    // Unless it is to be left out: then the others go on, and the old mode stays for it.
    let mut leaves = wish('B');
    leaves.leave_out_unable = true;
    cluster.advance(&leaves);
    assert!(cluster.excluded().contains("b"));
    for _ in 0..20 {
        cluster.obey_only(&["a"]);
        cluster.advance(&leaves);
    }
    assert_eq!(cluster.state.phase(), Some(Phase::Confirm));
    assert!(
        matches!(cluster.advance(&leaves).standing, Standing::Waits(waits) if waits[0].0 == "b")
    );
}

#[test]
fn paths_that_carry_nothing_stop_it_before_a_packet_moves() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.until(&wish('B'), Phase::Verify);
    cluster.obey();
    cluster.fact("a").trials.failed = vec!["to b: nothing".into()];
    assert!(
        matches!(cluster.advance(&wish('B')).standing, Standing::Waits(_)),
        "at first it may have to be learned"
    );
    cluster.now += Duration::from_secs(3600);
    let standing = cluster.advance(&wish('B')).standing;
    assert_eq!(
        standing,
        Standing::Unproven(vec![("a".into(), "to b: nothing".into())])
    );
    assert_eq!(cluster.state.phase(), Some(Phase::Verify));
    cluster.fact("a").trials.failed.clear();
    cluster.advance(&wish('B'));
    assert_eq!(cluster.state.phase(), Some(Phase::Shift));
}

#[test]
fn evidence_in_a_wave_leads_back_and_is_not_tried_again() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.until(&wish('B'), Phase::Shift);
    cluster.obey();
    cluster.fact("a").trials.failed = vec!["to b: nothing".into()];
    cluster.advance(&wish('B'));
    let migration = cluster.state.migration.clone().unwrap();
    assert!(migration.back && migration.to == 'A' && migration.phase == Phase::Shift);
    let failure = cluster.state.failure.clone().unwrap();
    assert_eq!(
        (failure.asked, &*failure.message),
        (false, "a: to b: nothing")
    );
    cluster.settle(&wish('B'));
    assert_eq!((cluster.state.mode, cluster.state.phase()), ('A', None));
    assert!(matches!(
        cluster.advance(&wish('B')).standing,
        Standing::Failed(_)
    ));
    let mut again = wish('B');
    again.retry = true;
    cluster.advance(&again);
    assert_eq!(cluster.state.phase(), Some(Phase::Check));
}

#[test]
fn few_lost_probes_are_borne_and_many_are_not() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.until(&wish('B'), Phase::Shift);
    cluster.obey();
    (cluster.fact("a").trials.sent, cluster.fact("a").trials.lost) = (1000, 10);
    cluster.advance(&wish('B'));
    assert!(!cluster.state.migration.as_ref().unwrap().back);
    cluster.obey();
    (cluster.fact("a").trials.sent, cluster.fact("a").trials.lost) = (1000, 11);
    cluster.advance(&wish('B'));
    assert!(cluster.state.migration.as_ref().unwrap().back);
}

#[test]
fn a_path_that_loses_too_much_is_not_proven() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.until(&wish('B'), Phase::Verify);
    cluster.obey();
    (cluster.fact("a").trials.sent, cluster.fact("a").trials.lost) = (100, 50);
    cluster.advance(&wish('B'));
    cluster.now += Duration::from_secs(3600);
    assert!(matches!(
        cluster.advance(&wish('B')).standing,
        Standing::Unproven(_)
    ));
}

#[test]
fn a_mind_changed_goes_back_first_and_then_elsewhere() {
    for phase in Phase::ALL {
        let mut cluster = Cluster::new(&["a", "b", "c"]);
        cluster.shrinks = true;
        cluster.until(&wish('B'), phase);
        let modes = cluster.settle(&wish('C'));
        let by_way_of: &[char] = if phase < Phase::Retire {
            &['A', 'C']
        } else {
            &['B', 'C']
        };
        assert_eq!(modes, by_way_of, "{phase:?}");
    }
}

#[test]
fn a_pause_holds_it_and_never_the_way_back() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.until(&wish('B'), Phase::Shift);
    let mut paused = wish('B');
    paused.paused = true;
    for _ in 0..5 {
        cluster.obey();
        cluster.advance(&paused);
    }
    assert_eq!(cluster.advance(&paused).standing, Standing::Paused);
    paused.rollback = true;
    cluster.settle(&paused);
    assert_eq!((cluster.state.mode, cluster.state.phase()), ('A', None));
    assert!(cluster.state.failure.as_ref().unwrap().asked);
}

#[test]
fn nobody_sends_in_the_new_mode_unless_it_is_approved() {
    let mut cluster = Cluster::new(&["a"]);
    let mut manual = wish('B');
    manual.approved = false;
    cluster.until(&manual, Phase::Verify);
    cluster.obey();
    assert_eq!(cluster.advance(&manual).standing, Standing::AwaitsApproval);
    cluster.advance(&wish('B'));
    assert_eq!(cluster.state.phase(), Some(Phase::Shift));
}

#[test]
fn canaries_move_first() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.fact("c").canary = true;
    cluster.until(&wish('B'), Phase::Shift);
    cluster.obey();
    let sends: Vec<bool> = cluster
        .facts
        .iter()
        .map(|fact| fact.sends.contains(&'B'))
        .collect();
    assert_eq!(sends, [false, false, true]);
}

#[test]
fn a_node_that_is_down_is_not_waited_for_and_is_again_once_it_accepts() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.until(&wish('B'), Phase::Verify);
    cluster.obey();
    cluster.fact("c").down = true;
    cluster.advance(&wish('B'));
    assert!(cluster.excluded().contains("c"));
    for _ in 0..10 {
        cluster.obey_only(&["a", "b"]);
        cluster.advance(&wish('B'));
        if cluster.state.phase() == Some(Phase::Confirm) {
            break;
        }
    }
    // Back, it says what it does; only then is it sent to in the new mode.
    cluster.fact("c").down = false;
    cluster.fact("c").step = Some(3);
    cluster.advance(&wish('B'));
    assert!(cluster.excluded().contains("c"));
    cluster.obey();
    cluster.advance(&wish('B'));
    assert!(cluster.excluded().is_empty());
    cluster.settle(&wish('B'));
    assert_eq!(cluster.state.mode, 'B');
}

#[test]
fn the_old_mode_goes_without_a_node_that_is_down_for_good() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.until(&wish('B'), Phase::Shift);
    cluster.fact("b").down = true;
    for _ in 0..20 {
        cluster.obey_only(&["a"]);
        cluster.advance(&wish('B'));
    }
    assert_eq!((cluster.state.mode, cluster.state.phase()), ('B', None));
}

#[test]
fn waves_are_watched_for_as_long_as_the_admin_says() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let mut slow = wish('B');
    slow.bake = Duration::from_secs(10);
    cluster.until(&slow, Phase::Shift);
    cluster.obey();
    let looked = cluster.advance(&slow);
    assert_eq!(looked.standing, Standing::Bakes);
    assert_eq!(looked.deadline, Some(cluster.now + Duration::from_secs(10)));
    cluster.now += Duration::from_secs(10);
    cluster.advance(&slow);
    assert_eq!(cluster.state.migration.as_ref().unwrap().wave, 2);
}

#[test]
fn a_node_that_is_back_in_retire_keeps_the_old_mode_until_all_have_let_go_and_is_waited_for() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.until(&wish('B'), Phase::Shift);
    cluster.fact("b").down = true;
    while cluster.state.phase() != Some(Phase::Retire) {
        cluster.obey_only(&["a"]);
        cluster.advance(&wish('B'));
    }
    cluster.fact("b").down = false;
    cluster.obey_only(&["a"]);
    let standing = cluster.advance(&wish('B')).standing;
    assert!(matches!(standing, Standing::Waits(waits) if waits[0].0 == "b"));
    // Those that have not heard of Retire yet send to it as before.
    cluster.obey();
    assert_eq!(cluster.fact("b").receives.len(), 2);
    cluster.settle(&wish('B'));
    assert_eq!((cluster.state.mode, cluster.state.phase()), ('B', None));
    assert_eq!(cluster.fact("b").receives.len(), 1);
}

#[test]
fn what_is_to_be_rolled_back_is_not_tried_again_and_nothing_is_written_for_ever() {
    let mut cluster = Cluster::new(&["a"]);
    let mut both = wish('B');
    (both.rollback, both.retry) = (true, true);
    cluster.advance(&both);
    let looked = cluster.advance(&both);
    assert_eq!(looked.next, None);
    assert!(matches!(looked.standing, Standing::Failed(_)));
}
