//! What a gateway measures, and how it stands.
//!
//! A request costs nothing of its own: a call that ends looks at its places once and touches at most five counters, a
//! frame touches two. What can be looked at when somebody asks is not counted along the way ([`Vitals`]).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram, Recorder, counter, histogram};
use tokio::sync::watch;

use crate::budget::Budget;

const REQUESTS: &str = "paycore_gateway_requests_total";
const CALL: &str = "paycore_gateway_call_duration_seconds";
const FRAMES: &str = "paycore_gateway_frames_total";
const FRAME: &str = "paycore_gateway_frame_duration_seconds";
const RESENT: &str = "paycore_gateway_requests_resent_total";

/// Every series that a gateway counts, and what it says.
pub const SERIES: &[(&str, &str)] = &[
    (
        REQUESTS,
        "Requests answered, by what their callers were told: posted, rejected, refused, failed or unknown.",
    ),
    (
        CALL,
        "How long callers waited: from when a call (of one request or a batch) or a session's frame was read to its last answer.",
    ),
    (FRAMES, "Frames sent to the shards' leaders."),
    (FRAME, "How long a leader took to answer a frame."),
    (
        RESENT,
        "Requests sent more than once, with the same key: a leader changed, was busy, or its stream broke.",
    ),
];

const SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// The buckets of its histograms, in seconds.
pub const BUCKETS: &[(&str, &[f64])] = &[(CALL, SECONDS), (FRAME, SECONDS)];

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The ledger did it.
    Posted,
    /// The ledger said no.
    Rejected,
    /// The edge said no: the request made no sense.
    Refused,
    /// It was not proposed.
    Failed,
    /// It may have been.
    Unknown,
}

impl Told {
    const ALL: [Self; 5] =
        [Self::Posted, Self::Rejected, Self::Refused, Self::Failed, Self::Unknown];

    const fn name(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// By which door a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// A call that waits for its answer.
    Call,
    /// A session's frame.
    Session,
}

/// A gateway's handles.
pub struct Meter {
    requests: [Counter; 5],
    call: Histogram,
    session: Histogram,
    frames: Counter,
    frame: Histogram,
    resent: Counter,
}

impl Default for Meter {
    /// Handles that lead nowhere.
    fn default() -> Self {
        Self::new(&metrics::NoopRecorder)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Meter {
    /// Handles of this recorder.
    #[must_use]
    pub fn new(recorder: &dyn Recorder) -> Self {
        metrics::with_local_recorder(recorder, || Self {
            requests: Told::ALL.map(|told| counter!(REQUESTS, "outcome" => told.name())),
            call: histogram!(CALL, "door" => "call"),
            session: histogram!(CALL, "door" => "session"),
            frames: counter!(FRAMES),
            frame: histogram!(FRAME),
            resent: counter!(RESENT),
        })
    }

    /// A call was answered.
    pub(crate) fn answered(&self, door: Door, took: Duration, told: impl Iterator<Item = Told>) {
        match door {
            Door::Call => self.call.record(took),
            Door::Session => self.session.record(took),
        }
        let mut counts = [0_u64; 5];
        for told in told {
            if let Some(count) = counts.get_mut(told as usize) {
                *count = count.saturating_add(1);
            }
        }
        for (counter, count) in self.requests.iter().zip(counts) {
            if count > 0 {
                counter.increment(count);
            }
        }
    }

    /// A frame went out, with so many requests that had gone out before.
    pub(crate) fn sent(&self, again: usize) {
        self.frames.increment(1);
        if again > 0 {
            self.resent.increment(u64::try_from(again).unwrap_or(u64::MAX));
        }
    }

    /// A frame was answered.
    pub(crate) fn heard(&self, took: Duration) {
        self.frame.record(took);
    }
}

/// How a gateway stands, for whoever looks at it from outside.
#[derive(Clone, Debug)]
pub struct Vitals {
    pub(crate) budget: Arc<Budget>,
    pub(crate) standing: watch::Receiver<Standing>,
}

/// How a gateway stands with its shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Each shard's leader, as far as it is known, in the order of the shards.
    pub leaders: Vec<Option<u64>>,
    /// Whether it takes nothing new any more.
    pub draining: bool,
}

impl Standing {
    /// Whether it can serve every request.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.draining && !self.leaders.is_empty() && self.leaders.iter().all(Option::is_some)
    }
}

impl Vitals {
    /// How it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Requests that wait for their answers, or whose answers are not read yet.
    #[must_use]
    pub fn requests_in_flight(&self) -> usize {
        self.budget.requests_taken()
    }

    /// What they weigh in bytes.
    #[must_use]
    pub fn bytes_in_flight(&self) -> usize {
        self.budget.bytes_taken()
    }
}
