//! How long the routes of one BGP peer in one family outlive its session: graceful restart as a helper (RFC 4724,
//! section 4.2), long-lived graceful restart (RFC 9494, section 4.2), and the wait for confirmation after both and
//! after a route refresh (RFC 7313, section 4.2).

use std::time::{Duration, Instant};

/// For how long a BGP peer that is back may take to confirm its routes.
const CONFIRM: Duration = Duration::from_secs(360);
/// The same for one that doesn't say when it is done, because it has no graceful restart.
const CONFIRM_SILENTLY: Duration = Duration::from_secs(60);
/// For how long routes are as good as before where nothing was agreed on.
const UNAGREED_RESTART: Duration = Duration::from_secs(120);

/// How long routes outlive the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As long as was agreed on with the BGP peer.
    AsAgreed,
    /// Until the BGP peer is back or no longer configured: what a silent BGP peer last said is all that anybody knows.
    /// After the restart time they are the last choice.
    UntilReturn,
}

/// What a BGP peer said of its own restarts when the session began, for one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// For how long its routes stay after the end of the session.
    pub restart: Option<Duration>,
    /// For how long they stay after that, as the last choice.
    pub long_lived: Option<Duration>,
    /// It has kept forwarding while the session was away.
    pub forwarding: bool,
}

/// What becomes of its routes in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Flush,
    Restarting,
    Linger,
    Refreshing,
    Sweep,
}

/// What the routes of one family wait for.
#[derive(Debug, Default)]
pub(super) struct Retention {
    stage: Stage,
    /// When long-lived stale routes go at the latest, from the first time that they became so until they are confirmed.
    end: Option<Instant>,
}

#[derive(Debug, Default)]
enum Stage {
    /// For nothing: the BGP peer stands by them, or there are none.
    #[default]
    Settled,
    /// For the BGP peer to return, until then as good as before.
    Return { until: Instant, then: Then },
    /// For the BGP peer to return, as the last choice.
    LateReturn,
    /// For the BGP peer to say them again.
    Confirmation { until: Instant },
}

/// What comes after the restart time.
#[derive(Clone, Copy, Debug)]
enum Then {
    Flush,
    LingerFor(Duration),
    Linger,
}

impl Retention {
    /// When [`Retention::advance`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Settled => None,
            Stage::Return { until, .. } | Stage::Confirmation { until } => Some(until),
            Stage::LateReturn => self.end,
        }
    }

    /// The session has ended; `graceful` if the protocol lets routes outlive it.
    pub(super) fn down(&mut self, keep: Keep, graceful: bool, agreed: Agreed, now: Instant) -> Act {
        let (restart, then) = match keep {
            Keep::UntilReturn => (agreed.restart.unwrap_or(UNAGREED_RESTART), Then::Linger),
            Keep::AsAgreed => match (agreed.restart.filter(|_| graceful), agreed.long_lived) {
                (None, _) => return self.settle(Act::Flush),
                (Some(restart), None) => (restart, Then::Flush),
                (Some(restart), Some(long_lived)) => (restart, Then::LingerFor(long_lived)),
            },
        };
        self.stage = Stage::Return {
            until: now + restart,
            then,
        };
        Act::Restarting
    }

    /// The session is there again, with or without this family.
    pub(super) fn up(&mut self, keep: Keep, agreed: Option<Agreed>, now: Instant) -> Option<Act> {
        if let Stage::Settled = self.stage {
            return None;
        }
        let Some(agreed) = agreed else {
            return Some(self.settle(Act::Flush));
        };
        if keep == Keep::AsAgreed && !agreed.forwarding {
            return Some(self.settle(Act::Flush));
        }
        let says_when = agreed.restart.is_some();
        let wait = if says_when { CONFIRM } else { CONFIRM_SILENTLY };
        self.stage = Stage::Confirmation { until: now + wait };
        None
    }

    /// The BGP peer begins to say all its routes once more.
    pub(super) fn refreshing(&mut self, now: Instant) -> Act {
        self.stage = Stage::Confirmation {
            until: now + CONFIRM,
        };
        Act::Refreshing
    }

    /// The BGP peer has said all its routes.
    pub(super) fn confirmed(&mut self) -> Option<Act> {
        match self.stage {
            Stage::Confirmation { .. } => Some(self.settle(Act::Sweep)),
            Stage::Settled | Stage::Return { .. } | Stage::LateReturn => None,
        }
    }

    /// Time has passed.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Act> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match self.stage {
            Stage::Settled => None,
            Stage::Confirmation { .. } => Some(self.settle(Act::Sweep)),
            Stage::LateReturn
            | Stage::Return {
                then: Then::Flush, ..
            } => Some(self.settle(Act::Flush)),
            Stage::Return {
                then: Then::Linger, ..
            } => Some(self.linger(None)),
            // A BGP peer that comes and goes doesn't get more time by it.
            Stage::Return {
                then: Then::LingerFor(time),
                ..
            } => {
                let end = self.end.map_or(now + time, |end| end.min(now + time));
                Some(self.linger(Some(end)))
            }
        }
    }

    fn linger(&mut self, end: Option<Instant>) -> Act {
        self.stage = Stage::LateReturn;
        self.end = end;
        Act::Linger
    }

    fn settle(&mut self, act: Act) -> Act {
        *self = Self::default();
        act
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const AGREED: Agreed = Agreed {
        restart: Some(Duration::from_secs(10)),
        long_lived: Some(Duration::from_secs(100)),
        forwarding: true,
    };

    /// All that time does from `begin` on: seconds, and what.
    fn course(retention: &mut Retention, begin: Instant) -> Vec<(u64, Act)> {
        let mut course = Vec::new();
        while let Some(deadline) = retention.deadline() {
            assert_eq!(retention.advance(deadline - Duration::from_millis(1)), None);
            let act = retention.advance(deadline);
            course.push((deadline.duration_since(begin).as_secs(), act.unwrap()));
        }
        course
    }

    #[rstest]
    #[case(Keep::AsAgreed, true, AGREED, Act::Restarting, &[(10, Act::Linger), (110, Act::Flush)])]
    #[case(Keep::AsAgreed, true, Agreed { long_lived: None, ..AGREED }, Act::Restarting, &[(10, Act::Flush)])]
    #[case(Keep::AsAgreed, false, AGREED, Act::Flush, &[])]
    #[case(Keep::AsAgreed, true, Agreed::default(), Act::Flush, &[])]
    #[case(Keep::UntilReturn, true, AGREED, Act::Restarting, &[(10, Act::Linger)])]
    #[case(Keep::UntilReturn, false, Agreed::default(), Act::Restarting, &[(120, Act::Linger)])]
    fn a_silent_peer(
        #[case] keep: Keep,
        #[case] graceful: bool,
        #[case] agreed: Agreed,
        #[case] at_once: Act,
        #[case] later: &[(u64, Act)],
    ) {
        let (mut retention, now) = (Retention::default(), Instant::now());
        assert_eq!(retention.down(keep, graceful, agreed, now), at_once);
        assert_eq!(course(&mut retention, now), later);
    }

    #[rstest]
    #[case(Keep::AsAgreed, Some(AGREED), None)]
    #[case(Keep::AsAgreed, Some(Agreed { forwarding: false, ..AGREED }), Some(Act::Flush))]
    #[case(Keep::AsAgreed, None, Some(Act::Flush))]
    #[case(Keep::UntilReturn, Some(Agreed::default()), None)]
    #[case(Keep::UntilReturn, None, Some(Act::Flush))]
    fn a_peer_that_returns(
        #[case] keep: Keep,
        #[case] agreed: Option<Agreed>,
        #[case] at_once: Option<Act>,
    ) {
        for wait in [1, 50] {
            let (mut retention, now) = (Retention::default(), Instant::now());
            retention.down(keep, true, AGREED, now);
            let back = now + Duration::from_secs(wait);
            retention.advance(back);
            assert_eq!(retention.up(keep, agreed, back), at_once);
            let waits = at_once.is_none();
            assert_eq!(retention.confirmed(), waits.then_some(Act::Sweep));
            assert_eq!(retention.deadline(), None);
        }
    }

    #[test]
    fn what_is_not_confirmed_goes_in_the_end() {
        for (agreed, wait) in [(AGREED, 360), (Agreed::default(), 60)] {
            let (mut retention, now) = (Retention::default(), Instant::now());
            retention.down(Keep::UntilReturn, false, agreed, now);
            assert_eq!(retention.up(Keep::UntilReturn, Some(agreed), now), None);
            assert_eq!(course(&mut retention, now), [(wait, Act::Sweep)]);
        }
    }

    #[test]
    fn coming_and_going_does_not_prolong_a_long_life() {
        let (mut retention, begin) = (Retention::default(), Instant::now());
        let mut now = begin;
        retention.down(Keep::AsAgreed, true, AGREED, now);
        now += Duration::from_secs(10);
        assert_eq!(retention.advance(now), Some(Act::Linger));
        for _ in 0..5 {
            now += Duration::from_secs(1);
            assert_eq!(retention.up(Keep::AsAgreed, Some(AGREED), now), None);
            assert_eq!(
                retention.down(Keep::AsAgreed, true, AGREED, now),
                Act::Restarting
            );
            now += Duration::from_secs(10);
            assert_eq!(retention.advance(now), Some(Act::Linger));
        }
        assert_eq!(course(&mut retention, begin), [(110, Act::Flush)]);
    }

    #[test]
    fn a_refresh_is_confirmed_or_ends() {
        let (mut retention, now) = (Retention::default(), Instant::now());
        assert_eq!(retention.refreshing(now), Act::Refreshing);
        assert_eq!(retention.confirmed(), Some(Act::Sweep));
        assert_eq!(retention.confirmed(), None);
        retention.refreshing(now);
        assert_eq!(course(&mut retention, now), [(360, Act::Sweep)]);
    }
}
