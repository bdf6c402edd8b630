//! `/livez`, `/readyz` and `/metrics` over HTTP/1.1, one request a connection.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::pulse::Pulse;

/// Connections at once: a probe, a scraper and a person or two. More wait to be accepted.
const CONNECTIONS_MAX: usize = 16;

/// How long a connection may last: a scrape takes milliseconds.
const CONNECTION_MAX: Duration = Duration::from_secs(10);

/// How long the head of a request may take to arrive.
const HEAD_MAX: Duration = Duration::from_secs(2);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// After a failed accept, so that a process without free files does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Every path there is.
const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

const TEXT: &str = "text/plain; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until it is dropped. Without a listener there is nothing to serve.
pub(super) async fn serve(listener: Option<TcpListener>, metrics: Metrics, pulse: Pulse) {
    let listener = match listener.map(tokio::net::TcpListener::from_std) {
        None => return std::future::pending().await,
        Some(Ok(listener)) => listener,
        Some(Err(why)) => {
            tracing::error!(%why, "no admin port");
            return std::future::pending().await;
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((socket, _)) => {
                let (metrics, pulse) = (metrics.clone(), pulse.clone());
                tokio::spawn(async move {
                    // Whoever is slow, or speaks nonsense, is hung up on; there is nothing else to do about it.
                    let _ = tokio::time::timeout(CONNECTION_MAX, one(socket, metrics, pulse)).await;
                    drop(place);
                });
            }
            Err(why) => {
                tracing::warn!(%why, "the admin port cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn one(socket: TcpStream, metrics: Metrics, pulse: Pulse) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (metrics, pulse) = (metrics.clone(), pulse.clone());
        async move {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            Ok::<_, Infallible>(respond(&method, &path, &metrics, &pulse).await)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service)
        .await
}

async fn respond(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    pulse: &Pulse,
) -> Response<Full<Bytes>> {
    if !PATHS.contains(&path) {
        let all = PATHS.join("\n");
        return text(StatusCode::NOT_FOUND, format!("there are only\n{all}\n"));
    }
    if method != Method::GET && method != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let said = pulse.ask().await;
    if path == "/metrics" {
        let mut page = text(StatusCode::OK, metrics.page(said));
        page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EXPOSITION));
        return page;
    }
    match said {
        None => text(StatusCode::SERVICE_UNAVAILABLE, "the serving thread does not answer\n"),
        Some(_) if path == "/livez" => text(StatusCode::OK, "alive\n"),
        Some((sample, _)) => match sample.ready {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
