//! Backups: the whole state of one group on its way into a folder, checked there, and made the beginning of another cluster.
//!
//! ```text
//! state cut ─▶ StateImage (on each replica) ─▶ pieces ─▶ FolderWriter ─▶ a folder of the group
//!                                                                           │
//!                         Folder::read: every byte and record proven ◀──────┤
//!                         restore_node: a new node's data directory  ◀──────┘
//! ```
//!
//! A folder holds what a snapshot has: an offer, the pages of the generation, and the volumes, with the same sums and
//! digests. So it is installed as one, and there is one mechanism to trust. What a checkpoint would put into its next
//! volume, the records that are still in memory, is written into a last volume on the way.
//!
//! - **Invariant:** the image is that of a state cut: with the other groups' of the same cut it is a state of the whole
//!   cluster ([`ledger::disagreements`]).
//! - **Invariant:** a group begins anew in term 0, which no leader ever has, with all its voters at the same entry; their
//!   data directories are known to one another before any of them has started.

mod folder;
mod image;
mod restore;

use serde::{Deserialize, Serialize};

use crate::store::{PagesFacts, VolumeFacts};

pub use folder::{Folder, FolderFile, FolderWriter};
pub use image::StateImage;
pub(crate) use restore::is_unfinished;
pub use restore::{Birth, RestoreError, Restored, restore_node};

/// Part of a group's state on its way into a folder. They come in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What there is to come. First, once.
    Head(Vec<u8>),
    /// Bytes of the volumes, one after the other.
    Volume(Vec<u8>),
    /// Pages of the generation.
    Pages(Vec<u8>),
    /// Records that no volume has yet.
    Records(Vec<u8>),
    /// What there was. Last, once.
    End(Vec<u8>),
}

/// What stands in front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    shard: u16,
    cut: u64,
    index: u64,
    records: u64,
    digest: u128,
    volumes: Vec<VolumeFacts>,
    /// Of the records that no volume has yet: the first's and the last's log time, their digest, a bound on their number.
    recent_ms: (u64, u64),
    recent_digest: u128,
    recent_max: u64,
    /// The feature level by which all of it is written.
    level: u32,
}

/// What stands at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    pages: PagesFacts,
    recent: u64,
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod tests;
