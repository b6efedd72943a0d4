//! The checksum-offload bug, probed for rather than assumed.
//!
//! Some network cards and drivers send wrong inner checksums when a tunnel leaves them to hardware.
//! Then packets in VXLAN vanish at the receiver while the underlay works. If that is what the probes
//! see, the offload is switched off as an experiment, and stays off only if the probes then come back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::report::Health;

/// How long an experiment lasts: several rounds of probes.
const TRIAL: Duration = Duration::from_secs(15);

/// Whether VXLAN devices leave checksums to hardware.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Offload {
    /// They do, and nothing speaks against it so far.
    #[default]
    On,
    /// They don't, until it is seen whether that helps.
    Trial {
        /// When it ends.
        until: Instant,
    },
    /// They don't: without, packets arrive; with, they did not.
    Off,
    /// They do: it made no difference.
    Innocent,
}

impl Offload {
    /// Whether checksums are left to hardware.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::On | Self::Innocent)
    }

    /// Follows the health of the peers.
    pub fn observe(&mut self, health: &BTreeMap<String, Health>, now: Instant) {
        let any = |wanted: Health| health.values().any(|health| *health == wanted);
        match self {
            Self::On if any(Health::Broken) && !any(Health::Answers) => {
                *self = Self::Trial { until: now + TRIAL };
            }
            Self::Trial { .. } if any(Health::Answers) => *self = Self::Off,
            Self::Trial { until } if now >= *until => *self = Self::Innocent,
            Self::Innocent if any(Health::Answers) => *self = Self::On,
            _ => {}
        }
    }

    /// When [`Offload::observe`] should be asked again.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Trial { until } => Some(*until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(all: &[Health]) -> BTreeMap<String, Health> {
        all.iter()
            .enumerate()
            .map(|(n, health)| (n.to_string(), *health))
            .collect()
    }

    fn observe(offload: &mut Offload, all: &[Health], now: Instant) -> bool {
        offload.observe(&health(all), now);
        offload.is_on()
    }

    #[test]
    fn it_is_switched_off_for_good_only_if_that_helps() {
        let start = Instant::now();
        let mut offload = Offload::default();
        assert!(observe(
            &mut offload,
            &[Health::Unknown, Health::Gone],
            start
        ));
        assert!(!observe(
            &mut offload,
            &[Health::Broken, Health::Gone],
            start
        ));
        assert!(!observe(
            &mut offload,
            &[Health::Answers, Health::Gone],
            start
        ));
        assert_eq!(offload, Offload::Off);
    }

    #[test]
    fn an_innocent_offload_comes_back_and_is_not_tried_again_at_once() {
        let start = Instant::now();
        let mut offload = Offload::default();
        assert!(!observe(&mut offload, &[Health::Broken], start));
        assert!(!observe(&mut offload, &[Health::Broken], start + TRIAL / 2));
        assert!(observe(&mut offload, &[Health::Broken], start + TRIAL));
        assert!(observe(&mut offload, &[Health::Broken], start + 2 * TRIAL));
        assert_eq!(offload, Offload::Innocent);
    }

    #[test]
    fn a_node_that_reaches_anybody_is_left_alone() {
        let mut offload = Offload::default();
        assert!(observe(
            &mut offload,
            &[Health::Broken, Health::Answers],
            Instant::now()
        ));
        assert_eq!(offload, Offload::On);
    }
}
