//! `paycore bench`: real load through the public door, and a verdict on what it left behind.
//!
//! A run is four things in a row: accounts are opened, requests are made for a while or a number of times
//! ([`load`] decides which, [`session`] and [`unary`] carry them), the clock stops when the last answer is in, and then
//! the ledger's own record is read back ([`statements`]) and compared with what callers were told. A number counts
//! only with the verdict beside it.
//!
//! - Request `n` is a function of the run's seed ([`intents`]): nothing has to be remembered to know what was asked.
//! - The loader is one thread on the `h2` crate ([`grpc`]): a ready-made client costs more than the gateway it measures.
//! - What it starts, it stops ([`cluster`]): nodes and gateway are children that do not outlive it.

mod accounts;
mod answers;
mod args;
mod chaos;
mod cluster;
mod codes;
mod command;
mod environment;
mod files;
mod gate;
mod grpc;
mod history;
mod intents;
mod keys;
mod lane;
mod load;
mod page;
mod pauses;
mod plan;
mod process;
mod record;
mod replays;
mod run;
mod session;
mod slo;
mod statements;
mod status;
mod summary;
mod tally;
mod template;
#[cfg(test)]
mod tests;
mod trial;
mod unary;
mod watch;

pub(crate) use args::Args;
pub(crate) use command::run;
pub(crate) use files::Files;
pub(crate) use intents::Intents;
pub(crate) use process::follow_parent;
pub(crate) use record::RunRecord;
