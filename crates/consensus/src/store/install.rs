//! A snapshot on its way in: received in pieces, verified whole, then named by `CURRENT`.
//!
//! Everything gathers in `incoming/`, beside the offer it belongs to. A transfer that is taken up again
//! with the same offer, even by a restarted process, goes on where it stopped; another offer clears the
//! directory. A volume that is here already is not sent again. Nothing of the shard's own state changes
//! before the last step, and then it changes at once.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    Checkpoint, Checkpoints, Chunk, FileNumber, FileReader, FileWriter, Files, Offer, PAGE_LEN_MAX,
    Pages, PagesFacts, Published, StoreError, Volume, VolumeFacts,
    checkpoints::{self, Turn},
    current,
    files::{self, read_through},
    pages::{self, FRAME_HEAD_LEN, Generation, PagesWriter},
    snapshot,
};
use crate::failpoint::Operation;

const DIR_NAME: &str = "incoming";
const OFFER_NAME: &str = "OFFER";

/// The receiving side. Dropped before it is finished, it keeps what it has received.
pub struct Install<'a> {
    checkpoints: &'a Checkpoints,
    _turn: Turn<'a>,
    offer: Offer,
    dir: PathBuf,
    incoming: Vec<Incoming>,
    open: Option<(FileNumber, Box<dyn FileWriter>)>,
}

/// One file of the offer.
struct Incoming {
    file: FileNumber,
    len: u64,
    received: u64,
    /// The same volume, which was here before.
    held: Option<Arc<Volume>>,
}

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which file.
    pub file: FileNumber,
    /// From where on.
    pub offset: u64,
    /// How much of it is left.
    pub len: u64,
}

impl Checkpoints {
    /// Begins to receive a snapshot, or goes on with it. One at a time.
    pub fn install(&self, offer: Offer) -> Result<Install<'_>, StoreError> {
        let turn = self.turn("install")?;
        let (files, dir) = (&*self.parts.files, self.dir.join(DIR_NAME));
        prepare(files, &dir, &offer)?;
        let volumes = self.cold.volumes();
        let held = |facts: &VolumeFacts| {
            volumes.iter().find(|volume| volume.facts().is_same_file(facts)).cloned()
        };
        let held = std::iter::once(None).chain(offer.checkpoint.volumes.iter().map(held));
        let staged = files.list(&dir)?;
        let mut incoming = Vec::new();
        for (offered, held) in offer.files().zip(held) {
            let name = file_name(offered.file);
            let received = staged.iter().find(|entry| entry.name == name).map(|entry| entry.len);
            let usable = received.filter(|received| (1..=offered.len).contains(received));
            if received != usable {
                files.remove(&dir.join(name))?;
            }
            let received = usable.unwrap_or(0);
            incoming.push(Incoming { file: offered.file, len: offered.len, received, held });
        }
        Ok(Install { checkpoints: self, _turn: turn, offer, dir, incoming, open: None })
    }
}

impl Install<'_> {
    /// What is missing first. `None`: all is here.
    #[must_use]
    pub fn wanted(&self) -> Option<Wanted> {
        let mut missing = self.incoming.iter().filter(|incoming| incoming.held.is_none());
        let incoming = missing.find(|incoming| incoming.received < incoming.len)?;
        let Incoming { file, len, received, .. } = *incoming;
        Some(Wanted { file, offset: received, len: len.saturating_sub(received) })
    }

    /// Keeps a chunk. One that is not wanted now (it came twice, or out of order) is passed over; one that
    /// was damaged on the way is refused, and wanted again.
    pub fn write(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        let Some(wanted) = self.wanted() else {
            return Ok(());
        };
        let (path, len) = (self.dir.join(file_name(chunk.file)), chunk.bytes.len() as u64);
        if !chunk.is_intact() {
            let what = "a chunk was damaged on its way";
            return Err(StoreError::Corrupt { path, offset: chunk.offset, what });
        }
        if (chunk.file, chunk.offset) != (wanted.file, wanted.offset) || len > wanted.len {
            return Ok(());
        }
        self.append(&path, wanted, &chunk.bytes)
    }

    /// Verifies every file, lets the caller verify the image, and makes the snapshot the only
    /// checkpoint. A file that is not what was offered is dropped; take the install up again, and that
    /// one alone is wanted.
    pub fn finish<T>(
        mut self,
        attempt: impl FnOnce(&Checkpoint, &mut Pages<'_>) -> Result<T, StoreError>,
    ) -> Result<(Published, T), StoreError> {
        if self.wanted().is_some() {
            return Err(StoreError::Refused { what: "not all of the snapshot was received" });
        }
        self.open = None;
        let Checkpoints { dir, parts, .. } = self.checkpoints;
        self.check_volumes()?;
        let number = self.checkpoints.state().take_number();
        let path = dir.join(current::dir_name(number));
        let written = self.write_generation(&path, number, attempt);
        let (checkpoint, image) = written.inspect_err(|_| pages::remove(&*parts.store, &path))?;
        parts.files.sync_dir(dir)?;
        let volumes = self.open_volumes(&checkpoint)?;

        let mut state = self.checkpoints.state();
        let mut held = self.incoming.iter().filter_map(|incoming| incoming.held.as_ref());
        let newest = state.manifest.newest();
        let is_behind = newest.is_some_and(|newest| newest.log_index > checkpoint.log_index);
        let is_named = |facts| newest.is_some_and(|newest| newest.volumes.contains(facts));
        if is_behind || !held.all(|held| is_named(held.facts())) {
            drop(state);
            self.discard(&checkpoint);
            return Err(StoreError::Superseded);
        }
        let mut manifest = state.manifest.clone();
        manifest.checkpoints = vec![checkpoint.clone()];
        state.installs = state.installs.saturating_add(1);
        Operation::SnapshotInstalled.reached();
        self.checkpoints.publish(state, manifest, volumes)?;
        Operation::SnapshotNamed.reached();
        if let Err(error) = files::remove_tree(&*parts.files, &self.dir) {
            tracing::warn!(%error, "a received snapshot stays until the next one");
        }
        let purge_upto = Some(checkpoint.log_index);
        Ok((Published { checkpoint, purge_upto }, image))
    }

    /// Opens what was received, beside what is open already.
    fn open_volumes(&self, checkpoint: &Checkpoint) -> Result<Vec<Arc<Volume>>, StoreError> {
        let Checkpoints { dir, parts, .. } = self.checkpoints;
        let volumes = self.incoming.iter().skip(1).zip(&checkpoint.volumes);
        let open = |(incoming, facts): (&Incoming, &VolumeFacts)| match &incoming.held {
            Some(held) => Ok(held.clone()),
            None => Ok(Arc::new(Volume::open(&*parts.files, dir, facts)?)),
        };
        volumes.map(open).collect()
    }

    /// Removes what was about to be named.
    fn discard(&self, checkpoint: &Checkpoint) {
        let Checkpoints { dir, parts, .. } = self.checkpoints;
        pages::remove(&*parts.store, &dir.join(checkpoint.dir_name()));
        for (incoming, facts) in self.incoming.iter().skip(1).zip(&checkpoint.volumes) {
            if incoming.held.is_none() {
                self.checkpoints.discard(&facts.file_name());
            }
        }
    }

    fn append(&mut self, path: &Path, wanted: Wanted, bytes: &[u8]) -> Result<(), StoreError> {
        let files = &*self.checkpoints.parts.files;
        let mut writer = match self.open.take() {
            Some((file, writer)) if file == wanted.file => writer,
            _ if wanted.offset == 0 => files.create(path)?,
            _ => files.append(path)?,
        };
        writer.write(bytes)?;
        let len = bytes.len() as u64;
        if len == wanted.len {
            writer.sync()?;
        } else {
            self.open = Some((wanted.file, writer));
        }
        let incoming = self.incoming.iter_mut().find(|incoming| incoming.file == wanted.file);
        if let Some(incoming) = incoming {
            incoming.received = incoming.received.saturating_add(len);
        }
        Ok(())
    }

    /// Compares each received volume, byte for byte, with what was offered.
    fn check_volumes(&self) -> Result<(), StoreError> {
        let files = &*self.checkpoints.parts.files;
        for (incoming, facts) in self.received_volumes() {
            let path = self.dir.join(file_name(incoming.file));
            let mut hash = Xxh3::new();
            read_through(&*files.open(&path)?, |bytes| hash.update(bytes))?;
            if hash.digest128() != facts.file_digest {
                return Err(self.drop_file(incoming.file));
            }
        }
        Ok(())
    }

    fn received_volumes(&self) -> impl Iterator<Item = (&Incoming, &VolumeFacts)> {
        let volumes = self.incoming.iter().skip(1).zip(&self.offer.checkpoint.volumes);
        volumes.filter(|(incoming, _)| incoming.held.is_none())
    }

    /// Removes a received file that is not what was offered, and tells so.
    fn drop_file(&self, file: FileNumber) -> StoreError {
        let path = self.dir.join(file_name(file));
        match self.checkpoints.parts.files.remove(&path) {
            Err(error) => error,
            Ok(()) => {
                let what = "the received file is not what was offered";
                StoreError::Corrupt { path, offset: 0, what }
            }
        }
    }

    /// Writes the received pages into a generation, has the caller read it, and puts the received volumes
    /// in their places.
    fn write_generation<T>(
        &self,
        path: &Path,
        number: u64,
        attempt: impl FnOnce(&Checkpoint, &mut Pages<'_>) -> Result<T, StoreError>,
    ) -> Result<(Checkpoint, T), StoreError> {
        let parts = &self.checkpoints.parts;
        let facts = match self.copy_pages(path) {
            Err(StoreError::Corrupt { .. }) => return Err(self.drop_file(FileNumber(0))),
            facts => facts?,
        };
        let mut checkpoint = Checkpoint { number, pages: facts, ..self.offer.checkpoint.clone() };
        self.number_volumes(&mut checkpoint.volumes);
        let generation = Generation::open(&parts.store, path.to_path_buf(), facts.seal)?;
        let image = checkpoints::read_image(&generation, path, &checkpoint, attempt)?;
        drop(generation);
        for (incoming, facts) in self.incoming.iter().skip(1).zip(&checkpoint.volumes) {
            if incoming.held.is_none() {
                let named = self.checkpoints.dir.join(facts.file_name());
                parts.files.rename(&self.dir.join(file_name(incoming.file)), &named)?;
            }
        }
        Ok((checkpoint, image))
    }

    /// Gives each volume the number it has here: its own if it was here before, else a new one.
    fn number_volumes(&self, volumes: &mut [VolumeFacts]) {
        let mut state = self.checkpoints.state();
        for (facts, incoming) in volumes.iter_mut().zip(self.incoming.iter().skip(1)) {
            let held = incoming.held.as_ref().map(|volume| volume.facts().number);
            facts.number = held.unwrap_or_else(|| state.take_number());
        }
    }

    /// Copies the stream of pages into a generation, and refuses another set than was offered.
    fn copy_pages(&self, path: &Path) -> Result<PagesFacts, StoreError> {
        let parts = &self.checkpoints.parts;
        let staged = self.dir.join(file_name(FileNumber(0)));
        let len = self.offer.checkpoint.pages.stream_len;
        let mut writer = PagesWriter::create(&*parts.store, path)?;
        if len > 0 {
            let file = parts.files.open(&staged)?;
            let mut offset = 0;
            while offset < len {
                offset = copy_page(&*file, offset, &staged, &mut writer)?;
            }
        }
        let facts = writer.finish()?;
        if facts.are_same_pages(&self.offer.checkpoint.pages) {
            return Ok(facts);
        }
        let what = "the pages are not those that were offered";
        Err(StoreError::Corrupt { path: staged, offset: 0, what })
    }
}

/// Copies the page at an offset, and returns where the next one begins.
fn copy_page(
    file: &dyn FileReader,
    offset: u64,
    path: &Path,
    writer: &mut PagesWriter,
) -> Result<u64, StoreError> {
    let what = "a page does not decode";
    let corrupt = || StoreError::Corrupt { path: path.to_path_buf(), offset, what };
    let mut head = [0; FRAME_HEAD_LEN];
    file.read_at(&mut head, offset).map_err(|_| corrupt())?;
    let (key_len, value_len) = snapshot::frame_lens(head);
    let len = key_len.saturating_add(value_len);
    if len > PAGE_LEN_MAX {
        return Err(corrupt());
    }
    let mut key = vec![0; len];
    let offset = offset.saturating_add(FRAME_HEAD_LEN as u64);
    file.read_at(&mut key, offset).map_err(|_| corrupt())?;
    let value = key.split_off(key_len);
    writer.put(key, value)?;
    Ok(offset.saturating_add(len as u64))
}

/// Makes the staging directory hold this offer, and nothing of another.
fn prepare(files: &dyn Files, dir: &Path, offer: &Offer) -> Result<(), StoreError> {
    let offer = offer.encode();
    let path = dir.join(OFFER_NAME);
    let mut staged = Vec::new();
    if files.list(dir)?.iter().any(|entry| entry.name == OFFER_NAME) {
        read_through(&*files.open(&path)?, |bytes| staged.extend_from_slice(bytes))?;
    }
    if staged == offer {
        return Ok(());
    }
    files::remove_tree(files, dir)?;
    files.create_dir(dir)?;
    let mut file = files.create(&path)?;
    file.write(&offer)?;
    file.sync()?;
    files.sync_dir(dir)
}

fn file_name(file: FileNumber) -> String {
    format!("file-{:04}", file.0)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod tests;
