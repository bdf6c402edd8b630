//! openraft's log storage over one group's part of the node's log.
//!
//! The log orders everything by itself: votes, entries, truncations and purge points of a group become durable in the
//! order in which they were asked for. What is in memory is read at once, the rest off the runtime's thread.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::oneshot;

use crate::codec;
use crate::failpoint::{Crew, Moment, Plant, Shift, Traffic};
use crate::log::{Done, GroupLog};
use crate::offload::Offload;
use crate::raft::{Entry, Group, LogId, Vote};

/// Bytes of entries that are read at once to be sent or applied: enough to keep a link busy, and one message.
pub(crate) const READ_BYTES_MAX: u64 = 4 << 20;

/// Bytes of entries that are handed to the log in one request: a fourth of what it takes.
const APPEND_BYTES_MAX: usize = 64 << 20;

/// The last entry of a group that became durable, in the order of the log. Clones are the same one.
///
/// What was truncated since does not count back: but nobody truncates what was written in the term of a leader that still
/// leads, so an entry of that term is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flushed(Arc<Mutex<Option<LogId>>>);

impl Flushed {
    pub(crate) fn get(&self) -> Option<LogId> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, last: Option<LogId>) {
        let mut flushed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *flushed = last.or(*flushed);
    }
}

/// One group's log, as openraft sees it. Clones read the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: GroupLog,
    offload: Offload,
    flushed: Flushed,
    /// Who is in the group, for failpoints.
    crew: Crew,
}

impl LogStore {
    pub(crate) fn new(log: GroupLog, offload: Offload) -> Self {
        Self { log, offload, flushed: Flushed::default(), crew: Crew::default() }
    }

    /// The last entry that became durable since the group was opened.
    pub(crate) fn flushed(&self) -> Flushed {
        self.flushed.clone()
    }

    /// Entries from the front of a range, at least one if there is any.
    async fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Entry>> {
        let bodies = match self.log.cached(range.clone(), bytes_max) {
            Some(bodies) => bodies,
            None => {
                let log = self.log.clone();
                self.offload.run(move || log.read(range, bytes_max)).await?
            }
        };
        bodies.iter().map(|(index, body)| Ok(codec::decode_entry(*index, body)?)).collect()
    }

    /// The log id of the last entry, or of the purge point when there is none.
    pub(crate) async fn last_log_id(&self) -> io::Result<Option<LogId>> {
        let Some(last) = self.log.last_index() else { return self.purge_point() };
        let entries = self.read(last..last.saturating_add(1), READ_BYTES_MAX).await?;
        Ok(entries.last().map(|entry| entry.log_id()))
    }

    /// The log id of an entry; nothing, when the log does not hold it.
    pub(crate) async fn log_id_at(&self, index: u64) -> io::Result<Option<LogId>> {
        let held = self.log.first_index().zip(self.log.last_index());
        if held.is_none_or(|(first, last)| index < first || index > last) {
            return Ok(None);
        }
        let entries = self.read(index..index.saturating_add(1), READ_BYTES_MAX).await?;
        Ok(entries.first().map(|entry| entry.log_id()))
    }

    /// The last entry that was let go, behind which the log begins.
    pub(crate) fn purge_point(&self) -> io::Result<Option<LogId>> {
        self.log.purge_point().map(|(_, point)| Ok(codec::decode(&point)?)).transpose()
    }

    /// The vote on the disk.
    pub(crate) fn vote(&self) -> io::Result<Option<Vote>> {
        self.log.vote().map(|vote| Ok(codec::decode(&vote)?)).transpose()
    }

    /// Nothing was ever promised here.
    pub(crate) fn is_pristine(&self) -> bool {
        let log = &self.log;
        log.vote().is_none() && log.last_index().is_none() && log.purge_point().is_none()
    }

    /// Bytes of the node's log that lie behind this group's oldest entry.
    pub(crate) fn bytes_held(&self) -> u64 {
        self.log.bytes_held()
    }

    /// Asks for something, and waits until it is durable.
    async fn durably(&self, ask: impl FnOnce(&GroupLog, Done)) -> io::Result<()> {
        let (told, done) = oneshot::channel();
        let tell: Done = Box::new(move |result| {
            let _gone = told.send(result);
        });
        ask(&self.log, tell);
        done.await.unwrap_or_else(|_| Err(io::Error::other("the log is gone")))
    }

    /// Waits while the log has more to write than it should.
    async fn room(&self) {
        let (told, room) = oneshot::channel();
        self.log.log().when_room(Box::new(move || {
            let _gone = told.send(());
        }));
        // A log that is gone has no queue either; the request itself will fail.
        let _gone = room.await;
    }
}

impl RaftLogReader<Group> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        self.read(indexes(&range), u64::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES_MAX).await
    }

    async fn entries_stream<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend {
        let (store, range) = (self.clone(), indexes(&range));
        let pieces = stream::try_unfold((store, range), |(store, rest)| async move {
            let entries = store.read(rest.clone(), READ_BYTES_MAX).await?;
            let Some(last) = entries.last() else { return io::Result::Ok(None) };
            let rest = last.index().saturating_add(1)..rest.end;
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), (store, rest))))
        });
        pieces.try_flatten()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.vote()
    }
}

impl RaftLogStorage<Group> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Group>> {
        let last_purged_log_id = self.purge_point()?;
        Ok(LogState { last_purged_log_id, last_log_id: self.last_log_id().await? })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = codec::encode(vote);
        if Plant::VoteUnwritten.is_on() {
            return Ok(());
        }
        self.durably(|log, done| log.save_vote(vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.log.save_committed(codec::encode(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.log.committed().map(|committed| Ok(codec::decode(&committed)?)).transpose()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Group>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut traffic, mut shift) = (Traffic::default(), Shift::default());
        let entries = entries.into_iter().inspect(|entry| match &entry.payload {
            EntryPayload::Normal(batch) => traffic = traffic.and(Traffic::of_batch(&batch.0)),
            EntryPayload::Membership(members) => shift = shift.and(self.crew.next(members)),
            EntryPayload::Blank => {}
        });
        let mut last = None;
        let entries: Vec<(u64, Bytes)> = entries
            .inspect(|entry| last = Some(entry.log_id()))
            .map(|entry| (entry.index(), codec::encode_entry(&entry)))
            .collect();
        self.room().await;
        let mut run = Vec::with_capacity(entries.len());
        let mut bytes = 0_usize;
        for (index, body) in entries {
            if bytes >= APPEND_BYTES_MAX {
                // Whoever waits for the last request has waited for all before it.
                self.log.append(std::mem::take(&mut run), Box::new(|_| ()));
                bytes = 0;
            }
            bytes = bytes.saturating_add(body.len());
            run.push((index, body));
        }
        let durable = self.flushed.clone();
        let mut callback = Some(callback);
        let early = callback.take_if(|_| Plant::AcknowledgeUnwritten.is_on());
        let flushed: Done = Box::new(move |result| {
            traffic.reaches(Moment::Logged);
            shift.logged();
            if result.is_ok() {
                durable.set(last);
            }
            if let Some(callback) = callback {
                callback.io_completed(result);
            }
        });
        self.log.append(run, flushed);
        if let Some(early) = early {
            early.io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.durably(|log, done| log.truncate_after(last.map(|last| last.index), done)).await
    }

    async fn purge(&mut self, up_to: LogId) -> io::Result<()> {
        let point = codec::encode(&up_to);
        self.durably(|log, done| log.purge(up_to.index, point, done)).await
    }
}

/// A range of indexes, its end not included.
fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

#[cfg(test)]
mod tests;
