//! One after the other: whoever reads everything waits for his turn, because a shard keeps one whole cut.

use std::sync::Arc;

use runtime::{Instant, timeout_at};
use tokio::sync::{Semaphore, oneshot};

/// The turns of a gateway's callers, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

/// A caller's turn: over when it is dropped, and with its deadline at the latest.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "its end is what counts")] oneshot::Sender<()>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// Waits for a turn; `None` when it does not come before the deadline. Whoever has one and stops taking what he reads
    /// is not asked: his turn ends with his deadline, and keeps nobody else waiting for ever.
    pub(crate) async fn take(&self, deadline: Instant) -> Option<Turn> {
        let permit = timeout_at(deadline, Arc::clone(&self.0).acquire_owned()).await.ok()?.ok()?;
        let (turn, over) = oneshot::channel();
        tokio::spawn(async move {
            // Over or too late, the next one is let in.
            drop(timeout_at(deadline, over).await);
            drop(permit);
        });
        Some(Turn(turn))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other_and_nobody_for_ever() {
        let turns = Turns::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let first = turns.take(at(60)).await.unwrap();
        assert!(turns.take(at(5)).await.is_none(), "it is not his turn");
        assert_eq!(Instant::now(), at(5));
        drop(first);
        let second = turns.take(at(20)).await.unwrap();
        assert_eq!(Instant::now(), at(5), "the first one is over");
        // The second one keeps his and does nothing.
        assert!(turns.take(at(60)).await.is_some());
        assert_eq!(Instant::now(), at(20));
        drop(second);
    }
}
