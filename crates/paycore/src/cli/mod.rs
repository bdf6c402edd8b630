//! The command line: what can be asked, and how it is dispatched.
//!
//! One file a family of commands. Each reads its flags, makes one call, and shows the answer; where a call moves
//! money, its idempotency key is made once, before the first attempt, and shown, so that whatever happens after can be
//! asked for again.

mod account;
mod alias;
mod audit;
mod balance;
mod certs;
mod cluster;
mod command;
mod config;
mod directory;
mod hold;
mod import;
mod invocation;
mod keys;
mod log;
mod lookup;
mod multi_transfer;
pub(crate) mod options;
mod read_all;
mod reverse;
mod statement;
mod tables;
mod teller;
mod tenants;
mod transfer;
mod views;

pub(crate) use command::main;
pub(crate) use invocation::{Invocation, block_on};
