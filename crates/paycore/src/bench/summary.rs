//! `summary.json`: a run in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::args::flag;
use super::chaos::Struck;
use super::plan::{Plan, Target};
use super::process::Usage;
use super::tally::{Tally, per_second};
use super::watch::{Leader, Seen, ms};
use crate::output::{Paint, Show};
use crate::verify::Verdict;

/// The form of the document.
const SCHEMA: u32 = 1;

/// A run in numbers. Fields are added, never renamed.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Summary {
    schema: u32,
    workload: String,
    seed: u64,
    duration_s: f64,
    nodes: Option<u8>,
    shards: u16,
    batch: usize,
    connections: usize,
    inflight: usize,
    accounts: u32,
    door: String,
    keys: String,
    hot_percent: u8,
    /// `open` when requests began on time, `closed` when each answer made room for the next.
    r#loop: &'static str,
    rate: Option<u64>,
    sync: Option<&'static str>,
    /// How many requests were made; each ended as posted, rejected, not done or unknown.
    requests: u64,
    /// How many times one was sent and answered, or plainly not answered.
    attempts: u64,
    posted: u64,
    rejected: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    pub(super) retries: u64,
    not_done: u64,
    pub(super) unknown: u64,
    pub(super) posted_per_s: u64,
    pub(super) attempts_per_s: u64,
    pub(super) latency_us: Latency,
    /// The longest time for which a shard answered nobody who waited.
    pub(super) pause_max_us: u64,
    rss_bytes_max: BTreeMap<String, u64>,
    disk_bytes: BTreeMap<String, u64>,
    cpu_s: BTreeMap<String, f64>,
    checkpoints: Option<u64>,
    history_indexed: Option<u64>,
    leaders: Vec<Leader>,
    faults: Vec<Struck>,
    pub(super) verdict: Verdict,
}

/// From when a request should have been sent to its final outcome, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// What the machine gave to a run, between the first request and the last outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    /// What each process used.
    pub(super) usage: BTreeMap<String, Usage>,
    /// What each node's data takes on disk.
    pub(super) disk_bytes: BTreeMap<String, u64>,
}

impl Cost {
    /// What was used since an earlier look. The most memory is the most there ever was.
    pub(super) fn since(mut self, before: &Self) -> Self {
        for (name, usage) in &mut self.usage {
            let earlier = before.usage.get(name).copied().unwrap_or_default();
            usage.cpu_ms = usage.cpu_ms.saturating_sub(earlier.cpu_ms);
        }
        self
    }
}

/// The loader's name among the processes.
pub(super) const LOADER: &str = "bench";

impl Summary {
    /// A run in numbers; its verdict is given later.
    pub(super) fn of(plan: &Plan, requests: u64, tally: &Tally, cost: &Cost, seen: &Seen) -> Self {
        let spawned = match &plan.target {
            Target::Spawn { nodes, .. } => Some(*nodes),
            Target::Cluster { .. } => None,
        };
        let length = Duration::from_nanos(tally.ended_at);
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let usage = |of: fn(&Usage) -> u64| {
            cost.usage
                .iter()
                .map(|(name, usage)| (name.clone(), of(usage)))
                .collect::<BTreeMap<_, _>>()
        };
        let mut rss_bytes_max = usage(|usage| usage.rss_max);
        rss_bytes_max.remove(LOADER);
        let cpu_s = usage(|usage| usage.cpu_ms).into_iter();
        Self {
            schema: SCHEMA,
            workload: flag(&plan.workload),
            seed: plan.seed,
            duration_s: length.as_secs_f64(),
            nodes: spawned,
            shards: plan.shards,
            batch: plan.batch,
            connections: plan.connections,
            inflight: plan.inflight,
            accounts: plan.accounts,
            door: flag(&plan.door),
            keys: flag(&plan.keys),
            hot_percent: plan.hot,
            r#loop: if plan.is_open_loop() { "open" } else { "closed" },
            rate: plan.rate,
            // A cluster that we did not start syncs as it was told; nodes that we start sync every append.
            sync: spawned.map(|_| "fdatasync"),
            requests,
            attempts: tally.attempts,
            posted: tally.posted,
            rejected: tally.rejected().clone(),
            failed: tally.failed().clone(),
            retries: tally.retries,
            not_done: tally.not_done,
            unknown: tally.unknown,
            posted_per_s: per_second(tally.posted, length_ms),
            attempts_per_s: per_second(tally.attempts, length_ms),
            latency_us: Latency::of(tally),
            pause_max_us: tally.pause_max_us,
            rss_bytes_max,
            disk_bytes: cost.disk_bytes.clone(),
            cpu_s: cpu_s
                .map(|(name, ms)| (name, Duration::from_millis(ms).as_secs_f64()))
                .collect(),
            checkpoints: spawned.map(|_| seen.checkpoints),
            history_indexed: None,
            leaders: seen.leaders.clone(),
            faults: Vec::new(),
            verdict: Verdict::default(),
        }
    }

    /// The summary with what went wrong on purpose, and with the verdict.
    pub(super) fn with(mut self, faults: Vec<Struck>, verdict: Verdict) -> Self {
        self.faults = faults;
        self.verdict = verdict;
        self
    }
}

impl Latency {
    fn of(tally: &Tally) -> Self {
        let at = |quantile| tally.latency.value_at_quantile(quantile);
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: tally.latency.max(),
        }
    }
}

impl Show for Summary {
    fn text(&self, paint: Paint) -> String {
        let Latency { p50, p90, p99, p999, max } = self.latency_us;
        let mut lines = vec![
            paint.bold(&format!("{} · {} loop · seed {}", self.workload, self.r#loop, self.seed)),
            format!("posted     {:>12}  {:>9}/s", self.posted, self.posted_per_s),
            format!("attempts   {:>12}  {:>9}/s", self.attempts, self.attempts_per_s),
            format!(
                "latency    p50 {}  p90 {}  p99 {}  p99.9 {}  max {} ms",
                ms(p50),
                ms(p90),
                ms(p99),
                ms(p999),
                ms(max)
            ),
            format!("pause      {} ms at the most on any shard", ms(self.pause_max_us)),
        ];
        for (what, counts) in [("rejected", &self.rejected), ("failed", &self.failed)] {
            let counts: Vec<String> =
                counts.iter().map(|(code, count)| format!("{code} {count}")).collect();
            if !counts.is_empty() {
                lines.push(format!("{what:<10} {}", counts.join(", ")));
            }
        }
        if self.unknown > 0 {
            lines.push(format!("unknown    {:>12}", self.unknown));
        }
        let cpu = self.cpu_s.iter().map(|(name, seconds)| format!("{name} {seconds:.2} s"));
        lines.push(format!("cpu        {}", cpu.collect::<Vec<_>>().join("  ")));
        for fault in &self.faults {
            let victims = fault
                .victims
                .iter()
                .map(|victim| format!("{} (pid {})", victim.process, victim.pid));
            let name = serde_json::to_string(&fault.fault).unwrap_or_default();
            let victims = victims.collect::<Vec<_>>().join(", ");
            lines.push(format!(
                "fault      {} ms {}: {victims}",
                fault.at_ms,
                name.trim_matches('"')
            ));
        }
        for line in self.verdict.lines() {
            let painted = match line.split_whitespace().next() {
                Some("PASS" | "OK:") => paint.good(&line),
                Some("FAIL" | "VIOLATED:" | "UNDECIDED:") => paint.bad(&line),
                Some(_) | None => line,
            };
            lines.push(painted);
        }
        lines.join("\n")
    }
}
