//! One call from its door to the ledger and back, as a collector of traces sees it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use wire::proto::v1::payments_client::PaymentsClient;
use wire::proto::v1::{Money, OpenAccountRequest};

use support::{Cluster, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

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

async fn open(client: &mut PaymentsClient<Channel>, key: &str, traceparent: Option<&str>) {
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
    client.open_account(request).await.unwrap();
}

#[test]
fn a_call_is_one_trace_from_the_door_to_the_ledger() {
    let collector = Collector::default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
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
    let mut cluster = Cluster::start_in("dev-1.toml", "", &variables);
    until("it is ready", || cluster.ask("gateway", "/readyz").filter(|(status, _)| *status == 200));
    let door = format!("http://{}", cluster.endpoint);
    runtime.block_on(async {
        let channel = Endpoint::from_shared(door).unwrap().connect().await.unwrap();
        let mut client = PaymentsClient::new(channel);
        open(&mut client, "nobody asked", None).await;
        open(&mut client, "asked not to", Some(&format!("00-{TRACE}-{CALLER}-00"))).await;
        open(&mut client, "nonsense", Some("01-nonsense")).await;
        open(&mut client, "asked", Some(&format!("00-{TRACE}-{CALLER}-01"))).await;
    });
    // What they have not sent yet is sent when they end.
    assert!(cluster.stop_gateway().success() && cluster.stop_node(1).success());

    let seen = collector.0.lock().unwrap();
    let names: Vec<&str> = seen.iter().map(|(_, span)| span.name.as_str()).collect();
    let spans: BTreeMap<&str, &(String, Span)> =
        seen.iter().map(|both| (both.1.name.as_str(), both)).collect();
    assert_eq!(spans.len(), names.len(), "one call, and each span once: {names:?}");
    let method = "paycore.v1.Payments/OpenAccount";
    let expected = [
        ("gateway", method, None),
        ("gateway", "gateway.queue", Some(method)),
        ("gateway", "gateway.frame", Some(method)),
        ("node", "shard", Some(method)),
        ("node", "queue", Some("shard")),
        ("node", "propose", Some("shard")),
        ("node", "commit", Some("shard")),
        ("node", "apply", Some("shard")),
        ("node", "reply", Some("shard")),
    ];
    assert_eq!(names.len(), expected.len(), "{names:?}");
    for (role, name, parent) in expected {
        let (by, span) = spans.get(name).unwrap_or_else(|| panic!("no {name} in {names:?}"));
        assert_eq!((by.as_str(), hex(&span.trace_id).as_str()), (role, TRACE), "{name}");
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
