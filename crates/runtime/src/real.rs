//! Tokio's tasks and time, and the thread's chance.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::Duration;

pub use tokio::task::JoinHandle;
pub use tokio::time::{Instant, sleep, sleep_until};

use crate::Late;

/// Begins a task. Dropping the handle lets it go on.
///
/// # Panics
/// Outside a runtime.
pub fn spawn<T>(task: T) -> JoinHandle<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    tokio::spawn(task)
}

/// Gives something a deadline, counted from this call. What is done at the deadline counts as done.
///
/// # Errors
/// [`Late`], when it was not done in time; then it is dropped.
pub fn timeout<F: Future>(
    within: Duration,
    doing: F,
) -> impl Future<Output = Result<F::Output, Late>> {
    let doing = tokio::time::timeout(within, doing);
    async { doing.await.map_err(|_late| Late) }
}

/// Gives something a deadline. What is done at the deadline counts as done.
///
/// # Errors
/// [`Late`], when it was not done in time; then it is dropped.
pub async fn timeout_at<F: Future>(deadline: Instant, doing: F) -> Result<F::Output, Late> {
    tokio::time::timeout_at(deadline, doing).await.map_err(|_late| Late)
}

/// A time between two, drawn at random.
pub fn random_between(range: RangeInclusive<Duration>) -> Duration {
    rand::random_range(range)
}
