//! The cluster clock: what a leader stamps its batches with.
//!
//! Nodes tell each other their wall clocks. The cluster clock is their median, so one wrong clock among three moves
//! nothing. A stamp is only a proposal (the ledger takes the maximum), so the clock promises no agreement, only that no
//! single machine's mistake becomes log time:
//!
//! - it runs at most twice as fast as real time, and stands still while the median is behind it;
//! - of only two clocks more than a second apart, or of two halves, nobody can say which is wrong: its last value goes on by
//!   the monotonic clock;
//! - a node whose own clock is more than a second off the median does not lead;
//! - a jump of the median by more than a minute (at start: by more than seven days from the log) is not followed until
//!   an operator accepts it.
//!
//! All clocks are kept as offsets to this machine's monotonic clock, so they are compared without asking when each was
//! heard. [`Clock`] is a plain value: readings come in as numbers, nothing here looks at a clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ledger::Time;

/// How far two clocks may be apart before one of them counts as wrong.
const APART_MS_MAX: u64 = 1_000;

/// A change of the median that no honest drift explains while nodes talk several times a second.
const JUMP_MS_MAX: u64 = 60_000;

/// How far a cluster may have slept: a week of maintenance is normal, a year is a dead clock battery.
const START_JUMP_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// A clock not heard for so long is no longer counted: fifteen missed beats.
const FRESH_MS: u64 = 3_000;

/// An answer that took longer says too little about when its clock was read.
const ROUND_TRIP_MS_MAX: u64 = 1_000;

/// Where wall time and monotonic time come from; the simulator has its own.
pub trait TimeSource: Send + Sync {
    /// Reads both clocks of this machine.
    fn read(&self) -> Reading;
}

/// This machine's clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds since 1970-01-01 UTC. May jump.
    pub wall_ms: u64,
    /// Milliseconds since some fixed moment. Never jumps, never goes back.
    pub uptime_ms: u64,
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClocks {
    started: Instant,
}

impl Default for SystemClocks {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl TimeSource for SystemClocks {
    fn read(&self) -> Reading {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Reading {
            wall_ms: wall_ms.saturating_add_signed(wrong_by_ms()),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// How far this machine's wall clock is made to be wrong: nothing, but in planted builds.
#[cfg(not(planted))]
const fn wrong_by_ms() -> i64 {
    0
}

/// How far this process's wall clock is made to be wrong, in milliseconds: what stands in the file that
/// `PAYCORE_CLOCK_FILE` names, when there is one and a number stands in it. The kernel has one wall clock for all
/// processes, so a test cannot set one node's.
#[cfg(planted)]
fn wrong_by_ms() -> i64 {
    let file = std::env::var_os("PAYCORE_CLOCK_FILE");
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// What an operator should look at. None of these stops the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockAlarm {
    /// Repair this machine's time service. The node does not lead until then.
    #[error("this machine's clock is {by_ms} ms off the cluster's")]
    Off {
        /// How far, in either direction.
        by_ms: u64,
    },
    /// Repair the time service of one of the two machines that are left.
    #[error("the only two clocks are {by_ms} ms apart")]
    Disagree {
        /// How far.
        by_ms: u64,
    },
    /// Find out why most clocks moved. If they are right now, accept the jump.
    #[error("the cluster's clock would jump by {by_ms} ms")]
    Jump {
        /// How far, in either direction.
        by_ms: u64,
    },
}

/// Another node's clock, as last heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    offset_ms: i64,
    at_uptime_ms: u64,
}

/// What the clock showed last.
#[derive(Clone, Copy, Debug)]
struct Shown {
    time_ms: u64,
    uptime_ms: u64,
}

/// What the fresh clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Only this node's clock is known, in a cluster of several.
    Alone,
    /// Half of the clocks are too far from the other half.
    Disagree { by_ms: u64 },
    /// The median's offset, and how far this node's clock is off it.
    Median { offset_ms: i64, own_off_ms: u64 },
}

/// The cluster clock as a plain value.
#[derive(Debug)]
pub struct Clock {
    nodes: usize,
    peers: BTreeMap<u64, Heard>,
    shown: Option<Shown>,
    /// Log time when the node started, until the first reading is judged by it.
    started_from: Option<Time>,
    jump_accepted: bool,
}

impl Clock {
    /// A clock for a cluster of `nodes`.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        let (peers, shown, started_from) = (BTreeMap::new(), None, None);
        Self { nodes, peers, shown, started_from, jump_accepted: false }
    }

    /// The cluster has grown or shrunk.
    pub fn set_nodes(&mut self, nodes: usize) {
        self.nodes = nodes;
    }

    /// Tells the newest log time of a cluster that was there before: the first reading is judged by it.
    pub fn start_from(&mut self, log_time: Time) {
        self.started_from = Some(log_time);
    }

    /// Takes in another node's wall clock: read by it sometime within the `round_trip_ms` before `now`.
    pub fn heard(&mut self, peer: u64, wall_ms: u64, round_trip_ms: u64, now: Reading) {
        if round_trip_ms > ROUND_TRIP_MS_MAX {
            return;
        }
        let there_now = wall_ms.saturating_add(round_trip_ms / 2);
        self.peers
            .insert(peer, Heard { offset_ms: offset(there_now, now), at_uptime_ms: now.uptime_ms });
    }

    /// The cluster's time. It never runs back, except when an accepted jump does.
    pub fn now(&mut self, reading: Reading) -> Time {
        let verdict = self.verdict(reading);
        let shown = match (self.shown, verdict) {
            // Whoever is alone leads nothing: its own clock will do, and binds nobody later.
            (None, Verdict::Disagree { .. }) if std::mem::take(&mut self.jump_accepted) => {
                reading.wall_ms
            }
            (None, Verdict::Alone | Verdict::Disagree { .. }) => {
                return Time(self.unsettled(reading));
            }
            (None, Verdict::Median { offset_ms, .. }) => self.first(at(offset_ms, reading)),
            (Some(shown), Verdict::Alone | Verdict::Disagree { .. }) => carried(shown, reading),
            (Some(shown), Verdict::Median { offset_ms, .. }) => {
                self.next(shown, at(offset_ms, reading), reading)
            }
        };
        self.shown = Some(Shown { time_ms: shown, uptime_ms: reading.uptime_ms });
        Time(shown)
    }

    /// Whether this node may lead: it has once settled the time with others, and its own clock is not the wrong one.
    #[must_use]
    pub fn may_lead(&self, reading: Reading) -> bool {
        match self.verdict(reading) {
            Verdict::Alone | Verdict::Disagree { .. } => self.shown.is_some(),
            Verdict::Median { own_off_ms, .. } => own_off_ms <= APART_MS_MAX,
        }
    }

    /// What an operator should look at now.
    #[must_use]
    pub fn alarm(&self, reading: Reading) -> Option<ClockAlarm> {
        match self.verdict(reading) {
            Verdict::Alone => None,
            Verdict::Disagree { by_ms } => Some(ClockAlarm::Disagree { by_ms }),
            Verdict::Median { own_off_ms, .. } if own_off_ms > APART_MS_MAX => {
                Some(ClockAlarm::Off { by_ms: own_off_ms })
            }
            Verdict::Median { offset_ms, .. } => {
                let by_ms = carried(self.shown?, reading).abs_diff(at(offset_ms, reading));
                (by_ms > JUMP_MS_MAX).then_some(ClockAlarm::Jump { by_ms })
            }
        }
    }

    /// Whether another node has answered a beat lately.
    #[must_use]
    pub fn has_heard(&self, peer: u64, now: Reading) -> bool {
        let heard = self.peers.get(&peer);
        heard.is_some_and(|heard| now.uptime_ms.saturating_sub(heard.at_uptime_ms) <= FRESH_MS)
    }

    /// An operator has looked at the jump and says the clocks are right now.
    pub fn accept_jump(&mut self) {
        self.jump_accepted = true;
    }

    fn verdict(&self, now: Reading) -> Verdict {
        let own = offset(now.wall_ms, now);
        let is_fresh =
            |heard: &&Heard| now.uptime_ms.saturating_sub(heard.at_uptime_ms) <= FRESH_MS;
        let mut offsets: Vec<i64> =
            self.peers.values().filter(is_fresh).map(|heard| heard.offset_ms).collect();
        offsets.push(own);
        offsets.sort_unstable();
        let (low, high) = middle(&offsets);
        let by_ms = low.abs_diff(high);
        match offsets.as_slice() {
            [_] if self.nodes > 1 => Verdict::Alone,
            // As many clocks on one side as on the other: what lies between them is a time that none shows.
            _ if by_ms > APART_MS_MAX => Verdict::Disagree { by_ms },
            sorted => {
                let median = low.midpoint(high);
                // Of two clocks, both are equally far from their middle.
                let own_off_ms = if sorted.len() > 2 { own.abs_diff(median) } else { 0 };
                Verdict::Median { offset_ms: median, own_off_ms }
            }
        }
    }

    fn unsettled(&self, reading: Reading) -> u64 {
        self.started_from.map_or(reading.wall_ms, |from| from.0.max(reading.wall_ms))
    }

    /// The first value: the median, unless that is absurdly far from what the log says.
    fn first(&mut self, target: u64) -> u64 {
        match self.started_from.take() {
            Some(from) if from.0.abs_diff(target) > START_JUMP_MS_MAX => from.0,
            Some(_) | None => target,
        }
    }

    fn next(&mut self, shown: Shown, target: u64, reading: Reading) -> u64 {
        // The operator's word is good for the jump he saw, not for a later one.
        let is_accepted = std::mem::take(&mut self.jump_accepted);
        let carried = carried(shown, reading);
        if carried.abs_diff(target) > JUMP_MS_MAX {
            return if is_accepted { target } else { carried };
        }
        let elapsed = reading.uptime_ms.saturating_sub(shown.uptime_ms);
        target.clamp(shown.time_ms, carried.saturating_add(elapsed))
    }
}

fn offset(wall_ms: u64, now: Reading) -> i64 {
    i64::try_from(i128::from(wall_ms).saturating_sub(i128::from(now.uptime_ms))).unwrap_or(i64::MAX)
}

fn at(offset_ms: i64, now: Reading) -> u64 {
    now.uptime_ms.saturating_add_signed(offset_ms)
}

fn carried(shown: Shown, now: Reading) -> u64 {
    shown.time_ms.saturating_add(now.uptime_ms.saturating_sub(shown.uptime_ms))
}

/// The middle one of sorted numbers, twice; or the two middle ones. Never called without any.
fn middle(sorted: &[i64]) -> (i64, i64) {
    let upper = sorted.len() / 2;
    let lower = sorted.len().saturating_sub(1) / 2;
    let pick = |index: usize| sorted.get(index).copied().unwrap_or_default();
    (pick(lower), pick(upper))
}

/// The node's cluster clock, shared by all its shards.
pub struct ClusterClock {
    source: Arc<dyn TimeSource>,
    clock: Mutex<Clock>,
}

impl ClusterClock {
    /// A clock that reads this source.
    #[must_use]
    pub fn new(source: Arc<dyn TimeSource>, clock: Clock) -> Self {
        Self { source, clock: Mutex::new(clock) }
    }

    /// The cluster's time: what a leader stamps with.
    #[must_use]
    pub fn now(&self) -> Time {
        let reading = self.source.read();
        self.clock().now(reading)
    }

    /// This machine's own clocks.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.source.read()
    }

    /// Whether this node may lead.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        let reading = self.source.read();
        self.clock().may_lead(reading)
    }

    /// What an operator should look at now.
    #[must_use]
    pub fn alarm(&self) -> Option<ClockAlarm> {
        let reading = self.source.read();
        self.clock().alarm(reading)
    }

    /// Whether another node has answered a beat lately.
    #[must_use]
    pub fn has_heard(&self, peer: u64) -> bool {
        let reading = self.source.read();
        self.clock().has_heard(peer, reading)
    }

    /// An operator says that the clocks are right after a jump.
    pub fn accept_jump(&self) {
        self.clock().accept_jump();
    }

    /// Tells the newest log time on this node's disk, before anybody asks for the time.
    pub(crate) fn start_from(&self, log_time: Time) {
        self.clock().start_from(log_time);
    }

    /// The cluster has grown or shrunk.
    pub(crate) fn set_nodes(&self, nodes: usize) {
        self.clock().set_nodes(nodes);
    }

    /// Takes in the answer of another node to a question sent at `sent`.
    pub(crate) fn heard(&self, peer: u64, wall_ms: u64, sent: Reading) {
        let reading = self.source.read();
        let round_trip_ms = reading.uptime_ms.saturating_sub(sent.uptime_ms);
        self.clock().heard(peer, wall_ms, round_trip_ms, reading);
    }

    fn clock(&self) -> std::sync::MutexGuard<'_, Clock> {
        // Every change is a single assignment: a panic elsewhere leaves nothing half done.
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ClusterClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterClock").field("clock", &*self.clock()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
