//! Where one group stands: its vote, what it knows committed, its purge point, and which entries it
//! has.
//!
//! The same few rules serve three times: what a caller may ask next (the shelf), what is durable
//! (the writer), and what a log's records add up to (recovery). So the three cannot disagree.
//!
//! **Invariant:** `first <= next`; the entries are `first..next`, without holes; a purge point
//! never goes back, and `first` lies beyond it.

use bytes::Bytes;

use super::format::{Kind, Record};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    /// The last purged index, and the caller's bytes for it.
    pub(crate) purge: Option<(u64, Bytes)>,
    pub(crate) first: u64,
    pub(crate) next: u64,
}

impl Standing {
    pub(crate) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// An empty log that was never purged may begin at any index: no entry can be missing before
    /// its first. After a purge the next entry is due, and no other.
    pub(crate) fn may_begin(&self) -> bool {
        self.is_empty() && self.purge.is_none()
    }

    /// Moves the empty log to `index`. `false` when it is not allowed.
    pub(crate) fn begin(&mut self, index: u64) -> bool {
        let is_allowed = self.may_begin();
        if is_allowed {
            (self.first, self.next) = (index, index);
        }
        is_allowed
    }

    /// Adds `count` entries from `index` on. `false` when they do not follow.
    pub(crate) fn append(&mut self, index: u64, count: u64) -> bool {
        let next = index.checked_add(count).filter(|_| index == self.next);
        self.next = next.unwrap_or(self.next);
        next.is_some()
    }

    /// Drops the entries from `from` on. `false` when that reaches below the first.
    pub(crate) fn truncate(&mut self, from: u64) -> bool {
        let is_allowed = self.first <= from;
        if is_allowed {
            self.next = self.next.min(from);
        }
        is_allowed
    }

    /// Drops the entries up to `index`. `false`, and no change, when an equal or later point is
    /// known.
    pub(crate) fn purge(&mut self, index: u64, point: Bytes) -> bool {
        let is_later = self.purge.as_ref().is_none_or(|(known, _)| *known < index);
        if is_later {
            self.first = self.first.max(index.saturating_add(1));
            self.next = self.next.max(self.first);
            self.purge = Some((index, point));
        }
        is_later
    }

    /// Follows a record of a frame. `false` when it makes no sense here.
    pub(crate) fn follow(&mut self, record: &Record<'_>) -> bool {
        let body = || Bytes::copy_from_slice(record.body);
        match record.kind {
            Kind::Append => self.append(record.index, 1),
            Kind::Truncate => self.truncate(record.index),
            Kind::Purge => self.purge(record.index, body()),
            Kind::Begin => self.begin(record.index),
            Kind::Vote => {
                self.vote = Some(body());
                true
            }
            Kind::Committed => {
                self.committed = Some(body());
                true
            }
            Kind::Reach => false,
        }
    }

    /// Takes a record of a head. `false` when it makes no sense there.
    pub(crate) fn take(&mut self, record: &Record<'_>) -> bool {
        let body = || Bytes::copy_from_slice(record.body);
        match record.kind {
            Kind::Vote => self.vote = Some(body()),
            Kind::Committed => self.committed = Some(body()),
            Kind::Purge => self.purge = Some((record.index, body())),
            Kind::Begin => self.first = record.index,
            Kind::Reach => self.next = record.index,
            Kind::Append | Kind::Truncate => return false,
        }
        true
    }

    /// Writes the standing as records of a head, in a fixed order, so that equal standings are
    /// equal bytes.
    pub(crate) fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let mut put = |kind, index, body: &[u8]| Record { kind, group, index, body }.encode(out);
        if let Some(vote) = &self.vote {
            put(Kind::Vote, 0, vote);
        }
        if let Some(committed) = &self.committed {
            put(Kind::Committed, 0, committed);
        }
        if let Some((index, point)) = &self.purge {
            put(Kind::Purge, *index, point);
        }
        put(Kind::Begin, self.first, &[]);
        put(Kind::Reach, self.next, &[]);
    }
}
