//! What a handler takes out of a request: whose call it is, its deadline, its path, its query, and its body.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{BytesMut, Data, Query};
use actix_web::{FromRequest, HttpRequest};
use futures::future::{LocalBoxFuture, Ready, ready};
use futures::{FutureExt, StreamExt};
use runtime::{Instant, timeout_at};
use serde::de::DeserializeOwned;
use wire::convert::Refusal;
use wire::{Failure, status};

use super::json;
use super::problem::Problem;
use super::trace;
use crate::auth::{AUTHORIZATION, Grant, TENANT};
use crate::call::Caller;
use crate::deadline;
use crate::grpc::Doors;
use crate::trace::Traced;

/// Bytes of a body at the most: a transfer of 64 legs has a sixth of it.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

/// Pairs of a query at the most: no call has half as many.
const PARAMETERS_MAX: usize = 16;

/// What the caller may do, and on whose behalf. Every call over HTTP is decided here, and nowhere else.
fn grant_of(request: &HttpRequest, doors: &Doors) -> Result<Grant, Problem> {
    let said = |name| request.headers().get(name).map(|said| said.as_bytes());
    Ok(doors.access.grant(said(AUTHORIZATION), said(TENANT))?)
}

/// One call: whose it is, how long its caller waits, its trace if it has one, and where it goes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) doors: Arc<Doors>,
    pub(super) grant: Grant,
    pub(super) deadline: Instant,
    trace: Option<Arc<Traced>>,
}

impl FromRequest for Call {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(call(request))
    }
}

fn call(request: &HttpRequest) -> Result<Call, Problem> {
    let doors = request.app_data::<Data<Arc<Doors>>>().expect("the app is made with its doors");
    let doors = Arc::clone(doors.get_ref());
    let grant = grant_of(request, &doors)?;
    // Nobody's call is traced who was not let in.
    let trace = trace::begin(request, doors.router.sampling());
    Ok(Call { doors, grant, deadline: deadline_of(request)?, trace })
}

impl Call {
    /// The caller asks for a change.
    pub(super) fn moves(&self) -> Result<(), Problem> {
        Ok(self.grant.check_moves()?)
    }

    /// What its caller is owed.
    pub(super) fn caller(&self) -> Caller {
        Caller { deadline: self.deadline, trace: self.trace.clone() }
    }

    /// Counts one request, or one question, against the caller's rate.
    pub(super) fn charge(&self) -> Result<(), Problem> {
        Ok(self.grant.charge_one().map_err(status::rate_limited)?)
    }
}

fn deadline_of(request: &HttpRequest) -> Result<Instant, Problem> {
    let said = request.headers().get(deadline::TIMEOUT);
    Ok(deadline::of_header(said.map(|said| said.as_bytes()))?)
}

/// The id in a path, as it stands there.
#[derive(Debug)]
pub(super) struct Id(pub(super) String);

impl FromRequest for Id {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request.match_info().get("id").unwrap_or_default();
        ready(Ok(Self(id.to_owned())))
    }
}

/// The parameters of a query, each of them known and there once.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query that may have these parameters.
    pub(super) fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Refusal> {
        let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string());
        let pairs = pairs.map_err(|why| Refusal::field("query", why.to_string()))?.into_inner();
        if pairs.len() > PARAMETERS_MAX {
            return Err(Refusal::field("query", "fewer parameters"));
        }
        for (place, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let expected = format!("unknown; there are {}", known.join(", "));
                return Err(Refusal::field(name.clone(), expected));
            }
            if pairs.iter().take(place).any(|(before, _)| before == name) {
                return Err(Refusal::field(name.clone(), "once"));
            }
        }
        Ok(Self(pairs))
    }

    /// One of them; empty when it is absent.
    pub(super) fn text(&mut self, name: &str) -> String {
        self.take(name).unwrap_or_default()
    }

    /// `true` or `false`; false when it is absent.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::field(name, "true or false")),
        }
    }

    /// A number; 0 when it is absent.
    pub(super) fn number(&mut self, name: &'static str) -> Result<i32, Refusal> {
        let digits = self.take(name);
        let number = digits.map_or(Ok(0), |digits| digits.parse());
        number.map_err(|_| Refusal::field(name, "a whole number"))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let found = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(found).1)
    }
}

/// What a body may be read as.
pub(super) trait Document: DeserializeOwned + 'static {
    /// Bytes of it at the most.
    const BYTES_MAX: usize = BODY_BYTES_MAX;
}

/// A call's body.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: Document> FromRequest for Body<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        async move {
            let deadline = deadline_of(&request)?;
            let body = timeout_at(deadline, collect(&request, payload, T::BYTES_MAX));
            let body = body.await.map_err(|_| Failure::DeadlinePassed)??;
            if !body.is_empty() && !is_plain_json(&request) {
                return Err(Refusal::MediaTypeUnsupported.into());
            }
            Ok(Self(json::read(&body)?))
        }
        .boxed_local()
    }
}

async fn collect(
    request: &HttpRequest,
    mut payload: Payload,
    bytes_max: usize,
) -> Result<BytesMut, Refusal> {
    let said = request.headers().get(CONTENT_LENGTH).and_then(|said| said.to_str().ok());
    let said = said.and_then(|said| said.parse::<usize>().ok()).unwrap_or(0);
    if said > bytes_max {
        return Err(Refusal::BodyTooLarge(bytes_max));
    }
    let mut body = BytesMut::with_capacity(said);
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|why| Refusal::field("", why.to_string()))?;
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(Refusal::BodyTooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_plain_json(request: &HttpRequest) -> bool {
    let said = |name| request.headers().get(name).and_then(|said| said.to_str().ok());
    let media_type = said(CONTENT_TYPE).and_then(|said| said.split(';').next());
    let is_json =
        media_type.is_some_and(|said| said.trim().eq_ignore_ascii_case("application/json"));
    is_json && said(CONTENT_ENCODING).is_none_or(|said| said.eq_ignore_ascii_case("identity"))
}
