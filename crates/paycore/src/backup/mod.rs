//! A backup on a disk: what lies in its folder, and what proves it. No cluster is needed to read one.
//!
//! ```text
//! manifest.json       what the backup is, and every file with its length and its SHA-256; written last
//! shard-00/ …, meta/  each group's state, as `consensus::backup` writes it
//! ```
//!
//! - **Invariant:** a folder is a backup only once its manifest has its name. It gets it after everything was synced, read
//!   back and proven; before that, an empty `manifest.json.new` says that somebody has begun.
//! - **Invariant:** every byte of every file is covered: files by the manifest, the manifest by its own last line.

mod manifest;
mod proof;

pub(crate) use manifest::{Group, Manifest, begin, group_folder, hex, read, write};
pub(crate) use proof::{Problem, Proof, check, prove};
