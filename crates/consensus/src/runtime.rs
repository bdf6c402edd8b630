//! What this crate takes from its runtime: tasks, sleeping, deadlines, chance.
//!
//! Everything here and everything in openraft comes through [`Runtime`], which is tokio; with the feature `simulated` it is
//! a runtime of one thread with a clock and a chance of its own, and the same seed gives the same run. Three rules keep it
//! that way: nothing else spawns, sleeps or draws; a `select!` says in which order its branches are asked; and what is
//! iterated over has an order.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures::FutureExt;
use openraft::AsyncRuntime;
use rand::RngExt;

#[cfg(feature = "simulated")]
pub(crate) use crate::simulated::Runtime;

/// What runs.
#[cfg(not(feature = "simulated"))]
pub(crate) type Runtime = openraft_rt_tokio::TokioRuntime;

/// A point on the runtime's clock.
pub(crate) type Instant = <Runtime as AsyncRuntime>::Instant;

/// A task's end: what it gave, or that it panicked or was dropped.
pub(crate) type JoinHandle<T> = <Runtime as AsyncRuntime>::JoinHandle<T>;

/// It was not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late;

/// Begins a task. Dropping the handle lets it go on.
pub(crate) fn spawn<T>(task: T) -> JoinHandle<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    Runtime::spawn(task)
}

/// Waits.
pub(crate) fn sleep(for_: Duration) -> <Runtime as AsyncRuntime>::Sleep {
    Runtime::sleep(for_)
}

/// Gives something a deadline, counted from this call. What is done at the deadline counts as done.
pub(crate) fn timeout<F: Future + Send>(
    within: Duration,
    doing: F,
) -> impl Future<Output = Result<F::Output, Late>> + Send {
    Runtime::timeout(within, doing).map(|done| done.map_err(|_late| Late))
}

/// So long after now.
#[allow(
    clippy::arithmetic_side_effects,
    reason = "deadlines are seconds away, and clocks run for centuries"
)]
pub(crate) fn instant_in(duration: Duration) -> Instant {
    <Instant as openraft::Instant>::now() + duration
}

/// Whether a point on the clock is reached.
pub(crate) fn is_past(instant: Instant) -> bool {
    <Instant as openraft::Instant>::now() >= instant
}

/// Gives something a deadline that may have begun earlier. What is done at the deadline counts as done.
pub(crate) fn timeout_at<F: Future + Send>(
    deadline: Instant,
    doing: F,
) -> impl Future<Output = Result<F::Output, Late>> + Send {
    Runtime::timeout_at(deadline, doing).map(|done| done.map_err(|_late| Late))
}

/// A time between two, drawn at random.
pub(crate) fn random_between(range: RangeInclusive<Duration>) -> Duration {
    Runtime::thread_rng().random_range(range)
}
