//! What each command does: check everything, then change everything.

mod accounts;
mod forget;
mod holds;
mod reverse;
mod transfer;
