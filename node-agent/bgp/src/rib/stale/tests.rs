use rstest::rstest;

use super::super::testing::*;
use super::*;
use crate::route::Family::{Ipv4, Ipv6};

const FROM: PeerId = PeerId(1);
const P: &str = "10.244.0.0/24";
const Q: &str = "10.244.1.0/24";
const KEEP_OUT: &str = "10.244.2.0/24";
const P6: &str = "fd00:244::/64";

/// P, Q and P6 from the BGP peer, and one that asks for no LLGR.
fn filled() -> Table {
    let mut table = table(1, &[external(1), external(2)]);
    table.update(FROM, &announce(&attributes(&[1]), &[P, Q]));
    table.update(FROM, &announce(&attributes(&[1]), &[P6]));
    let mut not_kept = attributes(&[1]);
    not_kept.communities = vec![community::NO_LLGR];
    table.update(FROM, &announce(&not_kept, &[KEEP_OUT]));
    table.decide(near);
    table
}

fn prefixes(table: &Table) -> Vec<String> {
    let mut prefixes: Vec<_> = table
        .routes()
        .map(|(prefix, _)| prefix.to_string())
        .collect();
    prefixes.sort_unstable();
    prefixes
}

fn is_last_choice(table: &Table, prefix: &str) -> bool {
    let best = table.best(&net(prefix)).first();
    best.and_then(|path| path.accepted())
        .is_some_and(|one| has(one, community::LLGR_STALE))
}

#[rstest]
#[case::restart(Table::restarting)]
#[case::refresh(Table::refreshing)]
fn what_is_not_confirmed_is_swept(#[case] mark: fn(&mut Table, PeerId, Family)) {
    let mut table = filled();
    mark(&mut table, FROM, Ipv4);
    assert_eq!(table.decide(near), []);
    assert_eq!(table.count(FROM, Ipv4), (3, 3));
    assert_eq!(table.count(FROM, Ipv6), (1, 0));

    table.update(FROM, &announce(&attributes(&[1]), &[P]));
    table.update(FROM, &announce(&attributes(&[1, 2]), &[KEEP_OUT]));
    table.update(FROM, &announce(&attributes(&[1]), &["10.244.9.0/24"]));
    assert_eq!(table.count(FROM, Ipv4), (4, 1));
    assert_eq!(table.decide(near).len(), 2);
    table.sweep(FROM, Ipv4);
    assert_eq!(table.decide(near).len(), 1);
    assert_eq!(prefixes(&table), [P, KEEP_OUT, "10.244.9.0/24", P6]);
    assert_eq!(table.count(FROM, Ipv4), (3, 0));

    table.sweep(FROM, Ipv4);
    assert_eq!(table.decide(near), []);
}

#[test]
fn no_session_no_routes() {
    let mut table = filled();
    table.flush(FROM, Ipv4);
    assert_eq!(table.decide(near).len(), 3);
    assert_eq!(prefixes(&table), [P6]);
}

#[test]
fn withdrawn_while_stale() {
    let mut table = filled();
    table.restarting(FROM, Ipv4);
    table.update(FROM, &withdraw(&[P]));
    assert_eq!(table.count(FROM, Ipv4), (2, 2));
    table.sweep(FROM, Ipv4);
    table.decide(near);
    assert_eq!(prefixes(&table), [P6]);
}

#[test]
fn restarting_once_more_before_it_was_done() {
    let mut table = filled();
    table.restarting(FROM, Ipv4);
    table.update(FROM, &announce(&attributes(&[1]), &[P]));
    table.restarting(FROM, Ipv4);
    table.decide(near);
    assert_eq!(prefixes(&table), [P, P6]);
    assert_eq!(table.count(FROM, Ipv4), (1, 1));
}

#[test]
fn refreshing_once_more_before_it_was_done() {
    let mut table = filled();
    table.refreshing(FROM, Ipv4);
    table.refreshing(FROM, Ipv4);
    assert_eq!(table.count(FROM, Ipv4), (3, 3));
}

#[test]
fn long_lived_is_the_last_choice() {
    let mut table = filled();
    table.update(PeerId(2), &announce(&attributes(&[2, 3, 4]), &[Q]));
    table.decide(near);
    table.restarting(FROM, Ipv4);
    table.linger(FROM, Ipv4);
    let changes = table.decide(near);
    let best = |prefix| {
        changes
            .iter()
            .any(|change| change.prefix == net(prefix) && change.best)
    };
    assert_eq!(([P, Q, KEEP_OUT, P6]).map(best), [true, true, true, false]);
    assert_eq!(prefixes(&table), [P, Q, P6]);
    assert!(is_last_choice(&table, P));
    assert_eq!(table.best(&net(Q))[0].from(), PeerId(2));
    assert!(!is_last_choice(&table, P6));
    assert_eq!(table.count(FROM, Ipv4), (2, 2));

    // Lost once more before End-of-RIB: its time goes on.
    table.update(FROM, &announce(&attributes(&[1]), &[Q]));
    table.restarting(FROM, Ipv4);
    table.linger(FROM, Ipv4);
    table.decide(near);
    assert_eq!(table.count(FROM, Ipv4), (2, 2));

    table.update(FROM, &announce(&attributes(&[1]), &[P]));
    table.decide(near);
    assert!(!is_last_choice(&table, P));
    table.sweep(FROM, Ipv4);
    table.decide(near);
    assert_eq!(prefixes(&table), [P, Q, P6]);
    assert_eq!(table.best(&net(Q))[0].from(), PeerId(2));
    assert_eq!(table.count(FROM, Ipv4), (1, 0));
    table.forget_peer(FROM);
    table.forget_peer(PeerId(2));
    table.decide(near);
    assert_eq!(table.shared.len(), 0);
}

#[test]
fn refused_routes_linger_refused() {
    let mut table = table(1, &[internal(1)]);
    let looped = attributes(&[64512]);
    table.update(FROM, &announce(&looped, &[P]));
    table.restarting(FROM, Ipv4);
    table.linger(FROM, Ipv4);
    table.decide(near);
    assert_eq!(prefixes(&table), [] as [String; 0]);
    assert_eq!(table.count(FROM, Ipv4), (1, 1));
}

#[test]
fn stale_already_where_it_came_from() {
    let mut table = table(1, &[external(1)]);
    let mut stale = attributes(&[1]);
    stale.communities = vec![community::LLGR_STALE];
    table.update(FROM, &announce(&stale, &[P]));
    table.decide(near);
    table.restarting(FROM, Ipv4);
    table.linger(FROM, Ipv4);
    assert_eq!(table.decide(near).len(), 1);
    table.update(FROM, &announce(&stale, &[P]));
    assert_eq!(table.count(FROM, Ipv4), (1, 0));
}
