//! A shard on its leader: account actors, proposer, waiters, relay, timer.
//!
//! A shard has two entrances, one door to money, and two exits. What lies between the entrance and the log is here.
//! Requests come in frames, one message a frame, and every record of a frame passes three places:
//!
//! 1. The *flights*: a request that is in flight already is joined, not proposed twice.
//! 2. Its account's *place in the queue* (`places.rs`): an account with too much in flight waits in an actor of its own,
//!    with a mailbox of its own, so that it cannot starve its shard.
//! 3. The *group commit*, which turns whatever waits into one log entry after another.
//!
//! Beside clients, other shards come in: a letter is a run of one channel's messages, and joins the group commit like a
//! frame's records. What this shard writes to others the *relay* (`relay.rs`) carries, one letter to each at a time.
//!
//! All of it is one plain value for each reign, the [`Desk`], which is told what happened and says what to do. The
//! [`Office`] opens desks, and is a plain value too; actix is only its shell (`actor.rs`). Nothing here holds truth (A3): a reign ends, the desk is dropped, and no money has moved. Whoever waited
//! then hears that the outcome is unknown, or that nothing was proposed; never nothing.

mod account;
mod actor;
mod desk;
mod flights;
mod frames;
mod letter;
mod mail;
pub mod meter;
#[cfg(test)]
#[path = "../../ledger/tests/mutants/mod.rs"]
mod mutants;
mod office;
mod operations;
mod outgoing;
mod pending;
mod places;
mod proposer;
mod reads;
mod registrar;
mod relay;
mod run;
mod service;
mod tally;
mod trace;

pub use actor::{Addresses, Drain, Shard, Surroundings};
pub use desk::{Desk, Effect, FrameIn, SessionId};
pub use letter::Letter;
pub use mail::{Carrier, mailbox, nobody_leads};
pub use meter::{Depth, Meter};
pub use office::{Deed, Done, Office, Ways};
pub use operations::{Process, cluster_server};
pub use outgoing::Books;
pub use places::Order;
pub use proposer::Entry;
pub use reads::answer as answer_read;
pub use registrar::Registrar;
pub use run::{LetterNo, Run};
pub use service::{ShardDoors, Shards, shard_server};
pub use tally::Tally;
