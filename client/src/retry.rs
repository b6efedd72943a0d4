//! When a watch that failed is tried again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{Stream, TryStreamExt};
use kube_runtime::utils::{Backoff, StreamBackoff};
use kube_runtime::watcher::{Error, Event};

/// The first wait and the longest, before up to as much again is added by chance, so that the watches of
/// many nodes don't come back at once.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// The same events, with a wait after each error. Waits double until the API server has answered: an
/// attempt, which [`Event::Init`] tells of, is no answer, though for kube-runtime it ends the growth.
pub fn retried<K>(
    events: impl Stream<Item = Result<Event<K>, Error>>,
) -> impl Stream<Item = Result<Event<K>, Error>> {
    let waits = Waits::default();
    StreamBackoff::new(events, waits.clone()).inspect_ok(move |event| {
        if !matches!(event, Event::Init) {
            waits.begin_again();
        }
    })
}

#[derive(Clone)]
struct Waits(Arc<Mutex<ExponentialBackoff>>);

impl Default for Waits {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(growing())))
    }
}

fn growing() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .without_max_times()
        .with_jitter()
        .build()
}

impl Waits {
    fn begin_again(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = growing();
    }
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.next()
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream};
    use tokio::time::Instant;

    /// The waits after each of the errors among `events`, in seconds.
    async fn waits(events: Vec<Result<Event<()>, Error>>) -> Vec<f64> {
        // One more, because a wait comes before what follows the error.
        let events = stream::iter(events.into_iter().chain([Ok(Event::Init)]));
        let mut events = std::pin::pin!(retried(events));
        let (mut waits, mut failed) = (Vec::new(), None::<Instant>);
        while let Some(event) = events.next().await {
            waits.extend(failed.take().map(|at| at.elapsed().as_secs_f64()));
            failed = event.is_err().then(Instant::now);
        }
        waits
    }

    fn failures(count: usize) -> Vec<Result<Event<()>, Error>> {
        (0..count)
            .flat_map(|_| [Ok(Event::Init), Err(Error::NoResourceVersion)])
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_through_attempts_that_fail_until_an_answer() {
        let mut events = failures(7);
        events.push(Ok(Event::InitDone));
        events.extend(failures(1));
        let waits = waits(events).await;
        let least = [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 0.25];
        assert_eq!(waits.len(), least.len());
        for (wait, least) in waits.iter().zip(least) {
            // A timer's grain is a millisecond.
            assert!((least..=2.0 * least + 0.002).contains(wait), "{waits:?}");
        }
    }
}
