//! Why a request has no good outcome, and what that means.

use std::time::Duration;

use ledger::Rejection;
use tonic::Status;
use wire::catalogue::{self, Kind};
use wire::convert::FieldViolation;
use wire::proto::v1;
use wire::status::Said;

/// The command line's exit code when nobody knows the outcome.
const EXIT_UNKNOWN: u8 = 76;
/// The command line's exit code for what may be tried again.
const EXIT_TEMPORARY: u8 = 75;
/// The command line's exit code for a code that this release does not know.
const EXIT_REJECTED: u8 = 3;
/// The command line's exit code for an answer that cannot be.
const EXIT_PROTOCOL: u8 = 76;

/// Why a request has no good outcome. Each variant says what its reader can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The ledger said no, and will say no to this request for ever. The code says what to change; send the changed
    /// request with a new key.
    #[error("{code}: {message}")]
    Rejected {
        /// A code of the catalogue.
        code: String,
        /// For a person.
        message: String,
        /// What the message says in numbers, by name.
        metadata: Vec<(String, String)>,
        /// Whether the ledger had said so before.
        replayed: bool,
    },
    /// Nothing happened, and nothing will unless the request is sent again, with the same key. The client has tried.
    #[error("{code}: {message}; nothing was done")]
    NotProposed {
        /// A code of the catalogue.
        code: String,
        /// For a person.
        message: String,
        /// How long to wait first.
        retry_after: Option<Duration>,
    },
    /// Nothing happened: there was no connection to the server. Check its address.
    #[error("no connection: {message}; nothing was done")]
    NotConnected {
        /// For a person.
        message: String,
    },
    /// It may have happened. Send the same request again, with the same key, to learn its outcome.
    #[error("the outcome is unknown: {message}")]
    Unknown {
        /// For a person.
        message: String,
    },
    /// Nothing happened, and the same request will be refused again: correct it. Also what is not found.
    #[error("{code}: {message}")]
    Refused {
        /// A code of the catalogue.
        code: String,
        /// For a person.
        message: String,
        /// Which fields are wrong.
        violations: Vec<FieldViolation>,
    },
    /// A read's answer makes no sense to this release of the client: use the server's.
    #[error("the answer's {0} cannot be read")]
    Unreadable(&'static str),
}

impl Error {
    /// The code of the catalogue, if it has one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Rejected { code, .. }
            | Self::NotProposed { code, .. }
            | Self::Refused { code, .. } => Some(code),
            Self::Unknown { .. } => Some("OUTCOME_UNKNOWN"),
            Self::NotConnected { .. } | Self::Unreadable(_) => None,
        }
    }

    /// Whether the request may have been carried out.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown { .. } => true,
            Self::Rejected { .. }
            | Self::NotProposed { .. }
            | Self::NotConnected { .. }
            | Self::Refused { .. }
            | Self::Unreadable(_) => false,
        }
    }

    /// Whether sending the same request again, with the same key, may bring its outcome.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotProposed { code, .. } => {
                catalogue::find(code).is_none_or(|entry| entry.retryable)
            }
            Self::NotConnected { .. } | Self::Unknown { .. } => true,
            Self::Rejected { .. } | Self::Refused { .. } | Self::Unreadable(_) => false,
        }
    }

    /// How long to wait before sending it again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotProposed { retry_after, .. } => *retry_after,
            Self::Rejected { .. }
            | Self::NotConnected { .. }
            | Self::Unknown { .. }
            | Self::Refused { .. }
            | Self::Unreadable(_) => None,
        }
    }

    /// The rejection in the ledger's words, if this release knows it.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        let Self::Rejected { code, metadata, .. } = self else { return None };
        wire::reply::rejection(code, |name| {
            let (_, value) = metadata.iter().find(|(known, _)| known == name)?;
            value.parse().ok()
        })
    }

    /// The command line's exit code for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let entry = self.code().and_then(catalogue::find);
        match self {
            Self::Rejected { .. } | Self::Refused { .. } => {
                entry.map_or(EXIT_REJECTED, |entry| entry.exit)
            }
            Self::NotProposed { .. } => entry.map_or(EXIT_TEMPORARY, |entry| entry.exit),
            Self::NotConnected { .. } => EXIT_TEMPORARY,
            Self::Unknown { .. } => EXIT_UNKNOWN,
            Self::Unreadable(_) => EXIT_PROTOCOL,
        }
    }

    /// What it means after an attempt whose outcome is unknown: that the last attempt did nothing says nothing about
    /// the first. Nor does a refusal: a key may be revoked, and a clock put right, between the two.
    pub(crate) fn after_unknown(self) -> Self {
        match self {
            Self::NotConnected { message } => Self::Unknown { message },
            Self::NotProposed { code, message, .. } | Self::Refused { code, message, .. } => {
                Self::Unknown { message: format!("{code}: {message}") }
            }
            Self::Rejected { .. } | Self::Unknown { .. } | Self::Unreadable(_) => self,
        }
    }

    pub(crate) fn of_status(status: &Status) -> Self {
        let said = Said::read(status);
        let (entry, message, metadata, violations, retry_after) = match said {
            Said::Coded { entry, message, metadata, violations, retry_after } => {
                (entry, message, metadata, violations, retry_after)
            }
            Said::NotConnected { message } => return Self::NotConnected { message },
            Said::Foreign { message } => return Self::Unknown { message },
        };
        let code = entry.code.to_owned();
        match entry.kind {
            Kind::Rejection => {
                let replayed = metadata.iter().any(|(name, _)| name == wire::status::REPLAYED);
                Self::Rejected { code, message, metadata, replayed }
            }
            Kind::NotProposed => Self::NotProposed { code, message, retry_after },
            Kind::Unknown => Self::Unknown { message },
            Kind::Refusal => Self::Refused { code, message, violations },
        }
    }

    pub(crate) fn of_rejected(rejected: &v1::Rejected) -> Self {
        let pair = |(name, value): (&String, &String)| (name.clone(), value.clone());
        let mut metadata: Vec<_> = rejected.metadata.iter().map(pair).collect();
        metadata.sort();
        Self::Rejected {
            code: rejected.code.clone(),
            message: rejected.message.clone(),
            metadata,
            replayed: rejected.replayed,
        }
    }

    pub(crate) fn of_failed(failed: &v1::Failed) -> Self {
        let v1::Failed { code, message, outcome_unknown, retryable, field_violations } =
            failed.clone();
        if outcome_unknown {
            return Self::Unknown { message };
        }
        if retryable {
            let entry = catalogue::find(&code);
            let retry_after = entry.and_then(|entry| entry.retry_after_ms);
            let retry_after = retry_after.map(Duration::from_millis);
            return Self::NotProposed { code, message, retry_after };
        }
        let violations = field_violations.into_iter().map(|wrong| FieldViolation {
            field: wrong.field.into(),
            description: wrong.description.into(),
        });
        Self::Refused { code, message, violations: violations.collect() }
    }
}

#[cfg(test)]
mod tests {
    use ledger::Time;
    use wire::convert::{Refusal, outcome};
    use wire::{Failure, Reply, status};

    use super::*;
    use crate::posted::Posted;

    fn of_many(reply: Reply) -> Error {
        Posted::of_outcome(&outcome(&reply, None)).unwrap_err()
    }

    /// A status and an outcome of a batch say the same thing.
    #[test]
    fn both_doors_say_the_same() {
        for failure in Failure::ALL {
            let one = Error::of_status(&status::failure(failure, None));
            assert_eq!(one.is_unknown(), failure.is_unknown(), "{failure:?}");
            assert_eq!(one.is_retryable(), failure.entry().retryable, "{failure:?}");
            assert_eq!(one.exit_code(), failure.entry().exit, "{failure:?}");
            assert_eq!(of_many(Reply::Failure(failure)), one, "{failure:?}");
        }
        for rejection in wire::reply::every_rejection() {
            let one = Error::of_status(&status::rejection(&rejection, false));
            let answer = ledger::Answer { outcome: Err(rejection), replayed: false };
            assert_eq!(of_many(Reply::Answer(answer)), one, "{rejection:?}");
            assert_eq!(one.rejection(), Some(rejection));
            assert!(!one.is_retryable() && !one.is_unknown());
        }
        for refusal in Refusal::every() {
            let one = Error::of_status(&status::refusal(&refusal));
            let outcome = wire::proto::v1::Outcome::from(&refusal);
            assert_eq!(Posted::of_outcome(&outcome), Err(one.clone()), "{refusal:?}");
            assert_eq!(one.exit_code(), refusal.entry().exit);
            assert!(!one.is_retryable() && !one.is_unknown());
        }
    }

    #[test]
    fn a_rejections_numbers_come_through() {
        for rejection in [
            Rejection::Insufficient { available: 3_000, requested: 9_900 },
            Rejection::HoldExceeded { remaining: 1, requested: u64::MAX },
            Rejection::KeyTooOld { cut_off: Time(17) },
        ] {
            let replayed = Error::of_status(&status::rejection(&rejection, true));
            assert_eq!(replayed.rejection(), Some(rejection));
            assert!(matches!(replayed, Error::Rejected { replayed: true, .. }));
        }
    }

    #[test]
    fn nothing_happened_is_not_believed_after_an_unknown_attempt() {
        for failure in Failure::ALL {
            let error = Error::of_status(&status::failure(failure, None)).after_unknown();
            assert!(error.is_unknown(), "{failure:?}");
        }
        let foreign = Error::of_status(&Status::unavailable("a proxy gave up"));
        assert!(foreign.is_unknown());
    }
}
