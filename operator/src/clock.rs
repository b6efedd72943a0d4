//! The clock of the operator.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::observed::Now;

/// Time since the machine was started, sleep included: an operator that slept through its lease must
/// notice that, and `CLOCK_MONOTONIC` stands still meanwhile (clock_gettime(2)).
pub fn mono() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default()
}

/// Both clocks.
pub fn now() -> Now {
    Now {
        wall: Timestamp::now(),
        mono: mono(),
    }
}
