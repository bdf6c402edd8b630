//! What became of a request: posted or rejected, replicated, final.

use bincode::{Decode, Encode};

use crate::channels::PeerSet;
use crate::id::{Time, TransferId};
use crate::key::ScopedKey;
use crate::rejection::Rejection;

/// What the ledger did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub struct Posted {
    /// Where it stands in the log; the name of the transfer, if it moved money.
    pub transfer: TransferId,
    /// When, in log time.
    pub at: Time,
}

/// Posted or rejected. Once given under a key, it is the only outcome that key will ever have (A4).
pub type Outcome = Result<Posted, Rejection>;

/// What one batch brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// One answer per request, in order. `None` for a request whose outcome waits for another shard: it will be among
    /// the `finals` of a later batch.
    pub answers: Vec<Option<Answer>>,
    /// The requests of earlier batches that have their outcome now.
    pub finals: Vec<(ScopedKey, Outcome)>,
    /// The peers for which messages have joined their channels.
    pub sent_to: PeerSet,
}

/// An outcome, and whether it had been given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether this is a repetition: the ledger changed nothing now.
    pub replayed: bool,
}
