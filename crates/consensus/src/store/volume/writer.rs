//! Writes a volume in one pass, with memory for one block, the index and the filter.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    FilterOf, Interval, VolumeFacts,
    filter::FilterBuilder,
    format::{self, BLOCK_LEN_MAX, FOOTER, Footer, IndexBuilder, RECORD_LEN_MAX, Section},
};
use crate::store::{FileWriter, Files, StoreError, encoding};

/// How much is gathered before it is written: few calls, little memory.
const WRITE_LEN: usize = 256 << 10;

/// What must be known of a volume before its first record.
#[derive(Clone, Copy, Debug)]
pub struct VolumePlan {
    /// Part of the file's name, see [`VolumeFacts::number`].
    pub number: u64,
    /// Where the records came from.
    pub interval: Interval,
    /// What records are looked for by.
    pub filter_of: FilterOf,
    /// At most so many items will be drawn from the records.
    pub filter_items_max: u64,
}

impl VolumePlan {
    /// The name that the file will have.
    pub(in crate::store) fn file_name(&self) -> String {
        self.interval.file_name(self.number)
    }
}

/// A volume being written. It is nothing until [`VolumeWriter::finish`] has returned and a checkpoint
/// names it.
pub struct VolumeWriter {
    out: Out,
    plan: VolumePlan,
    filter: FilterBuilder,
    index: IndexBuilder,
    block: Vec<u8>,
    /// First key of the block; it is written out in full, so that a block is read by itself.
    block_key: Option<Vec<u8>>,
    last_key: Vec<u8>,
    records: u64,
    sum: u128,
}

/// The file, gathered into larger writes, digested on the way.
struct Out {
    file: Box<dyn FileWriter>,
    path: PathBuf,
    gathered: Vec<u8>,
    hash: Xxh3,
    len: u64,
}

impl VolumeWriter {
    /// Begins a volume in `dir`, under a name that nothing has.
    pub fn create(files: &dyn Files, dir: &Path, plan: VolumePlan) -> Result<Self, StoreError> {
        let path = dir.join(plan.file_name());
        let file = files.create(&path)?;
        let mut out = Out { file, path, gathered: Vec::new(), hash: Xxh3::new(), len: 0 };
        out.write(&format::HEAD)?;
        Ok(Self {
            out,
            plan,
            filter: FilterBuilder::new(plan.filter_items_max),
            index: IndexBuilder::default(),
            block: Vec::new(),
            block_key: None,
            last_key: Vec::new(),
            records: 0,
            sum: 0,
        })
    }

    /// Adds a record. Its key must be above the one before.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let len = key.len().saturating_add(value.len());
        if len > RECORD_LEN_MAX {
            return Err(StoreError::TooLong { what: "a record", len, len_max: RECORD_LEN_MAX });
        }
        if self.records > 0 && key <= self.last_key.as_slice() {
            return Err(StoreError::Unsorted { path: self.out.path.clone() });
        }
        let before = self.block.len();
        let key_before = if before == 0 { &[] } else { self.last_key.as_slice() };
        format::put_record(&mut self.block, key_before, (key, value));
        if before > 0 && self.block.len() > BLOCK_LEN_MAX {
            self.block.truncate(before);
            self.end_block()?;
            format::put_record(&mut self.block, &[], (key, value));
        }
        if self.block_key.is_none() {
            self.block_key = Some(key.to_vec());
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.records = self.records.saturating_add(1);
        self.sum = self.sum.wrapping_add(encoding::record_sum(key, value));
        if let Some(item) = (self.plan.filter_of)(key, value) {
            self.filter.add(item);
        }
        Ok(())
    }

    /// Writes filter, index and footer, and makes the file's bytes last. Its name is the caller's to
    /// sync. `digest` is the caller's own over all records.
    pub fn finish(mut self, digest: u128) -> Result<VolumeFacts, StoreError> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let filter_items = self.filter.items();
        let filter = self.out.section(&self.filter.finish())?;
        let index = self.out.section(&self.index.finish(&self.last_key))?;
        let (records, sum) = (self.records, self.sum);
        let VolumePlan { number, interval, .. } = self.plan;
        let footer = Footer { interval, records, digest, sum, filter_items, filter, index };
        let footer = encoding::seal(FOOTER, &footer);
        self.out.write(&footer)?;
        let footer_len = u32::try_from(footer.len()).expect("a footer has a fixed size");
        self.out.write(&footer_len.to_le_bytes())?;
        self.out.write(&format::TAIL)?;
        let (len, file_digest) = self.out.finish()?;
        Ok(VolumeFacts { number, interval, records, digest, sum, filter_items, len, file_digest })
    }

    /// How many records were added.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Our own sum over the records that were added.
    #[must_use]
    pub fn sum(&self) -> u128 {
        self.sum
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        let crc = format::block_crc(&self.block, self.out.len);
        let first_key = self.block_key.take().unwrap_or_default();
        self.index.add(&first_key, &self.block, crc);
        self.out.write(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= WRITE_LEN {
            self.file.write(&self.gathered)?;
            self.gathered.clear();
        }
        Ok(())
    }

    fn section(&mut self, bytes: &[u8]) -> Result<Section, StoreError> {
        let offset = self.len;
        self.write(bytes)?;
        Ok(Section { offset, len: bytes.len() as u64, sum: xxh3_64(bytes) })
    }

    fn finish(mut self) -> Result<(u64, u128), StoreError> {
        self.file.write(&self.gathered)?;
        self.file.sync()?;
        Ok((self.len, self.hash.digest128()))
    }
}
