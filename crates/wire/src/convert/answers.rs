//! Answers: what the ledger, or the lack of it, said → what the caller reads.

use ledger::{AccountId, Answer, HoldId, Posted, Rejection, Time};
use prost_types::Timestamp;

use super::names::{account_name, hold_name, transfer_name};
use super::refusal::Refusal;
use crate::failure::Failure;
use crate::proto::v1;
use crate::proto::v1::outcome::Result as Said;
use crate::reply::{self, Reply};

/// What a request made: the caller may have left its name to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// An account.
    Account(AccountId),
    /// A hold.
    Hold(HoldId),
}

impl Made {
    /// Its resource name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Account(id) => account_name(id),
            Self::Hold(id) => hold_name(id),
        }
    }
}

/// Log time as the wire writes it.
#[must_use]
pub fn timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.0 / 1_000).expect("a thousandth of a u64 fits an i64");
    let nanos = u32::try_from(time.0 % 1_000).expect("below 1,000").saturating_mul(1_000_000);
    Timestamp { seconds, nanos: i32::try_from(nanos).expect("below 10^9") }
}

/// What the ledger did.
#[must_use]
pub fn posted(posted: &Posted, replayed: bool, made: Option<Made>) -> v1::Posted {
    v1::Posted {
        transfer: transfer_name(posted.transfer),
        post_time: Some(timestamp(posted.at)),
        replayed,
        resource: made.map_or_else(String::new, Made::name),
    }
}

/// What became of one request of many.
#[must_use]
pub fn outcome(reply: &Reply, made: Option<Made>) -> v1::Outcome {
    let result = match reply {
        Reply::Answer(Answer { outcome: Ok(done), replayed }) => {
            Said::Posted(posted(done, *replayed, made))
        }
        Reply::Answer(Answer { outcome: Err(rejection), replayed }) => {
            Said::Rejected(rejected(rejection, *replayed))
        }
        Reply::Failure(failure) => Said::Failed(failed(*failure)),
    };
    v1::Outcome { result: Some(result) }
}

fn rejected(rejection: &Rejection, replayed: bool) -> v1::Rejected {
    v1::Rejected {
        code: rejection.code().into(),
        message: rejection.to_string(),
        metadata: reply::operands(rejection)
            .map(|(name, value)| (name.to_owned(), value.to_string()))
            .collect(),
        replayed,
    }
}

fn failed(failure: Failure) -> v1::Failed {
    v1::Failed {
        code: failure.code().into(),
        message: failure.to_string(),
        outcome_unknown: failure.is_unknown(),
        retryable: failure.entry().retryable,
        field_violations: Vec::new(),
    }
}

impl From<&Refusal> for v1::Outcome {
    fn from(refusal: &Refusal) -> Self {
        let field_violations = refusal
            .violations()
            .into_iter()
            .map(|wrong| v1::FieldViolation {
                field: wrong.field.into_owned(),
                description: wrong.description.into_owned(),
            })
            .collect();
        let failed = v1::Failed {
            code: refusal.code().into(),
            message: refusal.to_string(),
            outcome_unknown: false,
            retryable: refusal.entry().retryable,
            field_violations,
        };
        Self { result: Some(Said::Failed(failed)) }
    }
}
