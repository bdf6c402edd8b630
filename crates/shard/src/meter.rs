//! What a shard measures on its leader.
//!
//! Nothing here is done once a request: the desk counts into a plain [`Tally`], and the actor hands it on once a message.
//! A batch's times are taken five times a batch. Each batch counts once for each kind of request in it, so a percentile
//! over a kind is one over batches: a full batch weighs as much as one that held a single request.
//!
//! | stage   | from | to |
//! | ------- | ---- | -- |
//! | queue   | the frame of the batch's first request arrived | the batch was sealed |
//! | propose | … | Raft had taken it |
//! | commit  | … | a quorum had it on disk, and its turn had come |
//! | apply   | … | the ledger had decided |
//! | reply   | … | its answers were handed to their streams |
//!
//! Letters from other shards have the three stages in the middle alone: they came with no frame, and no stream waits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use ledger::Operation;
use metrics::{Counter, Histogram, Recorder, counter, histogram};

use crate::tally::{Cell, Tally};

const OPERATIONS: &str = "paycore_operations_total";
const DURATION: &str = "paycore_operation_duration_seconds";
const HITS: &str = "paycore_idempotency_hits_total";
const CONFLICTS: &str = "paycore_idempotency_conflicts_total";
const BATCH: &str = "paycore_batch_requests";

/// Every series that a node's shards have, and what it says.
pub const SERIES: &[(&str, &str)] = &[
    (
        OPERATIONS,
        "Requests answered by the leader of their shard, by kind and outcome: posted, or the code of why not.",
    ),
    (
        DURATION,
        "How long a batch spent in each stage of its way; counted once for each kind of request in it.",
    ),
    (HITS, "Requests answered with the outcome of an earlier one under the same key."),
    (CONFLICTS, "Requests refused because their key had been used for something else."),
    (BATCH, "Requests in one entry of the log."),
];

/// The buckets of its histograms.
pub const BUCKETS: &[(&str, &[f64])] = &[
    (
        DURATION,
        &[
            0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
            0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ],
    ),
    (BATCH, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0]),
];

/// The stages of a batch's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Queue,
    Propose,
    Commit,
    Apply,
    Reply,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Queue, Self::Propose, Self::Commit, Self::Apply, Self::Reply];

    /// Whether requests of a kind pass it.
    const fn is_passed_by(self, kind: Operation) -> bool {
        match self {
            Self::Queue | Self::Reply => !matches!(kind, Operation::Deliver),
            Self::Propose | Self::Commit | Self::Apply => true,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Propose => "propose",
            Self::Commit => "commit",
            Self::Apply => "apply",
            Self::Reply => "reply",
        }
    }
}

/// When a batch passed its stages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage {
    pub(crate) arrived: Instant,
    pub(crate) sealed: Instant,
    pub(crate) stages: consensus::Stages,
    pub(crate) replied: Instant,
}

impl Passage {
    /// Each stage with its beginning and its end.
    pub(crate) fn stages(&self) -> [(Stage, Instant, Instant); 5] {
        let Self { arrived, sealed, stages, replied } = *self;
        let consensus::Stages { proposed, committed, applied } = stages;
        [
            (Stage::Queue, arrived, sealed),
            (Stage::Propose, sealed, proposed),
            (Stage::Commit, proposed, committed),
            (Stage::Apply, committed, applied),
            (Stage::Reply, applied, replied),
        ]
    }
}

/// A shard's handles.
pub struct Meter {
    recorder: Arc<dyn Recorder + Send + Sync>,
    /// Made when they are first needed: most kinds never have most outcomes.
    operations: HashMap<(Option<Operation>, &'static str), Counter>,
    stages: HashMap<Operation, [Histogram; 5]>,
    hits: Counter,
    conflicts: Counter,
    batch: Histogram,
    depth: Depth,
}

impl Default for Meter {
    /// Handles that lead nowhere.
    fn default() -> Self {
        Self::new(Arc::new(metrics::NoopRecorder))
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
    pub fn new(recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        let (hits, conflicts, batch) = metrics::with_local_recorder(&recorder, || {
            (counter!(HITS), counter!(CONFLICTS), histogram!(BATCH))
        });
        Self {
            recorder,
            operations: HashMap::new(),
            stages: HashMap::new(),
            hits,
            conflicts,
            batch,
            depth: Depth::default(),
        }
    }

    /// What waits for the shard.
    #[must_use]
    pub const fn depth(&self) -> &Depth {
        &self.depth
    }

    /// Takes in what a desk has counted.
    pub(crate) fn take(&mut self, tally: &Tally) {
        for Cell { kind, outcome, requests } in tally.cells() {
            let recorder = &self.recorder;
            let counter = self.operations.entry((*kind, *outcome)).or_insert_with(|| {
                let kind = kind.map_or("unread", name);
                metrics::with_local_recorder(
                    recorder,
                    || counter!(OPERATIONS, "kind" => kind, "outcome" => *outcome),
                )
            });
            counter.increment(*requests);
        }
        if tally.hits() > 0 {
            self.hits.increment(tally.hits());
        }
        if tally.conflicts() > 0 {
            self.conflicts.increment(tally.conflicts());
        }
    }

    /// A batch of so many requests went into the log.
    pub(crate) fn proposed(&self, requests: u32) {
        self.batch.record(f64::from(requests));
    }

    /// A batch with these kinds of requests in it has passed all its stages.
    pub(crate) fn passed(&mut self, passage: &Passage, kinds: &[Operation]) {
        let took = passage.stages().map(|(_, begun, ended)| ended.saturating_duration_since(begun));
        for kind in kinds {
            self.record(*kind, took);
        }
    }

    fn record(&mut self, kind: Operation, took: [Duration; 5]) {
        let recorder = &self.recorder;
        let histograms = self.stages.entry(kind).or_insert_with(|| {
            metrics::with_local_recorder(recorder, || {
                let stage = |stage: Stage| histogram!(DURATION, "kind" => name(kind), "stage" => stage.name());
                let passed = |at: Stage| at.is_passed_by(kind).then(|| stage(at));
                Stage::ALL.map(|at| passed(at).unwrap_or_else(Histogram::noop))
            })
        });
        for (histogram, took) in histograms.iter().zip(took) {
            histogram.record(took);
        }
    }
}

/// How a kind of request is called in metrics and traces.
pub(crate) const fn name(kind: Operation) -> &'static str {
    match kind {
        Operation::Open => "open",
        Operation::Freeze => "freeze",
        Operation::Unfreeze => "unfreeze",
        Operation::Close => "close",
        Operation::Transfer => "transfer",
        Operation::Hold => "hold",
        Operation::Post => "post",
        Operation::Void => "void",
        Operation::Reverse => "reverse",
        Operation::ForgetKeys => "forget_keys",
        Operation::Deliver => "deliver",
        Operation::Cut => "cut",
        Operation::Direct => "direct",
        Operation::Report => "report",
        #[cfg(next_level)]
        Operation::Extend => "extend",
    }
}

/// What waits for one shard of a node, readable from anywhere.
#[derive(Clone, Debug, Default)]
pub struct Depth {
    messages: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl Depth {
    /// A frame was put into the shard's mailbox.
    pub(crate) fn enter(&self) {
        // Relaxed, as below: the numbers guard no other memory.
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame was taken out of it.
    pub(crate) fn leave(&self) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many requests wait to be proposed.
    pub(crate) fn wait(&self, requests: usize) {
        self.requests.store(u64::try_from(requests).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Frames in the shard's mailbox.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Requests that wait to be proposed.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}
