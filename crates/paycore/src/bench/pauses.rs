//! How long a shard leaves those waiting who ask it for something.
//!
//! A pause of a shard is the time between two final outcomes of requests that begin there, as far as somebody waited for
//! one. So it is not long because nobody asked, and not short because other shards answered meanwhile.

use std::collections::VecDeque;

/// Every shard's pauses, in nanoseconds of the run's clock.
#[derive(Clone, Debug)]
pub(super) struct Pauses {
    shards: Vec<Waiting>,
    longest: u64,
}

/// Who waits for one shard.
#[derive(Clone, Debug, Default)]
struct Waiting {
    /// How many.
    open: u64,
    /// Since when nobody has been answered.
    since: u64,
    /// When those begin to wait whose time has not come, in that order.
    ahead: VecDeque<u64>,
}

impl Pauses {
    /// Nobody waits yet.
    pub(super) fn of(shards: u16) -> Self {
        Self { shards: vec![Waiting::default(); usize::from(shards)], longest: 0 }
    }

    /// Somebody waits for a shard from a time on.
    pub(super) fn begun(&mut self, shard: u16, start: u64) {
        if let Some(waiting) = self.shards.get_mut(usize::from(shard)) {
            waiting.ahead.push_back(start);
        }
    }

    /// A request has its final outcome, or is given up.
    pub(super) fn ended(&mut self, shard: u16, now: u64) {
        let Some(waiting) = self.shards.get_mut(usize::from(shard)) else { return };
        waiting.catch_up(now);
        self.longest = self.longest.max(now.saturating_sub(waiting.since));
        waiting.since = now;
        waiting.open = waiting.open.saturating_sub(1);
    }

    /// The longest of any shard.
    pub(super) const fn longest(&self) -> u64 {
        self.longest
    }
}

impl Waiting {
    /// Counts those whose time has come.
    fn catch_up(&mut self, now: u64) {
        while let Some(start) = self.ahead.pop_front_if(|start| *start <= now) {
            if self.open == 0 {
                self.since = self.since.max(start);
            }
            self.open = self.open.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_somebody_waits_for_a_shard_and_nobody_is_answered() {
        let mut pauses = Pauses::of(2);
        pauses.begun(0, 10);
        pauses.begun(1, 10);
        pauses.begun(0, 10);
        pauses.ended(0, 15);
        assert_eq!(pauses.longest(), 5);
        // Shard 1 answers often; that does not make shard 0's pause shorter.
        for now in [20, 30, 40] {
            pauses.ended(1, now);
            pauses.begun(1, now);
        }
        assert_eq!(pauses.longest(), 10);
        pauses.ended(0, 41);
        assert_eq!(pauses.longest(), 26);
    }

    #[test]
    fn where_nobody_waits_there_is_no_pause() {
        let mut pauses = Pauses::of(1);
        pauses.begun(0, 0);
        pauses.ended(0, 3);
        // Of what is due later, nobody waits before.
        pauses.begun(0, 100);
        pauses.begun(0, 200);
        pauses.ended(0, 104);
        pauses.ended(0, 202);
        assert_eq!(pauses.longest(), 4);
        // What was due while the shard was still busy with another is waited for since the answer to that.
        pauses.begun(0, 210);
        pauses.begun(0, 211);
        pauses.ended(0, 215);
        pauses.ended(0, 216);
        assert_eq!(pauses.longest(), 5);
    }
}
