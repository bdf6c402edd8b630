//! What a node measures about its disk while it works.
//!
//! The handles are made once, when the node is configured, and touched once a frame of the log, once a checkpoint and
//! once a second: never once a request. A node that nobody watches has handles that lead nowhere.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Histogram, Recorder, counter, gauge, histogram};

const FSYNC: &str = "paycore_fsync_duration_seconds";
const CHECKPOINTS: &str = "paycore_checkpoints_total";
const CHECKPOINT: &str = "paycore_checkpoint_duration_seconds";
const CHECKPOINT_AT: &str = "paycore_checkpoint_timestamp_seconds";
const SCRUBBED: &str = "paycore_scrub_bytes_total";
const SCRUB_FINDINGS: &str = "paycore_scrub_findings_total";
const SCRUB_PASS: &str = "paycore_scrub_pass_timestamp_seconds";
const DISK_FREE: &str = "paycore_disk_free_bytes";
const DISK_SIZE: &str = "paycore_disk_size_bytes";

/// Every series that a node's consensus has, and what it says.
pub const SERIES: &[(&str, &str)] = &[
    (
        FSYNC,
        "How long one frame of the log took to write and sync, for all shards of the node together.",
    ),
    (CHECKPOINTS, "Checkpoints written since the process began."),
    (CHECKPOINT, "How long a checkpoint took to write and name, off the thread that serves."),
    (
        CHECKPOINT_AT,
        "When the shard's newest checkpoint was written; absent until the process has written one.",
    ),
    (SCRUBBED, "What the scrubber has read again of the node's disk since the process began."),
    (SCRUB_FINDINGS, "What the scrubber has found bad; the node stops with the first."),
    (
        SCRUB_PASS,
        "When the scrubber had last read everything; when the node began, until it has for the first time.",
    ),
    (DISK_FREE, "What is free on the disk that holds the node's data."),
    (DISK_SIZE, "The size of the disk that holds the node's data."),
];

/// The buckets of its histograms, in seconds.
pub const BUCKETS: &[(&str, &[f64])] = &[
    (FSYNC, &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0]),
    (CHECKPOINT, &[0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0]),
];

/// A node's handles.
#[derive(Clone)]
pub struct Meter {
    fsync: Histogram,
    disk_free: Gauge,
    disk_size: Gauge,
    checkpoint: Histogram,
    scrubbed: Counter,
    scrub_findings: Counter,
    scrub_pass: Gauge,
    /// For what has a label of its own for each shard, made when the shard is opened.
    recorder: Option<std::sync::Arc<dyn Recorder + Send + Sync>>,
}

impl Default for Meter {
    /// Handles that lead nowhere.
    fn default() -> Self {
        Self {
            fsync: Histogram::noop(),
            disk_free: Gauge::noop(),
            disk_size: Gauge::noop(),
            checkpoint: Histogram::noop(),
            scrubbed: Counter::noop(),
            scrub_findings: Counter::noop(),
            scrub_pass: Gauge::noop(),
            recorder: None,
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("is_watched", &self.recorder.is_some()).finish()
    }
}

impl Meter {
    /// Handles of this recorder.
    #[must_use]
    pub fn new(recorder: std::sync::Arc<dyn Recorder + Send + Sync>) -> Self {
        let handles = metrics::with_local_recorder(&recorder, || Self {
            fsync: histogram!(FSYNC),
            disk_free: gauge!(DISK_FREE),
            disk_size: gauge!(DISK_SIZE),
            checkpoint: histogram!(CHECKPOINT),
            scrubbed: counter!(SCRUBBED),
            scrub_findings: counter!(SCRUB_FINDINGS),
            scrub_pass: gauge!(SCRUB_PASS),
            recorder: None,
        });
        Self { recorder: Some(recorder), ..handles }
    }

    /// What is told how long each write and sync of the log took.
    pub(crate) fn on_commit(&self) -> Box<dyn Fn(Duration) + Send> {
        let fsync = self.fsync.clone();
        Box::new(move |took| fsync.record(took))
    }

    /// The disk was asked.
    pub(crate) fn disk(&self, free_bytes: u64, size_bytes: u64) {
        self.disk_free.set(float(free_bytes));
        self.disk_size.set(float(size_bytes));
    }

    /// The scrubber has read so many bytes.
    pub(crate) fn scrubbed(&self, bytes: u64) {
        self.scrubbed.increment(bytes);
    }

    /// The scrubber has found something bad.
    pub(crate) fn scrub_found(&self) {
        self.scrub_findings.increment(1);
    }

    /// The scrubber has read everything, or begins.
    pub(crate) fn scrub_passed(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.scrub_pass.set(now.as_secs_f64());
    }

    /// A shard's checkpoint was written. Seldom enough to look its series up.
    pub(crate) fn checkpoint(&self, shard: u16, took: Duration) {
        self.checkpoint.record(took);
        let Some(recorder) = &self.recorder else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics::with_local_recorder(recorder, || {
            let shard = shard.to_string();
            counter!(CHECKPOINTS, "shard" => shard.clone()).increment(1);
            gauge!(CHECKPOINT_AT, "shard" => shard).set(now.as_secs_f64());
        });
    }
}

/// Bytes as a gauge holds them: exact below 8 PiB.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
const fn float(bytes: u64) -> f64 {
    bytes as f64
}
