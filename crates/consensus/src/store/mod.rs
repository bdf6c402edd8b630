//! The durable store below the ledger: checkpoints, what left memory, snapshots.
//!
//! It knows nothing of consensus or of money. Keys and values are bytes, a digest is a number the caller
//! computed, and what the caller keeps beside a checkpoint is opaque.
//!
//! ```text
//! Checkpoints ── CURRENT names ──▶ generations (the whole state, behind StateStore: sled, memory)
//!      │                     └───▶ volumes     (what left memory, sorted, immutable; merged at leisure)
//!      ├── Cold: look-ups and statements over the newest checkpoint's volumes, from any thread
//!      └── Snapshot ─ chunks ─▶ Install: the same files, on another replica
//! ```
//!
//! The idea: **nothing is ever changed in place.** A file is written once, synced, named by `CURRENT`,
//! read, and one day no longer named and removed. So a crash can only leave rubbish beside a whole
//! checkpoint, and every byte that is read is proven by a checksum that was named before it.
//!
//! All functions block, none starts a thread. Everything that can fail in a crash passes through
//! [`Files`], where tests cut the power.

mod aside;
mod checkpoint_writer;
mod checkpoints;
mod cold;
mod current;
mod encoding;
mod error;
#[cfg(any(test, feature = "simulated"))]
mod file_store;
mod files;
mod install;
mod memory;
mod merging;
mod pages;
mod scrub;
mod sled;
mod snapshot;
mod state_store;
mod sums;
mod volume;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod conformance;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod crash_tests;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod sample;
#[cfg(any(test, feature = "simulated"))]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "what it counts is small, and what it looks up is its own"
)]
mod sim_files;

pub use checkpoint_writer::{CheckpointWriter, Summary};
pub use checkpoints::{Checkpoints, Opened, Parts, PassedOver, Published};
pub use cold::Cold;
pub use current::{Checkpoint, META_LEN_MAX, PagesFacts};
pub(crate) use encoding::{seal, unseal};
pub(crate) use error::ADVICE_NEWER;
pub use error::StoreError;
#[cfg(any(test, feature = "simulated"))]
pub use file_store::FileStore;
pub(crate) use files::read_through;
pub use files::{Entry, FileReader, FileWriter, Files, Pace, RealFiles};
pub use install::{Install, Wanted};
pub use memory::MemoryStore;
pub(crate) use pages::FRAME_HEAD_LEN;
pub use pages::Pages;
#[cfg(any(test, feature = "simulated"))]
pub use sim_files::{Fault, Lost, SimFiles};
pub use sled::SledStore;
pub use snapshot::{CHUNK_LEN_MAX, Chunk, FileNumber, Offer, OfferedFile, Snapshot};
pub(crate) use snapshot::{frame, frame_lens};
pub use state_store::{
    BATCH_LEN_MAX, GenerationReader, GenerationWriter, PAGE_LEN_MAX, Page, StateStore,
};
pub use volume::{
    FilterItem, FilterOf, Interval, LogIndex, LogTimeMs, Range, RangeRev, Volume, VolumeFacts,
    VolumePlan, VolumeWriter,
};
