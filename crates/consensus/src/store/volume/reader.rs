//! Reads a volume: index and filter in memory, one block from the disk for each question.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    FilterItem, Range, RangeRev, VolumeFacts,
    filter::Filter,
    format::{self, FOOTER, Footer, Index, Section, TAIL_LEN, corrupt},
};
use crate::store::{FileReader, Files, Pace, StoreError, encoding, encoding::Magic, files};

/// Footers have one size, below this.
const FOOTER_LEN_MAX: u64 = 4096;

/// An open volume. It may be read from many threads, and stays readable after its file is removed.
pub struct Volume {
    path: PathBuf,
    file: Box<dyn FileReader>,
    facts: VolumeFacts,
    index: Index,
    filter: Filter,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").field("path", &self.path).field("facts", &self.facts).finish()
    }
}

impl Volume {
    /// Opens the volume that `facts` describe, and checks all of it but the blocks, which are checked
    /// each time they are read.
    pub fn open(files: &dyn Files, dir: &Path, facts: &VolumeFacts) -> Result<Self, StoreError> {
        let path = &dir.join(facts.file_name());
        let file = files.open(path)?;
        let len = file.file_len()?;
        if len != facts.len {
            return Err(corrupt(path, len, "the length is not that of the checkpoint"));
        }
        let mut head = [0; format::HEAD.len()];
        file.read_at(&mut head, 0)?;
        if head != format::HEAD {
            return Err(corrupt(path, 0, "the head is not that of a volume"));
        }
        let footer: Footer = read_footer(&*file, path, len, FOOTER)?;
        if !footer.tells(facts) {
            return Err(corrupt(path, len, "the footer is not that of the checkpoint"));
        }
        let filter = read_section(&*file, path, footer.filter)?;
        let filter = Filter::from_bytes(filter)
            .ok_or_else(|| corrupt(path, footer.filter.offset, "the filter has an odd length"))?;
        let index = read_section(&*file, path, footer.index)?;
        let index = Index::decode(&index)
            .ok_or_else(|| corrupt(path, footer.index.offset, "the index does not decode"))?;
        Ok(Self { path: path.clone(), file, facts: *facts, index, filter })
    }

    /// What the checkpoint knows of this volume.
    #[must_use]
    pub fn facts(&self) -> &VolumeFacts {
        &self.facts
    }

    /// Whether a record with this item may be here. `false` is certain; it costs no disk.
    #[must_use]
    pub fn may_contain(&self, item: FilterItem) -> bool {
        self.filter.may_contain(item)
    }

    /// The value of a key. The filter is not asked.
    pub fn get(&self, wanted: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let below = self.index.blocks_below(wanted, true);
        if below == 0 || wanted > self.index.last_key.as_slice() {
            return Ok(None);
        }
        let number = below.saturating_sub(1);
        let block = self.block(number)?;
        let (mut at, mut key) = (0, Vec::new());
        while at < block.len() {
            let value = self.step(number, &block, &mut at, &mut key)?;
            if key.as_slice() >= wanted {
                let value = block.get(value).unwrap_or_default();
                return Ok((key == wanted).then(|| value.to_vec()));
            }
        }
        Ok(None)
    }

    /// The records from `from` up to and without `to`, upwards.
    #[must_use]
    pub fn range(self: &Arc<Self>, from: &[u8], to: &[u8]) -> Range {
        Range::new(self.clone(), from, to)
    }

    /// The records below `upper` down to and with `lower`, downwards.
    #[must_use]
    pub fn range_rev(self: &Arc<Self>, upper: &[u8], lower: &[u8]) -> RangeRev {
        RangeRev::new(self.clone(), upper, lower)
    }

    /// Reads the file as it lies, for a snapshot. The receiver checks the whole.
    pub(crate) fn read_raw(&self, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.file.read_at(bytes, at)
    }

    /// Reads the whole file from the disk, and refuses it when a byte is not what was written.
    pub(in crate::store) fn check(&self, pace: &mut Pace<'_>) -> Result<(), StoreError> {
        let mut hash = Xxh3::new();
        files::read_at_pace(&*self.file, Some(pace), |bytes| hash.update(bytes))?;
        if hash.digest128() == self.facts.file_digest {
            return Ok(());
        }
        for number in 0..self.index.blocks.len() {
            self.block(number)?;
        }
        let last = self.index.blocks.last();
        let behind = last.map_or(0, |last| last.offset.saturating_add(last.len as u64));
        Err(corrupt(&self.path, behind, "filter, index or footer are not those that were written"))
    }

    /// A refusal of keys that do not rise from volume to volume.
    pub(in crate::store) fn unsorted(&self) -> StoreError {
        StoreError::Unsorted { path: self.path.clone() }
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Reads a block, and refuses one whose checksum differs.
    pub(super) fn block(&self, number: usize) -> Result<Vec<u8>, StoreError> {
        let Some(at) = self.index.blocks.get(number) else {
            return Ok(Vec::new());
        };
        let mut block = vec![0; at.len];
        self.file.read_at(&mut block, at.offset)?;
        if format::block_crc(&block, at.offset) != at.crc {
            return Err(corrupt(&self.path, at.offset, "the checksum of a block differs"));
        }
        Ok(block)
    }

    /// Steps over a record of a block, see [`format::next_record`].
    pub(super) fn step(
        &self,
        number: usize,
        block: &[u8],
        at: &mut usize,
        key: &mut Vec<u8>,
    ) -> Result<std::ops::Range<usize>, StoreError> {
        format::next_record(block, at, key).ok_or_else(|| {
            let offset = self.index.blocks.get(number).map_or(0, |block| block.offset);
            corrupt(&self.path, offset, "a block does not decode")
        })
    }
}

impl Footer {
    fn tells(&self, facts: &VolumeFacts) -> bool {
        let Self { interval, records, digest, sum, filter_items, filter: _, index: _ } = *self;
        let told = VolumeFacts { interval, records, digest, sum, filter_items, ..*facts };
        told == *facts
    }
}

fn read_footer<T: DeserializeOwned>(
    file: &dyn FileReader,
    path: &Path,
    len: u64,
    magic: Magic,
) -> Result<T, StoreError> {
    let no_tail = || corrupt(path, len, "the tail is not that of a volume");
    let tail_at = len.checked_sub(TAIL_LEN).ok_or_else(no_tail)?;
    let mut tail = [0; 12];
    file.read_at(&mut tail, tail_at)?;
    let (footer_len, mark) = tail.split_first_chunk::<4>().ok_or_else(no_tail)?;
    let footer_len = u64::from(u32::from_le_bytes(*footer_len));
    if mark != format::TAIL || footer_len > FOOTER_LEN_MAX {
        return Err(no_tail());
    }
    let offset = tail_at.checked_sub(footer_len).ok_or_else(no_tail)?;
    let footer = read_at(file, offset, footer_len)?;
    encoding::unseal(magic, &footer, path)
}

fn read_section(
    file: &dyn FileReader,
    path: &Path,
    section: Section,
) -> Result<Vec<u8>, StoreError> {
    let bytes = read_at(file, section.offset, section.len)?;
    if xxh3_64(&bytes) != section.sum {
        return Err(corrupt(path, section.offset, "the checksum of filter or index differs"));
    }
    Ok(bytes)
}

fn read_at(file: &dyn FileReader, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_at(&mut bytes, offset)?;
    Ok(bytes)
}
