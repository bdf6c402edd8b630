//! What can go wrong with a log, and what an operator does about it.

use std::{fmt, io, sync::Arc};

/// Why a log cannot be opened, or why it stopped. Each names the file and the offset.
///
/// Whatever the variant, the node stops: a log that is not sure of itself must not vote.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The disk said no. Look at the kernel's log and at the free space. After a full disk, make
    /// room and start the node again; after a failing disk, replace it and let the node come back
    /// empty, under a new node id.
    #[error("{file}, offset {offset}: {action} failed: {source}")]
    Disk {
        /// The file, or `.` for the directory itself.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What was asked of the disk.
        action: Action,
        /// What the disk answered.
        source: Arc<io::Error>,
    },
    /// Bytes that were synced have changed. Do not cut anything by hand: keep the directory for
    /// study, and let the node come back empty, under a new node id. Suspect the disk, the
    /// controller or the memory of this machine.
    #[error("{file}, offset {offset}: corrupt: {damage}")]
    Corrupt {
        /// The segment or the identity file.
        file: String,
        /// Where the damaged thing begins.
        offset: u64,
        /// What is damaged.
        damage: Damage,
    },
    /// A segment between two others is gone. Bring the file back if somebody moved it; otherwise
    /// let the node come back empty, under a new node id.
    #[error("{file}, offset {offset}: the segment is missing, and a later one is there")]
    MissingSegment {
        /// The file that should be there.
        file: String,
        /// Always 0: all of it is missing.
        offset: u64,
    },
    /// A group's entries begin later than its purge point allows: an old segment is gone that
    /// nobody purged. Bring the file back, or let the node come back empty, under a new node id.
    #[error("{file}, offset {offset}: group {group} lacks {first} to {last}, never purged")]
    MissingEntries {
        /// The oldest segment that is there.
        file: String,
        /// Always 0: what is missing lay before this file.
        offset: u64,
        /// The group that lacks them.
        group: u32,
        /// The first entry that is missing.
        first: u64,
        /// The last entry that is missing.
        last: u64,
    },
    /// The directory has an identity but no log: this node had a log and lost it. Bring the
    /// segments back, or let the node come back empty, under a new node id. Deleting the identity
    /// file makes it forget its votes: never do that under the old node id.
    #[error("{file}, offset {offset}: an identity without any segment")]
    MissingLog {
        /// The identity file.
        file: String,
        /// Always 0.
        offset: u64,
    },
    /// The directory has a log but no identity. Bring the identity file back; nobody can tell whose
    /// log this is without it.
    #[error("{file}, offset {offset}: a segment without an identity file")]
    MissingIdentity {
        /// The oldest segment.
        file: String,
        /// Always 0.
        offset: u64,
    },
    /// The segment belongs to another log. Somebody copied files between nodes: put each back where
    /// it came from.
    #[error("{file}, offset {offset}: the segment belongs to another log")]
    Foreign {
        /// The segment.
        file: String,
        /// Always 0: the head says so.
        offset: u64,
    },
    /// The file was written in a format this program does not know. Start the version that wrote
    /// it.
    #[error("{file}, offset {offset}: format version {found} is not known to this program")]
    Version {
        /// The segment or the identity file.
        file: String,
        /// Where the version stands.
        offset: u64,
        /// The version it names.
        found: u32,
    },
    /// A thread of the log ended by a panic. Report it with the node's output; starting the node
    /// again is safe.
    #[error("{file}, offset {offset}: a thread of the log has died")]
    Died {
        /// The file it was to work on, or `.`.
        file: String,
        /// Always 0.
        offset: u64,
    },
}

/// What was asked of the disk when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Making a file.
    Create,
    /// Opening a file.
    Open,
    /// Removing a file.
    Remove,
    /// Listing the directory.
    List,
    /// Writing.
    Write,
    /// Reading.
    Read,
    /// Syncing a file or the directory. It is never tried again: after a failed sync nobody knows
    /// what the disk holds.
    Sync,
    /// Asking for the length of a file.
    Length,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Write => "write",
            Self::Read => "read",
            Self::Sync => "sync",
            Self::Length => "length",
        })
    }
}

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The identity file fails its checksum.
    #[error("the identity fails its checksum")]
    Identity,
    /// A segment's head fails its checksum, and the segment was in use.
    #[error("the segment's head fails its checksum")]
    Head,
    /// A segment's head does not continue what the segments before it say.
    #[error("the segment's head contradicts the segments before it")]
    HeadState,
    /// A frame fails its checksum, and something was written after it, which happens only once it
    /// is synced.
    #[error("a frame fails its checksum, and was synced")]
    Frame,
    /// A frame is sound but has another number than the one due here.
    #[error("a frame is out of order")]
    FrameOrder,
    /// A segment ends before the frame at which the next one begins.
    #[error("frames are missing at the segment's end")]
    FramesMissing,
    /// A frame is sound, but a record in it makes no sense: a bug, or a newer program's log.
    #[error("a record makes no sense")]
    Record,
    /// A record fails its checksum, or is not the entry the index expects here.
    #[error("a record is not what was written")]
    Entry,
    /// The file is larger than any segment.
    #[error("the segment is larger than any segment may be")]
    Size,
}

/// A request that the log refuses without any change: the caller has a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// Entries must follow each other without holes.
    #[error("entry {found} does not follow: entry {expected} is due")]
    Gap {
        /// The index that is due.
        expected: u64,
        /// The index that was given.
        found: u64,
    },
    /// What is purged is applied, and what is applied is never truncated.
    #[error("truncation down to entry {from} reaches below the first entry held, {first}")]
    BelowPurge {
        /// The first entry that would have been removed.
        from: u64,
        /// The first entry the log holds.
        first: u64,
    },
    /// One request is larger than a frame may be.
    #[error("{bytes} bytes are more than one request may have")]
    TooLarge {
        /// The size of the request.
        bytes: u64,
    },
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
}

/// What is to be done when what a node promised is lost: its id must not come back.
pub const ADVICE_NEW_ID: &str = "what this node promised is lost, so never start it empty under this id: keep the directory \
                                 for study, let an empty node join under a new id, and remove this one \
                                 (`paycore cluster --help`)";

impl LogError {
    /// What an operator does about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk, then start the node again"
            }
            Self::Disk { .. } => {
                "look at the disk and at the kernel's log, then start the node again; if the disk is bad, replace it, and \
                 let an empty node join under a new id"
            }
            Self::Corrupt { .. } | Self::MissingSegment { .. } | Self::MissingEntries { .. } => {
                ADVICE_NEW_ID
            }
            Self::MissingLog { .. } | Self::MissingIdentity { .. } => {
                "bring the missing files back; else what this node promised is lost: let an empty node join under a new id, \
                 and remove this one (`paycore cluster --help`)"
            }
            Self::Foreign { .. } => {
                "somebody copied files between nodes: put each back where it came from"
            }
            Self::Version { .. } => "start the release that wrote it",
            Self::Died { .. } => {
                "report this with the node's output; starting the node again is safe"
            }
        }
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        let kind = match &error {
            LogError::Disk { source, .. } => source.kind(),
            LogError::Died { .. } => io::ErrorKind::Other,
            LogError::Corrupt { .. }
            | LogError::MissingSegment { .. }
            | LogError::MissingEntries { .. }
            | LogError::MissingLog { .. }
            | LogError::MissingIdentity { .. }
            | LogError::Foreign { .. }
            | LogError::Version { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl From<Misuse> for io::Error {
    fn from(misuse: Misuse) -> Self {
        Self::new(io::ErrorKind::InvalidInput, misuse)
    }
}
