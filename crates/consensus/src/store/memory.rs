//! Generations in memory, for throw-away nodes and for tests.
//!
//! Clones share one map from path to pages, so a "node" that is started again finds what an earlier
//! one sealed. Sealed pages count as synced: this backend loses nothing in a power cut.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    GenerationReader, GenerationWriter, Page, StateStore, StoreError, encoding, state_store,
};

type Pages = BTreeMap<Vec<u8>, Vec<u8>>;

/// `None`: begun, but never finished.
type Shelf = BTreeMap<PathBuf, Option<Arc<Pages>>>;

/// A state store whose disk is a map.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shelf: Arc<Mutex<Shelf>>,
}

struct MemoryWriter {
    store: MemoryStore,
    path: PathBuf,
    pages: Pages,
}

struct MemoryReader {
    pages: Arc<Pages>,
}

impl MemoryStore {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Each use of the map is one call, so a panic elsewhere cannot leave it half changed.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryStore {
    fn create(&self, path: &Path) -> Result<Box<dyn GenerationWriter>, StoreError> {
        self.shelf().insert(path.to_path_buf(), None);
        let (store, path) = (self.clone(), path.to_path_buf());
        Ok(Box::new(MemoryWriter { store, path, pages: Pages::new() }))
    }

    fn open(&self, path: &Path, seal: u128) -> Result<Box<dyn GenerationReader>, StoreError> {
        let pages = self.shelf().get(path).cloned().flatten().unwrap_or_default();
        if seal_of(&pages) != seal {
            let what = "the seal differs";
            return Err(StoreError::Corrupt { path: path.to_path_buf(), offset: 0, what });
        }
        Ok(Box::new(MemoryReader { pages }))
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.shelf().remove(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        let shelf = self.shelf();
        let inside = shelf.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into())).collect())
    }
}

impl GenerationWriter for MemoryWriter {
    fn put(&mut self, batch: &[Page]) -> Result<(), StoreError> {
        state_store::check_batch(batch)?;
        self.pages.extend(batch.iter().cloned());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u128, StoreError> {
        let seal = seal_of(&self.pages);
        self.store.shelf().insert(self.path, Some(Arc::new(self.pages)));
        Ok(seal)
    }
}

impl GenerationReader for MemoryReader {
    fn scan<'a>(&'a self, from: &[u8]) -> Box<dyn Iterator<Item = Result<Page, StoreError>> + 'a> {
        let pages = self.pages.range(from.to_vec()..);
        Box::new(pages.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.pages.get(key).cloned())
    }
}

/// Starts at one, so that pages which are absent do not look like pages which are empty.
fn seal_of(pages: &Pages) -> u128 {
    let sums = pages.iter().map(|(key, value)| encoding::record_sum(key, value));
    sums.fold(u128::from(!pages.is_empty()), u128::wrapping_add)
}
