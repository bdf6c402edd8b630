//! Many callers, one flush: a bounded batch that gathers while the one before it is on its way.
//!
//! A log entry costs about the same whether it carries one request or two thousand. So callers do
//! not write entries; they [join](GroupCommit::join) a queue. The caller that finds nobody driving
//! becomes the [`Driver`], and [seals](Driver::seal) what waits into [`Batch`]es, each holding one
//! place in [`Flight`] until it [lands](Flight::land).
//!
//! No timer decides when a batch is full. While a place in flight is free, a batch goes at once,
//! however small. While none is, items gather, and whoever lands a batch drives the next. So the
//! size of a batch follows the load by itself.
//!
//! ```no_run
//! use group_commit::{Driver, Flight, GroupCommit, Limits, Weight};
//!
//! // Replicates batch after batch. A real one would not wait for one before sealing the next.
//! fn drive(mut driver: Driver<&'static str>) {
//!     let mut flights = Vec::new();
//!     while let Some(batch) = driver.seal() {
//!         println!("one entry, one sync: {:?}", batch.items);
//!         flights.push(batch.flight);
//!     }
//!     flights.into_iter().filter_map(Flight::land).for_each(drive);
//! }
//!
//! let group = GroupCommit::new(Limits {
//!     waiting_max: Weight { items: 65_536, bytes: 64 << 20 },
//!     batch_max: Weight { items: 2_048, bytes: 1 << 20 },
//!     batches_in_flight_max: 4,
//! });
//! let joined = group.join("a frame of three", Weight { items: 3, bytes: 300 }).expect("it is empty");
//! joined.driver.into_iter().for_each(drive);
//! ```
//!
//! # Invariants
//!
//! - **G1** What joined is handed out exactly once: in a batch, by [`GroupCommit::cancel`], or by
//!   [`GroupCommit::close`]. What was refused never joined, and is given back with the refusal.
//! - **G2** First in, first out: within a batch, and from batch to batch. A heavy item at the head
//!   ends a batch; light ones behind it do not overtake.
//! - **G3** There are never two drivers.
//! - **G4** Bounds hold: what waits, what a batch carries, and how many batches are in flight. No
//!   batch is empty.
//! - **G5** No wake-up is lost: while something waits and a place in flight is free, somebody
//!   drives, unless a turn was lost (below).
//! - **G6** Each operation is one critical section, and nobody else's code runs inside it: a caller
//!   that panics or is cancelled leaves nothing half changed.
//!
//! # A lost turn
//!
//! A turn is lost when a [`Driver`] is dropped before [`Driver::seal`] returned `None`, or a
//! [`Flight`] is dropped without landing. Both happen to a task that panics or is cancelled. The
//! turn ends, the place in flight is free again, and every item still waiting keeps its place. Only
//! nobody may be driving now. Whichever comes first makes the next driver: a join that is not
//! refused, a landing, or [`GroupCommit::drive`].
//!
//! A full queue refuses joins, and with nothing in flight nothing lands. So whoever withdraws
//! overdue items should also call [`GroupCommit::drive`] each time: then a lost turn lasts no longer
//! than that timer's period, whatever the callers do.
//!
//! A drop makes no driver by itself, for it would have to run the owner's code in the middle of a
//! shutdown or of another panic.

mod queue;
mod turn;

pub use queue::{Limits, Refused, Ticket, Weight};
pub use turn::{Batch, Driver, Flight, GroupCommit, Joined};
