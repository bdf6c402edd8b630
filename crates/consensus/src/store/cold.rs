//! What left memory, for fetch and for statements: the volumes of the newest checkpoint.
//!
//! One view per shard, shared by every thread. A reader takes the list of volumes under a lock held for
//! two instructions, then reads without any; a checkpoint or a merge swaps the list. A list that is
//! being read keeps its files readable after their names are gone.
//!
//! A key is asked of the newest volume first. It lies in one volume only, so the order decides speed,
//! not the answer.

use std::sync::{Arc, PoisonError, RwLock};

use super::{FilterItem, LogTimeMs, Page, StoreError, Volume};

/// The cold part of one shard's state.
#[derive(Debug, Default)]
pub struct Cold {
    /// Oldest first.
    volumes: RwLock<Arc<[Arc<Volume>]>>,
}

impl Cold {
    /// The value of a key. `not_before` passes over volumes whose last entry is older; `None` asks all.
    ///
    /// An error stops the node: no answer is not "absent".
    pub fn get(
        &self,
        key: &[u8],
        item: FilterItem,
        not_before: Option<LogTimeMs>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for volume in candidates(&self.volumes(), item, not_before) {
            if let Some(value) = volume.get(key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Whether [`Cold::get`] would have to read the disk. `false` is certain: the record is absent.
    #[must_use]
    pub fn maybe(&self, item: FilterItem, not_before: Option<LogTimeMs>) -> bool {
        candidates(&self.volumes(), item, not_before).next().is_some()
    }

    /// Up to `limit` records below `upper` down to and with `lower`, downwards over all volumes.
    ///
    /// Keys of the range must rise from volume to volume, as an account's do, which hold the log index
    /// behind the account: then the newest volume's come first and nothing needs merging. Keys that do
    /// not are a bug of the caller, and refused.
    pub fn scan_rev(
        &self,
        upper: &[u8],
        lower: &[u8],
        limit: usize,
    ) -> Result<Vec<Page>, StoreError> {
        let mut found: Vec<Page> = Vec::new();
        for volume in self.volumes().iter().rev() {
            for record in volume.range_rev(upper, lower) {
                if found.len() >= limit {
                    return Ok(found);
                }
                let record = record?;
                if found.last().is_some_and(|(key, _)| *key <= record.0) {
                    return Err(volume.unsorted());
                }
                found.push(record);
            }
        }
        Ok(found)
    }

    /// The volumes as they are now, oldest first.
    #[must_use]
    pub fn volumes(&self) -> Arc<[Arc<Volume>]> {
        self.volumes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, volumes: Vec<Arc<Volume>>) {
        *self.volumes.write().unwrap_or_else(PoisonError::into_inner) = volumes.into();
    }
}

/// The volumes that may hold an item, newest first.
fn candidates(
    volumes: &[Arc<Volume>],
    item: FilterItem,
    not_before: Option<LogTimeMs>,
) -> impl Iterator<Item = &Arc<Volume>> {
    let young = move |volume: &&Arc<Volume>| {
        not_before.is_none_or(|not_before| volume.facts().interval.last_ms >= not_before)
    };
    volumes.iter().rev().filter(young).filter(move |volume| volume.may_contain(item))
}
