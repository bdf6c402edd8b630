//! A whole cluster in one thread, from one seed.
//!
//! Gateways, consensus, shards, relays and ledgers are the code that runs in production. The network, the disks and the
//! clocks are simulated (`runtime` and `consensus::simulated`), and the actors' part is played by a loop (`driver.rs`). A seed
//! draws how large the cluster is, what is done in it and what goes wrong (`draw.rs`). A run has two phases: one of faults,
//! and one without, in which everything has to finish. Then the invariants are looked at, each of them in a file of its own.
//!
//! Between clients and nodes is what production has there: a gateway's router, budget and links (`gateway::simulated`), each
//! gateway in a life of its own (`gateways.rs`), its streams over a network that keeps their order, loses and breaks
//! (`wires.rs`). Some clients go to the nodes themselves, so that both ways meet on the same keys.
//!
//! ```text
//! client ─▶ session ─▶ gateway ─▶ wire ─▶ driver (in place of an actor) ─▶ Office ─▶ Replica ─▶ openraft ─▶ log ─▶ SimDisk
//!    │         └──────── frames ─────────▶  ▲                               │                          checkpoints ─▶ SimFiles
//!    │                                      └────────── letters ◀── SimNetwork ◀───┘
//!    ▼
//! oracle: what was promised ─▶ effects: what that comes to ─▶ invariants     nemesis: what goes wrong
//!                                                                            operator: who replaces what is dead
//! ```
//!
//! - **Invariant:** the same seed gives the same trace, in any process: nothing here asks a clock, a map without order or
//!   another source of chance.
//! - **Invariant:** a failure that says "certainly not done" is a promise: what was given up on its word never shows.
//! - **Invariant:** a fault counts only when it bit: a message lost, a lane broken, bytes gone, a node that stopped.
//! - **Invariant:** no harm is done that the cluster does not promise to bear; `nemesis/mod.rs` says what that is.
#![cfg(feature = "run")]

mod accounts;
mod chance;
mod client;
mod cluster;
mod draw;
mod driver;
mod effects;
mod faults;
mod gateways;
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
mod wires;
mod work;

pub use draw::{BadLine, Draw};
pub use faults::Fault;
pub use report::{Report, Summary};
pub use run::run;
pub use work::Work;
