//! What a backend must do to hold the pages of a checkpoint.
//!
//! A *generation* is written once, sealed, and only read from then on. That is all that is asked, so
//! that a backend's weak spots (rows, deletes, many writers, recovery of a half-written tree) are never
//! touched. Its seal is a digest of what lies on the disk, taken after the last sync; a backend checks
//! it before it reads anything, because no backend can be trusted to survive rotten bytes of its own.
//!
//! Every backend passes `conformance.rs`.

use std::{fmt, path::Path};

use super::{Pace, StoreError};

/// One key and its value, about 16 KiB of records.
pub type Page = (Vec<u8>, Vec<u8>);

/// Longest batch in bytes: sled holds a batch in memory several times over.
pub const BATCH_LEN_MAX: usize = 1 << 20;

/// Longest page in bytes. Aim at 16 KiB: pages of 128 KiB cost sled twice the disk.
pub const PAGE_LEN_MAX: usize = 256 << 10;

/// A backend. `path` is the generation's own directory; nothing else lies in it.
pub trait StateStore: Send + Sync + fmt::Debug {
    /// Begins a generation. What an interrupted attempt left at `path` is removed first.
    fn create(&self, path: &Path) -> Result<Box<dyn GenerationWriter>, StoreError>;

    /// Opens a sealed generation, or refuses with [`StoreError::Corrupt`] when `seal` differs.
    /// At most one reader of a generation is open at a time; it may be shared between threads.
    fn open(&self, path: &Path, seal: u128) -> Result<Box<dyn GenerationReader>, StoreError>;

    /// Reads a sealed generation from the disk, and refuses like [`StateStore::open`]. Others may have it open meanwhile.
    fn check(&self, path: &Path, seal: u128, _pace: &mut Pace<'_>) -> Result<(), StoreError> {
        self.open(path, seal).map(drop)
    }

    /// Removes a generation, sealed or not. Nobody has it open. If there is none, nothing happens.
    fn remove(&self, path: &Path) -> Result<(), StoreError>;

    /// The names of the generations, sealed or not, that lie in `dir`.
    fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError>;
}

/// A generation being written. Dropped before [`GenerationWriter::finish`], it is rubbish.
pub trait GenerationWriter: Send {
    /// Adds pages, in any order, each key once, at most [`BATCH_LEN_MAX`] bytes.
    fn put(&mut self, batch: &[Page]) -> Result<(), StoreError>;

    /// Closes the generation, makes every byte and name under its directory last, and returns its
    /// seal. The name of the directory itself is for the caller to sync.
    fn finish(self: Box<Self>) -> Result<u128, StoreError>;
}

/// A sealed generation. Reading changes nothing on the disk.
pub trait GenerationReader: Send + Sync {
    /// The pages whose keys are `from` or above, in key order.
    fn scan<'a>(&'a self, from: &[u8]) -> Box<dyn Iterator<Item = Result<Page, StoreError>> + 'a>;

    /// The value of one key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Refuses a batch that is past the bounds. Every backend asks this first.
pub(super) fn check_batch(batch: &[Page]) -> Result<(), StoreError> {
    let lens = batch.iter().map(|(key, value)| key.len().saturating_add(value.len()));
    let longest = lens.clone().max().unwrap_or(0);
    if longest > PAGE_LEN_MAX {
        return Err(StoreError::TooLong { what: "a page", len: longest, len_max: PAGE_LEN_MAX });
    }
    let len = lens.sum();
    if len > BATCH_LEN_MAX {
        return Err(StoreError::TooLong { what: "a batch", len, len_max: BATCH_LEN_MAX });
    }
    Ok(())
}
