//! Generations in sled, used only as it is safe: written once, in blocks, closed, then read.
//!
//! What sled 0.34.7 does not do by itself, and is done here:
//! * its flush never syncs the device, so every file and directory is synced after it is closed;
//! * its files stay in use for a moment after the handle is dropped, so closing waits for their lock;
//! * a reader that meets a leaf of too many or too few entries rewrites it, into space it may have just
//!   freed, unsynced: a *read* could damage a sealed generation in a power cut. So the writer visits
//!   each key again while its leaf is in memory, which settles the tree, and finishing opens the
//!   generation once, which lets sled write its own snapshot. After that opening, reading and closing
//!   change not a byte;
//! * rotten bytes can make it panic or come back with less, so the seal is checked before it is opened;
//! * a process killed while opening may leave `snap.*.generating`, which breaks every later open.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    Files, GenerationReader, GenerationWriter, Pace, Page, StateStore, StoreError, files,
    state_store,
    sums::{self, Sums},
};

/// Memory for pages of one open generation: enough to write and to scan, whatever its size.
const CACHE_LEN: u64 = 64 << 20;

/// How long to wait for sled's threads to let go of a closed generation: it takes microseconds, or a
/// flush of what they still hold.
const CLOSE_TRIES_MAX: u32 = 10_000;
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

/// One visit to each key settled every shape of tree that was tried; the second costs next to nothing.
const SETTLING_VISITS: usize = 2;

/// The state store of production.
#[derive(Clone, Debug)]
pub struct SledStore {
    files: Arc<dyn Files>,
}

struct SledWriter {
    files: Arc<dyn Files>,
    path: PathBuf,
    db: sled::Db,
}

struct SledReader {
    path: PathBuf,
    db: sled::Db,
}

impl SledStore {
    /// `files` lists, syncs and removes; sled itself reads and writes the real disk.
    #[must_use]
    pub fn new(files: Arc<dyn Files>) -> Self {
        Self { files }
    }
}

impl StateStore for SledStore {
    fn create(&self, path: &Path) -> Result<Box<dyn GenerationWriter>, StoreError> {
        self.remove(path)?;
        let db = open(path)?;
        Ok(Box::new(SledWriter { files: self.files.clone(), path: path.to_path_buf(), db }))
    }

    fn open(&self, path: &Path, seal: u128) -> Result<Box<dyn GenerationReader>, StoreError> {
        remove_half_snapshots(&*self.files, path)?;
        wait_until_closed(path)?;
        check_seal(&*self.files, path, seal, None)?;
        Ok(Box::new(SledReader { path: path.to_path_buf(), db: open(path)? }))
    }

    fn check(&self, path: &Path, seal: u128, pace: &mut Pace<'_>) -> Result<(), StoreError> {
        check_seal(&*self.files, path, seal, Some(pace))
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        wait_until_closed(path)?;
        files::remove_tree(&*self.files, path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        let inside = self.files.list(dir)?.into_iter();
        Ok(inside.filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
    }
}

impl GenerationWriter for SledWriter {
    fn put(&mut self, batch: &[Page]) -> Result<(), StoreError> {
        state_store::check_batch(batch)?;
        let mut rows = sled::Batch::default();
        for (key, value) in batch {
            rows.insert(key.as_slice(), value.as_slice());
        }
        self.db.apply_batch(rows).map_err(backend(&self.path))?;
        for _ in 0..SETTLING_VISITS {
            for (key, _) in batch {
                self.db.contains_key(key).map_err(backend(&self.path))?;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u128, StoreError> {
        let Self { files, path, db } = *self;
        db.flush().map_err(backend(&path))?;
        drop(db);
        wait_until_closed(&path)?;
        drop(open(&path)?);
        wait_until_closed(&path)?;
        let sums = Sums::of(&*files, &path, None)?;
        files.create(&path.join(sums::NAME))?.write(&sums.encode())?;
        files::sync_tree(&*files, &path)?;
        Ok(sums.seal())
    }
}

impl GenerationReader for SledReader {
    fn scan<'a>(&'a self, from: &[u8]) -> Box<dyn Iterator<Item = Result<Page, StoreError>> + 'a> {
        let rows = self.db.range(from.to_vec()..);
        Box::new(rows.map(|row| match row {
            Ok((key, value)) => Ok((key.to_vec(), value.to_vec())),
            Err(error) => Err(backend(&self.path)(error)),
        }))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db.get(key).map_err(backend(&self.path))?;
        Ok(value.map(|value| value.to_vec()))
    }
}

fn open(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_LEN).flush_every_ms(None);
    config.open().map_err(backend(path))
}

fn backend(path: &Path) -> impl FnOnce(sled::Error) -> StoreError + '_ {
    move |error| StoreError::Backend { path: path.to_path_buf(), source: Box::new(error) }
}

/// Returns when no handle, of this process or another, holds the generation's lock any more.
fn wait_until_closed(path: &Path) -> Result<(), StoreError> {
    let Ok(file) = fs::File::open(path.join("db")) else {
        return Ok(());
    };
    for _ in 0..CLOSE_TRIES_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) => thread::sleep(CLOSE_PAUSE),
            Err(fs::TryLockError::Error(error)) => return Err(files::io("lock", path)(error)),
        }
    }
    Err(StoreError::StillOpen { path: path.to_path_buf() })
}

fn remove_half_snapshots(files: &dyn Files, path: &Path) -> Result<(), StoreError> {
    for entry in files.list(path)? {
        if entry.name.starts_with("snap.") && entry.name.ends_with(".generating") {
            files.remove(&path.join(entry.name))?;
            files.sync_dir(path)?;
        }
    }
    Ok(())
}

/// Refuses a generation that is not what was sealed, and says where.
fn check_seal(
    files: &dyn Files,
    path: &Path,
    seal: u128,
    pace: Option<&mut Pace<'_>>,
) -> Result<(), StoreError> {
    let Some(kept) = Sums::kept(files, path)? else {
        if seal_of(files, path)? == seal {
            return Ok(());
        }
        let what = "the seal differs";
        return Err(StoreError::Corrupt { path: path.to_path_buf(), offset: 0, what });
    };
    let sums = Sums::of(files, path, pace)?;
    if sums.encode() == kept && sums.seal() == seal {
        return Ok(());
    }
    Err(sums.difference(path, &kept))
}

/// A digest over the names, lengths and bytes of all files: the seal of generations without sums of their own.
fn seal_of(files: &dyn Files, path: &Path) -> Result<u128, StoreError> {
    let mut hash = Xxh3::new();
    for (file, is_dir) in files::walk(files, path)? {
        let name = file.strip_prefix(path).unwrap_or(&file).to_string_lossy();
        hash.update(name.as_bytes());
        if !is_dir {
            let len = files::read_through(&*files.open(&file)?, |bytes| hash.update(bytes))?;
            hash.update(&len.to_le_bytes());
        }
    }
    Ok(hash.digest128())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod tests;
