//! What a log should hold, kept in plain maps by rules of its own.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::log::{SimDisk, Wal};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
    pub(super) purge: Option<(u64, Bytes)>,
    pub(super) entries: BTreeMap<u64, Bytes>,
}

impl Group {
    /// The index of the next entry.
    pub(super) fn due(&self) -> u64 {
        let last = self.entries.last_key_value().map(|(index, _)| *index);
        last.max(self.purge.as_ref().map(|(index, _)| *index)).map_or(0, |last| last + 1)
    }

    /// The last index that is left when so many entries are dropped from the end.
    pub(super) fn last_after_dropping(&self, count: u64) -> Option<u64> {
        let dropped = count.min(self.entries.len() as u64);
        (self.due() - dropped).checked_sub(1)
    }

    /// The last purged index when so many entries are purged from the front.
    pub(super) fn purged_after(&self, count: u64) -> u64 {
        let first = self.entries.first_key_value().map_or(self.due(), |(index, _)| *index);
        first + count.max(1) - 1
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model(BTreeMap<u32, Group>);

impl Model {
    pub(super) fn group(&self, group: u32) -> Group {
        self.0.get(&group).cloned().unwrap_or_default()
    }

    pub(super) fn append(&mut self, group: u32, entries: &[(u64, Bytes)]) {
        if !entries.is_empty() {
            self.0.entry(group).or_default().entries.extend(entries.iter().cloned());
        }
    }

    pub(super) fn truncate_after(&mut self, group: u32, last: Option<u64>) {
        let group = self.0.entry(group).or_default();
        group.entries.retain(|index, _| last.is_some_and(|last| *index <= last));
    }

    pub(super) fn purge(&mut self, group: u32, index: u64, point: Bytes) {
        let group = self.0.entry(group).or_default();
        group.entries.retain(|held, _| *held > index);
        group.purge = Some((index, point));
    }

    pub(super) fn vote(&mut self, group: u32, vote: Bytes) {
        self.0.entry(group).or_default().vote = Some(vote);
    }

    pub(super) fn committed(&mut self, group: u32, committed: Bytes) {
        self.0.entry(group).or_default().committed = Some(committed);
    }

    /// Groups that hold nothing are no different from groups that never were.
    pub(super) fn trimmed(&self) -> Self {
        let groups = self.0.iter().filter(|(_, group)| **group != Group::default());
        Self(groups.map(|(id, group)| (*id, group.clone())).collect())
    }

    /// Votes are shown once they are durable, everything else at once.
    pub(super) fn without_votes(&self) -> Self {
        let mut model = self.clone();
        model.0.values_mut().for_each(|group| group.vote = None);
        model.trimmed()
    }

    /// What a log holds, each entry read the way a reader does.
    pub(super) fn of(wal: &Wal<SimDisk>) -> Self {
        let index = wal.index();
        let mut model = Self::default();
        for id in index.groups() {
            let shelf = index.shelf(id);
            let standing = shelf.lock().standing.clone();
            let entries = index.read(id, &shelf, 0..u64::MAX, u64::MAX).expect("the disk works");
            let (vote, committed) = (standing.vote, standing.committed);
            let entries = entries.into_iter().collect();
            model.0.insert(id, Group { vote, committed, purge: standing.purge, entries });
        }
        model.trimmed()
    }
}
