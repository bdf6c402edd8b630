//! Traces of a few calls, from the door to the ledger and back.
//!
//! A call is traced when its caller's `traceparent` says so, or, without one, by chance. Whether a call is traced is
//! decided once, at its door; a call that is not pays for one comparison, and a gateway that does not trace for none.
//!
//! A traced call is a span of its own, with two children for each frame that carries it: `gateway.queue`, until the
//! frame went out, and `gateway.frame`, until its leader answered. The frame takes the call's name along
//! (`traceparents`), so that the leader's spans join.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// The instrumentation's name in every span.
const SCOPE: &str = "paycore.gateway";

/// W3C's header.
const TRACEPARENT: &str = "traceparent";

/// Decides which calls are traced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sampling {
    /// Of 2^32 calls without a caller's word, so many; `None` when nothing is traced at all.
    of_all: Option<u32>,
}

impl Sampling {
    /// Traces this part of the calls of which their callers say nothing.
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a probability, clamped"
    )]
    pub(crate) fn of(ratio: f64) -> Self {
        let of_all = ratio.clamp(0.0, 1.0) * f64::from(u32::MAX);
        Self { of_all: Some(of_all as u32) }
    }

    /// The span of a call, if it is to have one. `name` is asked for only then.
    pub(crate) fn begin(
        self,
        metadata: Option<&MetadataMap>,
        name: impl FnOnce() -> String,
    ) -> Option<Arc<Traced>> {
        let of_all = self.of_all?;
        let carrier = metadata.map(Metadata).filter(|metadata| metadata.get(TRACEPARENT).is_some());
        let parent = match carrier {
            Some(carrier) => {
                let parent = global::get_text_map_propagator(|known| {
                    known.extract_with_context(&Context::new(), &carrier)
                });
                parent.span().span_context().is_sampled().then_some(parent)?
            }
            None if of_all == u32::MAX || rand::random::<u32>() < of_all => Context::new(),
            None => return None,
        };
        let tracer = global::tracer(SCOPE);
        let span = tracer.span_builder(name()).with_kind(SpanKind::Server);
        let attributes = [KeyValue::new("rpc.system", "grpc")];
        let span = span.with_attributes(attributes).start_with_context(&tracer, &parent);
        Some(Arc::new(Traced { context: parent.with_span(span), begun: Instant::now() }))
    }
}

/// A call that is traced. Its span ends with it.
#[derive(Debug)]
pub(crate) struct Traced {
    context: Context,
    begun: Instant,
}

impl Traced {
    /// Its name, as it travels.
    pub(crate) fn parent(&self) -> Option<String> {
        let mut carrier = HashMap::new();
        global::get_text_map_propagator(|known| known.inject_context(&self.context, &mut carrier));
        carrier.remove(TRACEPARENT)
    }

    /// A frame that carried it was answered.
    pub(crate) fn heard(&self, sent: Instant, attempt: u8, shard: u16) {
        let now = Instant::now();
        for (name, from, to) in [("gateway.queue", self.begun, sent), ("gateway.frame", sent, now)]
        {
            let tracer = global::tracer(SCOPE);
            let attributes = [
                KeyValue::new("paycore.shard", i64::from(shard)),
                KeyValue::new("paycore.attempt", i64::from(attempt)),
            ];
            let span = tracer.span_builder(name).with_start_time(wall(from, now));
            let mut span =
                span.with_attributes(attributes).start_with_context(&tracer, &self.context);
            opentelemetry::trace::Span::end_with_timestamp(&mut span, wall(to, now));
        }
    }
}

/// Wall time of a moment that lies behind.
fn wall(at: Instant, now: Instant) -> SystemTime {
    let wall = SystemTime::now();
    wall.checked_sub(now.saturating_duration_since(at)).unwrap_or(wall)
}

struct Metadata<'a>(&'a MetadataMap);

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        // The propagator asks for what it knows by name.
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_trace_looks_at_nothing() {
        let never = || -> String { panic!("nobody asks for a name") };
        let mut metadata = MetadataMap::new();
        metadata.insert(TRACEPARENT, format!("00-{:032x}-{:016x}-01", 1, 1).parse().unwrap());
        assert!(Sampling::default().begin(Some(&metadata), never).is_none());
        assert!(Sampling::of(0.0).begin(None, never).is_none());
        assert!(Sampling::of(0.0).begin(Some(&MetadataMap::new()), never).is_none());
        // Without a propagator a caller's word is not understood, and so not heeded.
        assert!(Sampling::of(1.0).begin(Some(&metadata), never).is_none());
        assert!(Sampling::of(1.0).begin(None, || "call".to_owned()).is_some());
        assert!(Sampling::of(f64::NAN).begin(None, never).is_none());
    }
}
