//! What each command does: check everything, then change everything.

mod accounts;
mod cut;
mod deliver;
mod directory;
mod dispatch;
#[cfg(next_level)]
mod extend;
mod forget;
mod holds;
mod reverse;
mod transfer;

pub(crate) use dispatch::Dispatch;
#[cfg(next_level)]
pub use extend::{HOLD_MS_AT_ONCE_MAX, LEVEL_EXTEND};
