//! The bytes of a volume, and what is known of one without opening it.

use std::{ops, path::Path};

use serde::{Deserialize, Serialize};

use crate::store::{
    StoreError,
    encoding::{self, Magic},
};

/// A position in the shard's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogIndex(pub u64);

/// Log time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogTimeMs(pub u64);

/// The hash of something that a record can be looked for by: a whole key, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterItem(pub u64);

/// What a record is looked for by, from its key and value. `None` keeps it out of the filter, and then
/// it is found by walking only, never by its key.
///
/// A function of the record, and not a parameter beside it, because merging must come to the same. For
/// the same reason it must never change: a volume filtered by another would deny what it holds.
pub type FilterOf = fn(&[u8], &[u8]) -> Option<FilterItem>;

/// The part of the log that a volume's records came from, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Index of the first entry.
    pub first: LogIndex,
    /// Index of the last entry.
    pub last: LogIndex,
    /// Log time of the first entry.
    pub first_ms: LogTimeMs,
    /// Log time of the last entry.
    pub last_ms: LogTimeMs,
}

impl Interval {
    /// From the beginning of this one to the end of a later one.
    #[must_use]
    pub fn until(self, later: Self) -> Self {
        Self { last: later.last, last_ms: later.last_ms, ..self }
    }

    /// The name of a volume's file. The log indexes are there for people.
    pub(super) fn file_name(&self, number: u64) -> String {
        format!("{PREFIX}{:012}-{:012}-{number:06}", self.first.0, self.last.0)
    }
}

/// What a checkpoint, and a snapshot, knows of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFacts {
    /// Part of the file's name: no other file of this directory has it.
    pub number: u64,
    /// Where the records came from.
    pub interval: Interval,
    /// Number of records.
    pub records: u64,
    /// The caller's digest over its records, which adds up (wrapping) when volumes are merged.
    pub digest: u128,
    /// Our own sum over the records, which does the same.
    pub sum: u128,
    /// How many items the filter was fed; one that comes several times in a row counts once.
    pub filter_items: u64,
    /// Length of the file.
    pub len: u64,
    /// Digest of the file, byte for byte.
    pub file_digest: u128,
}

impl VolumeFacts {
    /// The name of the file.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.interval.file_name(self.number)
    }

    /// Whether two volumes are the same file, whatever their names.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        Self { number: 0, ..*self } == Self { number: 0, ..*other }
    }
}

/// What every volume's name begins with.
pub(in crate::store) const PREFIX: &str = "vol-";

/// Longest block in bytes. One block is read to find one record, so it is small; a larger one would
/// save little, because 16 KiB already hold two hundred records.
pub(super) const BLOCK_LEN_MAX: usize = 16 << 10;

/// Longest record: it gets a block of its own, and readers hold a block in memory.
pub(in crate::store) const RECORD_LEN_MAX: usize = 1 << 20;

/// First bytes of the file.
pub(super) const HEAD: [u8; 8] = *b"PAYVOL\0\x01";

/// Last bytes of the file: length of the footer, then this.
pub(super) const TAIL: [u8; 8] = *b"\x01LOVYAP\0";

/// Length of the tail.
pub(super) const TAIL_LEN: u64 = 12;

/// In front of the footer.
pub(super) const FOOTER: Magic = *b"PAYVOLF";

/// Where a part of the file lies, and what proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) sum: u64,
}

/// The end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footer {
    pub(super) interval: Interval,
    pub(super) records: u64,
    pub(super) digest: u128,
    pub(super) sum: u128,
    pub(super) filter_items: u64,
    pub(super) filter: Section,
    pub(super) index: Section,
}

/// Appends a record: the length of what its key shares with the one before, the rest, the value.
pub(super) fn put_record(block: &mut Vec<u8>, key_before: &[u8], record: (&[u8], &[u8])) {
    let (key, value) = record;
    let shared = encoding::shared_len(key_before, key);
    let rest = key.get(shared..).unwrap_or_default();
    encoding::put_varint(block, shared as u64);
    encoding::put_varint(block, rest.len() as u64);
    encoding::put_varint(block, value.len() as u64);
    block.extend_from_slice(rest);
    block.extend_from_slice(value);
}

/// Steps over the record at `at`: makes `key` its key, and returns where its value lies.
/// `None`: the block makes no sense there.
pub(super) fn next_record(
    block: &[u8],
    at: &mut usize,
    key: &mut Vec<u8>,
) -> Option<ops::Range<usize>> {
    let mut rest = block.get(*at..)?;
    let shared = encoding::take_varint(&mut rest)?;
    let key_len = encoding::take_varint(&mut rest)?;
    let value_len = encoding::take_varint(&mut rest)?;
    if shared > key.len() {
        return None;
    }
    key.truncate(shared);
    key.extend_from_slice(encoding::take(&mut rest, key_len)?);
    let value_at = block.len().checked_sub(rest.len())?;
    encoding::take(&mut rest, value_len)?;
    *at = block.len().checked_sub(rest.len())?;
    Some(value_at..*at)
}

/// One block, as the index knows it. The block's first key lies in a string shared by all.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockAt {
    pub(super) key_end: usize,
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) crc: u32,
}

/// Where each block lies and what its first key is; the volume's last key.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: Vec<u8>,
    pub(super) blocks: Vec<BlockAt>,
    pub(super) last_key: Vec<u8>,
}

impl Index {
    /// Decodes an index whose checksum holds.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut index = Self::default();
        let mut key = Vec::new();
        let mut offset = HEAD.len() as u64;
        let count = encoding::take_varint(&mut bytes)?;
        for _ in 0..count {
            take_key(&mut bytes, &mut key)?;
            let len = encoding::take_varint(&mut bytes)?;
            let crc = encoding::take(&mut bytes, 4)?.try_into().ok()?;
            index.keys.extend_from_slice(&key);
            let crc = u32::from_le_bytes(crc);
            index.blocks.push(BlockAt { key_end: index.keys.len(), offset, len, crc });
            offset = offset.checked_add(len as u64)?;
        }
        take_key(&mut bytes, &mut key)?;
        index.last_key = key;
        bytes.is_empty().then_some(index)
    }

    /// First key of a block.
    pub(super) fn first_key(&self, block: usize) -> &[u8] {
        let start = block.checked_sub(1).and_then(|before| self.blocks.get(before));
        let end = self.blocks.get(block).map_or(0, |at| at.key_end);
        self.keys.get(start.map_or(0, |at| at.key_end)..end).unwrap_or_default()
    }

    /// How many blocks begin below or, if `or_at`, at a key.
    pub(super) fn blocks_below(&self, key: &[u8], or_at: bool) -> usize {
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = low.midpoint(high);
            let first = self.first_key(middle);
            if first < key || (or_at && first == key) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Builds the index's bytes while the volume is written.
#[derive(Default)]
pub(super) struct IndexBuilder {
    bytes: Vec<u8>,
    key_before: Vec<u8>,
    blocks: u64,
}

impl IndexBuilder {
    pub(super) fn add(&mut self, first_key: &[u8], block: &[u8], crc: u32) {
        self.put_key(first_key);
        encoding::put_varint(&mut self.bytes, block.len() as u64);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.blocks = self.blocks.saturating_add(1);
    }

    pub(super) fn finish(mut self, last_key: &[u8]) -> Vec<u8> {
        self.put_key(last_key);
        let mut bytes = Vec::new();
        encoding::put_varint(&mut bytes, self.blocks);
        bytes.append(&mut self.bytes);
        bytes
    }

    fn put_key(&mut self, key: &[u8]) {
        let shared = encoding::shared_len(&self.key_before, key);
        let rest = key.get(shared..).unwrap_or_default();
        encoding::put_varint(&mut self.bytes, shared as u64);
        encoding::put_varint(&mut self.bytes, rest.len() as u64);
        self.bytes.extend_from_slice(rest);
        self.key_before.clear();
        self.key_before.extend_from_slice(key);
    }
}

fn take_key(bytes: &mut &[u8], key: &mut Vec<u8>) -> Option<()> {
    let shared = encoding::take_varint(bytes)?;
    let len = encoding::take_varint(bytes)?;
    let rest = encoding::take(bytes, len)?;
    key.truncate(shared);
    key.extend_from_slice(rest);
    Some(())
}

/// The checksum of a block; its place is part of it, so that a block read from elsewhere is refused.
pub(super) fn block_crc(block: &[u8], offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(block);
    hasher.finalize()
}

/// A refusal that names file and offset.
pub(super) fn corrupt(path: &Path, offset: u64, what: &'static str) -> StoreError {
    StoreError::Corrupt { path: path.to_path_buf(), offset, what }
}
