//! One batch, sent until every verdict in it is known, or patience ends.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;
use wire::catalogue;

use super::sink::{Order, PaymentSink, Unheard, Verdict};

/// How long one attempt may take: an election, and the queue behind it.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The first pause between two attempts; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause: about an election.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Until when outcomes are asked for again, for all batches together; and whether anything new is begun.
#[derive(Debug)]
pub(super) struct Patience {
    until: Cell<Instant>,
    begins: Cell<bool>,
}

impl Patience {
    pub(super) fn lasting(long: Duration) -> Self {
        Self { until: Cell::new(after(long)), begins: Cell::new(true) }
    }

    /// Nothing new is begun. What is under way goes on as before.
    pub(super) fn begin_nothing(&self) {
        self.begins.set(false);
    }

    /// Lasts no longer than this from now on.
    pub(super) fn shorten(&self, long: Duration) {
        self.until.set(self.until.get().min(after(long)));
    }

    /// Whether something new may be begun.
    pub(super) fn begins(&self) -> bool {
        self.begins.get() && self.left().is_some()
    }

    /// How much is left; `None` when it is over.
    fn left(&self) -> Option<Duration> {
        let left = self.until.get().saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// Sends orders until all their outcomes are known, or patience ends. Gives every order back with its verdict, in no
/// particular order.
///
/// What may have been done stays so through every later attempt that was not heard: only an outcome ends it.
pub(super) async fn settle(
    sink: &impl PaymentSink,
    orders: Vec<Order>,
    patience: &Patience,
) -> Vec<(Order, Verdict)> {
    let mut settled = Vec::with_capacity(orders.len());
    let mut waiting: Vec<(Order, Option<Unheard>)> =
        orders.into_iter().map(|order| (order, None)).collect();
    let mut pause = PAUSE_FIRST;
    while let Some(left) = patience.left().filter(|_| !waiting.is_empty()) {
        let (orders, before): (Vec<Order>, Vec<Option<Unheard>>) = waiting.drain(..).unzip();
        let verdicts = sink.submit(&orders, ATTEMPT.min(left)).await;
        assert_eq!(verdicts.len(), orders.len(), "a verdict for each order");
        for ((order, before), verdict) in orders.into_iter().zip(before).zip(verdicts) {
            match verdict {
                Verdict::Posted { .. } | Verdict::Rejected { .. } => settled.push((order, verdict)),
                Verdict::Unheard(now) => {
                    let now = since(before, now);
                    if now.retryable {
                        waiting.push((order, Some(now)));
                    } else {
                        settled.push((order, Verdict::Unheard(now)));
                    }
                }
            }
        }
        if waiting.is_empty() {
            break;
        }
        let asked = waiting.iter().filter_map(|(_, unheard)| wait_of(unheard.as_ref()?)).max();
        let rest = pause.max(asked.unwrap_or_default()).min(PAUSE_MAX);
        let Some(left) = patience.left() else { break };
        tokio::time::sleep(rest.min(left)).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
    settled.extend(
        waiting
            .into_iter()
            .map(|(order, unheard)| (order, Verdict::Unheard(unheard.unwrap_or_else(never_sent)))),
    );
    settled
}

/// What is known after another attempt that was not heard.
fn since(before: Option<Unheard>, now: Unheard) -> Unheard {
    match before {
        Some(before) if before.maybe_done && !now.maybe_done => {
            // The last attempt did nothing; an earlier one may have.
            Unheard { retryable: now.retryable, ..before }
        }
        Some(_) | None => now,
    }
}

/// A time from now on. Where that overflows, now: a clock that near its end is trusted with nothing.
fn after(long: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(long).unwrap_or(now)
}

fn wait_of(unheard: &Unheard) -> Option<Duration> {
    let entry = catalogue::find(&unheard.code)?;
    entry.retry_after_ms.map(Duration::from_millis)
}

fn never_sent() -> Unheard {
    Unheard {
        code: "DEADLINE_PASSED".to_owned(),
        message: "there was no time left to send it".to_owned(),
        maybe_done: false,
        retryable: true,
    }
}
