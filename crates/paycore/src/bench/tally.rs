//! What a run counts.
//!
//! `requests = posted + rejected + not done + unknown` when all is over; `attempts` counts every time that one was
//! sent and answered (or plainly not answered), so `attempts = posted + rejected + failed`.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that is told apart from longer ones: an hour. No request stays open half as long.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// Counters, latencies, and how both went second by second.
#[derive(Debug)]
pub(super) struct Tally {
    /// Answers to requests, failures included.
    pub(super) attempts: u64,
    /// Requests that moved money.
    pub(super) posted: u64,
    /// Requests that were sent again.
    pub(super) retries: u64,
    /// Requests without a final outcome.
    pub(super) unknown: u64,
    /// Requests that no log ever held.
    pub(super) not_done: u64,
    /// When nothing was open any more, in nanoseconds after the beginning.
    pub(super) ended_at: u64,
    /// The longest time for which a shard answered nobody who waited, in microseconds; known when all is over.
    pub(super) pause_max_us: u64,
    /// From when a request should have been sent to its final outcome, in microseconds.
    pub(super) latency: Histogram<u64>,
    rejected: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    seconds: Vec<Second>,
    now: Second,
    now_latency: Histogram<u64>,
}

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Second {
    /// When it ended, in milliseconds after the beginning.
    pub(super) at_ms: u64,
    /// How long it was, in milliseconds.
    pub(super) length_ms: u64,
    /// Answers to requests.
    pub(super) attempts: u64,
    /// Requests that moved money.
    pub(super) posted: u64,
    /// Requests that the ledger refused.
    pub(super) rejected: u64,
    /// Attempts that failed.
    pub(super) failed: u64,
    /// Half of the final outcomes came within so many microseconds.
    pub(super) p50_us: u64,
    /// 99 of 100.
    pub(super) p99_us: u64,
    /// All.
    pub(super) max_us: u64,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let histogram = |digits| {
            Histogram::new_with_bounds(1, LATENCY_MAX_US, digits)
                .expect("bounds and digits are allowed")
        };
        Self {
            attempts: 0,
            posted: 0,
            retries: 0,
            unknown: 0,
            not_done: 0,
            ended_at: 0,
            pause_max_us: 0,
            latency: histogram(3),
            rejected: BTreeMap::new(),
            failed: BTreeMap::new(),
            seconds: Vec::new(),
            now: Second::default(),
            now_latency: histogram(2),
        }
    }

    /// Counts a rejection.
    pub(super) fn count_rejected(&mut self, code: &str) {
        count(&mut self.rejected, code);
        self.now.rejected = self.now.rejected.saturating_add(1);
    }

    /// Counts a failed attempt.
    pub(super) fn count_failed(&mut self, code: &str) {
        count(&mut self.failed, code);
        self.now.failed = self.now.failed.saturating_add(1);
    }

    /// Counts how long a final outcome took, in microseconds.
    pub(super) fn took(&mut self, micros: u64) {
        self.latency.saturating_record(micros);
        self.now_latency.saturating_record(micros);
    }

    /// Rejections by code.
    pub(super) const fn rejected(&self) -> &BTreeMap<String, u64> {
        &self.rejected
    }

    /// Failed attempts by code.
    pub(super) const fn failed(&self) -> &BTreeMap<String, u64> {
        &self.failed
    }

    /// The seconds so far.
    pub(super) fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// Ends a second.
    pub(super) fn tick(&mut self, now_ms: u64) -> Second {
        let sum = |field: fn(&Second) -> u64, of: &[Second]| of.iter().map(field).sum::<u64>();
        let before = self.seconds.last().map_or(0, |second| second.at_ms);
        let second = Second {
            at_ms: now_ms,
            length_ms: now_ms.saturating_sub(before),
            attempts: self.attempts.saturating_sub(sum(|second| second.attempts, &self.seconds)),
            posted: self.posted.saturating_sub(sum(|second| second.posted, &self.seconds)),
            p50_us: self.now_latency.value_at_quantile(0.5),
            p99_us: self.now_latency.value_at_quantile(0.99),
            max_us: self.now_latency.max(),
            ..self.now
        };
        self.now = Second::default();
        self.now_latency.reset();
        self.seconds.push(second);
        second
    }
}

fn count(codes: &mut BTreeMap<String, u64>, code: &str) {
    if let Some(count) = codes.get_mut(code) {
        *count = count.saturating_add(1);
        return;
    }
    codes.insert(code.to_owned(), 1);
}

/// So many in so many milliseconds, as so many a second.
pub(super) fn per_second(count: u64, ms: u64) -> u64 {
    let scaled = u128::from(count).saturating_mul(1_000);
    u64::try_from(scaled.checked_div(u128::from(ms)).unwrap_or(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_counts_its_own() {
        let mut tally = Tally::new();
        tally.attempts = 10;
        tally.posted = 8;
        tally.count_failed("NO_LEADER");
        tally.took(1_000);
        let first = tally.tick(1_000);
        assert_eq!(
            (first.attempts, first.posted, first.failed, first.max_us / 10),
            (10, 8, 1, 100)
        );
        tally.attempts = 15;
        let second = tally.tick(2_100);
        assert_eq!((second.attempts, second.posted, second.failed, second.max_us), (5, 0, 0, 0));
        assert_eq!((second.at_ms, second.length_ms), (2_100, 1_100));
        tally.took(70_000_000);
        assert_eq!((tally.latency.max() / 100_000, tally.latency.min()), (700, 1_000));
    }

    #[test]
    fn rates_are_whole_numbers() {
        assert_eq!(per_second(3, 2_000), 1);
        assert_eq!(per_second(12_000_000, 30_003), 399_960);
        assert_eq!(per_second(5, 0), 0);
    }
}
