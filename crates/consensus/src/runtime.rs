//! What this crate takes from its runtime: tasks, sleeping, deadlines, chance.
//!
//! Everything here comes from the crate `runtime`, and everything in openraft through [`Runtime`]: tokio, or with the feature
//! `simulated` one thread with a clock and a chance of its own. The rules that make such runs repeatable are that crate's.

#[cfg(feature = "simulated")]
pub(crate) use ::runtime::simulated::Runtime;
pub(crate) use ::runtime::{random_between, sleep, spawn, timeout};

/// What runs.
#[cfg(not(feature = "simulated"))]
pub(crate) type Runtime = openraft_rt_tokio::TokioRuntime;
