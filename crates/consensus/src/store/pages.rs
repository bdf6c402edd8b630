//! The pages of one generation on their way in and out, counted and summed.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    BATCH_LEN_MAX, GenerationReader, GenerationWriter, Page, PagesFacts, StateStore, StoreError,
    encoding,
};

/// Writes pages in batches, and knows what was written.
pub(super) struct PagesWriter {
    writer: Box<dyn GenerationWriter>,
    batch: Vec<Page>,
    batch_len: usize,
    facts: PagesFacts,
}

impl PagesWriter {
    pub(super) fn create(store: &dyn StateStore, path: &Path) -> Result<Self, StoreError> {
        let writer = store.create(path)?;
        Ok(Self { writer, batch: Vec::new(), batch_len: 0, facts: PagesFacts::default() })
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        let len = key.len().saturating_add(value.len());
        if self.batch_len.saturating_add(len) > BATCH_LEN_MAX {
            self.flush()?;
        }
        self.facts.add(&key, &value);
        self.batch_len = self.batch_len.saturating_add(len);
        self.batch.push((key, value));
        Ok(())
    }

    /// Seals the generation. What it holds lasts; its directory's name is the caller's to sync.
    pub(super) fn finish(mut self) -> Result<PagesFacts, StoreError> {
        self.flush()?;
        let seal = self.writer.finish()?;
        Ok(PagesFacts { seal, ..self.facts })
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if !self.batch.is_empty() {
            self.writer.put(&self.batch)?;
            self.batch.clear();
            self.batch_len = 0;
        }
        Ok(())
    }
}

/// Length of what stands before a page in a snapshot's stream.
pub(crate) const FRAME_HEAD_LEN: usize = 8;

impl PagesFacts {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let len = FRAME_HEAD_LEN.saturating_add(key.len()).saturating_add(value.len());
        self.count = self.count.saturating_add(1);
        self.stream_len = self.stream_len.saturating_add(len as u64);
        self.sum = self.sum.wrapping_add(encoding::record_sum(key, value));
    }

    /// Whether two generations hold the same pages, whatever their backends.
    pub(crate) fn are_same_pages(&self, other: &Self) -> bool {
        Self { seal: 0, ..*self } == Self { seal: 0, ..*other }
    }
}

/// An open generation, shared by everyone who reads it. When it is doomed, the last of them removes it:
/// sled opens some of its files only when it reads them, so it must not go earlier.
pub(super) struct Generation {
    reader: Option<Box<dyn GenerationReader>>,
    store: Arc<dyn StateStore>,
    path: PathBuf,
    is_doomed: AtomicBool,
}

impl Generation {
    pub(super) fn open(
        store: &Arc<dyn StateStore>,
        path: PathBuf,
        seal: u128,
    ) -> Result<Self, StoreError> {
        let reader = Some(store.open(&path, seal)?);
        Ok(Self { reader, store: store.clone(), path, is_doomed: AtomicBool::new(false) })
    }

    pub(super) fn doom(&self) {
        self.is_doomed.store(true, Ordering::Release);
    }

    /// The pages from a key on, in key order.
    pub(super) fn scan(&self, from: &[u8]) -> impl Iterator<Item = Result<Page, StoreError>> {
        self.reader.iter().flat_map(move |reader| reader.scan(from))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        drop(self.reader.take());
        if self.is_doomed.load(Ordering::Acquire) {
            remove(&*self.store, &self.path);
        }
    }
}

/// Removes a generation that nothing names. If that fails it only takes room until the next opening.
pub(super) fn remove(store: &dyn StateStore, path: &Path) {
    if let Err(error) = store.remove(path) {
        tracing::warn!(%error, "an old generation stays until the next start");
    }
}

/// The pages of an image, for the caller who reads it back. What was read is compared with what was
/// written, so that no page can be missing, doubled or changed.
pub struct Pages<'a> {
    pages: Box<dyn Iterator<Item = Result<Page, StoreError>> + 'a>,
    read: PagesFacts,
}

impl<'a> Pages<'a> {
    pub(super) fn new(generation: &'a Generation) -> Self {
        Self { pages: Box::new(generation.scan(&[])), read: PagesFacts::default() }
    }

    /// Reads what the caller left, and refuses if it was not all that `facts` tell.
    pub(super) fn check(mut self, path: &Path, facts: &PagesFacts) -> Result<(), StoreError> {
        for page in self.by_ref() {
            page?;
        }
        if self.read.are_same_pages(facts) {
            return Ok(());
        }
        let what = "the pages are not those that were written";
        Err(StoreError::Corrupt { path: path.to_path_buf(), offset: 0, what })
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let page = self.pages.next()?;
        if let Ok((key, value)) = &page {
            self.read.add(key, value);
        }
        Some(page)
    }
}
