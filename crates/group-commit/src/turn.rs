//! Whose turn it is: the lock, and the tokens that pass the turn from caller to caller.

use std::fmt;
// Loom need not count handles: all that callers share lies under the lock.
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};

use crate::queue::{Limits, Queue, Refused, Ticket, Weight};

#[cfg(all(test, not(loom)))]
mod tests;

/// A queue that turns many callers into few batches. Clones are handles to the same queue.
///
/// Dropping the last handle, driver and flight drops what waits; [`Self::close`] gives it back.
pub struct GroupCommit<T> {
    queue: Arc<Mutex<Queue<T>>>,
}

impl<T> GroupCommit<T> {
    /// An empty queue.
    ///
    /// # Panics
    /// When no batch could ever go: a limit of zero, or a batch larger than the queue.
    pub fn new(limits: Limits) -> Self {
        Self { queue: Arc::new(Mutex::new(Queue::new(limits))) }
    }

    /// Adds an item to the next batch, and makes the caller the driver if nobody drives and a place
    /// in flight is free.
    ///
    /// # Errors
    /// With the item, when it did not join.
    pub fn join(&self, item: T, weight: Weight) -> Result<Joined<T>, Refused<T>> {
        let (ticket, drives) = self.lock().join(item, weight)?;
        Ok(Joined { ticket, driver: drives.then(|| Driver::new(self)) })
    }

    /// Makes the caller the driver if something waits, a place in flight is free, and nobody drives.
    ///
    /// Only a lost turn leaves things so; see the crate's documentation for who should call this.
    #[must_use = "a driver that is dropped drives nothing"]
    pub fn drive(&self) -> Option<Driver<T>> {
        let drives = self.lock().begin_turn();
        drives.then(|| Driver::new(self))
    }

    /// Withdraws an item that still waits: no batch held it, nor will.
    ///
    /// `None` means that it was handed out before, so for all this queue knows it may be proposed.
    #[must_use = "the item is handed out here, and nowhere else"]
    pub fn cancel(&self, ticket: Ticket) -> Option<T> {
        self.lock().cancel(ticket)
    }

    /// Refuses every later join, and hands out what still waits. Batches in flight stay there, but
    /// once this has returned, no further batch is sealed.
    #[must_use = "the items are handed out here, and nowhere else"]
    pub fn close(&self) -> Vec<T> {
        self.lock().close()
    }

    /// How much waits for a batch.
    pub fn waiting(&self) -> Weight {
        self.lock().waiting()
    }

    /// How many batches are on their way.
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight()
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().expect("G6: only a broken invariant panics in here, and ends the queue")
    }

    /// Runs the step that a drop owes. A poisoned queue is left alone: its broken invariant has been
    /// reported, and a second panic during that unwinding would hide it.
    fn on_drop(&self, step: impl FnOnce(&mut Queue<T>)) {
        if let Ok(mut queue) = self.queue.lock() {
            step(&mut queue);
        }
    }
}

impl<T> Clone for GroupCommit<T> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue) }
    }
}

impl<T> fmt::Debug for GroupCommit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit").finish_non_exhaustive()
    }
}

/// What a join brought.
#[derive(Debug)]
#[must_use = "it may hold the driver, and items wait until somebody drives"]
pub struct Joined<T> {
    /// Names the item, should it be withdrawn.
    pub ticket: Ticket,
    /// Nobody else drives: the caller must, or hand this on to a task that does.
    pub driver: Option<Driver<T>>,
}

/// The right to seal batches, of which there is one at most.
///
/// Call [`Self::seal`] until it returns `None`, and do not wait for a batch's landing in between:
/// nobody else can seal meanwhile. A driver dropped earlier ends its turn; what waits, waits for
/// the next driver.
#[derive(Debug)]
#[must_use = "a driver that is dropped drives nothing"]
pub struct Driver<T> {
    group: GroupCommit<T>,
    has_turn: bool,
}

impl<T> Driver<T> {
    fn new(group: &GroupCommit<T>) -> Self {
        Self { group: group.clone(), has_turn: true }
    }

    /// Takes the next batch, oldest items first. `None` ends the turn: nothing waits, or all places
    /// in flight are taken, and a later join or landing makes the next driver. After that, `None`
    /// for ever.
    pub fn seal(&mut self) -> Option<Batch<T>> {
        if !self.has_turn {
            return None;
        }
        let sealed = self.group.lock().seal();
        self.has_turn = sealed.is_some();
        Some(Batch { items: sealed?, flight: Flight { group: self.group.clone(), is_aloft: true } })
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        if self.has_turn {
            self.group.on_drop(Queue::end_turn);
        }
    }
}

/// Items that go together, and their place in flight.
#[derive(Debug)]
#[must_use = "these items are handed out here, and nowhere else"]
pub struct Batch<T> {
    /// In the order of joining; never none.
    pub items: Vec<T>,
    /// To be landed when the batch's fate is known, good or bad.
    pub flight: Flight<T>,
}

/// One place in flight, taken until this lands or is dropped.
#[derive(Debug)]
#[must_use = "a flight that is dropped frees its place, but wakes nobody"]
pub struct Flight<T> {
    group: GroupCommit<T>,
    is_aloft: bool,
}

impl<T> Flight<T> {
    /// Frees the place, and makes the caller the driver if something waits and nobody drives.
    #[must_use = "a driver that is dropped drives nothing"]
    pub fn land(mut self) -> Option<Driver<T>> {
        self.is_aloft = false;
        let drives = {
            let mut queue = self.group.lock();
            queue.free_place();
            queue.begin_turn()
        };
        drives.then(|| Driver::new(&self.group))
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        if self.is_aloft {
            self.group.on_drop(Queue::free_place);
        }
    }
}
