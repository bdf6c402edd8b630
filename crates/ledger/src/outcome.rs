//! What became of a request: posted or rejected, replicated, final.

use bincode::{Decode, Encode};

use crate::id::{Time, TransferId};
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

/// An outcome, and whether it had been given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether this is a repetition: the ledger changed nothing now.
    pub replayed: bool,
}
