//! The entries of one group as readers see them: where each lies on disk, and the bodies of the
//! latest.
//!
//! A request changes the shelf when it is *made*, before it is written: openraft reads an entry as
//! soon as it has appended it. Until the entry is synced its body stays in memory, so no reader
//! ever looks for it on disk.
//!
//! **Invariant:** there is one place for each entry of the standing; the cached bodies are those of
//! the last entries, without a hole; an entry whose own place is not known yet has a cached body,
//! and a body wins over a place. Stamps grow from entry to entry and are never reused, so that
//! forgetting the bodies up to some entry never forgets those of successors under the same indexes.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;

use super::{error::Misuse, format::RECORD_LEN, standing::Standing};

/// Where a record lies: 12 bytes an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// 0 until the entry is synced.
    pub(crate) segment: u32,
    /// Where the record begins in the segment's file.
    pub(crate) offset: u32,
    /// The length of the body.
    pub(crate) len: u32,
}

/// A request that the shelf has admitted, on its way to the log.
#[derive(Debug)]
pub(crate) enum Change {
    Append { entries: Vec<(u64, Bytes)>, begins: bool, stamp: u64 },
    Truncate { from: u64 },
    Purge { index: u64, point: Bytes },
    Vote(Bytes),
    Committed(Bytes),
}

/// One request may be this large: with a frame's other requests it stays far below the 4 GiB that
/// 32-bit places can name.
pub const REQUEST_BYTES_MAX: u64 = 256 << 20;

/// One group's shelf.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<Held>);

impl Shelf {
    pub(crate) fn recovered(standing: Standing, places: VecDeque<Place>) -> Self {
        Self(Mutex::new(Held { standing, places, ..Held::default() }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().expect("nothing panics while it holds a shelf")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Held {
    /// As the requests made so far will leave it; only the vote waits until it is durable.
    pub(crate) standing: Standing,
    places: VecDeque<Place>,
    bodies: VecDeque<Cached>,
    /// The stamp of the next entry.
    stamp: u64,
}

#[derive(Debug)]
struct Cached {
    stamp: u64,
    body: Bytes,
}

/// What a read will return: places on disk first, then bodies from memory.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) first: u64,
    pub(crate) places: Vec<Place>,
    pub(crate) bodies: Vec<Bytes>,
}

impl Held {
    pub(crate) fn append(&mut self, entries: Vec<(u64, Bytes)>) -> Result<Change, Misuse> {
        let cost = |body: &Bytes| (body.len() as u64).saturating_add(RECORD_LEN as u64);
        let bytes = entries.iter().map(|(_, body)| cost(body)).fold(0, u64::saturating_add);
        if bytes > REQUEST_BYTES_MAX {
            return Err(Misuse::TooLarge { bytes });
        }
        let begins_at =
            entries.first().map(|(index, _)| *index).filter(|_| self.standing.may_begin());
        let mut expected = begins_at.unwrap_or(self.standing.next);
        for (found, _) in &entries {
            if *found != expected {
                return Err(Misuse::Gap { expected, found: *found });
            }
            expected = expected.saturating_add(1);
        }

        let begins = begins_at.is_some_and(|index| index != self.standing.next);
        if begins {
            self.standing.begin(begins_at.unwrap_or_default());
        }
        self.standing.next = expected;
        let stamp = self.stamp;
        for (_, body) in &entries {
            let len = u32::try_from(body.len()).expect("a body is smaller than its request");
            self.places.push_back(Place { segment: 0, offset: 0, len });
            self.bodies.push_back(Cached { stamp: self.stamp, body: body.clone() });
            self.stamp = self.stamp.saturating_add(1);
        }
        Ok(Change::Append { entries, begins, stamp })
    }

    pub(crate) fn truncate_after(&mut self, last: Option<u64>) -> Result<Change, Misuse> {
        let from = last.map_or(0, |last| last.saturating_add(1)).min(self.standing.next);
        let first = self.standing.first;
        // Without a purge point nothing lies below the first entry, and "everything" means from
        // there.
        let from = if self.standing.purge.is_none() { from.max(first) } else { from };
        if !self.standing.truncate(from) {
            return Err(Misuse::BelowPurge { from, first });
        }
        let keep = usize_of(from.saturating_sub(first));
        let dropped = self.places.len().saturating_sub(keep);
        self.places.truncate(keep);
        self.bodies.truncate(self.bodies.len().saturating_sub(dropped));
        Ok(Change::Truncate { from })
    }

    /// `None` when an equal or later purge point is known: then there is nothing to do.
    pub(crate) fn purge(&mut self, index: u64, point: Bytes) -> Option<Change> {
        let first = self.standing.first;
        if !self.standing.purge(index, point.clone()) {
            return None;
        }
        let dropped = usize_of(self.standing.first.saturating_sub(first)).min(self.places.len());
        self.places.drain(..dropped);
        let surplus = self.bodies.len().saturating_sub(self.places.len());
        self.bodies.drain(..surplus);
        Some(Change::Purge { index, point })
    }

    /// Notes where the entries from `first` on now lie. Those purged meanwhile are passed over. The
    /// place of one that was truncated meanwhile falls to its successor, which does no harm: its
    /// body is cached until it has been given its own.
    pub(crate) fn settle(&mut self, first: u64, places: &[Place]) {
        for (index, place) in (first..).zip(places) {
            let at = index.checked_sub(self.standing.first).map(usize_of);
            if let Some(slot) = at.and_then(|at| self.places.get_mut(at)) {
                *slot = *place;
            }
        }
    }

    /// Forgets the bodies of entries that were stamped before `stamp`; all of them are synced.
    pub(crate) fn evict(&mut self, stamp: u64) {
        let old = self.bodies.partition_point(|cached| cached.stamp < stamp);
        self.bodies.drain(..old);
    }

    /// What a read of `range` returns: at least one entry of it that is held, and no more than
    /// `bytes_max` allow.
    pub(crate) fn plan(&self, range: Range<u64>, bytes_max: u64) -> Plan {
        let first = range.start.max(self.standing.first);
        let end = range.end.min(self.standing.next);
        let mut plan = Plan { first, ..Plan::default() };
        let skipped = usize_of(first.saturating_sub(self.standing.first));
        let cached_from = self.cached_from().unwrap_or_default();
        let mut bytes = 0_u64;
        for (index, (at, place)) in (first..end).zip(self.places.iter().enumerate().skip(skipped)) {
            bytes = bytes.saturating_add(place.len.into());
            if bytes > bytes_max && index > first {
                break;
            }
            match at.checked_sub(cached_from).and_then(|at| self.bodies.get(at)) {
                Some(cached) => plan.bodies.push(cached.body.clone()),
                None => plan.places.push(*place),
            }
        }
        plan
    }

    /// The place of the oldest entry.
    pub(crate) fn oldest(&self) -> Option<Place> {
        self.places.front().copied()
    }

    /// Which of the places is the first whose body is cached.
    fn cached_from(&self) -> Option<usize> {
        self.places.len().checked_sub(self.bodies.len())
    }
}

/// Differences of indexes are lengths of the queues above, so they fit.
fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
