//! The Raft log and votes of a node: segment files of our own, one stream for all groups.
//!
//! Everything that was ever acknowledged hangs on this module, so it is small, knows nothing of
//! Raft (entries, votes, committed and purge points are opaque bytes), and every operation it does
//! on a disk is one at which a test has stopped the world.
//!
//! # The idea
//!
//! The requests of all groups gather in one *frame*; one write and one sync make them durable
//! together, whole or not at all. A frame is written only after the sync of the frame before it has
//! returned. So a sound frame is a proof that all before it were synced, and a bad frame with
//! anything after it is not a torn write but corruption. This is what lets the log tell the one
//! from the other.
//!
//! ```text
//! identity              {magic, version, disk id, crc}
//! 0000000006.log        [head][frame][frame][frame]0000
//! 0000000007.log        [head][frame][frame][frame][frame]00000000000000000000
//! 0000000008.log        00000000000000000000000000000000000000000000000000000     prepared
//!
//! head     magic 8 | version 4 | segment 4 | first frame 8 | salt 8 | len 4 | crc 4 | records
//! frame    magic 4 | len 4 | sequence 8 | salt 8 | payload crc 4 | crc 4            | records
//! record   kind 1, zero 3 | group 4 | index 8 | len 4 | crc 4                       | body
//!
//! kinds    1 append    2 truncate from    3 purge up to    4 vote    5 committed    6 begin at
//!          7 next is (in heads only)
//! ```
//!
//! A segment is filled with zeros, synced and named before it is used; then no sync has to change
//! metadata, and everything behind the last frame is known to be zero. Its head repeats every
//! group's vote, committed and purge point and the range of its entries, so nothing old is kept for
//! their sake, and it is checked against what the segments before it add up to. The salt comes from
//! the disk id: a segment of another log is told apart. The checksum is CRC-32; that of a frame's
//! head is apart, so that its length is known when its payload is bad. A vote is answered after a
//! second, empty frame is synced behind it.
//!
//! # What is refused, and what is not
//!
//! 1. A bad frame with anything written after it, or in any but the newest segment: corrupt.
//!    Nothing is cut, ever.
//! 2. A bad frame with nothing after it: torn. It is overwritten with zeros and synced, and
//!    reported, for a last frame that rotted looks the same: the peers' memory decides whether the
//!    node may vote.
//! 3. A segment missing in the middle: refused. Missing at the front: accepted only if every entry
//!    that was in it is purged.
//! 4. An identity without segments, segments without an identity: refused. An empty directory is a
//!    new node.
//! 5. After the first failed write or sync nothing is written any more. A failed sync is never
//!    tried again.
//!
//! A tail that is gone without a trace no log can notice; the peers' memory must.
//!
//! # Who does what
//!
//! ```text
//! GroupLog ─▶ shelf (readable at once) ─▶ queue ─▶ writer: Wal::put … Wal::commit ─▶ Disk ─▶ done
//!     ▲                                                        │
//!     └─ read: bodies in memory, else places on disk ◀─ index ─┘    helper: prepares, unlinks
//! ```
//!
//! [`Wal`] is the whole log with one owner, without thread or clock; [`LogWriter`] gives it to a
//! thread and hands out [`Log`] and [`GroupLog`]; [`InlineWriter`] is the same for a simulator.
//! [`RealDisk`] and [`sim_disk::SimDisk`] are the disks.

mod disk;
mod error;
mod failure;
mod format;
mod group_log;
mod housekeeping;
mod index;
mod inspect;
mod queue;
mod real_disk;
mod recovery;
mod replay;
mod scrub;
mod segment;
mod shelf;
pub mod sim_disk;
mod standing;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

pub use disk::{Disk, DiskFile};
pub use error::{ADVICE_NEW_ID, Action, Damage, LogError, Misuse};
pub use failure::Watcher;
pub use format::DiskId;
pub use group_log::GroupLog;
pub use inspect::{Finding, inspect};
pub use queue::Done;
pub use real_disk::RealDisk;
pub use recovery::{Cut, Recovered};
pub use shelf::REQUEST_BYTES_MAX;
pub use sim_disk::SimDisk;
pub use wal::{Counts, Options, Wal};
pub use writer::{InlineWriter, Log, LogWriter, WriterOptions};
