//! A simulated runtime: one thread, a clock and a chance of its own, and lives that can end at any moment.
//!
//! [`run`] runs everything from one seed. What belongs to one process runs within a [`Life`]: whatever it spawns belongs to
//! the same life, and nothing of it runs any more once the life is over.
//!
//! **Invariant:** equal seeds and equal futures give equal runs, on any machine.

pub(crate) mod seam;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_sim::{SimInstant, SimRuntime};

/// Runs a future, and everything that it spawns, from a seed.
///
/// # Panics
/// When the future waits for something that will never happen.
pub fn run<T>(seed: u64, future: impl Future<Output = T>) -> T {
    SimRuntime::with_seed(seed).block_on(future)
}

/// Begins a task within the life that is running now, if any.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let _goes_on = seam::spawn(task);
}

/// Waits, by the simulated clock.
pub async fn sleep(duration: Duration) {
    seam::sleep(duration).await;
}

/// Gives something a deadline; `None` when it passed.
pub async fn timeout<F: Future + Send>(within: Duration, doing: F) -> Option<F::Output> {
    seam::timeout(within, doing).await.ok()
}

/// Since the run began.
///
/// # Panics
/// Outside a run.
#[must_use]
pub fn elapsed() -> Duration {
    <SimInstant as openraft_rt::Instant>::now().elapsed_since_start()
}

/// A process's life: clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Life(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_over: AtomicBool,
    has_panicked: AtomicBool,
    is_paused: AtomicBool,
    /// What wanted a turn meanwhile.
    paused: Mutex<Vec<Waker>>,
}

thread_local! {
    static CURRENT: RefCell<Life> = RefCell::default();
}

impl Life {
    /// Runs a future within this life. When the life is over, the future is dropped at its next turn and never ends.
    pub fn live<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        Lived { life: self.clone(), future: Some(Box::pin(future)) }
    }

    /// Begins a task within this life, whichever life is running now.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let _goes_on = SimRuntime::spawn(self.live(task));
    }

    /// Ends it: nothing of it takes another turn.
    pub fn end(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }

    /// Stops it in the middle of whatever it does, as a stopped process: time goes on without it.
    pub fn pause(&self) {
        self.0.is_paused.store(true, Ordering::Relaxed);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.0.is_paused.store(false, Ordering::Relaxed);
        let paused = std::mem::take(&mut *self.paused());
        paused.into_iter().for_each(Waker::wake);
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.is_paused.load(Ordering::Relaxed)
    }

    /// Whether something of it has panicked: a bug, whatever else comes of it.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.0.has_panicked.load(Ordering::Relaxed)
    }

    /// Whether a turn has to wait until the life goes on. Whoever asks is woken then.
    fn holds_back(&self, waker: &Waker) -> bool {
        let is_paused = self.0.is_paused.load(Ordering::Relaxed) && !self.is_over();
        if is_paused {
            self.paused().push(waker.clone());
        }
        is_paused
    }

    fn paused(&self) -> MutexGuard<'_, Vec<Waker>> {
        // Each use is a single call: a panic elsewhere leaves nothing half done.
        self.0.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }
}

/// A future within a life.
struct Lived<F> {
    life: Life,
    future: Option<Pin<Box<F>>>,
}

/// Which life ran before this turn.
struct Turn {
    before: Life,
    life: Life,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.life.0.has_panicked.store(true, Ordering::Relaxed);
        }
        CURRENT.replace(self.before.clone());
    }
}

impl<F: Future> Future for Lived<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let life = self.life.clone();
        if life.holds_back(context.waker()) {
            return Poll::Pending;
        }
        let turn = Turn { before: CURRENT.replace(life.clone()), life };
        if turn.life.is_over() {
            self.future = None;
        }
        match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

/// The runtime of processes whose life can end.
#[derive(Debug)]
pub struct Runtime;

impl AsyncRuntime for Runtime {
    type JoinError = <SimRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <SimRuntime as AsyncRuntime>::Sleep;
    type Instant = SimInstant;
    type TimeoutError = <SimRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <SimRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <SimRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <SimRuntime as AsyncRuntime>::Mpsc;
    type Watch = <SimRuntime as AsyncRuntime>::Watch;
    type Oneshot = <SimRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let life = CURRENT.with_borrow(Clone::clone);
        SimRuntime::spawn(Lived { life, future: Some(Box::pin(future)) })
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        SimRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        SimRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        SimRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        SimRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        SimRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SimRuntime::thread_rng()
    }

    fn new(_threads: usize) -> Self {
        Self
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        SimRuntime::with_seed(0).block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        std::future::ready(Ok(work()))
    }
}
