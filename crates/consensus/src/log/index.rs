//! What the one writer and the many readers share: the groups' shelves, and the segments' open
//! files.
//!
//! **Invariant:** while a shelf holds an entry, the segment in which it lies is open here: a purge
//! takes the entry off its shelf before it is recorded, and the segment is closed after that. So
//! whoever looks the file up under the shelf's lock finds it, and may go on reading when the file
//! has lost its name.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::{
    disk::NamedFile,
    error::{Damage, LogError},
    format::{Kind, RECORD_LEN, Record},
    shelf::{Place, Plan, Shelf},
};

/// A segment that readers may need.
#[derive(Clone)]
pub(crate) struct OpenSegment {
    pub(crate) file: NamedFile,
    /// Bytes of log in the segments before it, as far back as this process knows.
    pub(crate) start: u64,
}

#[derive(Default)]
pub(crate) struct Index {
    shelves: Mutex<BTreeMap<u32, Arc<Shelf>>>,
    segments: RwLock<BTreeMap<u32, OpenSegment>>,
    /// Where the stream ends, on the scale of [`OpenSegment::start`].
    end: AtomicU64,
}

impl Index {
    /// A group's shelf, empty when the group is new.
    pub(crate) fn shelf(&self, group: u32) -> Arc<Shelf> {
        Arc::clone(
            self.shelves
                .lock()
                .expect("nothing panics while it holds the shelves")
                .entry(group)
                .or_default(),
        )
    }

    pub(crate) fn put_shelf(&self, group: u32, shelf: Shelf) {
        self.shelves
            .lock()
            .expect("nothing panics while it holds the shelves")
            .insert(group, Arc::new(shelf));
    }

    pub(crate) fn groups(&self) -> Vec<u32> {
        self.shelves
            .lock()
            .expect("nothing panics while it holds the shelves")
            .keys()
            .copied()
            .collect()
    }

    pub(crate) fn open_segment(&self, number: u32, segment: OpenSegment) {
        self.segments
            .write()
            .expect("nothing panics while it holds the segments")
            .insert(number, segment);
    }

    pub(crate) fn close_segment(&self, number: u32) {
        self.segments.write().expect("nothing panics while it holds the segments").remove(&number);
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// The segments in use, oldest first.
    pub(crate) fn segments(&self) -> Vec<OpenSegment> {
        let segments = self.segments.read().expect("nothing panics while it holds the segments");
        segments.values().cloned().collect()
    }

    fn segment(&self, number: u32) -> Option<OpenSegment> {
        self.segments
            .read()
            .expect("nothing panics while it holds the segments")
            .get(&number)
            .cloned()
    }

    /// How many bytes of log lie between a group's oldest entry and the end of the stream: what the
    /// group keeps from being unlinked.
    pub(crate) fn bytes_held(&self, shelf: &Shelf) -> u64 {
        let held = shelf.lock();
        let from = held.oldest().and_then(|place| {
            let start = self.segment(place.segment)?.start;
            start.checked_add(place.offset.into())
        });
        from.map_or(0, |from| self.end.load(Ordering::Relaxed).saturating_sub(from))
    }

    /// The entries of `range` that are all in memory; `None` when the first of them is not. Never
    /// touches the disk.
    pub(crate) fn cached(
        &self,
        shelf: &Shelf,
        range: Range<u64>,
        bytes_max: u64,
    ) -> Option<Vec<(u64, Bytes)>> {
        let Plan { first, places, bodies } = shelf.lock().plan(range, bytes_max);
        places.is_empty().then(|| (first..).zip(bodies).collect())
    }

    /// The entries of `range`, from disk where they are not in memory. Each record's checksum is
    /// checked on each read.
    pub(crate) fn read(
        &self,
        group: u32,
        shelf: &Shelf,
        range: Range<u64>,
        bytes_max: u64,
    ) -> Result<Vec<(u64, Bytes)>, LogError> {
        let held = shelf.lock();
        let Plan { first, places, bodies } = held.plan(range, bytes_max);
        let mut files: BTreeMap<u32, NamedFile> = BTreeMap::new();
        for place in &places {
            if let Some(segment) =
                (!files.contains_key(&place.segment)).then(|| self.segment(place.segment)).flatten()
            {
                files.insert(place.segment, segment.file);
            }
        }
        drop(held);

        let mut out = Vec::with_capacity(places.len().saturating_add(bodies.len()));
        for run in places.chunk_by(|a, b| end_of(a) == (b.segment, b.offset.into())) {
            let file = run.first().and_then(|place| files.get(&place.segment));
            let index = first.saturating_add(out.len() as u64);
            read_run(file.expect("a held entry's segment is open"), group, index, run, &mut out)?;
        }
        let next = first.saturating_add(out.len() as u64);
        out.extend((next..).zip(bodies));
        Ok(out)
    }
}

/// Where the record after this one would lie.
fn end_of(place: &Place) -> (u32, u64) {
    let len = u64::from(place.len).saturating_add(RECORD_LEN as u64);
    (place.segment, u64::from(place.offset).saturating_add(len))
}

/// Reads records that lie side by side, at once.
fn read_run(
    file: &NamedFile,
    group: u32,
    index: u64,
    run: &[Place],
    out: &mut Vec<(u64, Bytes)>,
) -> Result<(), LogError> {
    let (Some(head), Some(tail)) = (run.first(), run.last()) else { return Ok(()) };
    let start = u64::from(head.offset);
    let (_, end) = end_of(tail);
    let mut buffer = vec![
        0;
        usize::try_from(end.saturating_sub(start))
            .expect("a run is smaller than a segment")
    ];
    file.read(start, &mut buffer)?;
    let buffer = Bytes::from(buffer);
    let mut rest: &[u8] = &buffer;
    for (index, place) in (index..).zip(run) {
        let damaged = || LogError::Corrupt {
            file: file.name.to_string(),
            offset: place.offset.into(),
            damage: Damage::Entry,
        };
        let (record, after) = Record::decode(rest).ok_or_else(damaged)?;
        if (record.kind, record.group, record.index) != (Kind::Append, group, index) {
            return Err(damaged());
        }
        out.push((index, buffer.slice_ref(record.body)));
        rest = after;
    }
    Ok(())
}
