//! Nodes on simulated ground: what belongs to one node runs within a life of `runtime::simulated`. The disk is
//! [`crate::log::SimDisk`] under the log and [`crate::store::SimFiles`] under the checkpoints, the network is [`SimNetwork`].

pub use crate::transport::simulated::{Passage, SimNetwork, Weather};
