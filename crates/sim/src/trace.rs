//! What happened, in order: a hash of everything, and the lines themselves when somebody wants to read them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::simulated;
use xxhash_rust::xxh3::Xxh3;

/// A run's trace. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<State>>);

struct State {
    hash: Xxh3,
    events: u64,
    prints: bool,
}

impl Trace {
    /// An empty one; `prints` its lines as they come.
    pub(crate) fn new(prints: bool) -> Self {
        Self(Arc::new(Mutex::new(State { hash: Xxh3::new(), events: 0, prints })))
    }

    /// Something happened now.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let line = format!("{:>10.6} {what}\n", simulated::elapsed().as_secs_f64());
        let mut state = self.lock();
        state.hash.update(line.as_bytes());
        state.events = state.events.saturating_add(1);
        if state.prints {
            eprint!("{line}");
        }
    }

    /// A message set out: too many for lines.
    pub(crate) fn message(&self, from: u64, to: u64, copies: usize) {
        let now = simulated::elapsed().as_nanos().to_le_bytes();
        let mut state = self.lock();
        state.hash.update(&now);
        state.hash.update(&from.to_le_bytes());
        state.hash.update(&to.to_le_bytes());
        state.hash.update(&copies.to_le_bytes());
        state.events = state.events.saturating_add(1);
    }

    /// The hash of all events, and how many there were.
    pub(crate) fn sum(&self) -> (u128, u64) {
        let state = self.lock();
        (state.hash.digest128(), state.events)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
