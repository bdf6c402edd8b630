//! Attempts: how often, how soon, and until when.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use crate::error::Error;

/// The first pause and the longest. The gateway tries again by itself, so that what comes back has been tried.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Attempts after the first at the most.
const RETRIES_MAX: usize = 20;

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    deadline: Instant,
    pauses: ExponentialBackoff,
}

impl Attempts {
    pub(crate) fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        let pauses = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(PAUSE_FIRST)
            .with_max_delay(PAUSE_MAX)
            .with_max_times(RETRIES_MAX);
        Self { deadline: now.checked_add(timeout).unwrap_or(now), pauses: pauses.build() }
    }

    /// How much time is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits before the next attempt; `false` when there should be none, and then at once.
    pub(crate) async fn again(&mut self, after: &Error) -> bool {
        if !after.is_retryable() {
            return false;
        }
        let Some(pause) = self.pauses.next() else { return false };
        let pause = pause.max(after.retry_after().unwrap_or_default());
        if pause >= self.left() {
            return false;
        }
        sleep(pause).await;
        true
    }
}
