//! The leader's part in the trace of a call: one span for the frame that carried it, and one for each stage.
//!
//! Spans are written when a frame is answered, out of times that are taken anyway. A frame in which nothing is traced
//! costs nothing; of one that went into several entries, the last one's stages are told.

use std::collections::HashMap as Carrier;
use std::time::{Instant, SystemTime};

use hashbrown::HashMap;
use opentelemetry::trace::{Span, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};

use crate::desk::SessionId;
use crate::meter::Passage;

/// The instrumentation's name in every span.
const SCOPE: &str = "paycore.shard";

/// Traced calls of one frame that get spans here; more is not worth anybody's time.
const PER_FRAME_MAX: usize = 16;

type FrameId = (SessionId, u64);

/// The frames that carry traced calls and are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Traces(HashMap<FrameId, Frame>);

#[derive(Debug)]
struct Frame {
    arrived: Instant,
    requests: u32,
    callers: Vec<Context>,
}

impl Traces {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A frame arrived that carries these calls.
    pub(crate) fn begin(&mut self, id: FrameId, requests: u32, callers: Vec<String>) {
        let callers = callers.into_iter().take(PER_FRAME_MAX).map(|traceparent| {
            let carrier = Carrier::from([("traceparent".to_owned(), traceparent)]);
            global::get_text_map_propagator(|known| {
                known.extract_with_context(&Context::new(), &carrier)
            })
        });
        let sampled = |caller: &Context| caller.span().span_context().is_sampled();
        let callers: Vec<_> = callers.filter(sampled).collect();
        if !callers.is_empty() {
            self.0.insert(id, Frame { arrived: Instant::now(), requests, callers });
        }
    }

    /// A frame was answered; `passage` is that of the entry whose landing did it, if one did.
    pub(crate) fn end(&mut self, id: FrameId, shard: u16, passage: Option<&Passage>) {
        let Some(Frame { arrived, requests, callers }) = self.0.remove(&id) else { return };
        let clock = Clock::new();
        let tracer = global::tracer(SCOPE);
        for caller in callers {
            let attributes = [
                KeyValue::new("paycore.shard", i64::from(shard)),
                KeyValue::new("paycore.frame.requests", i64::from(requests)),
            ];
            let span = tracer.span_builder("shard").with_kind(SpanKind::Server);
            let span = span.with_start_time(clock.wall(arrived)).with_attributes(attributes);
            let span = span.start_with_context(&tracer, &caller);
            let context = caller.with_span(span);
            for (stage, begun, ended) in passage.iter().flat_map(|passage| passage.stages()) {
                let span = tracer.span_builder(stage.name());
                let span = span.with_start_time(clock.wall(begun));
                let mut span = span.start_with_context(&tracer, &context);
                span.end_with_timestamp(clock.wall(ended));
            }
            context.span().end_with_timestamp(clock.wall(clock.now));
        }
    }
}

/// Both clocks at one moment, so that what the one measured can be told by the other.
struct Clock {
    now: Instant,
    wall: SystemTime,
}

impl Clock {
    fn new() -> Self {
        Self { now: Instant::now(), wall: SystemTime::now() }
    }

    fn wall(&self, at: Instant) -> SystemTime {
        self.wall.checked_sub(self.now.saturating_duration_since(at)).unwrap_or(self.wall)
    }
}
