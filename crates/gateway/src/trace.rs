//! Traces of a few calls, from the door to the ledger and back.
//!
//! A call is traced when its caller's `traceparent` says so, or, without one, by chance. Whether a call is traced is
//! decided once, at its door; a call that is not pays for one comparison, and a gateway that does not trace for none.
//!
//! A traced call is a span of its own, at whichever door, with two children for each frame that carries it:
//! `gateway.queue`, until the frame went out, and `gateway.frame`, until its leader answered. The frame takes the call's
//! name along (`traceparents`), so that the leader's spans join. A read is a span without children.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use runtime::Instant;

/// The instrumentation's name in every span.
const SCOPE: &str = "paycore.gateway";

/// W3C's header.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// What goes with it.
const TRACESTATE: &str = "tracestate";

/// What a call's span says about it, by OpenTelemetry's semantic conventions.
#[derive(Debug)]
pub(crate) struct About {
    /// The span's name: the method, or the verb and the route.
    pub(crate) name: String,
    /// What else is known at the door.
    pub(crate) attributes: Vec<KeyValue>,
}

impl About {
    /// A call by gRPC, of a method as `package.Service/Method`.
    pub(crate) fn rpc(name: String) -> Self {
        Self { name, attributes: vec![KeyValue::new("rpc.system", "grpc")] }
    }
}

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

    /// The span of a call, if it is to have one. `said` finds what its caller says under a name; `about` is asked only
    /// for a span.
    pub(crate) fn begin<'a>(
        self,
        said: impl Fn(&str) -> Option<&'a str>,
        about: impl FnOnce() -> About,
    ) -> Option<Arc<Traced>> {
        let of_all = self.of_all?;
        let parent = match said(TRACEPARENT) {
            Some(parent) => {
                let carrier = Carrier { parent, state: said(TRACESTATE) };
                let parent = global::get_text_map_propagator(|known| {
                    known.extract_with_context(&Context::new(), &carrier)
                });
                parent.span().span_context().is_sampled().then_some(parent)?
            }
            None if of_all == u32::MAX || rand::random::<u32>() < of_all => Context::new(),
            None => return None,
        };
        let tracer = global::tracer(SCOPE);
        let About { name, attributes } = about();
        let span = tracer.span_builder(name).with_kind(SpanKind::Server);
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

    /// The trace's id, 32 hexadecimal digits; `None` when nothing collects it.
    pub(crate) fn id(&self) -> Option<String> {
        let span = self.context.span();
        let about = span.span_context();
        about.is_valid().then(|| about.trace_id().to_string())
    }

    /// It was answered over HTTP, with this status.
    pub(crate) fn answered(&self, status: u16) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
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

/// What a caller says about the trace that his call is part of.
struct Carrier<'a> {
    parent: &'a str,
    state: Option<&'a str>,
}

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(self.parent),
            TRACESTATE => self.state,
            _ => None,
        }
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
        let never = || -> About { panic!("nobody asks what it is about") };
        let parent = format!("00-{:032x}-{:016x}-01", 1, 1);
        let said = |name: &str| (name == TRACEPARENT).then_some(parent.as_str());
        let nothing = |_: &str| None;
        let deaf = |_: &str| -> Option<&str> { panic!("nobody asks what the caller says") };
        assert!(Sampling::default().begin(deaf, never).is_none());
        assert!(Sampling::of(0.0).begin(nothing, never).is_none());
        // Without a propagator a caller's word is not understood, and so not heeded.
        assert!(Sampling::of(1.0).begin(said, never).is_none());
        let traced = Sampling::of(1.0).begin(nothing, || About::rpc("call".to_owned())).unwrap();
        // Nor is there anything to tell him where nothing is collected.
        assert_eq!((traced.id(), traced.parent()), (None, None));
        assert!(Sampling::of(f64::NAN).begin(nothing, never).is_none());
    }
}
