//! Calls from their doors to the ledger and back, as a collector of traces sees them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use client::{AccountId, Client, Error, Request as Wanted};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use wire::proto::v1::payments_client::PaymentsClient;
use wire::proto::v1::{GetAccountRequest, Money, OpenAccountRequest};

use support::{Cluster, until};

const CALLER: &str = "00f067aa0ba902b7";

/// The caller's name for a trace of this number; whether it is to be traced is the last digit.
fn parent(trace: u8, sampled: u8) -> String {
    format!("00-{}-{CALLER}-0{sampled}", id(trace))
}

fn id(trace: u8) -> String {
    format!("4bf92f3577b34da6a3ce929d0e0e47{trace:02x}")
}

/// Everything that was sent to it, with the role of who sent it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for process in request.into_inner().resource_spans {
            let about = process.resource.unwrap_or_default().attributes;
            let role = about.iter().find(|pair| pair.key == "paycore.role").unwrap();
            let role = format!("{:?}", role.value);
            let role = ["gateway", "node"].into_iter().find(|known| role.contains(known)).unwrap();
            let spans = process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (role.to_owned(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Collector {
    /// The spans of a trace, by name. Each is there once.
    fn trace(&self, trace: u8) -> BTreeMap<String, (String, Span)> {
        let seen = self.0.lock().unwrap();
        let spans = seen.iter().filter(|(_, span)| hex(&span.trace_id) == id(trace));
        let mut by_name = BTreeMap::new();
        for (role, span) in spans {
            let twice = by_name.insert(span.name.clone(), (role.clone(), span.clone()));
            assert!(twice.is_none(), "{} is there twice", span.name);
        }
        by_name
    }

    /// Checks that a trace is one call at a door, and everything beneath.
    fn check_change(&self, trace: u8, door: &str) {
        let spans = self.trace(trace);
        let expected = [
            ("gateway", door, None),
            ("gateway", "gateway.queue", Some(door)),
            ("gateway", "gateway.frame", Some(door)),
            ("node", "shard", Some(door)),
            ("node", "queue", Some("shard")),
            ("node", "propose", Some("shard")),
            ("node", "commit", Some("shard")),
            ("node", "apply", Some("shard")),
            ("node", "reply", Some("shard")),
        ];
        assert_eq!(spans.len(), expected.len(), "{door}: {:?}", spans.keys());
        for (role, name, parent) in expected {
            let (by, span) = spans.get(name).unwrap_or_else(|| panic!("no {name} of {door}"));
            assert_eq!(by, role, "{name}");
            let parent_id = hex(&span.parent_span_id);
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{name}");
            let Some(parent) = parent else {
                assert_eq!(parent_id, CALLER, "{name}");
                continue;
            };
            let parent = &spans[parent].1;
            assert_eq!(parent_id, hex(&parent.span_id), "{name}");
            // Both clocks are this machine's, and read at different moments.
            let slack = 1_000_000;
            assert!(span.start_time_unix_nano + slack >= parent.start_time_unix_nano, "{name}");
            assert!(span.end_time_unix_nano <= parent.end_time_unix_nano + slack, "{name}");
        }
    }

    /// The one span of a trace that asks the ledger for nothing.
    fn alone(&self, trace: u8, door: &str) -> Span {
        let spans = self.trace(trace);
        assert_eq!(spans.keys().collect::<Vec<_>>(), [door]);
        assert_eq!(hex(&spans[door].1.parent_span_id), CALLER);
        spans[door].1.clone()
    }
}

/// What a span says about itself.
fn said(span: &Span) -> BTreeMap<&str, String> {
    let pairs = span.attributes.iter().map(|pair| {
        let value = pair.value.as_ref().and_then(|value| value.value.clone()).unwrap();
        let text = if let Attribute::StringValue(text) = value {
            text
        } else if let Attribute::IntValue(number) = value {
            number.to_string()
        } else {
            panic!("{value:?}")
        };
        (pair.key.as_str(), text)
    });
    pairs.collect()
}

async fn open(
    client: &mut PaymentsClient<Channel>,
    key: &str,
    traceparent: Option<&str>,
) -> String {
    let opening = Money { currency_code: "CNY".to_owned(), units_minor: 100 };
    let mut request = Request::new(OpenAccountRequest {
        idempotency_key: key.to_owned(),
        currency_code: "CNY".to_owned(),
        opening_balance: Some(opening),
        ..OpenAccountRequest::default()
    });
    if let Some(traceparent) = traceparent {
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    }
    client.open_account(request).await.unwrap().into_inner().resource
}

/// A call over HTTP: what the answer says about its trace, and its document.
fn call(address: &str, line: &str, key: &str, body: &Value, parent: &str) -> (String, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: paycore\r\nConnection: close\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nTraceparent: {parent}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let told = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
    (told.unwrap_or_default().to_owned(), serde_json::from_str(body).unwrap())
}

/// A cluster of one node that sends its spans to a collector.
fn start(runtime: &Runtime, collector: &Collector) -> Cluster {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = TraceServiceServer::new(collector.clone());
    runtime.spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let variables = [
        ("PAYCORE__TRACE__OTLP", address.as_str()),
        ("PAYCORE__TRACE__SAMPLE_RATIO", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let cluster = Cluster::start_in("dev-1.toml", "", &variables);
    until("it is ready", || cluster.ask("gateway", "/readyz").filter(|(status, _)| *status == 200));
    cluster
}

/// Traces 1 and 2: a change, and a read.
async fn by_grpc(door: String) {
    let channel = Endpoint::from_shared(door).unwrap().connect().await.unwrap();
    let mut client = PaymentsClient::new(channel);
    open(&mut client, "nobody asked", None).await;
    open(&mut client, "asked not to", Some(&parent(1, 0))).await;
    open(&mut client, "nonsense", Some("01-nonsense")).await;
    let name = open(&mut client, "asked", Some(&parent(1, 1))).await;
    let mut asked = Request::new(GetAccountRequest { name, stale_ok: false });
    asked.metadata_mut().insert("traceparent", parent(2, 1).parse().unwrap());
    client.get_account(asked).await.unwrap();
}

/// Trace 3. Frames of one session are traced each by itself. Nobody has the account, so the ledger says no.
async fn by_session(door: String) {
    let session = Client::connect(door).await.unwrap().session();
    let request = |key: &str| [Wanted::close_account(AccountId::from_u128(17)).with_key(key)];
    let unasked = session.send(&request("unasked")).await.unwrap();
    let asked_not_to = session.send_traced(&request("asked-not-to"), parent(3, 0)).await.unwrap();
    let nonsense = session.send_traced(&request("no"), "01-nonsense").await.unwrap();
    let asked = session.send_traced(&request("asked"), parent(3, 1)).await.unwrap();
    for pending in [unasked, asked_not_to, nonsense, asked] {
        let results = pending.await;
        assert!(matches!(&results[..], [Err(Error::Rejected { .. })]), "{results:?}");
    }
}

/// What the answers to calls over HTTP say about their traces.
struct Told {
    change: String,
    read: (String, String),
    refused: (String, Value),
}

/// Traces 4, 5 and 6: a change, a read, and a call that goes no further than its door.
fn by_http(address: &str) -> Told {
    let http =
        |line: &str, key: &str, body: &Value, parent: &str| call(address, line, key, body, parent);
    let account =
        json!({"currency_code": "CNY", "opening_balance": {"amount": 100, "currency": "CNY"}});
    let (change, opened) = http("POST /v1/accounts", "asked-by-http", &account, &parent(4, 1));
    let path = format!("/v1/{}", opened["resource"].as_str().unwrap());
    let (read, _) = http(&format!("GET {path}"), "", &Value::Null, &parent(5, 1));
    for unasked in [parent(9, 0), "01-nonsense".to_owned()] {
        let (told, no) = http("POST /v1/transfers", "refused", &json!({}), &unasked);
        assert_eq!((told.as_str(), no.get("trace_id")), ("", None));
    }
    let refused = http("POST /v1/transfers", "refused", &json!({}), &parent(6, 1));
    Told { change, read: (path, read), refused }
}

/// What the spans of those calls say, and whether the answers named them.
fn check_http(collector: &Collector, told: &Told) {
    let name = |trace: u8, span: &Span| format!("00-{}-{}-01", id(trace), hex(&span.span_id));
    collector.check_change(4, "POST /v1/accounts");
    let span = &collector.trace(4)["POST /v1/accounts"].1;
    assert_eq!(told.change, name(4, span));
    let about = said(span);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/accounts"),
        ("url.path", "/v1/accounts"),
        ("url.scheme", "http"),
        ("http.response.status_code", "201"),
    ] {
        assert_eq!(about.get(name).map(String::as_str), Some(value), "{about:?}");
    }
    let span = collector.alone(5, "GET /v1/accounts/{id}");
    assert_eq!(told.read, (said(&span)["url.path"].clone(), name(5, &span)));
    let span = collector.alone(6, "POST /v1/transfers");
    let (named, no) = &told.refused;
    assert_eq!(
        (named, &no["trace_id"], &no["status"]),
        (&name(6, &span), &json!(id(6)), &json!(400))
    );
    assert_eq!(said(&span)["http.response.status_code"], "400");
    // It was the caller's mistake, not the server's.
    assert_eq!(span.status.map_or(StatusCode::Unset, |status| status.code()), StatusCode::Unset);
}

#[test]
fn a_call_is_one_trace_from_every_door_to_the_ledger() {
    let collector = Collector::default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut cluster = start(&runtime, &collector);
    let door = format!("http://{}", cluster.endpoint);
    runtime.block_on(by_grpc(door.clone()));
    runtime.block_on(by_session(door));
    let told = by_http(&cluster.http);
    // What they have not sent yet is sent when they end.
    assert!(cluster.stop_gateway().success() && cluster.stop_node(1).success());

    collector.check_change(1, "paycore.v1.Payments/OpenAccount");
    collector.alone(2, "paycore.v1.Payments/GetAccount");
    collector.check_change(3, "paycore.v1.Payments/Session frame");
    check_http(&collector, &told);
    let all = collector.0.lock().unwrap().len();
    assert_eq!(all, 9 + 1 + 9 + 9 + 1 + 1, "nobody else is traced");
}
