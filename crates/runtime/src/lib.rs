//! Tasks, time and chance, as everything takes them that has to run in a simulation too.
//!
//! Production has tokio's. With the feature `simulated` they are those of one thread with a clock and a chance of its own
//! (`simulated`), and the same seed gives the same run. Four rules keep it that way for whoever builds on this crate:
//! nothing else spawns, sleeps or draws; no other clock decides; a `select!` says in which order its branches are asked; and
//! what is iterated over has an order.
//!
//! - **Invariant:** in production a call here costs what tokio's own costs: there is nothing between.

mod late;
#[cfg(not(feature = "simulated"))]
mod real;
#[cfg(feature = "simulated")]
pub mod simulated;

pub use late::Late;
#[cfg(not(feature = "simulated"))]
pub use real::{
    Instant, JoinHandle, random_between, sleep, sleep_until, spawn, timeout, timeout_at,
};
#[cfg(feature = "simulated")]
pub use simulated::seam::{
    Instant, JoinHandle, random_between, sleep, sleep_until, spawn, timeout, timeout_at,
};
