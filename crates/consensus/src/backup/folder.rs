//! A group's part of a backup: a folder with its offer, its pages and its volumes.
//!
//! ```text
//! offer                        sealed: index, counts, digests, and what follows
//! pages                        the generation, as a snapshot streams it
//! vol-<first>-<last>-<number>  the volumes, oldest first; the last has what was still in memory
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::{Books, Ledger, cold_digest};
use xxhash_rust::xxh3::Xxh3;

use super::{End, Head, Piece};
use crate::checkpoint;
use crate::codec;
use crate::store::{
    self, CHUNK_LEN_MAX, Checkpoint, Chunk, FRAME_HEAD_LEN, FileReader, FileWriter, Files,
    Interval, LogIndex, LogTimeMs, Offer, PAGE_LEN_MAX, Page, PagesFacts, RealFiles, StoreError,
    Volume, VolumeFacts, VolumePlan, VolumeWriter,
};

const OFFER_NAME: &str = "offer";
const PAGES_NAME: &str = "pages";

/// The longest offer that is read: it names every volume.
const OFFER_LEN_MAX: u64 = 16 << 20;

/// Writes a group's folder from the pieces of its state.
pub struct FolderWriter {
    dir: PathBuf,
    begun: Option<Begun>,
    pages: Box<dyn FileWriter>,
    pages_facts: PagesFacts,
    end: Option<End>,
}

/// What is known once the head has come.
struct Begun {
    head: Head,
    /// The volumes as they are named here; the first `done` are complete.
    volumes: Vec<VolumeFacts>,
    done: usize,
    open: Option<OpenVolume>,
    recent: Option<VolumeWriter>,
}

/// A volume that is being received.
struct OpenVolume {
    file: Box<dyn FileWriter>,
    hash: Xxh3,
    received: u64,
}

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderFile {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

impl FolderWriter {
    /// Makes the folder; there must be none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        RealFiles.create_dir(dir)?;
        let pages = RealFiles.create(&dir.join(PAGES_NAME))?;
        let pages_facts = PagesFacts::default();
        Ok(Self { dir: dir.to_path_buf(), begun: None, pages, pages_facts, end: None })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// What the disk says, and when the piece is damaged or out of its turn.
    pub fn take(&mut self, piece: &Piece) -> Result<(), StoreError> {
        match (piece, &mut self.begun) {
            (Piece::Head(head), None) => {
                let head: Head = codec::decode(head).map_err(|_| out_of_turn())?;
                self.begun = Some(Begun::new(head));
                Ok(())
            }
            (Piece::Volume(bytes), Some(begun)) => begun.take_volume(&self.dir, bytes),
            (Piece::Pages(bytes), Some(_)) => {
                for_each_frame(bytes, |key, value| {
                    self.pages_facts.add(key, value);
                    Ok(())
                })?;
                self.pages.write(bytes)
            }
            (Piece::Records(bytes), Some(begun)) => begun.take_records(&self.dir, bytes),
            (Piece::End(end), Some(_)) => {
                self.end = Some(codec::decode(end).map_err(|_| out_of_turn())?);
                Ok(())
            }
            (
                Piece::Head(_)
                | Piece::Volume(_)
                | Piece::Pages(_)
                | Piece::Records(_)
                | Piece::End(_),
                _,
            ) => Err(out_of_turn()),
        }
    }

    /// Makes the folder last, once the last piece was taken.
    ///
    /// # Errors
    /// What the disk says, and when something is missing.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let (Some(begun), Some(end)) = (self.begun.take(), self.end) else {
            return Err(StoreError::Refused { what: "the state ends in the middle" });
        };
        if !end.pages.are_same_pages(&self.pages_facts) {
            return Err(StoreError::Refused { what: "pages were damaged on their way" });
        }
        self.pages.sync()?;
        let checkpoint = begun.finish(self.pages_facts, end.recent)?;
        let mut offer = RealFiles.create(&self.dir.join(OFFER_NAME))?;
        offer.write(&Offer { checkpoint }.encode())?;
        offer.sync()?;
        RealFiles.sync_dir(&self.dir)
    }
}

impl Begun {
    fn new(head: Head) -> Self {
        let numbered = (1..).zip(&head.volumes);
        let volumes = numbered.map(|(number, facts)| VolumeFacts { number, ..*facts }).collect();
        Self { head, volumes, done: 0, open: None, recent: None }
    }

    fn take_volume(&mut self, dir: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let facts = *self.volumes.get(self.done).ok_or_else(out_of_turn)?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => OpenVolume {
                file: RealFiles.create(&dir.join(facts.file_name()))?,
                hash: Xxh3::new(),
                received: 0,
            },
        };
        open.file.write(bytes)?;
        open.hash.update(bytes);
        open.received = open.received.saturating_add(bytes.len() as u64);
        if open.received < facts.len {
            self.open = Some(open);
            return Ok(());
        }
        if open.received > facts.len || open.hash.digest128() != facts.file_digest {
            return Err(StoreError::Refused { what: "a volume was damaged on its way" });
        }
        self.done = self.done.saturating_add(1);
        open.file.sync()
    }

    fn take_records(&mut self, dir: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut writer = match self.recent.take() {
            Some(writer) => writer,
            None => VolumeWriter::create(&RealFiles, dir, self.plan())?,
        };
        for_each_frame(bytes, |key, value| writer.add(key, value))?;
        self.recent = Some(writer);
        Ok(())
    }

    /// The volume of what was still in memory: it begins behind the last one.
    fn plan(&self) -> VolumePlan {
        let (first_ms, last_ms) = self.head.recent_ms;
        let before = self.volumes.last().map(|last| last.interval.last.0.saturating_add(1));
        VolumePlan {
            number: (self.volumes.len() as u64).saturating_add(1),
            interval: Interval {
                first: LogIndex(before.unwrap_or(0)),
                last: LogIndex(self.head.index),
                first_ms: LogTimeMs(first_ms),
                last_ms: LogTimeMs(last_ms),
            },
            filter_of: checkpoint::filter_of,
            filter_items_max: self.head.recent_max,
        }
    }

    fn finish(mut self, pages: PagesFacts, recent: u64) -> Result<Checkpoint, StoreError> {
        let written = self.recent.as_ref().map_or(0, VolumeWriter::records);
        if self.done != self.volumes.len() || written != recent {
            return Err(StoreError::Refused { what: "volumes or records are missing" });
        }
        if let Some(writer) = self.recent.take() {
            self.volumes.push(writer.finish(self.head.recent_digest)?);
        }
        let Head { index, records, digest, level, .. } = self.head;
        Ok(Checkpoint {
            number: 0,
            log_index: LogIndex(index),
            meta: Vec::new(),
            records,
            digest,
            pages: PagesFacts { seal: 0, ..pages },
            volumes: self.volumes,
            level,
        })
    }
}

/// A group's folder, opened.
pub struct Folder {
    dir: PathBuf,
    checkpoint: Checkpoint,
}

impl Folder {
    /// Opens a folder: reads its offer, and nothing else yet.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is not as it was written.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(OFFER_NAME);
        let file = RealFiles.open(&path)?;
        let len = file.file_len()?;
        if len > OFFER_LEN_MAX {
            return Err(StoreError::Corrupt { path, offset: 0, what: "it is too long" });
        }
        let mut bytes = Vec::new();
        store::read_through(&*file, |piece| bytes.extend_from_slice(piece))?;
        let Offer { checkpoint } = Offer::decode(&bytes, &path)?;
        Ok(Self { dir: dir.to_path_buf(), checkpoint })
    }

    /// The log index at which the cut was made.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.checkpoint.log_index.0
    }

    /// The digest of the whole state.
    #[must_use]
    pub const fn digest(&self) -> u128 {
        self.checkpoint.digest
    }

    /// How many accounts, holds and facts the pages have.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.checkpoint.records
    }

    /// How many records the volumes have: outcomes, history, what ended.
    #[must_use]
    pub fn cold_records(&self) -> u64 {
        let volumes = self.checkpoint.volumes.iter();
        volumes.map(|volume| volume.records).fold(0, u64::saturating_add)
    }

    /// The files that the folder must have, its offer included.
    ///
    /// # Errors
    /// When the offer is gone meanwhile.
    pub fn files(&self) -> Result<Vec<FolderFile>, StoreError> {
        let offer_len = RealFiles.open(&self.dir.join(OFFER_NAME))?.file_len()?;
        let pages_len = self.checkpoint.pages.stream_len;
        let file = |name: String, len| FolderFile { name, len };
        let fixed = [file(OFFER_NAME.into(), offer_len), file(PAGES_NAME.into(), pages_len)];
        let volumes = self.checkpoint.volumes.iter();
        let volumes = volumes.map(|facts| file(facts.file_name(), facts.len));
        Ok(fixed.into_iter().chain(volumes).collect())
    }

    /// Reads everything, and proves it: every byte by the sums of the offer, every record by decoding it, the books by
    /// themselves, all of it by the digests. Takes the memory that the group's ledger takes.
    ///
    /// # Errors
    /// The first thing that is not as it was written, with its file.
    pub fn read(&self, books: Books) -> Result<Ledger, StoreError> {
        let mut sealed = 0_u128;
        for facts in &self.checkpoint.volumes {
            self.check_volume(facts)?;
            sealed = sealed.wrapping_add(facts.digest);
        }
        let path = self.dir.join(PAGES_NAME);
        let corrupt = |what| StoreError::Corrupt { path: path.clone(), offset: 0, what };
        let mut pages = PageStream::open(&path, self.checkpoint.pages.stream_len)?;
        let ledger = checkpoint::read(books, &self.checkpoint, pages.by_ref());
        let ledger = ledger.map_err(|error| {
            if let StoreError::Refused { what } = error { corrupt(what) } else { error }
        })?;
        if !pages.facts.are_same_pages(&self.checkpoint.pages) {
            return Err(corrupt("the pages are not those of the offer"));
        }
        if ledger.index() != self.index() || ledger.sealed() != sealed {
            return Err(corrupt("it does not belong to these volumes"));
        }
        Ok(ledger)
    }

    fn check_volume(&self, facts: &VolumeFacts) -> Result<(), StoreError> {
        let path = self.dir.join(facts.file_name());
        let corrupt = |what| StoreError::Corrupt { path: path.clone(), offset: 0, what };
        let mut hash = Xxh3::new();
        store::read_through(&*RealFiles.open(&path)?, |bytes| hash.update(bytes))?;
        if hash.digest128() != facts.file_digest {
            return Err(corrupt("it is not the file that was written"));
        }
        let volume = Arc::new(Volume::open(&RealFiles, &self.dir, facts)?);
        let (mut records, mut digest) = (0_u64, 0_u128);
        for record in volume.range(&[], &[u8::MAX; 64]) {
            let (key, value) = record?;
            let part =
                cold_digest(&key, &value).map_err(|_| corrupt("a record does not decode"))?;
            records = records.saturating_add(1);
            digest = digest.wrapping_add(part);
        }
        if (records, digest) != (facts.records, facts.digest) {
            return Err(corrupt("its records do not add up to its digest"));
        }
        Ok(())
    }

    /// What would be offered to a replica, with this kept beside it.
    pub(super) fn offer(&self, meta: Vec<u8>) -> Offer {
        Offer { checkpoint: Checkpoint { meta, ..self.checkpoint.clone() } }
    }

    /// A piece of a file of the offer.
    pub(super) fn chunk(&self, wanted: store::Wanted) -> Result<Chunk, StoreError> {
        let volume = usize::try_from(wanted.file.0).ok().and_then(|file| file.checked_sub(1));
        let name = match volume.and_then(|volume| self.checkpoint.volumes.get(volume)) {
            Some(facts) => facts.file_name(),
            None => PAGES_NAME.to_owned(),
        };
        let left = usize::try_from(wanted.len).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(CHUNK_LEN_MAX)];
        RealFiles.open(&self.dir.join(name))?.read_at(&mut bytes, wanted.offset)?;
        Ok(Chunk::new(wanted.file, wanted.offset, bytes))
    }
}

/// The pages of a file, one after the other, counted and summed.
struct PageStream {
    file: Box<dyn FileReader>,
    path: PathBuf,
    len: u64,
    at: u64,
    facts: PagesFacts,
}

impl PageStream {
    fn open(path: &Path, len: u64) -> Result<Self, StoreError> {
        let file = RealFiles.open(path)?;
        if file.file_len()? != len {
            let what = "its length is not that of the offer";
            return Err(StoreError::Corrupt { path: path.to_path_buf(), offset: len, what });
        }
        let (path, facts) = (path.to_path_buf(), PagesFacts::default());
        Ok(Self { file, path, len, at: 0, facts })
    }

    fn step(&mut self) -> Result<Page, StoreError> {
        let corrupt = || StoreError::Corrupt {
            path: self.path.clone(),
            offset: self.at,
            what: "a page does not decode",
        };
        let mut head = [0; FRAME_HEAD_LEN];
        self.file.read_at(&mut head, self.at).map_err(|_| corrupt())?;
        let (key_len, value_len) = store::frame_lens(head);
        let len = key_len.saturating_add(value_len);
        if len > PAGE_LEN_MAX {
            return Err(corrupt());
        }
        let behind_head = self.at.saturating_add(FRAME_HEAD_LEN as u64);
        let mut key = vec![0; len];
        self.file.read_at(&mut key, behind_head).map_err(|_| corrupt())?;
        let value = key.split_off(key_len);
        self.at = behind_head.saturating_add(len as u64);
        self.facts.add(&key, &value);
        Ok((key, value))
    }
}

impl Iterator for PageStream {
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.len).then(|| self.step())
    }
}

/// Calls for each frame of a run: whole frames, one after the other.
fn for_each_frame(
    mut bytes: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD_LEN>().ok_or_else(out_of_turn)?;
        let (key_len, value_len) = store::frame_lens(*head);
        let (key, rest) = rest.split_at_checked(key_len).ok_or_else(out_of_turn)?;
        let (value, rest) = rest.split_at_checked(value_len).ok_or_else(out_of_turn)?;
        each(key, value)?;
        bytes = rest;
    }
    Ok(())
}

fn out_of_turn() -> StoreError {
    StoreError::Refused { what: "a piece of a state that is damaged, or out of its turn" }
}
