//! What this crate takes from its runtime: tasks, sleeping, deadlines, chance.
//!
//! Everything here comes from the crate `runtime`, and everything in openraft through [`Runtime`]: tokio, or with the feature
//! `simulated` one thread with a clock and a chance of its own. The rules that make such runs repeatable are that crate's.

use std::time::Duration;

#[cfg(feature = "simulated")]
pub(crate) use ::runtime::simulated::Runtime;
pub(crate) use ::runtime::{Instant, random_between, sleep, spawn, timeout, timeout_at};

/// What runs.
#[cfg(not(feature = "simulated"))]
pub(crate) type Runtime = openraft_rt_tokio::TokioRuntime;

/// So long after now.
#[allow(
    clippy::arithmetic_side_effects,
    reason = "deadlines are seconds away, and clocks run for centuries"
)]
pub(crate) fn instant_in(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now)
}

/// Whether a point on the clock is reached.
pub(crate) fn is_past(instant: Instant) -> bool {
    Instant::now() >= instant
}
