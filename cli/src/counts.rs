//! What the counts of agents mean.

use weft_crds::{BlockUsage, USAGE_STEP as STEP};

/// The least and the most addresses that a reported count can stand for.
pub fn span(usage: &BlockUsage) -> (u64, u64) {
    let reported = usage.used;
    if reported == 0 || reported + STEP >= usage.capacity {
        return (reported, reported);
    }
    // One stands for any number below the first step.
    let step = if reported == 1 { STEP - 2 } else { STEP - 1 };
    (reported, reported + step)
}

/// A count to be read: 16+ stands for 16 or more.
pub fn at_least(least: u64, exact: bool) -> String {
    format!("{least}{}", if exact { "" } else { "+" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, 61, (0, 0))]
    #[case(1, 61, (1, 15))]
    #[case(16, 61, (16, 31))]
    #[case(32, 61, (32, 47))]
    #[case(45, 61, (45, 45))]
    #[case(61, 61, (61, 61))]
    #[case(3, 6, (3, 3))]
    fn a_count_stands_for_a_span(
        #[case] used: u64,
        #[case] capacity: u64,
        #[case] expected: (u64, u64),
    ) {
        let cidr = "10.244.0.0/26".into();
        assert_eq!(
            span(&BlockUsage {
                cidr,
                capacity,
                used,
                drained: false
            }),
            expected
        );
    }
}
