//! Problems: why a call was not done, as RFC 9457 writes it.
//!
//! A problem is read back from the very status that gRPC would have sent, so that code, retry advice and numbers are the
//! same on both doors. Where the request it belongs to is known, it is written (`around.rs`).

use std::collections::BTreeMap;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use tonic::Status;
use utoipa::ToSchema;
use wire::catalogue::{Entry, Kind};
use wire::convert::{FieldViolation, Refusal};
use wire::status::{REPLAYED, Said};
use wire::{Failure, status};

use super::place::Place;

/// The media type of problems.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Says that an answer repeats an earlier one.
pub(super) const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Why a call was not done.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    entry: &'static Entry,
    message: String,
    metadata: BTreeMap<String, String>,
    violations: Vec<FieldViolation>,
    /// The methods that the path takes, where the method was wrong.
    allow: Option<&'static str>,
}

/// A problem's document.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// Where this code is described, by this very server.
    #[schema(format = "uri-reference")]
    r#type: String,
    /// The code for a person.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, for a person, in English.
    detail: String,
    /// The path that was called.
    #[schema(format = "uri-reference")]
    instance: String,
    /// The code: stable for ever, the same as gRPC's reason.
    code: String,
    /// Whether sending it again, with the same key and the same fields, makes sense.
    retryable: bool,
    /// `unknown` when the request may have been carried out; otherwise absent, and it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<String>,
    /// What is wrong where.
    errors: Vec<Wrong>,
    /// What the detail says in numbers, by name; amounts are in minor units.
    metadata: BTreeMap<String, String>,
    /// The name of this call: the caller's `X-Request-Id`, or one made for it.
    request_id: String,
    /// The id of the trace that this call is part of, 32 hexadecimal digits; absent when it is not traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    trace_id: Option<String>,
}

/// One thing that is wrong, and where: exactly one of the three places.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Wrong {
    /// What it should be.
    detail: String,
    /// In the body: its JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// In a header: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    header: Option<&'static str>,
    /// In the path or the query: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<String>,
}

impl Wrong {
    pub(super) fn new(place: Place, detail: impl Into<String>) -> Self {
        let mut wrong =
            Self { detail: detail.into(), pointer: None, header: None, parameter: None };
        match place {
            Place::Body(pointer) => wrong.pointer = Some(pointer),
            Place::Header(name) => wrong.header = Some(name),
            Place::Parameter(name) => wrong.parameter = Some(name),
        }
        wrong
    }
}

/// What a problem must be told before it can be written.
pub(super) struct About<'a> {
    /// The path that was called.
    pub(super) path: &'a str,
    /// The name of the call.
    pub(super) request_id: &'a str,
    /// The id of its trace, if it is traced.
    pub(super) trace_id: Option<String>,
    /// Whether the call has no body, so that its fields are parameters.
    pub(super) is_read: bool,
}

impl Problem {
    /// The path takes other methods.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::from(Refusal::MethodNotAllowed) }
    }

    /// As an answer.
    pub(super) fn response(&self, about: &About<'_>) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(ms) = self.entry.retry_after_ms {
            response.insert_header((RETRY_AFTER, ms.div_ceil(1_000)));
        }
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, HeaderValue::from_static(allow)));
        }
        if self.metadata.contains_key(REPLAYED) {
            response.insert_header((REPLAYED_HEADER, HeaderValue::from_static("true")));
        }
        response.content_type(PROBLEM_JSON).json(self.document(about))
    }

    fn document(&self, about: &About<'_>) -> Document {
        let places = self
            .violations
            .iter()
            .map(|wrong| (Place::of(&wrong.field, about.is_read), wrong.description.as_ref()));
        let places: Vec<_> = places.collect();
        let mut document = Document::of(self.entry, self.detail(&places));
        document.instance = about.path.to_owned();
        document.request_id = about.request_id.to_owned();
        document.trace_id.clone_from(&about.trace_id);
        document.metadata.clone_from(&self.metadata);
        document.metadata.remove(REPLAYED);
        document.errors =
            places.into_iter().map(|(place, detail)| Wrong::new(place, detail)).collect();
        document
    }

    /// The message, with this door's names of fields.
    fn detail(&self, places: &[(Place, &str)]) -> String {
        if self.entry.code == "INVALID_FIELD" { describe(places) } else { self.message.clone() }
    }
}

/// What is wrong, as one sentence.
pub(super) fn describe(places: &[(Place, &str)]) -> String {
    let said = places.iter().map(|(place, detail)| format!("{}: {detail}", place.text()));
    said.collect::<Vec<_>>().join("; ")
}

impl Document {
    /// What the catalogue says about a code, and this about the case.
    pub(super) fn of(entry: &Entry, detail: String) -> Self {
        Self {
            r#type: format!("/docs/errors/{}", entry.code),
            title: title(entry.code),
            status: entry.http,
            detail,
            instance: String::new(),
            code: entry.code.to_owned(),
            retryable: entry.retryable,
            outcome: (entry.kind == Kind::Unknown).then(|| "unknown".to_owned()),
            errors: Vec::new(),
            metadata: BTreeMap::new(),
            request_id: String::new(),
            trace_id: None,
        }
    }

    /// As it might look, for a description of the API.
    pub(super) fn example(entry: &Entry) -> Self {
        Self {
            instance: "/v1/transfers".to_owned(),
            request_id: "019b8f2e-7c00-7a51-9d3e-4b5c6d7e8f90".to_owned(),
            ..Self::of(entry, entry.action.to_owned())
        }
    }
}

/// A code for a person: `KEY_REUSED` → `Key reused`.
pub(super) fn title(code: &str) -> String {
    let words = code.to_ascii_lowercase().replace('_', " ");
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::from(status::refusal(&refusal))
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::from(status::failure(failure, None))
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        match Said::read(&status) {
            Said::Coded { entry, message, metadata, violations, retry_after: _ } => {
                let metadata = metadata.into_iter().collect();
                Self { entry, message, metadata, violations, allow: None }
            }
            Said::NotConnected { message } => Self::bare(Failure::NoLeader, message),
            // None of our codes: nobody knows what became of it, as on gRPC.
            Said::Foreign { message } => Self::bare(Failure::OutcomeUnknown, message),
        }
    }
}

impl Problem {
    fn bare(failure: Failure, message: String) -> Self {
        let (metadata, violations) = (BTreeMap::new(), Vec::new());
        Self { entry: failure.entry(), message, metadata, violations, allow: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.entry.code, self.message)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.entry.http).unwrap_or(StatusCode::BAD_REQUEST)
    }

    /// Never seen: `around.rs` writes it again with what it knows about the request.
    fn error_response(&self) -> HttpResponse {
        self.response(&About { path: "", request_id: "", trace_id: None, is_read: false })
    }
}
