//! What the ledger did, read back.

use ledger::{AccountId, HoldId, Time, TransferId};
use prost_types::Timestamp;
use wire::convert::{account_id, hold_id};
use wire::proto::v1;
use wire::proto::v1::outcome::Result as Said;

use crate::error::Error;

/// The ledger did it. Final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Where it stands in the log; the transfer's name, if it moved money.
    pub transfer: TransferId,
    /// When, in log time.
    pub at: Time,
    /// Whether this repeats an earlier answer: the ledger changed nothing now.
    pub replayed: bool,
    /// The account that the request opened.
    pub account: Option<AccountId>,
    /// The hold that the request placed.
    pub hold: Option<HoldId>,
}

impl Posted {
    /// Reads an answer. One that cannot be read leaves the outcome unknown: something was done, nobody can say what.
    pub(crate) fn read(posted: &v1::Posted) -> Result<Self, Error> {
        let read = || {
            Some(Self {
                transfer: transfer_id(&posted.transfer)?,
                at: time(posted.post_time.as_ref())?,
                replayed: posted.replayed,
                account: account_id("resource", &posted.resource).ok(),
                hold: hold_id("resource", &posted.resource).ok(),
            })
        };
        read().ok_or_else(|| Error::Unknown {
            message: "the answer cannot be read: the server's release is newer".to_owned(),
        })
    }

    /// Reads one outcome of many.
    pub(crate) fn of_outcome(outcome: &v1::Outcome) -> Result<Self, Error> {
        match &outcome.result {
            Some(Said::Posted(posted)) => Self::read(posted),
            Some(Said::Rejected(rejected)) => Err(Error::of_rejected(rejected)),
            Some(Said::Failed(failed)) => Err(Error::of_failed(failed)),
            None => Err(Error::Unknown { message: "an outcome came without a result".to_owned() }),
        }
    }
}

/// Reads a transfer's name.
pub(crate) fn transfer_id(name: &str) -> Option<TransferId> {
    name.strip_prefix("transfers/").unwrap_or(name).parse().ok()
}

/// Reads a time; `None` before 1970, or when there is none.
pub(crate) fn time(timestamp: Option<&Timestamp>) -> Option<Time> {
    let Timestamp { seconds, nanos } = timestamp?;
    let whole = u64::try_from(*seconds).ok()?.checked_mul(1_000)?;
    let part = u64::try_from(*nanos).ok()?.checked_div(1_000_000)?;
    whole.checked_add(part).map(Time)
}
