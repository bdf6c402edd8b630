//! `paycore import`: a file of payments, paid exactly once, however often it is imported.
//!
//! The idea: **a row's key is a function of the row.** It is the hash of the file's digest, the row's line and the
//! period; so whoever runs the command again, after a crash or for no reason, sends the same keys, and the ledger
//! answers what it answered before. The importer keeps no journal of its own that could disagree with the ledger's.
//!
//! The way of a file:
//!
//! 1. [`map`] says what its columns mean, [`template`] how account ids are made of them.
//! 2. [`plan`] reads it once: digest, bad rows, and what each payer needs. With `--on-error stop`, a bad row ends it
//!    here, before anything was sent.
//! 3. [`run`] opens the accounts, then reads the file again, once for each period ([`payments`]), and keeps a bounded
//!    number of batches in flight ([`settle`]), each of which is sent again, under the same [`keys`], until every
//!    outcome is known.
//! 4. [`tally`] adds up, [`report`] keeps what went wrong, [`progress`] tells how it goes.
//!
//! Invariants:
//! - Nothing is in memory for each row: only for each account, and for what is in flight.
//! - A row that cannot be read is never guessed at, and costs no other row its payment.
//! - What had an unknown outcome once is unknown until the ledger says what became of it.

mod error;
mod keys;
mod map;
mod payments;
mod plan;
mod progress;
mod report;
mod row;
mod run;
mod session;
mod settle;
mod sink;
mod source;
mod tally;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use map::PERIODS_MAX;
pub(crate) use run::{Job, OnError};
pub(crate) use session::SessionSink;
