//! What came of a run, and of many.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::draw::Draw;
use crate::faults::Fault;

/// What a run has to show before it counts: requests that have an outcome, and kinds of fault that have bitten.
const ACKNOWLEDGED_MIN: u64 = 300;
const KINDS_MIN: usize = 3;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it was run from.
    pub seed: u64,
    /// What it was drawn to be.
    pub draw: Draw,
    /// What does not hold; nothing, in a good run.
    pub broken: Vec<String>,
    /// Requests that have an outcome.
    pub acknowledged: u64,
    /// Answers that repeated one.
    pub replayed: u64,
    /// Requests that were certainly not done, and were given up.
    pub given_up: u64,
    /// Accounts that were read.
    pub reads: u64,
    /// How often another leader followed one.
    pub leader_changes: u64,
    /// How often each kind of fault has bitten.
    pub bites: BTreeMap<Fault, u64>,
    /// The hash of everything that happened.
    pub trace: u128,
    /// How much that was.
    pub events: u64,
    /// How long it took, by the simulated clock.
    pub elapsed: Duration,
}

impl Report {
    /// Whether enough was done, and enough went wrong, for the run to prove anything.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.acknowledged >= ACKNOWLEDGED_MIN
            && self.bites.len() >= KINDS_MIN
            && self.leader_changes > 0
    }

    /// Everything about it, as one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let bites: BTreeMap<&str, u64> =
            self.bites.iter().map(|(fault, count)| (fault.name(), *count)).collect();
        serde_json::json!({
            "seed": self.seed,
            "draw": self.draw.to_string(),
            "trace": format!("{:032x}", self.trace),
            "events": self.events,
            "acknowledged": self.acknowledged,
            "replayed": self.replayed,
            "given_up": self.given_up,
            "reads": self.reads,
            "leader_changes": self.leader_changes,
            "simulated_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "counts": self.counts(),
            "bites": bites,
            "broken": self.broken,
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, draw, acknowledged, replayed, reads, leader_changes, .. } = self;
        let kinds = self.bites.len();
        write!(f, "seed {seed}: trace {:032x}, {} events, ", self.trace, self.events)?;
        write!(f, "{acknowledged} acknowledged, {replayed} replayed, ")?;
        write!(f, "{} given up, {reads} reads, ", self.given_up)?;
        write!(f, "{kinds} kinds of fault, {leader_changes} changes of leader, ")?;
        write!(f, "{} s", self.elapsed.as_secs())?;
        if !self.counts() {
            write!(f, "; does not count")?;
        }
        for what in &self.broken {
            write!(f, "\n  {what}")?;
        }
        if !self.broken.is_empty() {
            write!(
                f,
                "\n  again: make sim SEED={seed}, or: sim --seed {seed} --print --draw '{draw}'"
            )?;
        }
        Ok(())
    }
}

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many there were.
    pub seeds: u64,
    /// How many of them count.
    pub counted: u64,
    /// In how many something does not hold.
    pub failed: u64,
    /// Requests that have an outcome.
    pub acknowledged: u64,
    /// Of each kind of fault: in how many runs it was drawn, in how many it has bitten, and how often altogether.
    faults: BTreeMap<Fault, [u64; 3]>,
    simulated: Duration,
}

impl Summary {
    /// One more.
    pub fn add(&mut self, report: &Report) {
        let more = |count: &mut u64, by: u64| *count = count.saturating_add(by);
        more(&mut self.seeds, 1);
        more(&mut self.counted, u64::from(report.counts()));
        more(&mut self.failed, u64::from(!report.broken.is_empty()));
        more(&mut self.acknowledged, report.acknowledged);
        self.simulated = self.simulated.saturating_add(report.elapsed);
        for fault in &report.draw.faults {
            let bites = report.bites.get(fault).copied().unwrap_or(0);
            let [drawn, bitten, times] = self.faults.entry(*fault).or_default();
            more(drawn, 1);
            more(bitten, u64::from(bites > 0));
            more(times, bites);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, counted, failed, acknowledged, faults, simulated } = self;
        writeln!(f, "fault               drawn   bitten    times")?;
        for (fault, [drawn, bitten, times]) in faults {
            writeln!(f, "{:<18} {drawn:>6} {bitten:>8} {times:>8}", fault.name())?;
        }
        write!(f, "{seeds} seeds, {counted} count, {failed} failed; ")?;
        write!(f, "{acknowledged} acknowledged in {} simulated seconds", simulated.as_secs())
    }
}
