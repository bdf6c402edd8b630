//! Traces, sent to whoever collects them (OTLP over gRPC). Off unless `trace.otlp` names a collector.
//!
//! Spans are written into a queue with a bound; a thread of the SDK's own sends them, over a connection that the admin
//! thread drives. A collector that is slow or gone costs spans, never requests.

use std::time::Duration;

use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::config::Trace;
use crate::exit::Failure;

/// How long the collector may take to take one delivery.
const DELIVERY_MAX: Duration = Duration::from_secs(5);

/// How long the last spans may take to be sent when the process ends.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// What writes and sends spans, as long as it lives.
pub(super) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Begins to trace, if the settings say so. Must be called on the runtime that drives the connection.
    ///
    /// # Errors
    /// When the collector's address cannot be used.
    pub(super) fn begin(
        settings: &Trace,
        about: &[(&'static str, String)],
    ) -> Result<Self, Failure> {
        let Some(collector) = &settings.otlp else { return Ok(Self(None)) };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(collector)
            .with_timeout(DELIVERY_MAX)
            .build()
            .map_err(|why| Failure::config(format!("`trace.otlp` is `{collector}`: {why}")))?;
        let about =
            about.iter().map(|(key, value)| KeyValue::new(format!("paycore.{key}"), value.clone()));
        let resource = Resource::builder()
            .with_service_name("paycore")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attributes(about)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        global::set_tracer_provider(provider.clone());
        global::set_text_map_propagator(TraceContextPropagator::new());
        tracing::info!(%collector, ratio = settings.sample_ratio, "traces");
        Ok(Self(Some(provider)))
    }

    /// Sends what is left. Not on the admin thread, which drives the connection.
    pub(super) fn end(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(why) = provider.shutdown_with_timeout(GOODBYE_MAX)
        {
            tracing::warn!(%why, "the last spans were not sent");
        }
    }
}
