//! The trace of a call over HTTP: begun where the call is let in, and told to the caller with his answer.
//!
//! Between the two it waits among the request's extensions. The span is OpenTelemetry's for HTTP servers: named after the
//! method and the route, with what the conventions ask for. A query is left out, since keys may stand in it.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpRequest};
use opentelemetry::KeyValue;

use crate::trace::{About, Sampling, TRACEPARENT, Traced};

/// The caller's name for the trace that his call is part of, and the gateway's for its part of it.
const HEADER: HeaderName = HeaderName::from_static(TRACEPARENT);

/// What callers reach the door by: `http` or `https`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheme(pub(super) &'static str);

/// Begins the trace of a call, if it is to have one.
pub(super) fn begin(request: &HttpRequest, sampling: Sampling) -> Option<Arc<Traced>> {
    let said = |name: &str| request.headers().get(name).and_then(|said| said.to_str().ok());
    let trace = sampling.begin(said, || about(request))?;
    request.extensions_mut().insert(Arc::clone(&trace));
    Some(trace)
}

/// The trace of a call, if it has one.
pub(super) fn of(request: &HttpRequest) -> Option<Arc<Traced>> {
    request.extensions().get::<Arc<Traced>>().cloned()
}

/// Tells a traced call's answer to its span, and its trace to the caller.
pub(super) fn end<B: MessageBody>(trace: &Traced, answered: &mut ServiceResponse<B>) {
    trace.answered(answered.status().as_u16());
    let name = trace.parent().and_then(|parent| HeaderValue::from_str(&parent).ok());
    if let Some(name) = name {
        answered.headers_mut().insert(HEADER, name);
    }
}

fn about(request: &HttpRequest) -> About {
    let (method, path) = (request.method().to_string(), request.path().to_owned());
    let route = request.match_pattern().map_or_else(String::new, |pattern| route(&pattern));
    let scheme = request.app_data::<Data<Scheme>>().map_or("http", |scheme| scheme.0);
    let name = format!("{method} {route}");
    let attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new("url.path", path),
        KeyValue::new("url.scheme", scheme),
        KeyValue::new("network.protocol.version", "1.1"),
    ];
    About { name, attributes }
}

/// A route without the patterns of its parts: `/v1/holds/{id:[^/:]+}:void` is `/v1/holds/{id}:void`.
fn route(pattern: &str) -> String {
    let mut parts = pattern.split('{');
    let mut route = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inner, rest) = part.split_once('}').unwrap_or((part, ""));
        let name = inner.split_once(':').map_or(inner, |(name, _)| name);
        route.extend(["{", name, "}", rest]);
    }
    route
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_no_patterns() {
        for (pattern, expected) in [
            ("/v1/accounts", "/v1/accounts"),
            ("/v1/accounts/{id:[^/:]+}", "/v1/accounts/{id}"),
            ("/v1/holds/{id:[^/:]+}:void", "/v1/holds/{id}:void"),
            ("/docs/errors/{id}", "/docs/errors/{id}"),
            ("/v1/accounts/{id:[^/:]+}/postings", "/v1/accounts/{id}/postings"),
        ] {
            assert_eq!(route(pattern), expected);
        }
    }
}
