//! Writes a checkpoint: pages and volume first, their names synced, then `CURRENT`.

use super::{
    Checkpoint, Checkpoints, Interval, LogIndex, META_LEN_MAX, Published, StoreError, Volume,
    VolumePlan, VolumeWriter,
    checkpoints::{self, State, Turn},
    current::{self, GENERATIONS_MAX},
    pages::{self, PagesWriter},
};

/// A checkpoint being written. Dropped before it is published, it leaves nothing.
pub struct CheckpointWriter<'a> {
    checkpoints: &'a Checkpoints,
    _turn: Turn<'a>,
    number: u64,
    installs: u64,
    plan: VolumePlan,
    pages: Option<PagesWriter>,
    volume: Option<VolumeWriter>,
    has_volume: bool,
    is_published: bool,
}

/// What the caller knows at the end of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Last log entry whose effect is in the image.
    pub log_index: LogIndex,
    /// Kept beside the checkpoint, unread.
    pub meta: Vec<u8>,
    /// Number of logical records in the pages.
    pub records: u64,
    /// Digest over them.
    pub digest: u128,
    /// Digest over the volume's records.
    pub volume_digest: u128,
    /// The feature level by which the pages are written.
    pub level: u32,
}

impl Checkpoints {
    /// Begins a checkpoint, one at a time. Its volume's records, if there are any, come from
    /// `interval`, and at most `filter_items_max` items will be drawn from them; a bound up to sixteen
    /// times too high costs nothing that stays.
    pub fn begin(
        &self,
        interval: Interval,
        filter_items_max: u64,
    ) -> Result<CheckpointWriter<'_>, StoreError> {
        let turn = self.turn("checkpoint")?;
        let (number, installs) = {
            let mut state = self.state();
            (state.take_number(), state.installs)
        };
        let path = self.dir.join(current::dir_name(number));
        let filter_of = self.parts.filter_of;
        Ok(CheckpointWriter {
            checkpoints: self,
            _turn: turn,
            number,
            installs,
            plan: VolumePlan { number, interval, filter_of, filter_items_max },
            pages: Some(PagesWriter::create(&*self.parts.store, &path)?),
            volume: None,
            has_volume: false,
            is_published: false,
        })
    }
}

impl CheckpointWriter<'_> {
    /// Adds a page of the image, about 16 KiB, in any order, each key once.
    pub fn page(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.pages.as_mut().ok_or(StoreError::Stopped)?.put(key, value)
    }

    /// Adds a record to the volume. Keys rise strictly.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if !self.has_volume {
            let Checkpoints { dir, parts, .. } = self.checkpoints;
            self.volume = Some(VolumeWriter::create(&*parts.files, dir, self.plan)?);
            self.has_volume = true;
        }
        self.volume.as_mut().ok_or(StoreError::Stopped)?.add(key, value)
    }

    /// Makes the checkpoint last and names it. It must not lie behind the newest one, nor its volume's
    /// interval overlap an earlier one's.
    pub fn finish(mut self, summary: Summary) -> Result<Published, StoreError> {
        let len = summary.meta.len();
        if len > META_LEN_MAX {
            return Err(StoreError::TooLong { what: "the meta", len, len_max: META_LEN_MAX });
        }
        let Checkpoints { dir, parts, cold, .. } = self.checkpoints;
        let pages = self.pages.take().ok_or(StoreError::Stopped)?.finish()?;
        let volume = self.finish_volume(&summary)?;
        parts.files.sync_dir(dir)?;

        let state = self.checkpoints.state();
        let mut volumes = cold.volumes().to_vec();
        self.check_order(&state, summary.log_index)?;
        volumes.extend(volume.map(Into::into));
        let Summary { log_index, meta, records, digest, level, .. } = summary;
        let facts = volumes.iter().map(|volume| *volume.facts()).collect();
        let number = self.number;
        let checkpoint =
            Checkpoint { number, log_index, meta, records, digest, pages, volumes: facts, level };
        let mut manifest = state.manifest.clone();
        manifest.checkpoints.push(checkpoint.clone());
        let excess = manifest.checkpoints.len().saturating_sub(GENERATIONS_MAX);
        manifest.checkpoints.drain(..excess);
        let purge_upto = checkpoints::purge_upto(&manifest);
        self.checkpoints.publish(state, manifest, volumes)?;
        self.is_published = true;
        Ok(Published { checkpoint, purge_upto })
    }

    fn finish_volume(&mut self, summary: &Summary) -> Result<Option<Volume>, StoreError> {
        let Some(writer) = self.volume.take() else {
            return Ok(None);
        };
        let facts = writer.finish(summary.volume_digest)?;
        let Checkpoints { dir, parts, .. } = self.checkpoints;
        Ok(Some(Volume::open(&*parts.files, dir, &facts)?))
    }

    fn check_order(&self, state: &State, log_index: LogIndex) -> Result<(), StoreError> {
        let newest = state.manifest.newest();
        let is_behind = newest.is_some_and(|newest| newest.log_index > log_index);
        let before = newest.and_then(|newest| newest.volumes.last());
        let Interval { first, last, .. } = self.plan.interval;
        let is_reversed = first > last || last > log_index;
        let overlaps = before.is_some_and(|before| before.interval.last >= first);
        if is_behind
            || self.has_volume && (is_reversed || overlaps)
            || state.installs != self.installs
        {
            return Err(StoreError::Superseded);
        }
        Ok(())
    }
}

impl Drop for CheckpointWriter<'_> {
    fn drop(&mut self) {
        let Checkpoints { dir, parts, .. } = self.checkpoints;
        if self.is_published || self.checkpoints.state().has_failed() {
            return;
        }
        drop((self.pages.take(), self.volume.take()));
        pages::remove(&*parts.store, &dir.join(current::dir_name(self.number)));
        if self.has_volume {
            self.checkpoints.discard(&self.plan.file_name());
        }
    }
}
