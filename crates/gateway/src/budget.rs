//! What waits, counted: a full gateway says so instead of growing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much may wait in one gateway.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: Counter,
    bytes: Counter,
}

#[derive(Debug)]
struct Counter {
    taken: AtomicUsize,
    max: usize,
}

impl Counter {
    const fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    fn take(&self, more: usize) -> bool {
        // Relaxed: the counter guards no other memory.
        let before = self.taken.fetch_add(more, Ordering::Relaxed);
        let fits = before.checked_add(more).is_some_and(|after| after <= self.max);
        if !fits {
            self.give(more);
        }
        fits
    }

    fn give(&self, less: usize) {
        self.taken.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Budget {
    pub(crate) fn new(requests: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self { requests: Counter::new(requests), bytes: Counter::new(bytes) })
    }

    /// Requests that wait.
    pub(crate) fn requests_taken(&self) -> usize {
        self.requests.taken.load(Ordering::Relaxed)
    }

    /// Bytes that they count for.
    pub(crate) fn bytes_taken(&self) -> usize {
        self.bytes.taken.load(Ordering::Relaxed)
    }
}

/// One call's share of the budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<Budget>,
    requests: usize,
    bytes: usize,
}

impl Permit {
    /// A share of nothing.
    pub(crate) const fn empty(budget: Arc<Budget>) -> Self {
        Self { budget, requests: 0, bytes: 0 }
    }

    /// Takes one more request of so many bytes; `false` when the gateway is full, and then nothing was taken.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        if !self.budget.requests.take(1) {
            return false;
        }
        if !self.budget.bytes.take(bytes) {
            self.budget.requests.give(1);
            return false;
        }
        self.requests = self.requests.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.requests.give(self.requests);
        self.budget.bytes.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::new(3, 100);
        let mut first = Permit::empty(Arc::clone(&budget));
        let mut second = Permit::empty(Arc::clone(&budget));
        assert!(first.grow(60) && !first.grow(60) && first.grow(40));
        assert!(!second.grow(1), "no bytes left");
        assert!(first.grow(0) && !second.grow(0), "no requests left");
        drop(first);
        assert!(second.grow(100));
        drop(second);
        assert_eq!(budget.requests.taken.load(Ordering::Relaxed), 0);
        assert_eq!(budget.bytes.taken.load(Ordering::Relaxed), 0);
    }
}
