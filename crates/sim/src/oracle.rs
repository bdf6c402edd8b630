//! What clients were promised: every request, and the one outcome that anybody heard of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::{Outcome, Request, ScopedKey};

/// A request, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) request: Request,
    /// Its outcome, once somebody was told.
    pub(crate) outcome: Option<Outcome>,
}

/// The clients' memory of a run. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Oracle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    promises: BTreeMap<ScopedKey, Promise>,
    broken: Vec<String>,
    replayed: u64,
}

impl Oracle {
    /// A client will ask for this.
    pub(crate) fn asks(&self, request: &Request) {
        let promise = Promise { request: request.clone(), outcome: None };
        self.lock().promises.entry(request.scoped_key()).or_insert(promise);
    }

    /// An attempt brought an outcome.
    pub(crate) fn heard(&self, key: &ScopedKey, outcome: Outcome, replayed: bool) {
        let mut state = self.lock();
        state.replayed = state.replayed.saturating_add(u64::from(replayed));
        let Some(promise) = state.promises.get_mut(key) else { return };
        let first = *promise.outcome.get_or_insert(outcome);
        if first != outcome {
            state.broken.push(format!("A4: {key:?} was {first:?}, and then {outcome:?}"));
        }
    }

    /// Something that must never happen did.
    pub(crate) fn accuses(&self, what: String) {
        self.lock().broken.push(what);
    }

    /// What must never have happened, and did.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.lock().broken.clone()
    }

    /// All requests.
    pub(crate) fn promises(&self) -> Vec<Promise> {
        self.lock().promises.values().cloned().collect()
    }

    /// Requests that have an outcome, and answers that repeated one.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        let acknowledged = state.promises.values().filter(|promise| promise.outcome.is_some());
        (u64::try_from(acknowledged.count()).unwrap_or(u64::MAX), state.replayed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
