//! The search for an order, after Wing and Gong, as Lowe does it: time goes by, and at each moment there is a set of
//! what may have happened so far.
//!
//! A *configuration* is a balance and which of the calls that are still open have taken effect already. When a call
//! ends, it must have taken effect: each configuration in which it had not goes on with every order of open calls that
//! ends with it. No configuration left: no order explains the history. Nothing takes effect before something needs it.
//!
//! Additions commute. So an order that lets one addition wait for others, without need, is left out: the others can take
//! effect later as well. That keeps a busy account's configurations few.

use std::collections::{BTreeMap, BTreeSet};

/// Configurations at a time, and orders that are tried in all. Past either, there is no verdict.
const CONFIGURATIONS_MAX: usize = 50_000;
const TRIED_MAX: u64 = 20_000_000;

/// Something done to an account, or told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The balance changes by so much; a debit needs that it suffices.
    Add(i64),
    /// The balance is this.
    Read(i64),
    /// So much is not there.
    Refuse(i64),
}

/// An act, sometime between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Not before this.
    pub(super) began: u64,
    /// Not after this; at the end of time: perhaps never.
    pub(super) ended: u64,
    /// What.
    pub(super) act: Act,
    /// The history's line.
    pub(super) index: u64,
}

/// What the search says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// There is an order.
    Yes,
    /// There is none: not even up to the end of this call.
    No {
        /// The history's line.
        index: u64,
    },
    /// Too many possibilities.
    Undecided {
        /// The history's line.
        index: u64,
    },
}

/// What may have happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    balance: i64,
    /// Open calls that have taken effect, in the order of their places.
    effective: Vec<usize>,
}

/// Looks for an order of steps, which are sorted by when they began. `bounded`: a debit needs that the balance suffices.
pub(super) fn search(opening: i64, bounded: bool, steps: &[Step]) -> Told {
    let mut ends: Vec<(u64, usize)> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.ended != u64::MAX)
        .map(|(place, step)| (step.ended, place))
        .collect();
    ends.sort_unstable();
    let mut begun = steps.iter().enumerate().peekable();
    let mut open: BTreeMap<usize, Step> = BTreeMap::new();
    let mut all = BTreeSet::from([Configuration { balance: opening, effective: Vec::new() }]);
    let mut tried = 0;
    for (ended, place) in ends {
        while let Some((place, step)) = begun.next_if(|(_, step)| step.began <= ended) {
            open.insert(place, *step);
        }
        let Some(step) = open.get(&place).copied() else { continue };
        let ending = Ending { bounded, place, step, open: &open };
        let Some(next) = ending.all(&all, &mut tried) else {
            return Told::Undecided { index: step.index };
        };
        if next.is_empty() {
            return Told::No { index: step.index };
        }
        all = next;
        open.remove(&place);
    }
    Told::Yes
}

/// The end of one call.
struct Ending<'a> {
    bounded: bool,
    place: usize,
    step: Step,
    open: &'a BTreeMap<usize, Step>,
}

impl Ending<'_> {
    /// What may have happened when the call has ended. `None` when that is too much.
    fn all(
        &self,
        before: &BTreeSet<Configuration>,
        tried: &mut u64,
    ) -> Option<BTreeSet<Configuration>> {
        let mut after = BTreeSet::new();
        for configuration in before {
            if configuration.effective.contains(&self.place) {
                after.insert(self.closed(configuration));
            } else {
                self.orders(configuration, &mut after, tried)?;
            }
        }
        (after.len() <= CONFIGURATIONS_MAX).then_some(after)
    }

    /// Every order of open calls that ends with this one.
    fn orders(
        &self,
        from: &Configuration,
        after: &mut BTreeSet<Configuration>,
        tried: &mut u64,
    ) -> Option<()> {
        // With each: whether this call could have had its effect before the additions at the end of the order.
        let mut next = vec![(from.clone(), false)];
        let mut seen = BTreeSet::new();
        while let Some((configuration, could_before)) = next.pop() {
            *tried = tried.saturating_add(1);
            if *tried > TRIED_MAX || seen.len() > CONFIGURATIONS_MAX {
                return None;
            }
            let now = self.after(configuration.balance, self.step.act);
            let waits_for_nothing = could_before && is_addition(self.step.act);
            if let Some(balance) = now.filter(|_| !waits_for_nothing) {
                let effective = configuration.effective.clone();
                after.insert(self.closed(&Configuration { balance, effective }));
            }
            let could = now.is_some() || could_before;
            for (place, step) in self.open {
                if *place == self.place || configuration.effective.contains(place) {
                    continue;
                }
                let Some(balance) = self.after(configuration.balance, step.act) else { continue };
                let mut effective = configuration.effective.clone();
                let at = effective.partition_point(|known| known < place);
                effective.insert(at, *place);
                let could = could && is_addition(step.act);
                let found = (Configuration { balance, effective }, could);
                if seen.insert(found.clone()) {
                    next.push(found);
                }
            }
        }
        Some(())
    }

    /// Without the call that has ended.
    fn closed(&self, configuration: &Configuration) -> Configuration {
        let effective = configuration.effective.iter().filter(|place| **place != self.place);
        Configuration { balance: configuration.balance, effective: effective.copied().collect() }
    }

    /// The balance after an act, when it is possible.
    fn after(&self, balance: i64, act: Act) -> Option<i64> {
        match act {
            Act::Add(amount) => {
                let after = balance.checked_add(amount)?;
                (amount >= 0 || after >= 0 || !self.bounded).then_some(after)
            }
            Act::Read(seen) => (seen == balance).then_some(balance),
            Act::Refuse(amount) => (balance < amount).then_some(balance),
        }
    }
}

const fn is_addition(act: Act) -> bool {
    match act {
        Act::Add(_) => true,
        Act::Read(_) | Act::Refuse(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::guess;
    use super::*;

    fn step(began: u64, ended: u64, act: Act) -> Step {
        Step { began, ended, act, index: began }
    }

    fn told(opening: i64, steps: &[Step]) -> Told {
        let mut steps = steps.to_vec();
        steps.sort_by_key(|step| step.began);
        search(opening, true, &steps)
    }

    #[test]
    fn what_was_acknowledged_is_seen() {
        let add = step(1, 2, Act::Add(5));
        assert_eq!(told(0, &[add, step(3, 4, Act::Read(5))]), Told::Yes);
        assert_eq!(told(0, &[add, step(3, 4, Act::Read(0))]), Told::No { index: 3 });
        // While it is under way, either will do; but who saw it is not followed by one who does not.
        let add = step(1, 9, Act::Add(5));
        assert_eq!(told(0, &[add, step(2, 3, Act::Read(0)), step(4, 5, Act::Read(5))]), Told::Yes);
        let back = [add, step(2, 3, Act::Read(5)), step(4, 5, Act::Read(0))];
        assert_eq!(told(0, &back), Told::No { index: 4 });
    }

    #[test]
    fn what_nobody_answered_happens_or_does_not() {
        let add = step(1, u64::MAX, Act::Add(5));
        for (seen, then, fits) in [(0, 0, true), (0, 5, true), (5, 5, true), (5, 0, false)] {
            let reads = [add, step(2, 3, Act::Read(seen)), step(4, 5, Act::Read(then))];
            assert_eq!(told(0, &reads) == Told::Yes, fits, "{seen} {then}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_not_there() {
        let debit = step(1, 2, Act::Add(-7));
        assert_eq!(told(9, &[debit, step(3, 4, Act::Refuse(3))]), Told::Yes);
        assert_eq!(told(9, &[debit, step(3, 4, Act::Refuse(2))]), Told::No { index: 3 });
        assert_eq!(told(5, &[debit]), Told::No { index: 1 }, "nobody pays what he has not");
        // A debit that needs a credit waits for it, and a refusal comes between.
        let credit = step(1, 10, Act::Add(5));
        let debit = step(2, 6, Act::Add(-7));
        let refused = step(3, 9, Act::Refuse(4));
        assert_eq!(told(2, &[credit, debit, refused]), Told::Yes);
    }

    /// The shortcut for additions finds an order exactly when trying all orders does.
    #[test]
    fn the_shortcut_changes_no_verdict() {
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut fitting = 0;
        for _ in 0..3_000 {
            let mut steps = Vec::new();
            for place in 0..5_u64 {
                let began = place * 10 + draw(10);
                let ended = if draw(8) == 0 { u64::MAX } else { began + 1 + draw(40) };
                let amount = i64::try_from(draw(4)).unwrap();
                let act = match draw(5) {
                    0 | 1 => Act::Add(amount),
                    2 => Act::Add(-amount),
                    3 => Act::Read(amount + 1),
                    _ => Act::Refuse(amount + 1),
                };
                steps.push(step(began, ended, act));
            }
            let naive = permuted(2, &steps, &mut Vec::new());
            assert_eq!(told(2, &steps) == Told::Yes, naive, "{steps:?}");
            fitting += u32::from(naive);
            // A guess that fits is an order; of all guesses one fits when there is an order at all.
            let additions = (0..5).filter(|place| is_addition(steps[*place].act));
            let fits = guesses(&additions.collect::<Vec<_>>())
                .iter()
                .filter(|order| guess::fits(2, true, &steps, order))
                .count();
            assert_eq!(fits > 0, naive, "{steps:?}");
        }
        assert!((300..2_700).contains(&fitting), "{fitting} of 3000 fit");
    }

    /// Every order of every part of these.
    fn guesses(of: &[usize]) -> Vec<Vec<usize>> {
        let mut all = vec![Vec::new()];
        for place in of {
            let others: Vec<usize> = of.iter().copied().filter(|other| other != place).collect();
            for mut order in guesses(&others) {
                order.push(*place);
                all.push(order);
            }
        }
        all
    }

    /// Whether some order of the steps fits, by trying them all.
    fn permuted(balance: i64, steps: &[Step], done: &mut Vec<usize>) -> bool {
        let left: Vec<usize> = (0..steps.len()).filter(|place| !done.contains(place)).collect();
        if left.iter().all(|place| steps[*place].ended == u64::MAX) {
            return true;
        }
        let first_end = left.iter().map(|place| steps[*place].ended).min().unwrap();
        left.iter().any(|place| {
            let Step { began, act, .. } = steps[*place];
            let after = match act {
                Act::Add(amount) => {
                    balance.checked_add(amount).filter(|now| amount >= 0 || *now >= 0)
                }
                Act::Read(seen) => (seen == balance).then_some(balance),
                Act::Refuse(amount) => (balance < amount).then_some(balance),
            };
            let Some(after) = after.filter(|_| began <= first_end) else { return false };
            done.push(*place);
            let fits = permuted(after, steps, done);
            done.pop();
            fits
        })
    }
}
