//! Records that are proposed together: neighbours of one gateway's frame, or one shard's letter.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use ledger::batch::BATCH_REQUESTS_MAX;
use ledger::{Operation, ScopedKey};

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

impl Run {
    /// Since when a client waits for it; nobody waits for a letter.
    pub(crate) const fn arrived(&self) -> Option<Instant> {
        match &self.load {
            Load::Requests(requests) => requests.arrived,
            Load::Letter(_) => None,
        }
    }

    /// What its records ask for, neighbours of one kind as one.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Operation> {
        let (keys, letter) = match &self.load {
            Load::Requests(requests) => (requests.keys.as_slice(), None),
            Load::Letter(_) => (&[][..], Some(Operation::Deliver)),
        };
        let alike = keys.chunk_by(|one, next| one.operation == next.operation);
        alike.filter_map(|keys| keys.first()).map(|key| key.operation).chain(letter)
    }
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
    /// When their frame arrived, if it still waits.
    pub(crate) arrived: Option<Instant>,
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

    pub(crate) fn finish(self, arrived: Option<Instant>) -> Run {
        let mut records = BytesMut::with_capacity(self.bytes);
        for part in &self.parts {
            records.extend_from_slice(part);
        }
        let count = self.parts.len();
        let requests = Requests { arrived, ..self.requests };
        Run { load: Load::Requests(requests), count, records: records.freeze() }
    }
}
