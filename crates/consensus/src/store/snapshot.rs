//! A checkpoint on its way to another replica: what there is to send, and the pieces of it.
//!
//! File 0 is the image as *logical pages*, so that the receiver may keep them in another backend; the
//! others are the volumes, byte for byte. What is offered is what the checkpoint is: no copy is made.
//! A snapshot holds what it sends, so a newer checkpoint does not disturb it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    Checkpoint, Checkpoints, Page, StoreError, Volume,
    encoding::{self, Magic},
    pages::{FRAME_HEAD_LEN, Generation},
};

/// Longest chunk: large enough that its head costs nothing, small enough for a message.
pub const CHUNK_LEN_MAX: usize = 1 << 20;

const MAGIC: Magic = *b"PAYOFFR";

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The checkpoint that is offered.
    pub checkpoint: Checkpoint,
}

/// One file of a snapshot: 0 for the pages, from 1 on for the volumes, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileNumber(pub u32);

/// What is offered of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedFile {
    /// Which one.
    pub file: FileNumber,
    /// Its length as it is sent.
    pub len: u64,
    /// Pages: the sum over them. A volume: the digest of the file.
    pub digest: u128,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Which file.
    pub file: FileNumber,
    /// Where in it.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Over all of the above.
    pub crc: u32,
}

impl Offer {
    /// The files to send, in order.
    pub fn files(&self) -> impl Iterator<Item = OfferedFile> {
        let Checkpoint { pages, volumes, .. } = &self.checkpoint;
        let lens = std::iter::once((pages.stream_len, pages.sum))
            .chain(volumes.iter().map(|volume| (volume.len, volume.file_digest)));
        let numbered = (0..).map(FileNumber).zip(lens);
        numbered.map(|(file, (len, digest))| OfferedFile { file, len, digest })
    }

    /// The offer as bytes, for the wire and the receiver's disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoding::seal(MAGIC, self)
    }

    /// Reads an offer back; `path` is what an error names.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        encoding::unseal(MAGIC, bytes, path)
    }
}

impl Chunk {
    /// Puts a checksum to a piece.
    #[must_use]
    pub fn new(file: FileNumber, offset: u64, bytes: Vec<u8>) -> Self {
        let crc = crc(file, offset, &bytes);
        Self { file, offset, bytes, crc }
    }

    /// Whether this is what was sent.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.crc == crc(self.file, self.offset, &self.bytes)
    }
}

/// The sending side. It may be read by several threads, best by one receiver each. Dropping it may remove
/// files, where a newer checkpoint has taken its place.
pub struct Snapshot {
    offer: Offer,
    generation: Arc<Generation>,
    volumes: Arc<[Arc<Volume>]>,
    place: Mutex<Place>,
}

/// Where a page begins in the stream of pages; reading on from there needs no search.
#[derive(Clone, Debug, Default)]
struct Place {
    offset: u64,
    key: Vec<u8>,
}

impl Checkpoints {
    /// The newest checkpoint, ready to be sent. `None`: there is none yet. Opening it reads it once.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        let Some((checkpoint, generation, volumes)) = self.open_newest()? else {
            return Ok(None);
        };
        let place = Mutex::default();
        Ok(Some(Snapshot { offer: Offer { checkpoint }, generation, volumes, place }))
    }
}

impl Snapshot {
    /// What is sent.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Up to `len_max` bytes of a file. Past its end, or of no file, there are none.
    ///
    /// Pages are quick to read in order; going back in them reads them from the start once.
    pub fn chunk(
        &self,
        file: FileNumber,
        offset: u64,
        len_max: usize,
    ) -> Result<Chunk, StoreError> {
        let offered = self.offer.files().find(|offered| offered.file == file);
        let rest = offered.map_or(0, |offered| offered.len.saturating_sub(offset));
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(len_max).min(CHUNK_LEN_MAX);
        let mut bytes = Vec::new();
        match usize::try_from(file.0).ok().and_then(|file| file.checked_sub(1)) {
            None => self.read_pages(offset, len, &mut bytes)?,
            Some(volume) => {
                if let Some(volume) = self.volumes.get(volume) {
                    bytes.resize(len, 0);
                    volume.read_raw(&mut bytes, offset)?;
                }
            }
        }
        Ok(Chunk::new(file, offset, bytes))
    }

    fn read_pages(&self, from: u64, len: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut start = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if start.offset > from {
            start = Place::default();
        }
        let mut offset = start.offset;
        let mut last = Place::default();
        for page in self.generation.scan(&start.key) {
            let page = page?;
            let frame = frame(&page);
            let skip = usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX);
            let rest = frame.get(skip..).unwrap_or_default();
            let wanted = rest.len().min(len.saturating_sub(out.len()));
            out.extend_from_slice(rest.get(..wanted).unwrap_or_default());
            last = Place { offset, key: page.0 };
            offset = offset.saturating_add(frame.len() as u64);
            if out.len() >= len {
                break;
            }
        }
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(())
    }
}

/// A page in the stream: length of key and value, then both.
pub(crate) fn frame((key, value): &Page) -> Vec<u8> {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&len(key), &len(value), key.as_slice(), value].concat()
}

/// The length of a frame's key and of its value.
pub(crate) fn frame_lens(head: [u8; FRAME_HEAD_LEN]) -> (usize, usize) {
    let (key, value) = head.split_at(FRAME_HEAD_LEN / 2);
    let len = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    (len(key), len(value))
}

fn crc(file: FileNumber, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file.0.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}
