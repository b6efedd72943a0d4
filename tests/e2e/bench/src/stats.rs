//! Medians, percentiles and ratios of samples.

use serde::{Serialize, Serializer};

/// Several runs of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one, or the mean of the two in the middle.
    #[serde(serialize_with = "rounded")]
    pub median: f64,
    /// The least.
    #[serde(serialize_with = "rounded")]
    pub least: f64,
    /// The greatest.
    #[serde(serialize_with = "rounded")]
    pub most: f64,
    /// How many.
    pub runs: usize,
}

impl Summary {
    /// Of no samples there is none.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self {
            median: f64::midpoint(below, above),
            least,
            most,
            runs: sorted.len(),
        })
    }
}

/// The least sample that at least `percent` of 100 of all samples don't exceed (the nearest rank).
pub fn percentile(samples: &[f64], percent: f64) -> Option<f64> {
    let sorted = sorted(samples);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Each sample by the one of the same round: what slows a round as a whole falls out.
pub fn ratios(of: &[f64], by: &[f64]) -> Vec<f64> {
    of.iter().zip(by).map(|(of, by)| of / by).collect()
}

/// To five digits; more than that is noise.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(format!("{value:.4e}").parse().unwrap_or(*value))
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[3.0], 3.0)]
    #[case(&[4.0, 1.0], 2.5)]
    #[case(&[9.0, 1.0, 2.0], 2.0)]
    #[case(&[8.0, 1.0, 4.0, 2.0], 3.0)]
    fn the_median_is_in_the_middle(#[case] samples: &[f64], #[case] median: f64) {
        let summary = Summary::of(samples).expect("some samples");
        assert_eq!(summary.median, median);
        assert_eq!(summary.runs, samples.len());
    }

    #[test]
    fn programs_read_five_digits() {
        let summary = Summary::of(&[1.234567, 98765.4321]).expect("some samples");
        let json = serde_json::to_value(summary).expect("JSON");
        assert_eq!(json["least"], 1.2346);
        assert_eq!(json["most"], 98765.0);
    }

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[rstest]
    #[case(0.0, 1.0)]
    #[case(1.0, 1.0)]
    #[case(50.0, 50.0)]
    #[case(50.1, 51.0)]
    #[case(99.0, 99.0)]
    #[case(100.0, 100.0)]
    fn percentiles_of_one_to_a_hundred(#[case] percent: f64, #[case] expected: f64) {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&samples, percent), Some(expected));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // A machine that is half as fast in the second round changes both sides alike.
        let ratios = ratios(&[10.0, 5.0, 20.0], &[20.0, 10.0, 40.0]);
        assert_eq!(ratios, [0.5, 0.5, 0.5]);
    }

    proptest! {
        #[test]
        fn all_samples_lie_within_the_spread(samples in prop::collection::vec(-1e9..1e9f64, 1..50)) {
            let summary = Summary::of(&samples).expect("some samples");
            prop_assert!(samples.iter().all(|s| (summary.least..=summary.most).contains(s)));
            let below = samples.iter().filter(|s| **s <= summary.median).count();
            prop_assert!(below * 2 >= samples.len());
            let half = percentile(&samples, 50.0).expect("some samples");
            prop_assert!(half <= summary.median);
        }
    }
}
