//! Volumes: what left memory for good, in immutable sorted files.
//!
//! History, outcomes and closed orders are written once and asked for rarely, at a million records a
//! second: a row each in a tree would cost more than the transfer. A volume is the interval between two
//! checkpoints, sorted by key, and later a run of such intervals merged into one.
//!
//! ```text
//! head      magic, version
//! blocks    at most 16 KiB each (one long record may exceed it): records, prefix-compressed
//! filter    a blocked Bloom filter over the items that the caller draws from its records
//! index     per block: first key, length, CRC; then the last key of all
//! footer    sealed: counts, interval, sums; where filter and index lie, and their checksums
//! tail      length of the footer, magic
//! ```
//!
//! A chain of checksums proves every byte: `CURRENT` names the facts that the footer repeats, the footer
//! proves filter and index, the index proves each block each time it is read.
//!
//! - **Invariant:** keys rise strictly within a volume, and a key lies in at most one volume of a
//!   checkpoint. Merging refuses a key that comes twice.
//! - **Invariant:** volumes of a checkpoint lie in log order, and their intervals do not overlap.
//! - **Invariant:** a volume is never changed. It is dropped when no checkpoint names it.

mod filter;
mod format;
mod merge;
mod range;
mod reader;
mod writer;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod tests;

pub(super) use format::PREFIX;
pub use format::{FilterItem, FilterOf, Interval, LogIndex, LogTimeMs, VolumeFacts};
pub(super) use merge::{due, merge};
pub use range::{Range, RangeRev};
pub use reader::Volume;
pub use writer::{VolumePlan, VolumeWriter};
