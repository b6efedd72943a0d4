use super::*;
use proptest::prelude::*;

fn key(peer: &str) -> Key {
    Key {
        peer: peer.into(),
        family: Family::V4,
        channel: Channel::Path(Path::Vxlan),
    }
}

fn targets(peers: &[&str]) -> BTreeMap<Key, Target> {
    let target = Target {
        address: "10.244.2.1".parse().unwrap(),
        device: Some(DeviceName::VX4),
        size: 1450,
        eager: false,
    };
    peers.iter().map(|peer| (key(peer), target)).collect()
}

impl Prober {
    fn verdict(&self, key: &Key) -> Verdict {
        self.entries[key].verdict
    }
}

/// Runs for `seconds`; `alive` says which probes are answered, 10 ms later.
fn run(prober: &mut Prober, from: Instant, seconds: u64, alive: impl Fn(&Send) -> bool) {
    let mut now = from;
    while now < from + Duration::from_secs(seconds) {
        for send in prober.poll(now) {
            if alive(&send) {
                prober.answered(send.sequence);
            }
        }
        now += Duration::from_millis(10);
    }
}

#[test]
fn silence_takes_three_misses_and_one_answer_ends_it() {
    let start = Instant::now();
    let mut prober = Prober::default();
    prober.set_targets(&targets(&["b", "c"]), start);
    assert_eq!(prober.verdict(&key("b")), Verdict::Unknown);
    run(&mut prober, start, 10, |send| send.key.peer == "b");
    assert_eq!(prober.verdict(&key("b")), Verdict::Answers);
    assert_eq!(prober.verdict(&key("c")), Verdict::Silent);
    run(&mut prober, start + Duration::from_secs(10), 3, |_| true);
    assert_eq!(prober.verdict(&key("c")), Verdict::Answers);
}

/// A path to be proven to b, and the underlay beside it.
fn proof() -> (Prober, Key, Instant) {
    let start = Instant::now();
    let target = |size| Target {
        address: "10.244.2.1".parse().unwrap(),
        device: None,
        size,
        eager: true,
    };
    let of = |channel| Key {
        channel,
        ..key("b")
    };
    let proof = of(Channel::Proof(Path::Direct));
    let targets = [
        (proof.clone(), target(1500)),
        (of(Channel::Underlay), target(0)),
    ];
    let mut prober = Prober::default();
    prober.set_targets(&targets.into(), start);
    (prober, proof, start)
}

#[test]
fn a_proof_is_lost_only_if_the_peer_is_there() {
    let (mut prober, proof, start) = proof();
    run(&mut prober, start, 5, |_| true);
    assert_eq!(prober.verdict(&proof), Verdict::Answers);
    // The peer loses its power: no path is to blame.
    run(&mut prober, start + Duration::from_secs(5), 10, |_| false);
    assert_eq!(prober.verdict(&proof), Verdict::Answers);
    let (mut prober, proof, start) = self::proof();
    run(&mut prober, start, 5, |_| true);
    let underlay = |send: &Send| send.key.channel == Channel::Underlay;
    run(&mut prober, start + Duration::from_secs(5), 5, underlay);
    assert_eq!(prober.verdict(&proof), Verdict::Silent);
    let news = prober.news(start + Duration::from_secs(20)).unwrap();
    assert!(
        news.proofs.lost >= 3 && news.proofs.sent > news.proofs.lost,
        "{news:?}"
    );
}

#[test]
fn an_agent_that_was_away_for_a_moment_loses_nothing() {
    for away in [300, 700, 1000, 1500, 4000] {
        let (mut prober, proof, start) = proof();
        let mut now = start;
        // Unlike `run`, an answer is there at once or never.
        let until = |millis| start + Duration::from_millis(millis);
        while now < until(12_000) {
            let gone = now >= until(5000) && now < until(5000 + away);
            for send in prober.poll(now) {
                if !gone {
                    prober.answered(send.sequence);
                }
            }
            now += Duration::from_millis(10);
        }
        assert_eq!(prober.verdict(&proof), Verdict::Answers, "{away} ms");
        let lost = prober.news(now).unwrap().proofs.lost;
        // Where the peer went and came back between two probes of the underlay, nobody can know.
        assert!(lost <= u64::from(away < 600), "{lost} lost in {away} ms");
    }
}

#[test]
fn a_path_that_carries_only_small_packets_is_told_from_one_that_carries_none() {
    let (mut prober, proof, start) = proof();
    run(&mut prober, start, 10, |send| send.target.size < 1500);
    assert_eq!(prober.verdict(&proof), Verdict::Narrow);
    run(&mut prober, start + Duration::from_secs(10), 3, |_| true);
    assert_eq!(prober.verdict(&proof), Verdict::Answers);
}

#[test]
fn a_path_that_comes_back_was_never_narrow() {
    let (mut prober, proof, start) = proof();
    let underlay = |send: &Send| send.key.channel == Channel::Underlay;
    run(&mut prober, start, 10, underlay);
    assert_eq!(prober.verdict(&proof), Verdict::Silent);
    let mut now = start + Duration::from_secs(10);
    while prober.verdict(&proof) != Verdict::Answers {
        assert_eq!(prober.verdict(&proof), Verdict::Silent);
        for send in prober.poll(now) {
            prober.answered(send.sequence);
        }
        now += Duration::from_millis(10);
    }
    assert_eq!(prober.news(now + NEWS_INTERVAL).unwrap().proofs.lost, 0);
}

#[test]
fn what_is_lost_before_a_path_is_there_is_not_counted() {
    let (mut prober, proof, start) = proof();
    let underlay = |send: &Send| send.key.channel == Channel::Underlay;
    run(&mut prober, start, 1, underlay);
    assert_eq!(prober.verdict(&proof), Verdict::Unknown);
    run(&mut prober, start + Duration::from_secs(1), 5, |_| true);
    assert_eq!(
        prober
            .news(start + Duration::from_secs(6))
            .unwrap()
            .proofs
            .lost,
        0
    );
}

#[test]
fn one_lost_probe_changes_nothing() {
    let start = Instant::now();
    let mut prober = Prober::default();
    prober.set_targets(&targets(&["b"]), start);
    run(&mut prober, start, 20, |send| send.sequence % 3 != 0);
    assert_eq!(prober.verdict(&key("b")), Verdict::Answers);
}

#[test]
fn a_peer_that_changes_its_address_is_unknown_again() {
    let start = Instant::now();
    let mut prober = Prober::default();
    prober.set_targets(&targets(&["b"]), start);
    run(&mut prober, start, 1, |_| true);
    let mut moved = targets(&["b"]);
    moved
        .values_mut()
        .for_each(|target| target.address = "10.244.9.1".parse().unwrap());
    prober.set_targets(&moved, start);
    assert_eq!(prober.verdict(&key("b")), Verdict::Unknown);
}

#[test]
fn many_changes_make_few_news_and_the_last_is_among_them() {
    let start = Instant::now();
    let mut prober = Prober::default();
    let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    prober.set_targets(&targets(&names), start);
    let sends = prober.poll(start);
    let (mut now, mut all) = (start, Vec::new());
    for send in &sends {
        prober.answered(send.sequence);
        all.extend(prober.news(now));
        now += Duration::from_millis(10);
    }
    assert_eq!(all.len(), 5, "100 changes in a second");
    let last = now + NEWS_INTERVAL;
    assert!(prober.deadline().unwrap() <= last, "nobody has to ask");
    let verdicts = prober.news(last).unwrap().verdicts;
    assert_eq!(verdicts.len(), 100);
    let answers = |of_peer: &BTreeMap<_, _>| of_peer.values().all(|v| *v == Verdict::Answers);
    assert!(verdicts.values().all(answers));
    assert_eq!(prober.news(last + NEWS_INTERVAL), None, "nothing is new");
}

#[test]
fn thousands_of_targets_stay_in_the_budget() {
    let start = Instant::now();
    let names: Vec<String> = (0..5000).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut prober = Prober::default();
    prober.set_targets(&targets(&names), start);
    // The first probe of each is sent at once; from then on the budget holds.
    assert_eq!(prober.poll(start).len(), 5000);
    let mut sent = 0;
    for second in 1..=100 {
        sent += prober.poll(start + Duration::from_secs(second)).len();
    }
    assert!(sent as u32 <= 100 * BUDGET_PER_SECOND, "{sent}");
}

proptest! {
    #[test]
    fn nothing_is_kept_of_targets_that_went(
        steps in prop::collection::vec((prop::collection::btree_set(0u8..6, 0..6), any::<bool>()), 1..40)
    ) {
        let start = Instant::now();
        let mut prober = Prober::default();
        for (n, (peers, answer)) in steps.into_iter().enumerate() {
            let now = start + Duration::from_millis(700 * n as u64);
            let names: Vec<String> = peers.iter().map(u8::to_string).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            prober.set_targets(&targets(&names), now);
            for send in prober.poll(now) {
                if answer { prober.answered(send.sequence) }
            }
            prop_assert_eq!(prober.entries.len(), names.len());
            prop_assert_eq!(prober.due.len(), names.len());
            let awaited: usize = prober.entries.values().map(|entry| entry.awaited.len()).sum();
            prop_assert_eq!(prober.flying.len(), awaited);
        }
    }
}
