//! The processes of a cluster: a node, a gateway, and what both do the same way.

mod admin;
pub(crate) mod gateway;
mod life;
mod logging;
pub(crate) mod node;
mod signals;

pub(crate) use admin::{Ports, Supervisor};
pub(crate) use logging::begin as begin_logging;
pub(crate) use signals::asked_to_stop;
