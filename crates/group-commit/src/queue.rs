//! What waits, what is in flight, and whether somebody drives: a plain value, no lock and no thread.
//!
//! Every function here is one whole step. `turn.rs` runs each under one lock, so two steps never
//! mix, and what remains to be checked about threads is small.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much something weighs: one thing that joins may be a frame of many requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Requests. What joins counts as one at least, so this also bounds how many things wait.
    pub items: usize,
    /// Encoded bytes.
    pub bytes: usize,
}

impl Weight {
    fn fits(self, max: Self) -> bool {
        self.items <= max.items && self.bytes <= max.bytes
    }

    fn plus(self, other: Self) -> Option<Self> {
        let items = self.items.checked_add(other.items)?;
        let bytes = self.bytes.checked_add(other.bytes)?;
        Some(Self { items, bytes })
    }

    fn minus(self, other: Self) -> Self {
        let items = self.items.checked_sub(other.items);
        let bytes = self.bytes.checked_sub(other.bytes);
        items
            .zip(bytes)
            .map(|(items, bytes)| Self { items, bytes })
            .expect("G4: what leaves the queue was weighed when it joined")
    }
}

/// The bounds of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What may wait. Past this, joins are refused as [`Refused::Full`].
    pub waiting_max: Weight,
    /// What one batch may carry. One item above this is [`Refused::TooLarge`].
    pub batch_max: Weight,
    /// Batches on their way at the same time. Past this, items gather.
    pub batches_in_flight_max: usize,
}

/// Why an item did not join. It is given back, and no batch will ever hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// The queue is full. Try again later.
    Full(T),
    /// The queue was closed, for good. Look for its successor.
    Closed(T),
    /// It would not fit a batch of its own. Never send it again as it is.
    TooLarge(T),
}

impl<T> Refused<T> {
    /// The item that was refused.
    pub fn into_item(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) | Self::TooLarge(item) => item,
        }
    }
}

/// Names an item that joined. Tickets of one queue are ordered as their items joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// A ticket kept past its queue must not withdraw a stranger's item from the next one.
    queue: u64,
    number: u64,
}

/// Tells queues apart, within this process. It guards no data, so loom need not see it.
static QUEUES: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Waiting<T> {
    ticket: Ticket,
    weight: Weight,
    item: T,
}

#[derive(Debug)]
pub(crate) struct Queue<T> {
    limits: Limits,
    /// The ticket of whoever joins next.
    next: Ticket,
    /// In the order of joining, hence of tickets.
    waiting: VecDeque<Waiting<T>>,
    /// Of all that waits together.
    weight: Weight,
    in_flight: usize,
    is_driven: bool,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        let Limits { waiting_max, batch_max, batches_in_flight_max } = limits;
        assert!(batches_in_flight_max > 0, "no batch could ever go");
        assert!(batch_max.items > 0, "no item could ever join");
        assert!(batch_max.fits(waiting_max), "an item might fit a batch, but never the queue");
        Self {
            limits,
            next: Ticket { queue: QUEUES.fetch_add(1, Ordering::Relaxed), number: 0 },
            waiting: VecDeque::new(),
            weight: Weight::default(),
            in_flight: 0,
            is_driven: false,
            is_closed: false,
        }
    }

    /// Adds an item at the end; `true` begins a turn, and the caller is the driver.
    pub(crate) fn join(&mut self, item: T, weight: Weight) -> Result<(Ticket, bool), Refused<T>> {
        let weight = Weight { items: weight.items.max(1), ..weight };
        if !weight.fits(self.limits.batch_max) {
            return Err(Refused::TooLarge(item));
        }
        if self.is_closed {
            return Err(Refused::Closed(item));
        }
        let sum = self.weight.plus(weight).filter(|sum| sum.fits(self.limits.waiting_max));
        let Some(sum) = sum else {
            return Err(Refused::Full(item));
        };

        let ticket = self.issue_ticket();
        self.waiting.push_back(Waiting { ticket, weight, item });
        self.weight = sum;
        self.check();
        Ok((ticket, self.begin_turn()))
    }

    /// Begins a turn if there is something to drive, room for it, and nobody drives.
    pub(crate) fn begin_turn(&mut self) -> bool {
        let begins = !self.is_driven && !self.waiting.is_empty() && self.has_place();
        self.is_driven |= begins;
        begins
    }

    /// Ends the turn, whatever waits. Asserts nothing, since it runs in drops, maybe while unwinding.
    pub(crate) fn end_turn(&mut self) {
        self.is_driven = false;
    }

    /// Takes the longest head of the queue that fits a batch, or ends the turn if nothing can go.
    pub(crate) fn seal(&mut self) -> Option<Vec<T>> {
        assert!(self.is_driven, "G3: only the driver seals");
        if self.waiting.is_empty() || !self.has_place() {
            self.end_turn();
            return None;
        }

        let (weight, len) = self.next_batch();
        let items: Vec<T> = self.waiting.drain(..len).map(|waiting| waiting.item).collect();
        self.weight = self.weight.minus(weight);
        self.in_flight = self.in_flight.checked_add(1).expect("G4: a place was free");
        self.check();
        Some(items)
    }

    /// Frees a place in flight.
    pub(crate) fn free_place(&mut self) {
        self.in_flight = self.in_flight.checked_sub(1).expect("G4: a flight frees its place once");
    }

    /// Takes one item out of the middle, if it still waits.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        let at = self.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        let Waiting { weight, item, .. } = self.waiting.remove(at)?;
        self.weight = self.weight.minus(weight);
        self.check();
        Some(item)
    }

    /// Lets nobody in any more, and empties the queue.
    pub(crate) fn close(&mut self) -> Vec<T> {
        self.is_closed = true;
        self.weight = Weight::default();
        std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.item).collect()
    }

    pub(crate) fn waiting(&self) -> Weight {
        self.weight
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn has_place(&self) -> bool {
        self.in_flight < self.limits.batches_in_flight_max
    }

    fn issue_ticket(&mut self) -> Ticket {
        let ticket = self.next;
        let number = ticket.number.checked_add(1);
        self.next.number = number.expect("2^64 items take centuries to join");
        ticket
    }

    /// How much goes in the next batch, and how many of those that wait. Never none of them.
    fn next_batch(&self) -> (Weight, usize) {
        let sums = self.waiting.iter().scan(Weight::default(), |sum, waiting| {
            *sum = sum.plus(waiting.weight)?;
            sum.fits(self.limits.batch_max).then_some(*sum)
        });
        sums.zip(1..).last().expect("G4: something waits, and what joined fits a batch of its own")
    }

    fn check(&self) {
        assert!(self.weight.fits(self.limits.waiting_max), "G4: too much waits");
        assert!(self.in_flight <= self.limits.batches_in_flight_max, "G4: too many in flight");
        assert_eq!(self.waiting.is_empty(), self.weight.items == 0, "G1: the queue is misweighed");
    }
}
