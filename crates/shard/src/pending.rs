//! Who waits for another shard: requests that are in the ledger, and whose outcome is not final yet.
//!
//! Two entries' answers may reach the desk in another order than the log's, so a final outcome may be heard before the
//! news that its request waits for it; it is kept for that moment.

use hashbrown::HashMap;
use ledger::{Outcome, ScopedKey};

use crate::frames::{FrameNo, Waiter};

/// The requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Who waits, each with whether it is a repetition for him.
    waiting: HashMap<ScopedKey, Vec<(Waiter, bool)>>,
    early: HashMap<ScopedKey, Outcome>,
}

impl Pending {
    /// Begins to wait, unless the outcome was heard already.
    pub(crate) fn wait(
        &mut self,
        key: ScopedKey,
        waiters: impl Iterator<Item = (Waiter, bool)>,
    ) -> Option<Outcome> {
        self.waiting.entry(key).or_default().extend(waiters);
        self.early.remove(&key)
    }

    /// Who has waited for an outcome, each with whether it is a repetition for him. With nobody, it is kept if a request
    /// `flies` under the key, which will hear that it waits.
    pub(crate) fn became_final(
        &mut self,
        key: &ScopedKey,
        outcome: Outcome,
        flies: bool,
    ) -> Vec<(Waiter, bool)> {
        let Some(waiters) = self.waiting.remove(key) else {
            if flies {
                self.early.insert(*key, outcome);
            }
            return Vec::new();
        };
        waiters
    }

    /// The request under a key was answered without waiting.
    pub(crate) fn needs_not(&mut self, key: &ScopedKey) {
        self.early.remove(key);
    }

    /// Forgets those whose frame waits no more: they have been told that the outcome is unknown.
    pub(crate) fn forget_gone(&mut self, is_waiting: impl Fn(FrameNo) -> bool) {
        self.waiting.retain(|_, waiters| {
            waiters.retain(|(waiter, _)| is_waiting(waiter.frame));
            !waiters.is_empty()
        });
    }
}
