//! Records on their way together, and whose they are.

use std::sync::Arc;

use bytes::Bytes;
use ledger::batch::{BatchError, put_record};
use ledger::{Plant, Request};
use runtime::Instant;
use wire::limits::{FRAME_BYTES_MAX, FRAME_REQUESTS_MAX};
use wire::{Failure, Reply};

use crate::call::Call;
use crate::trace::Traced;

/// How often a request is sent at the most: with the pauses between, about ten seconds of elections.
const SENDS_MAX: u8 = 48;

/// Traced calls of one frame that its leader hears of.
const TRACES_MAX: usize = 16;

/// Room that a draft begins with at the most: more is seldom worth keeping for a frame that may turn out small.
const DRAFT_BYTES_MAX: usize = 64 << 10;
const DRAFT_ENTRIES_MAX: usize = 1_024;

/// One record, and where its reply belongs.
#[derive(Debug)]
pub(super) struct Entry {
    call: Arc<Call>,
    place: usize,
    /// Where its record ends.
    end: usize,
    /// Whether it may be in a log: it went out once, and nobody said what became of it. From then on no failure but
    /// `OUTCOME_UNKNOWN` is true.
    perhaps_proposed: bool,
    /// Why it was not proposed, the last time.
    failure: Option<Failure>,
    settled: bool,
}

impl Entry {
    /// What to say when nothing better comes: why it was not proposed, or `otherwise` if it was never sent.
    fn last_word(&self, otherwise: Failure) -> Failure {
        if self.perhaps_proposed || otherwise.is_unknown() {
            return Failure::OutcomeUnknown;
        }
        self.failure.unwrap_or(otherwise)
    }

    /// What a reply means for this request: `Some` is final, `None` says to send it again.
    fn hear(&mut self, reply: Reply, again: bool) -> Option<Reply> {
        let failure = match reply {
            Reply::Answer(answer) => return Some(Reply::Answer(answer)),
            Reply::Failure(failure) => failure,
        };
        if failure.is_unknown() {
            self.perhaps_proposed = true;
        } else {
            self.failure = Some(failure);
        }
        if again && is_passing(failure) {
            return None;
        }
        Some(Reply::Failure(self.last_word(failure)))
    }
}

/// Whether sending the same request again soon, with the same key, may bring its outcome.
const fn is_passing(failure: Failure) -> bool {
    match failure {
        Failure::NoLeader | Failure::Overloaded | Failure::Draining | Failure::OutcomeUnknown => {
            true
        }
        // These last longer than a caller waits.
        Failure::DiskFull
        | Failure::KeyFromFuture
        | Failure::Diverged
        | Failure::PeerBehind
        | Failure::RateLimited
        | Failure::TablesStale
        | Failure::LevelTooLow
        | Failure::DeadlinePassed
        | Failure::InvalidRecord => false,
    }
}

/// A frame being written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    records: Vec<u8>,
    entries: Vec<Entry>,
    times: Option<Times>,
    traced: bool,
}

/// The earliest and the latest deadline of a frame's requests.
#[derive(Clone, Copy, Debug)]
struct Times {
    earliest: Instant,
    latest: Instant,
}

impl Times {
    fn with(times: Option<Self>, deadline: Instant) -> Self {
        times.map_or(Self { earliest: deadline, latest: deadline }, |times| Self {
            earliest: times.earliest.min(deadline),
            latest: times.latest.max(deadline),
        })
    }
}

impl Draft {
    /// Whether the frame must go before another record comes in.
    pub(super) const fn is_full(&self) -> bool {
        let bytes = self.records.len().saturating_add(ledger::batch::RECORD_BYTES_MAX);
        self.entries.len() >= FRAME_REQUESTS_MAX || bytes > FRAME_BYTES_MAX
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.times.map(|times| times.earliest)
    }

    pub(super) fn push(
        &mut self,
        request: &Request,
        call: &Arc<Call>,
        place: usize,
    ) -> Result<(), BatchError> {
        put_record(request, &mut self.records)?;
        self.times = Some(Times::with(self.times, call.deadline));
        self.traced |= call.trace.is_some();
        self.entries.push(Entry {
            call: Arc::clone(call),
            place,
            end: self.records.len(),
            perhaps_proposed: false,
            failure: None,
            settled: false,
        });
        Ok(())
    }

    /// The frame, if there is anything in it; the next begins with about as much room.
    pub(super) fn seal(&mut self) -> Option<Frame> {
        let Times { earliest, latest } = self.times.take()?;
        let bytes = self.records.len().min(DRAFT_BYTES_MAX);
        let entries = self.entries.len().min(DRAFT_ENTRIES_MAX);
        let records = std::mem::replace(&mut self.records, Vec::with_capacity(bytes)).into();
        let entries = std::mem::replace(&mut self.entries, Vec::with_capacity(entries));
        let earliest = Some(earliest);
        let traced = std::mem::take(&mut self.traced);
        let (sends, sent, not_before) = (0, None, None);
        Some(Frame { records, entries, earliest, latest, sends, sent, not_before, traced })
    }
}

/// Records on their way together.
#[derive(Debug)]
pub(super) struct Frame {
    /// As the log keeps them.
    pub(super) records: Bytes,
    entries: Vec<Entry>,
    /// When the first of its callers who have not heard yet stops waiting; `None` when all have heard.
    pub(super) earliest: Option<Instant>,
    /// When the last of its callers stops waiting.
    pub(super) latest: Instant,
    /// How often it went out.
    pub(super) sends: u8,
    /// When it went out last.
    pub(super) sent: Option<Instant>,
    /// When it may go out again.
    pub(super) not_before: Option<Instant>,
    /// Whether any of its calls is traced.
    traced: bool,
}

/// What a frame's answer brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether the ledger answered at least one request.
    pub(super) answered: bool,
    /// Whether the node said that it does not lead.
    pub(super) not_leader: bool,
}

impl Frame {
    /// How many records it carries.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// The traces of its calls: almost always none.
    pub(super) fn traces(&self) -> impl Iterator<Item = &Arc<Traced>> {
        let entries = if self.traced { self.entries.as_slice() } else { &[] };
        let calls = entries.chunk_by(same_call).filter_map(|run| run.first());
        calls.filter_map(|entry| entry.call.trace.as_ref()).take(TRACES_MAX)
    }

    /// Takes the replies to its records, in order, and settles what is final. The rest is to be sent again.
    pub(super) fn hear(&mut self, replies: &[Reply], now: Instant) -> Heard {
        let mut heard = Heard::default();
        let mut replies = replies.iter().copied();
        let sends_left = self.sends < SENDS_MAX;
        for run in self.entries.chunk_by_mut(same_call) {
            let Some(call) = run.first().map(|entry| Arc::clone(&entry.call)) else { continue };
            let again = sends_left && now < call.deadline;
            let finals = run.iter_mut().zip(&mut replies).filter_map(|(entry, reply)| {
                heard.answered |= matches!(reply, Reply::Answer(_));
                heard.not_leader |= reply == Reply::Failure(Failure::NoLeader);
                if entry.settled {
                    return None;
                }
                let last = entry.hear(reply, again)?;
                entry.settled = true;
                Some((entry.place, last))
            });
            call.reply(finals);
        }
        heard
    }

    /// It went out, and its stream broke: nobody knows what became of it.
    pub(super) fn lose(&mut self) {
        #[cfg(planted)]
        if Plant::RecallAfresh.is_on() {
            self.take_new_keys();
        }
        if Plant::ForgetFlight.is_on() {
            return;
        }
        for entry in &mut self.entries {
            entry.perhaps_proposed = true;
        }
    }

    /// Encodes every record again under a key of its own.
    #[cfg(planted)]
    fn take_new_keys(&mut self) {
        let mut records = Vec::with_capacity(self.records.len());
        for (record, entry) in ledger::batch::records(&self.records).zip(&mut self.entries) {
            let record = record.expect("it was written here");
            let mut request = ledger::batch::get_record(record, 0).expect("it was written here");
            request.key = ledger::Key::from_digest((!request.key.to_u128()).to_be_bytes());
            put_record(&request, &mut records).expect("it is no longer than it was");
            entry.end = records.len();
        }
        self.records = records.into();
    }

    /// Tells those whose deadline has come what is known: `otherwise`, of what was never sent; of what is in flight,
    /// that is OUTCOME_UNKNOWN.
    pub(super) fn expire(&mut self, now: Instant, otherwise: Failure) {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        let mut earliest: Option<Instant> = None;
        for run in self.entries.chunk_by_mut(same_call) {
            let Some(call) = run.first().map(|entry| Arc::clone(&entry.call)) else { continue };
            let mut waiting = run.iter_mut().filter(|entry| !entry.settled).peekable();
            if call.deadline > now {
                let next = waiting.peek().map(|entry| entry.call.deadline);
                earliest = earliest.into_iter().chain(next).min();
                continue;
            }
            call.reply(waiting.map(|entry| {
                entry.settled = true;
                (entry.place, Reply::Failure(entry.last_word(otherwise)))
            }));
        }
        self.earliest = earliest;
    }

    /// Takes another frame's records behind its own, if both together may be one frame. Gives it back if not.
    #[expect(clippy::result_large_err, reason = "a frame is given back as it came, and seldom")]
    pub(super) fn absorb(&mut self, other: Self) -> Result<(), Self> {
        let bytes = self.records.len().saturating_add(other.records.len());
        let entries = self.len().saturating_add(other.len());
        if bytes > FRAME_BYTES_MAX || entries > FRAME_REQUESTS_MAX {
            return Err(other);
        }
        let start = self.records.len();
        self.records = [self.records.as_ref(), other.records.as_ref()].concat().into();
        self.entries.extend(other.entries.into_iter().map(|entry| {
            let end = entry.end.saturating_add(start);
            Entry { end, ..entry }
        }));
        self.earliest = self.earliest.into_iter().chain(other.earliest).min();
        self.latest = self.latest.max(other.latest);
        self.sends = self.sends.max(other.sends);
        self.not_before = self.not_before.max(other.not_before);
        self.traced |= other.traced;
        Ok(())
    }

    /// What is not settled, as a frame; nothing is encoded again.
    pub(super) fn rest(mut self) -> Option<Self> {
        let settled = self.entries.iter().filter(|entry| entry.settled).count();
        if settled == 0 {
            return Some(self);
        }
        if settled == self.entries.len() {
            return None;
        }
        let mut start = 0;
        let mut records = Vec::with_capacity(self.records.len());
        let mut times = None;
        self.entries.retain_mut(|entry| {
            let record = self.records.get(start..entry.end).unwrap_or_default();
            start = entry.end;
            if !entry.settled {
                records.extend_from_slice(record);
                entry.end = records.len();
                times = Some(Times::with(times, entry.call.deadline));
            }
            !entry.settled
        });
        let Times { earliest, latest } = times?;
        Some(Self { records: records.into(), earliest: Some(earliest), latest, ..self })
    }
}

fn same_call(one: &Entry, next: &Entry) -> bool {
    Arc::ptr_eq(&one.call, &next.call)
}

#[cfg(test)]
mod tests;
