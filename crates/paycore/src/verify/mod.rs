//! `paycore verify`: re-checks what a run kept, without a cluster.
//!
//! A run keeps two kinds of facts: what its callers were *told* ([`facts::Ending`]), and what the ledger's own record
//! *says* ([`facts::Line`], balances). The checkers are plain values that compare the two; `bench` feeds them while it
//! reads the ledger, `verify` feeds them from files, and both get the same [`Verdict`].
//!
//! - [`once`]: each acknowledged request is found exactly once, as it was asked; no refused one is found.
//! - [`balances`]: every balance is what the record makes of it, none is negative, and their sum is what there was.
//! - [`chain`]: every line of a statement continues the one before.
//! - [`history`]: the same for a `history.jsonl`, and what reads in between saw.

mod balances;
mod chain;
mod command;
mod facts;
mod history;
mod kept;
mod once;
mod read;
mod transfer_index;
mod verdict;

pub(crate) use balances::Balances;
pub(crate) use chain::Chain;
#[cfg(test)]
pub(crate) use command::check;
pub(crate) use command::{Args, conclude, report_shared, run};
pub(crate) use facts::{Ending, Line, Requests, TransferNumber, Wanted};
pub(crate) use history::{Call, Event, JournalLine};
pub(crate) use kept::{Kept, StatementWriter};
pub(crate) use once::Once;
pub(crate) use transfer_index::TransferIndex;
pub(crate) use verdict::{Check, Verdict};
