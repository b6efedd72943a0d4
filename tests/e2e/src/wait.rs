//! Waiting for a condition, with a limit and with the last thing seen in the error.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` every 50 ms until it returns a value. `Err` says what is there
/// instead; the last of these is part of the timeout's text.
pub async fn until<T, E: Display>(
    what: impl Display,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> std::result::Result<T, E>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = String::from("nothing yet");
    loop {
        match tokio::time::timeout_at(deadline.into(), probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = seen.to_string(),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout {
                what: what.to_string(),
                seconds: limit.as_secs(),
                last,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_value_and_names_what_was_missing() {
        let mut left = 3;
        let value = until("three tries", Duration::from_secs(60), async || {
            left -= 1;
            if left == 0 {
                Ok(7)
            } else {
                Err(format!("{left} left"))
            }
        });
        assert_eq!(value.await.expect("comes"), 7);

        let never = until("a miracle", Duration::ZERO, async || Err::<(), _>("none")).await;
        let text = never.expect_err("never comes").to_string();
        assert_eq!(text, "waited 0 s for a miracle; last seen: none");
    }
}
