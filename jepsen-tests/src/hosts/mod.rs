//! Where the processes run: each in a network namespace of its own, when that is allowed, or all on this machine's
//! loopback; and on what disks.

pub(crate) mod cluster;
pub(crate) mod disks;
pub(crate) mod net;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod shell;
pub(crate) mod wires;

use std::fmt;

/// A process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// A node, by its id.
    Node(u64),
    /// A gateway, counted from 1.
    Gateway(u64),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "n{id}"),
            Self::Gateway(number) => write!(f, "g{number}"),
        }
    }
}
