//! Delays that grow with each failure, and are never quite the same on two speakers.

use std::time::Duration;

/// How long to wait after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// After many: each one doubles the delay up to this.
    pub max: Duration,
}

/// Takes up to a quarter off a delay (RFC 4271, section 10). SplitMix64: spread matters here, secrecy doesn't.
#[derive(Debug)]
pub(super) struct Jitter(pub(super) u64);

impl Jitter {
    pub(super) fn on(&mut self, delay: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        delay.mul_f64(0.75 + 0.25 * (mixed >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// The delays of one kind of failure.
#[derive(Debug)]
pub(super) struct Delays {
    backoff: Backoff,
    failures: u32,
}

impl Delays {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
        }
    }

    /// The delay after one more failure.
    pub(super) fn next(&mut self, jitter: &mut Jitter) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        jitter.on(self
            .backoff
            .first
            .saturating_mul(factor)
            .min(self.backoff.max))
    }

    /// All is well again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}
