//! What the crate gives in a simulation, under the names that it has in production.

use std::future::{Future, poll_fn};
use std::ops::{Add, RangeInclusive};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use rand::RngExt;

use super::{Runtime, elapsed};
use crate::Late;

/// A task's end: what it gave, or that it panicked or was dropped.
pub type JoinHandle<T> = <Runtime as AsyncRuntime>::JoinHandle<T>;

/// A point of simulated time: how long after the run's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// Now.
    ///
    /// # Panics
    /// Outside a run.
    #[must_use]
    pub fn now() -> Self {
        Self(elapsed())
    }

    /// So much later; `None` when no clock ever shows that.
    #[must_use]
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    /// How long after another; nothing when it is before that.
    #[must_use]
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// How long after another; nothing when it is before that.
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// How long ago.
    ///
    /// # Panics
    /// Outside a run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// # Panics
    /// When no clock ever shows that.
    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).expect("a time that a clock can show")
    }
}

/// Begins a task within the life that is running now. Dropping the handle lets it go on.
///
/// # Panics
/// Outside a run.
pub fn spawn<T>(task: T) -> JoinHandle<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    Runtime::spawn(task)
}

/// Waits.
///
/// # Panics
/// Outside a run.
pub fn sleep(for_: Duration) -> <Runtime as AsyncRuntime>::Sleep {
    Runtime::sleep(for_)
}

/// Waits until then.
///
/// # Panics
/// Outside a run.
pub fn sleep_until(then: Instant) -> <Runtime as AsyncRuntime>::Sleep {
    Runtime::sleep(then.saturating_duration_since(Instant::now()))
}

/// Gives something a deadline, counted from this call. What is done at the deadline counts as done.
///
/// # Errors
/// [`Late`], when it was not done in time; then it is dropped.
pub fn timeout<F: Future + Send>(
    within: Duration,
    doing: F,
) -> impl Future<Output = Result<F::Output, Late>> + Send {
    let doing = Runtime::timeout(within, doing);
    async { doing.await.map_err(|_late| Late) }
}

/// Gives something a deadline. What is done at the deadline counts as done.
///
/// # Errors
/// [`Late`], when it was not done in time; then it is dropped.
pub async fn timeout_at<F: Future>(deadline: Instant, doing: F) -> Result<F::Output, Late> {
    let (mut doing, mut late) = (pin!(doing), pin!(sleep_until(deadline)));
    poll_fn(|context| match doing.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => late.as_mut().poll(context).map(|()| Err(Late)),
    })
    .await
}

/// A time between two, drawn from the run's seed.
///
/// # Panics
/// Outside a run.
pub fn random_between(range: RangeInclusive<Duration>) -> Duration {
    Runtime::thread_rng().random_range(range)
}
