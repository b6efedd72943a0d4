//! The accounting of sequence numbers against an oracle that keeps every one of them.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use weft_load::sequence::{Arrivals, Sequence, Verdict};

/// What became of each sent packet: at which place it arrived, how often (0 is lost).
#[derive(Clone, Debug)]
struct Fate {
    delay: u64,
    copies: usize,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let copies = prop_oneof![6 => Just(1usize), 1 => Just(0usize), 1 => 2usize..4];
    let delay = prop_oneof![4 => Just(0u64), 1 => 0u64..20, 1 => 0u64..400];
    let fate = (delay, copies).prop_map(|(delay, copies)| Fate { delay, copies });
    proptest::collection::vec(fate, 0..300)
}

/// The numbers in the order of their arrival.
fn arrivals(fates: &[Fate]) -> Vec<u64> {
    let mut order: Vec<(u64, usize, u64)> = Vec::new();
    for (seq, fate) in (0..).zip(fates) {
        for copy in 0..fate.copies {
            order.push((seq + fate.delay * (copy as u64 + 1), copy, seq));
        }
    }
    order.sort();
    order.into_iter().map(|(_, _, seq)| seq).collect()
}

/// Counts by looking at everything that came before.
#[derive(Default)]
struct Oracle {
    seen: BTreeSet<u64>,
    duplicated: u64,
    reordered: u64,
}

impl Oracle {
    fn receive(&mut self, seq: u64) -> Verdict {
        let highest = self.seen.last().copied();
        if !self.seen.insert(seq) {
            self.duplicated += 1;
            Verdict::Duplicate
        } else if highest.is_some_and(|highest| seq < highest) {
            self.reordered += 1;
            Verdict::Reordered
        } else {
            Verdict::InOrder
        }
    }

    fn missing_below(&self, limit: u64) -> u64 {
        (0..limit).filter(|seq| !self.seen.contains(seq)).count() as u64
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn counts_are_those_of_the_oracle(fates in fates(), limits in proptest::collection::vec(0u64..700, 3)) {
        let mut sequence = Sequence::default();
        let mut oracle = Oracle::default();
        for seq in arrivals(&fates) {
            prop_assert_eq!(sequence.receive(seq), oracle.receive(seq));
        }
        for limit in limits {
            prop_assert_eq!(sequence.missing_below(limit), oracle.missing_below(limit));
        }
        prop_assert_eq!(sequence.unique(), oracle.seen.len() as u64);
        prop_assert_eq!(sequence.duplicated(), oracle.duplicated);
        prop_assert_eq!(sequence.reordered(), oracle.reordered);
        let lost = fates.iter().filter(|fate| fate.copies == 0).count() as u64;
        prop_assert_eq!(sequence.missing_below(fates.len() as u64), lost);
    }

    #[test]
    fn any_numbers_at_all_are_counted_right(numbers in proptest::collection::vec(0u64..64, 0..200)) {
        let mut sequence = Sequence::default();
        let mut oracle = Oracle::default();
        for seq in numbers {
            prop_assert_eq!(sequence.receive(seq), oracle.receive(seq));
        }
        prop_assert_eq!(sequence.missing_below(64), oracle.missing_below(64));
    }

    #[test]
    fn the_longest_gap_is_that_of_the_oracle(
        steps in proptest::collection::vec((0u64..50, 0u64..20, any::<bool>()), 1..100),
    ) {
        let ms = Duration::from_millis;
        let interval = ms(10);
        let mut arrivals = Arrivals::new(Duration::ZERO, interval);
        let (mut now, mut last, mut longest) = (0u64, 0u64, 0u64);
        for (seq, (step, pause, again)) in (0..).zip(&steps) {
            now += step;
            arrivals.receive(seq, ms(now), ms(*pause));
            longest = longest.max((now - last).saturating_sub(10.max(*pause)));
            last = now;
            if *again {
                // A duplicate is not news, so it ends no gap.
                now += step;
                arrivals.receive(seq, ms(now), Duration::ZERO);
            }
        }
        prop_assert_eq!(arrivals.longest_closed_gap(), ms(longest));
        let open = (now + 500 - last).saturating_sub(10);
        prop_assert_eq!(arrivals.longest_gap(ms(now + 500)), ms(longest.max(open)));
    }
}

#[test]
fn a_long_run_in_order_needs_no_memory_for_its_length() {
    let mut sequence = Sequence::default();
    for seq in 0..1_000_000 {
        assert_eq!(sequence.receive(seq), Verdict::InOrder);
    }
    assert_eq!(sequence.missing_below(1_000_000), 0);
    assert_eq!(sequence.receive(500_000), Verdict::Duplicate);
}
