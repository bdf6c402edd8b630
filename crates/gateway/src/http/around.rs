//! What surrounds every call: its name, and its problem and its trace if it has them.

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use uuid::Uuid;

use super::problem::{About, Problem};
use super::trace;

/// The name of a call, in and out.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a caller's own name for a call at the most; a longer one is not taken over.
const REQUEST_ID_MAX: usize = 128;

/// Names a call, lets it through, and writes its problem if it ends with one.
pub(super) async fn around(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let request_id = request_id(request.headers());
    let is_read = [Method::GET, Method::HEAD].contains(request.method());

    let mut answered = next.call(request).await?;
    let trace = trace::of(answered.request());
    let problem = answered.response().error().and_then(|why| why.as_error::<Problem>()).cloned();
    if let Some(problem) = problem {
        let path = answered.request().path().to_owned();
        let trace_id = trace.as_ref().and_then(|trace| trace.id());
        let about = About { path: &path, request_id: &request_id, trace_id, is_read };
        answered = answered.into_response(problem.response(&about));
    }
    if let Ok(name) = HeaderValue::from_str(&request_id) {
        answered.headers_mut().insert(REQUEST_ID, name);
    }
    if let Some(trace) = trace {
        trace::end(&trace, &mut answered);
    }
    Ok(answered)
}

/// The caller's name for the call if it is a plain one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let said = headers.get(REQUEST_ID).and_then(|said| said.to_str().ok());
    let plain = said.filter(|said| {
        (1..=REQUEST_ID_MAX).contains(&said.len()) && said.bytes().all(|b| b.is_ascii_graphic())
    });
    plain.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}
