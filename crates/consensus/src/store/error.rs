//! What can go wrong in the store.
//!
//! Nothing here is ever an outcome of a request: a read error on a running node stops the node, and at
//! start a bad checkpoint falls back to the one before it. Each variant says what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

/// What to do about bytes of a newer release.
pub(crate) const ADVICE_NEWER: &str = "start the release that wrote it, or a newer one";

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused. The node stops: a failed write or sync is never tried again, because nobody
    /// knows what the disk kept of it. Look at the disk, then start the node again.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes are not those that were written. At start the checkpoint that needs them is passed over;
    /// a running node stops. Replace the disk, or move the replica, when this comes again.
    #[error("{path} is corrupt at byte {offset}: {what}")]
    Corrupt {
        /// The file, or the directory of a generation.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// A file of a format that this program does not know. Run the program that wrote it.
    #[error("{path} has the unknown format version {version}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version byte that was found.
        version: u8,
    },
    /// The state was written by a newer release, and by rules that this one does not have. Run the newer one.
    #[error("the state is of feature level {level}, and this release knows up to {level_max}")]
    Newer {
        /// The level by which it was written.
        level: u32,
        /// The greatest one that is known here.
        level_max: u32,
    },
    /// The state store refused. As [`StoreError::Io`].
    #[error("the state store failed at {path}: {source}")]
    Backend {
        /// The generation's directory.
        path: PathBuf,
        /// What the backend said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A generation is held open by somebody else. Two processes must not share a data directory.
    #[error("{path} is still open elsewhere")]
    StillOpen {
        /// The generation's directory.
        path: PathBuf,
    },
    /// A key, value, batch or chunk is longer than its bound, which is a bug of the caller.
    #[error("{what} of {len} bytes, at most {len_max} are allowed")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it is.
        len: usize,
        /// How long it may be.
        len_max: usize,
    },
    /// Keys do not rise strictly, which is a bug of the caller: within a file, or between volumes that
    /// hold the same key.
    #[error("keys do not rise strictly in {path}")]
    Unsorted {
        /// The file.
        path: PathBuf,
    },
    /// The caller read a whole image and found it wrong: its count, its digest, a record.
    #[error("the image was refused: {what}")]
    Refused {
        /// What does not hold.
        what: &'static str,
    },
    /// A checkpoint or a snapshot that is older than what the directory names by now. Let it go.
    #[error("a newer checkpoint is already named")]
    Superseded,
    /// Somebody else is at the same work. Try again when that is over.
    #[error("a {what} is already under way")]
    Busy {
        /// The work.
        what: &'static str,
    },
    /// An earlier write of `CURRENT` failed, so nothing more is published; or the shard ends here. Start the node again, if it
    /// has stopped.
    #[error("the store has stopped, after a failed write or for good")]
    Stopped,
    /// Whoever had something read wants no more of it.
    #[error("the reading was given up")]
    GivenUp,
    /// No checkpoint of this directory can be trusted. The node has the state from its log, where that reaches back to the
    /// beginning, else from its peers ([`super::Checkpoints::open_anew`]).
    #[error("no usable checkpoint in {dir}: {why}")]
    Rebuild {
        /// The shard's directory.
        dir: PathBuf,
        /// What was wrong with the oldest one.
        #[source]
        why: Box<StoreError>,
    },
    /// The newest checkpoint ends before the log begins: it is an old copy, or files are gone. As
    /// [`StoreError::Rebuild`].
    #[error("{dir} ends with entry {}, and the log begins behind entry {purged}", checkpoint.unwrap_or(0))]
    Behind {
        /// The shard's directory.
        dir: PathBuf,
        /// The last entry that the newest checkpoint covers, if there is one.
        checkpoint: Option<u64>,
        /// The last entry that the log has let go.
        purged: u64,
    },
}

impl StoreError {
    /// The file or directory that this is about, where it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Corrupt { path, .. }
            | Self::Version { path, .. }
            | Self::Backend { path, .. }
            | Self::StillOpen { path }
            | Self::Unsorted { path } => Some(path),
            Self::Rebuild { why, .. } => why.path(),
            Self::TooLong { .. }
            | Self::Refused { .. }
            | Self::Newer { .. }
            | Self::Superseded
            | Self::Busy { .. }
            | Self::Stopped
            | Self::GivenUp
            | Self::Behind { .. } => None,
        }
    }

    /// What an operator does about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk, then start the node again"
            }
            Self::Io { .. } | Self::Backend { .. } => {
                "make room on the disk if it is full, else look at it and at the kernel's log; then start the node again"
            }
            Self::Corrupt { .. }
            | Self::Unsorted { .. }
            | Self::Refused { .. }
            | Self::Rebuild { .. }
            | Self::Behind { .. } => {
                "start the node again: it sets the bad file aside and has the state from its log or its peers; when this \
                 comes again, replace the disk"
            }
            Self::Version { .. } | Self::Newer { .. } => ADVICE_NEWER,
            Self::StillOpen { .. } => "end the other process that uses this data directory",
            Self::TooLong { .. }
            | Self::Superseded
            | Self::Busy { .. }
            | Self::GivenUp
            | Self::Stopped => "start the node again, and report this",
        }
    }
}
