//! Records that are proposed together: neighbours of one gateway's frame, or one shard's letter.

use bytes::{Bytes, BytesMut};
use ledger::ScopedKey;
use ledger::batch::BATCH_REQUESTS_MAX;

use crate::frames::Waiter;
use crate::outgoing::Away;
use crate::places::Order;
use crate::proposer::ENTRY_BYTES_MAX;

/// A letter's number on this desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterNo(pub u64);

/// Records that are proposed together.
#[derive(Debug)]
pub struct Run {
    pub(crate) load: Load,
    pub(crate) count: usize,
    pub(crate) records: Bytes,
}

/// Whose records they are.
#[derive(Debug)]
pub(crate) enum Load {
    /// Clients', each with who waits for it.
    Requests(Requests),
    /// Another shard's.
    Letter(LetterNo),
}

/// Clients' requests, in the order of their records.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) keys: Vec<ScopedKey>,
    /// Their payments to other shards.
    pub(crate) away: Away,
}

/// A run that is being gathered out of one frame's orders.
#[derive(Default)]
pub(crate) struct Gathering {
    requests: Requests,
    parts: Vec<Bytes>,
    bytes: usize,
}

impl Gathering {
    pub(crate) fn has_room(&self, order: &Order) -> bool {
        self.parts.len() < BATCH_REQUESTS_MAX
            && self.bytes.saturating_add(order.record.len()) <= ENTRY_BYTES_MAX
    }

    pub(crate) fn push(&mut self, order: Order) {
        self.bytes = self.bytes.saturating_add(order.record.len());
        self.requests.waiters.push(order.waiter);
        self.requests.keys.push(order.key);
        self.requests.away.extend(order.away);
        self.parts.push(order.record);
    }

    pub(crate) fn finish(self) -> Run {
        let mut records = BytesMut::with_capacity(self.bytes);
        for part in &self.parts {
            records.extend_from_slice(part);
        }
        let count = self.parts.len();
        Run { load: Load::Requests(self.requests), count, records: records.freeze() }
    }
}
