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
    /// What is said to each request, in order.
    pub answers: Vec<Said>,
    /// The requests of earlier batches that have their outcome now.
    pub finals: Vec<(ScopedKey, Outcome)>,
    /// The peers for which messages have joined their channels.
    pub sent_to: PeerSet,
}

/// What a batch says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its outcome.
    Now(Answer),
    /// That its outcome waits for another shard: it will be among the `finals` of a later batch.
    Later {
        /// Whether this is a repetition: an earlier batch has begun it.
        replayed: bool,
    },
}

impl Said {
    /// The answer, if it was given now.
    #[must_use]
    pub const fn now(&self) -> Option<Answer> {
        match self {
            Self::Now(answer) => Some(*answer),
            Self::Later { .. } => None,
        }
    }
}

/// An outcome, and whether it had been given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether this is a repetition: the ledger changed nothing now.
    pub replayed: bool,
}
