//! Why a node must stop. The first reason stands; the binary ends the process.

use std::sync::Arc;

use ledger::{BatchError, Corrupt, LevelUnknown};
use tokio::sync::watch;

use crate::log::{ADVICE_NEW_ID, LogError};
use crate::store::{ADVICE_NEWER, StoreError};
use crate::witness::Forgotten;

/// A bug, corruption, or a disk that said no: nothing that a node may go on from.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StopReason {
    /// The log failed. What to do depends on the error; see there.
    #[error("the log stopped: {0}")]
    Log(#[from] LogError),
    /// A checkpoint or a volume could not be written or read. Look at the disk, then start the node again.
    #[error("shard {shard}: {error}")]
    Store {
        /// The shard.
        shard: u16,
        /// What the store says.
        error: Arc<StoreError>,
    },
    /// The roster's file could not be written. Look at the disk, then start the node again.
    #[error("the roster: {error}")]
    Roster {
        /// What the store says.
        error: Arc<StoreError>,
    },
    /// An entry of the log cannot be read. Keep the data directory for study; this is a bug or corruption.
    #[error("shard {shard}, entry {index}: {error}")]
    Entry {
        /// The shard.
        shard: u16,
        /// The entry.
        index: u64,
        /// What is wrong with it.
        error: BatchError,
    },
    /// A record in a volume cannot be read. Keep the data directory for study; this is a bug or corruption.
    #[error("shard {shard}: {error}")]
    Record {
        /// The shard.
        shard: u16,
        /// What is wrong with it.
        error: Corrupt,
    },
    /// The cluster's feature level was raised above what this release knows. Start the newer release.
    #[error("shard {shard}, entry {index}: {unknown}")]
    Newer {
        /// The shard.
        shard: u16,
        /// The entry that raises it.
        index: u64,
        /// The level.
        unknown: LevelUnknown,
    },
    /// The ledger refused to go on: a bug, or a log that is wrong. Report it: the other nodes will stop there too.
    #[error("shard {shard}, entry {index}: the ledger panicked: {why}")]
    Ledger {
        /// The shard.
        shard: u16,
        /// The entry that was being applied.
        index: u64,
        /// What it said.
        why: Arc<str>,
    },
    /// This replica differs from a majority. Keep the data directory for study; let the node rejoin under a new id.
    #[error("shard {shard}: the ledger differs from a majority's at entry {index} (DIVERGED)")]
    Diverged {
        /// The shard.
        shard: u16,
        /// The entry after which they differ.
        index: u64,
    },
    /// The disk has lost writes that were promised to last. The node must rejoin under a new id.
    #[error("shard {shard}: the disk went backwards: {forgotten}")]
    Forgot {
        /// The shard.
        shard: u16,
        /// What is missing.
        forgotten: Forgotten,
    },
    /// A shard's checkpoints are bad, its log does not reach back to its beginning, and nobody else keeps it. Restore the
    /// cluster from a backup; keep the data directory until that is done.
    #[error(
        "shard {shard}: the state is lost, the log begins behind entry {from}, and no other node keeps the shard"
    )]
    StateLost {
        /// The shard.
        shard: u16,
        /// The last entry that the log has let go.
        from: u64,
    },
    /// The cluster knows this node id with another data directory. The node must rejoin under a new id.
    #[error("the cluster knows this node with another data directory")]
    DiskReplaced,
    /// Raft itself stopped. Report it with the node's output; starting the node again is safe.
    #[error("shard {shard}: Raft stopped: {error}")]
    Raft {
        /// The shard.
        shard: u16,
        /// What it said.
        error: Arc<str>,
    },
}

impl StopReason {
    /// What an operator does about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Log(error) => error.advice(),
            Self::Store { error, .. } | Self::Roster { error } => error.advice(),
            Self::Forgot { .. } | Self::DiskReplaced | Self::Diverged { .. } => ADVICE_NEW_ID,
            Self::Newer { .. } => ADVICE_NEWER,
            Self::StateLost { .. } => {
                "keep the data directory, and restore the cluster from a backup"
            }
            Self::Entry { .. } | Self::Record { .. } | Self::Ledger { .. } | Self::Raft { .. } => {
                "keep the data directory, and report this with the node's output"
            }
        }
    }
}

/// Turned once, by whoever finds a reason first.
#[derive(Clone, Debug)]
pub(crate) struct StopSwitch(Arc<watch::Sender<Option<StopReason>>>);

impl StopSwitch {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Stops the node, unless it stops already.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!(%reason, "the node stops");
                *first = Some(reason);
            }
            is_first
        });
    }

    /// The reason, once there is one.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<StopReason>> {
        self.0.subscribe()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.borrow().is_some()
    }
}
