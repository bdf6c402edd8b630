//! What each command does: check everything, then change everything.

mod accounts;
mod cut;
mod deliver;
mod directory;
mod dispatch;
mod forget;
mod holds;
mod reverse;
mod transfer;

pub(crate) use dispatch::Dispatch;
