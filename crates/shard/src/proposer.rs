//! From what waits to log entries: each sealed batch becomes one entry, its records' bytes as the gateway wrote them.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use group_commit::{Batch as Sealed, Limits, Weight};
use ledger::batch::{BATCH_HEAD_BYTES, BATCH_REQUESTS_MAX, Batch};
use ledger::{Operation, Time};

use crate::run::Run;

/// Bytes of records in one entry at the most: a batch of the largest transfers is cut into several entries, so that
/// many entries fit into a message between replicas.
pub(crate) const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Entries on their way at once. While they are, the next one gathers; more would only make entries smaller.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;

/// Clients' requests that wait at the most: thirty-two full batches, a fraction of a second's work.
pub(crate) const CLIENTS_WAITING_MAX: usize = 32 * BATCH_REQUESTS_MAX;

/// What waits at the most, letters from other shards included: they have room of their own, so that no crowd of clients
/// keeps out the answers that other clients wait for. A letter that finds none is written again.
const WAITING_REQUESTS_MAX: usize = CLIENTS_WAITING_MAX + 32 * BATCH_REQUESTS_MAX;

/// Bytes that wait at the most.
const WAITING_BYTES_MAX: usize = 64 << 20;

pub(crate) const LIMITS: Limits = Limits {
    waiting_max: Weight { items: WAITING_REQUESTS_MAX, bytes: WAITING_BYTES_MAX },
    batch_max: Weight { items: BATCH_REQUESTS_MAX, bytes: ENTRY_BYTES_MAX },
    batches_in_flight_max: ENTRIES_IN_FLIGHT_MAX,
};

/// A batch on its way into the log, and whose records it carries.
pub struct Entry {
    /// The reign in which it was sealed: its outcome means nothing to a later one.
    pub reign: u64,
    /// What to propose.
    pub bytes: Bytes,
    pub(crate) sealed: Sealed<Run>,
    /// When the frame of its first request arrived; `None` when nobody waits for it, or not any more.
    pub(crate) arrived: Option<Instant>,
    /// How many requests it carries.
    pub(crate) count: u32,
}

impl Entry {
    /// Stamps a batch and lays it out.
    pub(crate) fn new(reign: u64, at: Time, sealed: Sealed<Run>) -> Self {
        let size: usize = sealed.items.iter().map(|run| run.records.len()).sum();
        let count: usize = sealed.items.iter().map(|run| run.count).sum();
        let count = u32::try_from(count).expect("a batch has at most 2,048 requests");
        let mut bytes = BytesMut::with_capacity(size.saturating_add(BATCH_HEAD_BYTES));
        bytes.put_slice(&Batch::head(at, count));
        for run in &sealed.items {
            bytes.put_slice(&run.records);
        }
        let arrived = sealed.items.iter().filter_map(Run::arrived).min();
        Self { reign, bytes: bytes.freeze(), sealed, arrived, count }
    }

    /// What it asks the ledger for, each kind once. What an answer in a letter brings to its end went in with another
    /// entry, and counts there.
    pub(crate) fn kinds(&self) -> Vec<Operation> {
        let mut kinds = Vec::new();
        for kind in self.sealed.items.iter().flat_map(Run::kinds) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs = self.sealed.items.len();
        f.debug_struct("Entry")
            .field("reign", &self.reign)
            .field("runs", &runs)
            .finish_non_exhaustive()
    }
}
