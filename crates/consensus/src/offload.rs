//! Where work goes that waits for a disk: off the runtime's only thread.

/// How blocking work is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// On the runtime's blocking threads.
    #[default]
    Threads,
    /// At once, on the caller's thread: for simulations, whose disks are memory.
    Inline,
}

impl Offload {
    /// Runs blocking work, and waits for it without blocking. The work goes on when the waiting is given up.
    ///
    /// # Panics
    /// When the work panics.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match self {
            Self::Inline => work(),
            Self::Threads => match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Only a runtime that is going down takes no more work; so is whoever waits here.
                    Err(_cancelled) => std::future::pending().await,
                },
            },
        }
    }
}
