//! What the loader reads out of answers: of each outcome only what the verdict needs.
//!
//! These are the public messages with fewer fields. Whatever else an answer says is skipped unread: reading it all
//! would cost the loader more than the request cost the gateway.

use ledger::TransferId;
use prost::Message;
use tonic::Status;
use wire::status::Said as StatusSaid;

use crate::verify::TransferNumber;

/// As `SessionResponse` and, without an id, `SubmitBatchResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FrameAnswer {
    /// The frame's number.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// One for each request.
    #[prost(message, repeated, tag = "2")]
    pub(super) outcomes: Vec<OutcomeAnswer>,
}

/// As `SubmitBatchResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchAnswer {
    /// One for each request.
    #[prost(message, repeated, tag = "1")]
    pub(super) outcomes: Vec<OutcomeAnswer>,
}

/// As `Outcome`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OutcomeAnswer {
    #[prost(oneof = "Said", tags = "1, 2, 3")]
    said: Option<Said>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Said {
    #[prost(message, tag = "1")]
    Posted(PostedAnswer),
    #[prost(message, tag = "2")]
    Rejected(RejectedAnswer),
    #[prost(message, tag = "3")]
    Failed(FailedAnswer),
}

/// As `Posted`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PostedAnswer {
    #[prost(string, tag = "1")]
    transfer: String,
    #[prost(bool, tag = "3")]
    replayed: bool,
}

/// As `Rejected`.
#[derive(Clone, PartialEq, Message)]
struct RejectedAnswer {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(bool, tag = "4")]
    replayed: bool,
}

/// As `Failed`.
#[derive(Clone, PartialEq, Message)]
struct FailedAnswer {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(bool, tag = "3")]
    outcome_unknown: bool,
    #[prost(bool, tag = "4")]
    retryable: bool,
}

/// What a caller heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The ledger did it.
    Posted {
        /// Under this name.
        transfer: TransferNumber,
        /// Whether it had said so before.
        replayed: bool,
    },
    /// The ledger said no.
    Rejected {
        /// Why.
        code: String,
        /// Whether it had said so before.
        replayed: bool,
    },
    /// Nobody answered for the ledger.
    Failed {
        /// Why.
        code: String,
        /// Whether it may have been done.
        unknown: bool,
        /// Whether to send it again.
        retryable: bool,
    },
}

/// An answer that is none of the documented ones, or names a transfer in no documented way.
const NOT_UNDERSTOOD: &str = "ANSWER_NOT_UNDERSTOOD";

/// What came instead of an answer when a connection broke, or nothing came for too long.
const CONNECTION_LOST: &str = "CONNECTION_LOST";

/// No connection could be made.
const NOT_CONNECTED: &str = "NOT_CONNECTED";

/// A status that is none of the catalogue's.
const FOREIGN_STATUS: &str = "FOREIGN_STATUS";

impl Heard {
    /// Nothing came: it may have been done.
    pub(super) fn nothing() -> Self {
        Self::Failed { code: CONNECTION_LOST.to_owned(), unknown: true, retryable: true }
    }

    /// There was no connection: it was not done.
    pub(super) fn not_connected() -> Self {
        Self::Failed { code: NOT_CONNECTED.to_owned(), unknown: false, retryable: true }
    }

    /// Something came that nobody can read: it may have been done.
    fn nonsense() -> Self {
        Self::Failed { code: NOT_UNDERSTOOD.to_owned(), unknown: true, retryable: true }
    }

    /// What a single call that failed says.
    pub(super) fn status(status: &Status) -> Self {
        let said = StatusSaid::read(status);
        let unknown = said.is_unknown();
        match said {
            StatusSaid::Coded { entry, metadata, .. } => match entry.kind {
                wire::catalogue::Kind::Rejection => {
                    let replayed =
                        metadata.iter().any(|(name, value)| name == "replayed" && value == "true");
                    Self::Rejected { code: entry.code.to_owned(), replayed }
                }
                wire::catalogue::Kind::NotProposed
                | wire::catalogue::Kind::Unknown
                | wire::catalogue::Kind::Refusal => Self::Failed {
                    code: entry.code.to_owned(),
                    unknown,
                    retryable: entry.retryable,
                },
            },
            StatusSaid::NotConnected { .. } | StatusSaid::Foreign { .. } => {
                Self::Failed { code: FOREIGN_STATUS.to_owned(), unknown, retryable: true }
            }
        }
    }
}

impl From<PostedAnswer> for Heard {
    fn from(PostedAnswer { transfer, replayed }: PostedAnswer) -> Self {
        read_transfer(&transfer)
            .map_or_else(Self::nonsense, |transfer| Self::Posted { transfer, replayed })
    }
}

impl From<OutcomeAnswer> for Heard {
    fn from(answer: OutcomeAnswer) -> Self {
        match answer.said {
            Some(Said::Posted(posted)) => posted.into(),
            Some(Said::Rejected(RejectedAnswer { code, replayed })) => {
                Self::Rejected { code, replayed }
            }
            Some(Said::Failed(FailedAnswer { code, outcome_unknown, retryable })) => {
                Self::Failed { code, unknown: outcome_unknown, retryable }
            }
            None => Self::nonsense(),
        }
    }
}

/// Reads `transfers/tr_…`.
pub(super) fn read_transfer(name: &str) -> Option<TransferNumber> {
    let id: TransferId = name.strip_prefix("transfers/").unwrap_or(name).parse().ok()?;
    TransferNumber::pack(id)
}

#[cfg(test)]
mod tests {
    use ledger::{Answer, Posted, Rejection, Time};
    use wire::{Failure, Reply};

    use super::*;

    fn heard(reply: &Reply) -> Heard {
        let bytes = wire::convert::outcome(reply, None).encode_to_vec();
        OutcomeAnswer::decode(bytes.as_slice()).unwrap().into()
    }

    #[test]
    fn the_few_fields_read_as_the_public_messages() {
        let transfer = TransferId { shard: 3, index: 1_042, position: 7 };
        let posted = Posted { transfer, at: Time(1_760_000_000_123) };
        for replayed in [false, true] {
            let answer = Answer { outcome: Ok(posted), replayed };
            let transfer = TransferNumber::pack(transfer).unwrap();
            assert_eq!(heard(&Reply::Answer(answer)), Heard::Posted { transfer, replayed });

            let rejection = Rejection::Insufficient { available: 1, requested: 2 };
            let outcome = Err(rejection);
            let code = "INSUFFICIENT".to_owned();
            let rejected = Heard::Rejected { code, replayed };
            assert_eq!(heard(&Reply::Answer(Answer { outcome, replayed })), rejected);
            let status = wire::status::rejection(&rejection, replayed);
            assert_eq!(Heard::status(&status), rejected);
        }
        for failure in Failure::ALL {
            let expected = Heard::Failed {
                code: failure.code().to_owned(),
                unknown: failure.is_unknown(),
                retryable: failure.entry().retryable,
            };
            assert_eq!(heard(&Reply::Failure(failure)), expected);
            assert_eq!(Heard::status(&wire::status::failure(failure, None)), expected);
        }
    }

    #[test]
    fn what_cannot_be_read_may_have_been_done() {
        let nothing: Heard = OutcomeAnswer::default().into();
        let nameless: Heard = PostedAnswer::default().into();
        let foreign = Heard::status(&Status::internal("a proxy's"));
        for heard in [nothing, nameless, foreign, Heard::nothing()] {
            assert!(matches!(heard, Heard::Failed { unknown: true, .. }), "{heard:?}");
        }
    }
}
