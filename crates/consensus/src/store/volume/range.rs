//! Walks through a volume in key order, either way, a block at a time.

use std::{ops, sync::Arc};

use super::Volume;
use crate::store::{Page, StoreError};

/// Stands on one record of a volume after another, upwards, without copying it.
pub(super) struct Cursor {
    volume: Arc<Volume>,
    next_block: usize,
    block: Vec<u8>,
    at: usize,
    key: Vec<u8>,
    value: ops::Range<usize>,
}

impl Cursor {
    /// Stands before the first record of the block that holds `from`, or would.
    pub(super) fn before(volume: Arc<Volume>, from: &[u8]) -> Self {
        let next_block = volume.index().blocks_below(from, true).saturating_sub(1);
        Self { volume, next_block, block: Vec::new(), at: 0, key: Vec::new(), value: 0..0 }
    }

    /// Steps to the next record; `false` at the end.
    pub(super) fn advance(&mut self) -> Result<bool, StoreError> {
        while self.at >= self.block.len() {
            if self.next_block >= self.volume.index().blocks.len() {
                return Ok(false);
            }
            self.block = self.volume.block(self.next_block)?;
            self.next_block = self.next_block.saturating_add(1);
            self.at = 0;
            self.key.clear();
        }
        let number = self.next_block.saturating_sub(1);
        self.value = self.volume.step(number, &self.block, &mut self.at, &mut self.key)?;
        Ok(true)
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn value(&self) -> &[u8] {
        self.block.get(self.value.clone()).unwrap_or_default()
    }
}

/// Records upwards, see [`Volume::range`]. After an error it ends.
pub struct Range {
    cursor: Cursor,
    from: Vec<u8>,
    to: Vec<u8>,
    is_over: bool,
}

impl Range {
    pub(super) fn new(volume: Arc<Volume>, from: &[u8], to: &[u8]) -> Self {
        let cursor = Cursor::before(volume, from);
        Self { cursor, from: from.to_vec(), to: to.to_vec(), is_over: from >= to }
    }

    fn step(&mut self) -> Result<Option<Page>, StoreError> {
        while self.cursor.advance()? {
            if self.cursor.key() >= self.to.as_slice() {
                return Ok(None);
            }
            if self.cursor.key() >= self.from.as_slice() {
                return Ok(Some((self.cursor.key().to_vec(), self.cursor.value().to_vec())));
            }
        }
        Ok(None)
    }
}

impl Iterator for Range {
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let stepped = self.step().transpose();
        self.is_over = !matches!(stepped, Some(Ok(_)));
        stepped
    }
}

/// Records downwards, see [`Volume::range_rev`]. After an error it ends.
pub struct RangeRev {
    volume: Arc<Volume>,
    lower: Vec<u8>,
    upper: Vec<u8>,
    /// Blocks below this one are still to be read.
    blocks: usize,
    /// What is left of the block that was read last, the next record at the end.
    records: Vec<Page>,
}

impl RangeRev {
    pub(super) fn new(volume: Arc<Volume>, upper: &[u8], lower: &[u8]) -> Self {
        let blocks = if lower < upper { volume.index().blocks_below(upper, false) } else { 0 };
        let is_above = lower > volume.index().last_key.as_slice();
        let (lower, upper) = (lower.to_vec(), upper.to_vec());
        let blocks = if is_above { 0 } else { blocks };
        Self { volume, lower, upper, blocks, records: Vec::new() }
    }

    fn step(&mut self) -> Result<Option<Page>, StoreError> {
        while self.records.is_empty() && self.blocks > 0 {
            self.blocks = self.blocks.saturating_sub(1);
            self.read(self.blocks)?;
            if self.volume.index().first_key(self.blocks) <= self.lower.as_slice() {
                self.blocks = 0;
            }
        }
        Ok(self.records.pop())
    }

    fn read(&mut self, number: usize) -> Result<(), StoreError> {
        let block = self.volume.block(number)?;
        let (mut at, mut key) = (0, Vec::new());
        while at < block.len() {
            let value = self.volume.step(number, &block, &mut at, &mut key)?;
            if key >= self.upper {
                break;
            }
            if key >= self.lower {
                self.records.push((key.clone(), block.get(value).unwrap_or_default().to_vec()));
            }
        }
        Ok(())
    }
}

impl Iterator for RangeRev {
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let stepped = self.step();
        if stepped.is_err() {
            self.blocks = 0;
        }
        stepped.transpose()
    }
}
