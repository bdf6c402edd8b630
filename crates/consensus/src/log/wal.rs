//! The log itself: one stream for all groups of a node, with one owner.
//!
//! Requests gather in a frame in memory; [`Wal::commit`] writes the frame with one write and one
//! sync. It starts no thread, asks no clock, and holds no lock while it waits for the disk.
//!
//! **Invariants.** A frame is written only after the sync of the one before has returned. After the
//! first failed write or sync every commit fails. A segment is unlinked only when a frame in a
//! later one is synced.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    disk::{Disk, NamedFile},
    error::{LogError, Misuse},
    failure::Failure,
    format::{DiskId, FRAME_LEN, FrameHead, Head, Kind, Record},
    housekeeping::{Helper, Housekeeping, OnTheSpot, Workshop},
    index::{Index, OpenSegment},
    recovery::{Recovered, restore},
    segment::Retained,
    shelf::{Change, Place, Shelf},
    standing::Standing,
};
use crate::failpoint::Plant;

/// The sizes of a log.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a segment is, once the log has grown. 64 MiB are zeroed in a fraction of a second,
    /// and are the grain in which purged space comes back.
    pub segment_bytes: u64,
    /// How many bytes of the latest entries stay in memory, all groups together, so that
    /// replication reads no disk unless a follower lags. Each entry counts for a little more than
    /// its body.
    pub cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, cache_bytes: 64 << 20 }
    }
}

/// Segments are at most this long, for places in the index are 32 bits wide. A larger frame still
/// gets a segment of its own size.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// A frame that is larger takes no more entries. With one more request it still fits a 32-bit
/// length.
const FRAME_BYTES_MAX: u64 = 1 << 30;

/// What an entry costs in memory beside its body: the handle of the bytes, the stamp, and its
/// place.
const CACHED_ENTRY_BYTES: u64 = 64;

/// The frame's buffer is given back when a frame was larger than this, so that one giant does not
/// stay in memory for ever.
const FRAME_BUFFER_BYTES_MAX: usize = 16 << 20;

/// The segment that is being written.
pub(crate) struct Active {
    pub(crate) number: u32,
    pub(crate) file: NamedFile,
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// How far the file is zeroed.
    pub(crate) len: u64,
}

/// The log of a node. See the module.
pub struct Wal<D: Disk> {
    disk: Arc<D>,
    options: Options,
    salt: u64,
    house: Box<dyn Housekeeping>,
    failure: Arc<Failure>,
    index: Arc<Index>,
    /// Where each group stands by what is synced.
    groups: BTreeMap<u32, Standing>,
    retained: Retained,
    active: Active,
    /// The number of the next frame.
    sequence: u64,
    /// Bytes of log up to the end of the active segment's last frame, on the scale of
    /// [`OpenSegment::start`].
    stream_end: u64,
    /// The frame being built, behind room for its head.
    frame: Vec<u8>,
    /// What the frame will mean once it is synced.
    pending: Vec<(u32, Change)>,
    /// Where each appended entry lies, counted from the front of the frame.
    places: Vec<Place>,
    /// Something may have become removable.
    is_untidy: bool,
    cached: VecDeque<CachedRun>,
    cached_bytes: u64,
    counts: Counts,
}

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames written and synced.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Entries of one group whose bodies are in memory, in the order in which they were written.
struct CachedRun {
    shelf: Arc<Shelf>,
    /// The stamp after that of the last entry.
    end: u64,
    bytes: u64,
}

impl<D: Disk> Wal<D> {
    /// Opens the log in a directory, or makes one in an empty directory, which is then born with
    /// `birth_id`: sixteen random bytes.
    ///
    /// What it returns is durable before it returns: recovery trusts nothing that only the system's
    /// cache may hold.
    ///
    /// # Errors
    /// See [`LogError`]: a log that is not exactly what was synced, but for a torn end, is refused
    /// and left as it is.
    pub fn open(
        disk: D,
        options: Options,
        birth_id: DiskId,
    ) -> Result<(Self, Recovered), LogError> {
        let segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
        let options = Options { segment_bytes, ..options };
        let disk = Arc::new(disk);
        let workshop = Workshop { disk: Arc::clone(&disk), segment_bytes };
        let restored = restore(&workshop, birth_id)?;
        let mut wal = Self {
            disk,
            options,
            salt: restored.salt,
            house: Box::new(OnTheSpot { workshop, spare: None }),
            failure: Arc::default(),
            index: Arc::new(restored.index),
            groups: restored.groups,
            retained: restored.retained,
            active: restored.active,
            sequence: restored.sequence,
            stream_end: restored.stream_end,
            frame: vec![0; FRAME_LEN],
            pending: Vec::new(),
            places: Vec::new(),
            is_untidy: true,
            cached: VecDeque::new(),
            cached_bytes: 0,
            counts: Counts::default(),
        };
        wal.index.set_end(wal.stream_end);
        if restored.needs_seal {
            // What was recovered is relied on from now on, so it must not pass for a torn write if
            // it rots.
            wal.write_frame()?;
        }
        Ok((wal, restored.recovered))
    }

    /// Puts entries in the frame. They can be read at once.
    ///
    /// # Errors
    /// [`Misuse`] when they do not follow the last entry, or are too many. An empty log that was
    /// never purged may begin at any index.
    pub fn append(&mut self, group: u32, entries: Vec<(u64, Bytes)>) -> Result<(), Misuse> {
        let bytes = self.bytes_pending();
        if bytes > FRAME_BYTES_MAX {
            return Err(Misuse::TooLarge { bytes });
        }
        let change = self.index.shelf(group).lock().append(entries)?;
        self.put(group, change);
        Ok(())
    }

    /// Drops the entries after `last`; all of them when it is `None`.
    ///
    /// # Errors
    /// [`Misuse`] when that reaches below the purge point.
    pub fn truncate_after(&mut self, group: u32, last: Option<u64>) -> Result<(), Misuse> {
        let change = self.index.shelf(group).lock().truncate_after(last)?;
        self.put(group, change);
        Ok(())
    }

    /// Drops the entries up to `index`, and keeps `point` as the group's purge point. An earlier
    /// point than the known one changes nothing. The point may lie beyond the last entry: then the
    /// log is empty, and the entry after the point is due.
    pub fn purge(&mut self, group: u32, index: u64, point: Bytes) {
        let change = self.index.shelf(group).lock().purge(index, point);
        if let Some(change) = change {
            self.put(group, change);
        }
    }

    /// Keeps the group's vote. The commit that writes it writes a second, empty frame behind it.
    pub fn vote(&mut self, group: u32, vote: Bytes) {
        self.put(group, Change::Vote(vote));
    }

    /// Keeps what the group knows to be committed.
    pub fn committed(&mut self, group: u32, committed: Bytes) {
        self.index.shelf(group).lock().standing.committed = Some(committed.clone());
        self.put(group, Change::Committed(committed));
    }

    /// Writes what was put since the last commit: one write, one sync. Nothing put means nothing
    /// written.
    ///
    /// A frame with a vote in it is followed by an empty frame with a sync of its own. Then a vote
    /// that rots has a sound frame behind it, and is never taken for a torn write; the caller may
    /// answer it.
    ///
    /// # Errors
    /// The first failure of the log, now and on each later call.
    pub fn commit(&mut self) -> Result<(), LogError> {
        if let Some(error) = self.failure.get() {
            return Err(error.clone());
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.write_pending().inspect_err(|error| self.failure.set(error.clone()))
    }

    /// Bytes waiting for the next commit.
    #[must_use]
    pub fn bytes_pending(&self) -> u64 {
        (self.frame.len() as u64).saturating_sub(FRAME_LEN as u64)
    }

    /// What was written since the log was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn index(&self) -> &Arc<Index> {
        &self.index
    }

    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    pub(crate) fn failure(&self) -> &Arc<Failure> {
        &self.failure
    }

    /// From now on a thread makes and removes segments.
    pub(crate) fn hire_helper(&mut self) -> Result<(), LogError> {
        let workshop =
            Workshop { disk: Arc::clone(&self.disk), segment_bytes: self.options.segment_bytes };
        let helper = Helper::start(workshop, self.house.release(), Arc::clone(&self.failure));
        self.house = Box::new(helper);
        self.house.prepare(self.active.number.saturating_add(1))
    }

    /// Puts a change that its shelf has admitted in the frame.
    pub(crate) fn put(&mut self, group: u32, change: Change) {
        let mut record =
            |kind, index, body: &[u8]| Record { kind, group, index, body }.encode(&mut self.frame);
        match &change {
            Change::Append { entries, begins, .. } => {
                let Some((first, _)) = entries.first() else { return };
                if *begins {
                    record(Kind::Begin, *first, &[]);
                }
                for (index, body) in entries {
                    let offset = u32::try_from(self.frame.len())
                        .expect("a frame is bounded far below 4 GiB");
                    let len = u32::try_from(body.len()).expect("a body is smaller than its frame");
                    self.places.push(Place { segment: 0, offset, len });
                    Record { kind: Kind::Append, group, index: *index, body }
                        .encode(&mut self.frame);
                }
            }
            Change::Truncate { from } => record(Kind::Truncate, *from, &[]),
            Change::Purge { index, point } => record(Kind::Purge, *index, point),
            Change::Vote(vote) => record(Kind::Vote, 0, vote),
            Change::Committed(committed) => record(Kind::Committed, 0, committed),
        }
        self.pending.push((group, change));
    }

    fn write_pending(&mut self) -> Result<(), LogError> {
        let has_vote = self.pending.iter().any(|(_, change)| matches!(change, Change::Vote(_)));
        let offset = self.write_frame()?;
        self.settle(offset);
        if has_vote {
            self.write_frame()?;
        }
        if std::mem::take(&mut self.is_untidy) {
            while let Some(number) = self.retained.take_done(&self.groups) {
                self.index.close_segment(number);
                self.house.unlink(number)?;
            }
        }
        self.evict();
        Ok(())
    }

    /// Writes the frame as it stands and syncs it; tells where it begins. Leaves an empty frame.
    fn write_frame(&mut self) -> Result<u64, LogError> {
        let len = self.frame.len() as u64;
        if self.active.end.saturating_add(len) > self.active.len {
            self.rotate(len)?;
        }
        FrameHead::finish(&mut self.frame, self.sequence, self.salt);
        let offset = self.active.end;
        self.active.file.write(offset, &self.frame)?;
        if !Plant::SkipSync.is_on() {
            self.active.file.sync()?;
        }

        self.active.end = offset.saturating_add(len);
        self.sequence = self.sequence.saturating_add(1);
        self.stream_end = self.stream_end.saturating_add(len);
        self.index.set_end(self.stream_end);
        self.counts.frames = self.counts.frames.saturating_add(1);
        self.counts.bytes = self.counts.bytes.saturating_add(len);
        self.frame.truncate(FRAME_LEN);
        self.frame.shrink_to(FRAME_BUFFER_BYTES_MAX);
        Ok(offset)
    }

    /// Goes on in the next segment. Its head is synced before its first frame is written, so a
    /// frame always stands behind a sound head.
    fn rotate(&mut self, frame_len: u64) -> Result<(), LogError> {
        let number = self.active.number.saturating_add(1);
        let spare = self.house.spare(number)?;
        let mut state = Vec::new();
        self.groups.iter().for_each(|(group, standing)| standing.encode(*group, &mut state));
        let head =
            Head { segment: number, sequence: self.sequence, state: &state }.encode(self.salt);
        let needed = (head.len() as u64).saturating_add(frame_len);
        if needed > spare.len {
            spare.file.zero(spare.len, needed)?;
        }
        spare.file.write(0, &head)?;
        spare.file.sync()?;

        let start = self.stream_end;
        self.stream_end = start.saturating_add(head.len() as u64);
        self.retained.begin(number);
        self.index.open_segment(number, OpenSegment { file: spare.file.clone(), start });
        self.active =
            Active { number, file: spare.file, end: head.len() as u64, len: spare.len.max(needed) };
        self.is_untidy = true;
        self.house.prepare(number.saturating_add(1))
    }

    /// Makes the pending changes the standing of their groups, now that they are synced at `offset`
    /// of the active segment.
    fn settle(&mut self, offset: u64) {
        let offset = u32::try_from(offset).expect("a segment is bounded far below 4 GiB");
        for place in &mut self.places {
            place.segment = self.active.number;
            place.offset = place.offset.saturating_add(offset);
        }
        let mut places = self.places.as_slice();
        for (group, change) in self.pending.drain(..) {
            let standing = self.groups.entry(group).or_default();
            match change {
                Change::Append { entries, begins, stamp } => {
                    let Some(((first, _), (last, _))) = entries.first().zip(entries.last()) else {
                        continue;
                    };
                    if begins {
                        standing.begin(*first);
                    }
                    let is_next = standing.append(*first, entries.len() as u64);
                    assert!(
                        is_next,
                        "group {group}: entry {first} was admitted, and does not follow"
                    );
                    self.retained.append(group, *last);
                    let (settled, rest) =
                        places.split_at_checked(entries.len()).expect("a place for each entry");
                    places = rest;
                    let shelf = self.index.shelf(group);
                    shelf.lock().settle(*first, settled);
                    let bodies = entries
                        .iter()
                        .map(|(_, body)| CACHED_ENTRY_BYTES.saturating_add(body.len() as u64));
                    let run = CachedRun {
                        shelf,
                        end: stamp.saturating_add(entries.len() as u64),
                        bytes: bodies.sum(),
                    };
                    self.cached_bytes = self.cached_bytes.saturating_add(run.bytes);
                    self.cached.push_back(run);
                }
                Change::Truncate { from } => {
                    standing.truncate(from);
                    self.retained.truncate(group, from);
                    self.is_untidy = true;
                }
                Change::Purge { index, point } => {
                    standing.purge(index, point);
                    self.is_untidy = true;
                }
                Change::Vote(vote) => {
                    self.index.shelf(group).lock().standing.vote = Some(vote.clone());
                    standing.vote = Some(vote);
                }
                Change::Committed(committed) => standing.committed = Some(committed),
            }
        }
        self.places.clear();
    }

    /// Forgets the bodies of the oldest entries beyond the bound. Only what is synced is ever
    /// forgotten.
    fn evict(&mut self) {
        while self.cached_bytes > self.options.cache_bytes
            && let Some(run) = self.cached.pop_front()
        {
            self.cached_bytes = self.cached_bytes.saturating_sub(run.bytes);
            run.shelf.lock().evict(run.end);
        }
    }
}
