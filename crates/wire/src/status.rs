//! The only place that knows gRPC codes: rejections, failures and refusals → `google.rpc.Status`, and back.
//!
//! Every status of ours carries exactly one `ErrorInfo` of domain [`DOMAIN`], whose reason is the code; `RetryInfo`
//! where the catalogue names a delay; `BadRequest` where fields are wrong. A status without our `ErrorInfo` came from
//! something in between (a proxy, a dying connection), and then nobody knows what became of the request, unless the
//! connection was never made: [`Said`] keeps these apart.

use std::collections::HashMap;
use std::time::Duration;

use ledger::Rejection;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::catalogue::{self, Entry, Kind};
use crate::convert::{FieldViolation, Refusal};
use crate::failure::Failure;
use crate::obstacle::Obstacle;
use crate::proto::cluster::Leader;
use crate::reply;

#[cfg(test)]
mod tests;

/// The domain of our codes.
pub const DOMAIN: &str = "paycore";

/// Metadata of `ErrorInfo`: the leader's node id.
const LEADER_ID: &str = "leader_id";
/// Metadata of `ErrorInfo`: the leader's address.
const LEADER_ADDRESS: &str = "leader_address";
/// Metadata of `ErrorInfo`: `true` when a rejection is a repeated one.
pub const REPLAYED: &str = "replayed";

/// The ledger's "no" as a status.
///
/// # Panics
/// Never: a test finds every rejection in the catalogue.
#[must_use]
pub fn rejection(rejection: &Rejection, replayed: bool) -> Status {
    let entry = catalogue::find(rejection.code()).expect("every rejection is in the catalogue");
    let mut metadata: HashMap<String, String> = reply::operands(rejection)
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .collect();
    if replayed {
        metadata.insert(REPLAYED.to_owned(), true.to_string());
    }
    coded(entry, rejection.to_string(), metadata, &[])
}

/// A failure as a status; `leader` is who to ask instead, where that is known.
#[must_use]
pub fn failure(failure: Failure, leader: Option<&Leader>) -> Status {
    let metadata = leader.map(|leader| {
        HashMap::from([
            (LEADER_ID.to_owned(), leader.node_id.to_string()),
            (LEADER_ADDRESS.to_owned(), leader.address.clone()),
        ])
    });
    coded(failure.entry(), failure.to_string(), metadata.unwrap_or_default(), &[])
}

/// Too many requests, as a status that says how long to wait.
#[must_use]
pub fn rate_limited(wait: Duration) -> Status {
    let failure = Failure::RateLimited;
    let mut details = ErrorDetails::with_error_info(failure.code(), DOMAIN, HashMap::new());
    details.set_retry_info(Some(wait));
    Status::with_error_details(grpc_code(failure.entry()), failure.to_string(), details)
}

/// The edge's own refusal as a status.
#[must_use]
pub fn refusal(refusal: &Refusal) -> Status {
    coded(refusal.entry(), refusal.to_string(), HashMap::new(), &refusal.violations())
}

/// Why an operation on the cluster was not done, as a status.
#[must_use]
pub fn obstacle(obstacle: Obstacle) -> Status {
    let numbers = obstacle.numbers().into_iter();
    let metadata = numbers.map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    coded(obstacle.entry(), obstacle.to_string(), metadata, &[])
}

fn coded(
    entry: &Entry,
    message: String,
    metadata: HashMap<String, String>,
    violations: &[FieldViolation],
) -> Status {
    let mut details = ErrorDetails::with_error_info(entry.code, DOMAIN, metadata);
    if let Some(ms) = entry.retry_after_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    for wrong in violations {
        details.add_bad_request_violation(wrong.field.as_ref(), wrong.description.as_ref());
    }
    Status::with_error_details(grpc_code(entry), message, details)
}

/// The names that the catalogue may use.
fn code_of(name: &str) -> Option<Code> {
    match name {
        "INVALID_ARGUMENT" => Some(Code::InvalidArgument),
        "NOT_FOUND" => Some(Code::NotFound),
        "FAILED_PRECONDITION" => Some(Code::FailedPrecondition),
        "UNAVAILABLE" => Some(Code::Unavailable),
        "UNIMPLEMENTED" => Some(Code::Unimplemented),
        "DEADLINE_EXCEEDED" => Some(Code::DeadlineExceeded),
        "RESOURCE_EXHAUSTED" => Some(Code::ResourceExhausted),
        "UNAUTHENTICATED" => Some(Code::Unauthenticated),
        "PERMISSION_DENIED" => Some(Code::PermissionDenied),
        _ => None,
    }
}

fn grpc_code(entry: &Entry) -> Code {
    code_of(entry.grpc).expect("a test finds every name that the catalogue uses")
}

/// What a status says, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// One of our codes.
    Coded {
        /// What the catalogue says about it.
        entry: &'static Entry,
        /// For a person.
        message: String,
        /// What the message says in numbers, by name.
        metadata: Vec<(String, String)>,
        /// Which fields are wrong.
        violations: Vec<FieldViolation>,
        /// How long to wait before the next attempt.
        retry_after: Option<Duration>,
    },
    /// The connection was never made: the request did not leave.
    NotConnected {
        /// For a person.
        message: String,
    },
    /// None of our codes: nobody knows what became of the request.
    Foreign {
        /// The gRPC code's description, and what came with it.
        message: String,
    },
}

impl Said {
    /// Reads a status.
    #[must_use]
    pub fn read(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let entry = info.and_then(|info| catalogue::find(&info.reason));
        let (Some(entry), Some(info)) = (entry, info) else {
            let message = format!("{}: {}", status.code().description(), status.message());
            if never_connected(status) {
                return Self::NotConnected { message };
            }
            return Self::Foreign { message };
        };
        let mut metadata: Vec<_> =
            info.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        metadata.sort();
        let violations = details.bad_request().map(|bad| {
            let wrong = bad.field_violations.iter();
            wrong.map(|wrong| FieldViolation {
                field: wrong.field.clone().into(),
                description: wrong.description.clone().into(),
            })
        });
        Self::Coded {
            entry,
            message: status.message().to_owned(),
            metadata,
            violations: violations.into_iter().flatten().collect(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }

    /// Whether the request may have been carried out. If not, it was not, and will not be unless it is sent again.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Coded { entry, .. } => entry.kind == Kind::Unknown,
            Self::NotConnected { .. } => false,
            Self::Foreign { .. } => true,
        }
    }

    /// Who leads the shard, where the status says so.
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        let Self::Coded { metadata, .. } = self else { return None };
        let said = |name| metadata.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let node_id = said(LEADER_ID)?.parse().ok()?;
        Some(Leader { node_id, address: said(LEADER_ADDRESS)?.clone() })
    }

    /// The failure that it is, if it is one.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let Self::Coded { entry, .. } = self else { return None };
        Failure::ALL.into_iter().find(|failure| failure.code() == entry.code)
    }
}

fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
