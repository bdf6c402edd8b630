//! One group's part of the log, as the group sees it.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    error::Misuse,
    queue::{Done, Request},
    shelf::{Change, Held, Shelf},
    writer::Log,
};

/// One group's part of the log. Cheap to clone.
///
/// Nothing here waits for the disk but [`GroupLog::read`]. A request changes what can be read at
/// once; `done` is called when it is durable. Requests of one group must be made one after the
/// other; they become durable in that order.
#[derive(Clone)]
pub struct GroupLog {
    log: Log,
    group: u32,
    shelf: Arc<Shelf>,
}

impl GroupLog {
    pub(crate) fn new(log: Log, group: u32, shelf: Arc<Shelf>) -> Self {
        Self { log, group, shelf }
    }

    /// The group's number.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.group
    }

    /// The log of the node.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Adds entries. They must follow the last one; an empty log that was never purged may begin at
    /// any index.
    pub fn append(&self, entries: Vec<(u64, Bytes)>, done: Done) {
        self.ask(done, |held| held.append(entries).map(Some));
    }

    /// Drops the entries after `last`; all of them when it is `None`.
    pub fn truncate_after(&self, last: Option<u64>, done: Done) {
        self.ask(done, |held| held.truncate_after(last).map(Some));
    }

    /// Drops the entries up to `up_to`, and keeps `point`. The point may lie beyond the last entry:
    /// then the log is empty, and the entry after the point is due. An earlier point than the known
    /// one changes nothing.
    pub fn purge(&self, up_to: u64, point: Bytes, done: Done) {
        self.ask(done, |held| Ok(held.purge(up_to, point)));
    }

    /// Keeps the vote. When `done` is called it may be answered: it is durable, and sealed by a
    /// later frame.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.ask(done, |_| Ok(Some(Change::Vote(vote))));
    }

    /// Keeps what is committed, with the next request of any group. It needs no sync of its own:
    /// forgetting it is safe.
    pub fn save_committed(&self, committed: Bytes) {
        let mut held = self.shelf.lock();
        held.standing.committed = Some(committed.clone());
        self.log.shared.queue.put_committed(self.group, committed);
    }

    /// The last vote that is durable.
    #[must_use]
    pub fn vote(&self) -> Option<Bytes> {
        self.shelf.lock().standing.vote.clone()
    }

    /// What was last kept as committed.
    #[must_use]
    pub fn committed(&self) -> Option<Bytes> {
        self.shelf.lock().standing.committed.clone()
    }

    /// The last purged index, and what was kept with it.
    #[must_use]
    pub fn purge_point(&self) -> Option<(u64, Bytes)> {
        self.shelf.lock().standing.purge.clone()
    }

    /// The first entry there is.
    #[must_use]
    pub fn first_index(&self) -> Option<u64> {
        let held = self.shelf.lock();
        (!held.standing.is_empty()).then_some(held.standing.first)
    }

    /// The last entry there is.
    #[must_use]
    pub fn last_index(&self) -> Option<u64> {
        let held = self.shelf.lock();
        held.standing.next.checked_sub(1).filter(|_| !held.standing.is_empty())
    }

    /// The entries of `range` that the log holds, in order, as many as fit into `bytes_max`, and at
    /// least one. Blocks when they are not in memory: the caller chooses the thread.
    ///
    /// # Errors
    /// What the disk says, or that a record is not what was written. Either stops the log.
    pub fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<(u64, Bytes)>> {
        let shared = &self.log.shared;
        let entries = shared.index.read(self.group, &self.shelf, range, bytes_max);
        Ok(entries.inspect_err(|error| shared.failure.set(error.clone()))?)
    }

    /// The same from memory alone; `None` when the first of them would have to be read from disk.
    #[must_use]
    pub fn cached(&self, range: Range<u64>, bytes_max: u64) -> Option<Vec<(u64, Bytes)>> {
        self.log.shared.index.cached(&self.shelf, range, bytes_max)
    }

    /// How many bytes of log lie behind the group's oldest entry: what it keeps from being removed.
    #[must_use]
    pub fn bytes_held(&self) -> u64 {
        self.log.shared.index.bytes_held(&self.shelf)
    }

    /// Changes the shelf and queues the change under one lock, so that both happen in the same
    /// order.
    fn ask(&self, done: Done, admit: impl FnOnce(&mut Held) -> Result<Option<Change>, Misuse>) {
        let mut held = self.shelf.lock();
        let asked = match admit(&mut held) {
            Ok(change) => self.log.shared.queue.push(Request::new(self.group, change, done)),
            Err(misuse) => Err((done, misuse)),
        };
        drop(held);
        if let Err((done, misuse)) = asked {
            let failure = self.log.failed().map(Into::into);
            done(Err(failure.unwrap_or_else(|| misuse.into())));
        }
    }
}
