//! How long the ledger remembers, and from when on it has forgotten.
//!
//! Keys, ended holds and what a reversal needs are kept for 400 days. Then a logged command may move the *cut-off*
//! forward: what was decided before it decides nothing any more. That is a rule of the ledger, not of the disk: one
//! replica's volumes end elsewhere than another's and go at another moment, and both must answer alike. So whoever keeps
//! the volumes may drop what lies before the cut-off at any time, or never.
//!
//! A forgotten UUIDv7 key is refused, because its time says that it may have been used. A forgotten free-form key is a
//! new key; so is a forgotten hold's id. A forgotten transfer is past retention.
//!
//! Invariant: the cut-off is the beginning of a day (UTC), never moves back, and lies 400 days before log time at the
//! least.

use std::collections::VecDeque;

use bincode::{Decode, Encode};

use crate::id::Time;

/// How long keys, ended holds and transfers are remembered at the least: 400 days, a year and a month to notice.
pub const RETENTION_MS: u64 = 400 * DAY_MS;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The log index at which a day began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
struct Day {
    begins: Time,
    index: u64,
}

/// The cut-off, and where in the log the days from it on began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct Retention {
    cut_off: Time,
    days: VecDeque<Day>,
}

impl Retention {
    /// What was decided before this is forgotten. The beginning of time: nothing is.
    pub(crate) const fn cut_off(&self) -> Time {
        self.cut_off
    }

    /// Whether what was decided at this log time is forgotten.
    pub(crate) fn forgets(&self, at: Time) -> bool {
        at < self.cut_off
    }

    /// Whether what was decided at this log index is forgotten: exactly when its log time was before the cut-off.
    pub(crate) fn forgets_index(&self, index: u64) -> bool {
        self.cut_off > Time(0) && self.days.front().is_some_and(|day| index < day.index)
    }

    /// Notes that log time has come to `now` with the entry at `index`.
    pub(crate) fn passes(&mut self, now: Time, index: u64) {
        let begins = day_of(now);
        if self.days.back().is_none_or(|last| last.begins < begins) {
            self.days.push_back(Day { begins, index });
        }
    }

    /// Moves the cut-off forward to the beginning of the day of `before`. An earlier one changes nothing.
    pub(crate) fn forget(&mut self, before: Time) {
        self.cut_off = self.cut_off.max(day_of(before));
        while self.days.front().is_some_and(|day| day.begins < self.cut_off) {
            self.days.pop_front();
        }
    }
}

fn day_of(at: Time) -> Time {
    Time(at.0.saturating_sub(at.0 % DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_forgotten_when_its_time_is() {
        let mut retention = Retention::default();
        let times = [5, DAY_MS - 1, DAY_MS, DAY_MS, 4 * DAY_MS + 7, 5 * DAY_MS, 900 * DAY_MS];
        for (index, at) in (10..).zip(times) {
            retention.passes(Time(at), index);
        }
        for before in [0, DAY_MS - 1, DAY_MS + 1, 3 * DAY_MS, 2 * DAY_MS, 5 * DAY_MS, 500 * DAY_MS]
        {
            retention.forget(Time(before));
            assert_eq!(retention.cut_off().0 % DAY_MS, 0);
            for (index, at) in (10..).zip(times) {
                let by_time = retention.forgets(Time(at));
                assert_eq!(
                    retention.forgets_index(index),
                    by_time,
                    "{index} at {at}, before {before}"
                );
            }
        }
        assert_eq!(retention.cut_off(), Time(500 * DAY_MS), "never back");
        assert_eq!(retention.days.len(), 1);
    }
}
