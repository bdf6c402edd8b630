//! A guess at the order: the one that the account's statement shows at the end.
//!
//! Searching takes long where many calls are open at once, and nearly always the statement has the answer. It is not
//! believed: its order is tried like any other, with balances counted here, and what was read or refused must find its
//! place in it. A guess that fits is an order that explains everything; one that does not fit says nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::search::{Act, Step};
use crate::history::StatementLine;

/// Which step each line of a statement is, the oldest first. Nothing, when a line is none that anybody was told of.
pub(super) fn order(lines: &[StatementLine], named: &BTreeMap<&str, usize>) -> Option<Vec<usize>> {
    // The first line is the opening, and no step.
    lines.iter().skip(1).map(|line| named.get(line.transfer.as_str()).copied()).collect()
}

/// What is so after the first additions of an order.
#[derive(Clone, Copy)]
struct Level {
    balance: i64,
    /// The latest beginning of what has happened: not before this.
    from: u64,
    /// The earliest end of what has not: not after this.
    until: u64,
}

/// Whether additions in this order explain everything. Whoever was never answered may be left out.
pub(super) fn fits(opening: i64, bounded: bool, steps: &[Step], order: &[usize]) -> bool {
    let Some(levels) = levels(opening, bounded, steps, order) else { return false };
    let placed: BTreeSet<&usize> = order.iter().collect();
    let is_told = |step: &Step| matches!(step.act, Act::Add(_)) && step.ended != u64::MAX;
    let mut all = steps.iter().enumerate();
    let is_whole = all.all(|(place, step)| !is_told(step) || placed.contains(&place));
    is_whole && looks_fit(&levels, steps)
}

/// The levels of an order; nothing, when an addition cannot come where it is.
fn levels(opening: i64, bounded: bool, steps: &[Step], order: &[usize]) -> Option<Vec<Level>> {
    let mut level = Level { balance: opening, from: 0, until: u64::MAX };
    let mut levels = vec![level];
    for place in order {
        let step = steps.get(*place)?;
        let Act::Add(amount) = step.act else { return None };
        level.balance = level.balance.checked_add(amount)?;
        level.from = level.from.max(step.began);
        let is_paid = amount >= 0 || level.balance >= 0 || !bounded;
        if !is_paid || level.from > step.ended {
            return None;
        }
        levels.push(level);
    }
    let mut until = u64::MAX;
    for (level, next) in
        levels.iter_mut().rev().zip(std::iter::once(None).chain(order.iter().rev().map(Some)))
    {
        let ended = next.and_then(|place| steps.get(*place)).map_or(u64::MAX, |step| step.ended);
        until = until.min(ended);
        level.until = until;
    }
    Some(levels)
}

/// Whether whatever was read or refused finds a level, and nobody who looked later finds a lower one.
fn looks_fit(levels: &[Level], steps: &[Step]) -> bool {
    let looks = steps.iter().filter(|step| !matches!(step.act, Act::Add(_)));
    let mut looks: Vec<&Step> = looks.filter(|step| step.ended != u64::MAX).collect();
    looks.sort_by_key(|step| step.began);
    // By when they ended: the levels of those who have looked, and the highest of those who had ended before a time.
    let mut ended: BTreeMap<u64, usize> = BTreeMap::new();
    let mut floor = 0;
    for look in looks {
        while let Some(first) = ended.first_entry().filter(|first| *first.key() < look.began) {
            floor = floor.max(first.remove());
        }
        let suits = |level: &Level| {
            let is_seen = match look.act {
                Act::Read(seen) => level.balance == seen,
                Act::Refuse(amount) => level.balance < amount,
                Act::Add(_) => false,
            };
            is_seen && level.from <= look.ended && look.began <= level.until
        };
        let mut found = levels.iter().enumerate().skip(floor);
        let Some((place, _)) = found.find(|(_, level)| suits(level)) else { return false };
        let other = ended.entry(look.ended).or_default();
        *other = place.max(*other);
    }
    true
}
