//! A whole cluster in one thread, from one seed.
//!
//! Consensus, shards, relays and ledgers are the code that runs in production. The network, the disks and the clocks are
//! simulated (`consensus::simulated`), and the actors' part is played by a loop (`driver.rs`). A run has two phases: one of
//! faults, drawn from the seed, and one without, in which everything has to finish. Then the invariants are looked at,
//! each of them in a file of its own.
//!
//! ```text
//! client ─▶ driver (in place of an actor) ─▶ Office ─▶ Replica ─▶ openraft ─▶ log ─▶ SimDisk
//!    │             ▲                                      │
//!    ▼             └────────── letters ◀── SimNetwork ◀───┘        weather, nemesis: what goes wrong
//!  oracle: what was promised
//! ```
//!
//! - **Invariant:** the same seed gives the same trace, in any process: nothing here asks a clock, a map without order or
//!   another source of chance.
//! - **Invariant:** a fault counts only when it bit: a message lost, a lane broken, bytes gone.
#![cfg(feature = "run")]

mod accounts;
mod chance;
mod client;
mod cluster;
mod draw;
mod driver;
mod effects;
mod faults;
mod host;
mod invariants;
mod machine;
mod nemesis;
mod operator;
mod oracle;
mod reigns;
mod report;
mod run;
mod session;
mod trace;
mod weather;
mod work;

pub use draw::{BadLine, Draw};
pub use faults::Fault;
pub use report::{Report, Summary};
pub use run::run;
pub use work::Work;
