//! Each acknowledged request is found exactly once, as it was asked; no refused one is found.
//!
//! Lines arrive in any order, each with the number of the request that it answers, if that is known: a caller who was
//! told a transfer's name knows whose it is. A line of a transfer that nobody was told about is a *stranger*. It may
//! be the work of a request whose outcome stayed unknown; then one with the same accounts and amount is among the
//! unknown. Otherwise money moved that nobody was told about, and whom it doubles is found by the same comparison.

use std::collections::{BTreeMap, HashMap};

use super::facts::{Ending, Line, Requests, Wanted};
use super::verdict::{Check, Verdict};

/// Transfers without a request that are looked into: past this, what goes on is plain enough.
const STRANGERS_MAX: usize = 100_000;

const DEBIT: u8 = 1;
const CREDIT: u8 = 2;
const WHOLE: u8 = DEBIT | CREDIT;

/// Compares requests with the lines of statements.
pub(crate) struct Once<'a, R> {
    requests: &'a R,
    /// For each request, which of its two lines were found.
    seen: Vec<u8>,
    strangers: BTreeMap<u64, Stranger>,
    found: Found,
}

struct Stranger {
    wanted: Wanted,
    sides: u8,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    present: Check,
    single: Check,
    as_asked: Check,
    refused: Check,
    explained: Check,
    /// Requests whose outcome nobody told, and which were carried out.
    pub(crate) unknown_applied: u64,
    /// Requests whose outcome nobody told, and which were not carried out.
    pub(crate) unknown_absent: u64,
}

impl<'a, R: Requests> Once<'a, R> {
    /// Nothing has been found yet.
    pub(crate) fn new(requests: &'a R) -> Self {
        let count = usize::try_from(requests.count()).expect("a run's requests fit in memory");
        let found = Found {
            present: Check::of("every acknowledged transfer is in the ledger, on both sides"),
            single: Check::of("no transfer is in the ledger twice"),
            as_asked: Check::of(
                "every transfer has the accounts and the amount that were asked for",
            ),
            refused: Check::of("no refused request moved money"),
            explained: Check::of("every transfer in the ledger was asked for"),
            unknown_applied: 0,
            unknown_absent: 0,
        };
        Self { requests, seen: vec![0; count], strangers: BTreeMap::new(), found }
    }

    /// Takes one line of request `n`.
    pub(crate) fn known(&mut self, n: u64, line: &Line) {
        self.found.single.looked_at(1);
        self.found.as_asked.looked_at(1);
        self.found.explained.looked_at(1);
        let wanted = self.requests.wanted(n);
        if line.transfer() != wanted {
            let found = line.transfer();
            self.found
                .as_asked
                .broken(|| format!("request {n} asked for {wanted:?}, found {found:?}"));
        }
        let side = side(line);
        let place = usize::try_from(n).ok().and_then(|n| self.seen.get_mut(n));
        let Some(seen) = place else {
            self.found.explained.broken(|| format!("request {n} was never made"));
            return;
        };
        if *seen & side != 0 {
            self.found.single.broken(|| format!("request {n} moved money twice: {line:?}"));
        }
        *seen |= side;
    }

    /// Takes one line of a transfer that no caller was told about. `transfer` only tells strangers apart.
    pub(crate) fn stranger(&mut self, transfer: u64, line: &Line) {
        self.found.single.looked_at(1);
        self.found.explained.looked_at(1);
        if self.strangers.len() >= STRANGERS_MAX && !self.strangers.contains_key(&transfer) {
            self.found.explained.broken(String::new);
            return;
        }
        let wanted = line.transfer();
        let stranger = self.strangers.entry(transfer).or_insert(Stranger { wanted, sides: 0 });
        if stranger.sides & side(line) != 0 {
            self.found
                .single
                .broken(|| format!("a transfer nobody was told of stands twice: {line:?}"));
        }
        if stranger.wanted != wanted {
            self.found.as_asked.broken(|| format!("the two sides differ: {wanted:?}"));
        }
        stranger.sides |= side(line);
    }

    /// Everything has been taken: compares.
    pub(crate) fn finish(mut self) -> Found {
        for n in 0..self.requests.count() {
            self.close(n);
        }
        self.explain_strangers();
        self.found
    }

    fn seen_of(&self, n: u64) -> u8 {
        usize::try_from(n).ok().and_then(|n| self.seen.get(n)).copied().unwrap_or(0)
    }

    fn close(&mut self, n: u64) {
        let seen = self.seen_of(n);
        let found = &mut self.found;
        match self.requests.ending(n) {
            Ending::Posted(_) => {
                found.present.looked_at(1);
                if seen != WHOLE {
                    found
                        .present
                        .broken(|| format!("request {n} was acknowledged, {}", missing(seen)));
                }
            }
            Ending::Rejected(_) | Ending::NotDone(_) => {
                found.refused.looked_at(1);
                if seen != 0 {
                    found.refused.broken(|| format!("request {n} was refused and moved money"));
                }
            }
            Ending::Unknown => match seen {
                0 => found.unknown_absent = found.unknown_absent.saturating_add(1),
                WHOLE => found.unknown_applied = found.unknown_applied.saturating_add(1),
                half => found.present.broken(|| format!("request {n}: {}", missing(half))),
            },
        }
    }

    /// A stranger is the work of a request of unknown outcome, a second effect of one that was answered (or its only
    /// one, under another name than its caller was told), the effect of one that was refused, or nobody's.
    fn explain_strangers(&mut self) {
        let mut open: HashMap<Wanted, u64> = HashMap::new();
        for (transfer, stranger) in &self.strangers {
            if stranger.sides == WHOLE {
                let count = open.entry(stranger.wanted).or_default();
                *count = count.saturating_add(1);
            } else {
                self.found
                    .present
                    .broken(|| format!("transfer {transfer}: {}", missing(stranger.sides)));
            }
        }
        let unknown = |ending: &Ending| matches!(ending, Ending::Unknown);
        let posted = |ending: &Ending| matches!(ending, Ending::Posted(_));
        let refused = |ending: &Ending| matches!(ending, Ending::Rejected(_) | Ending::NotDone(_));
        for n in self.matches(&mut open, unknown) {
            if self.seen_of(n) == 0 {
                self.found.unknown_absent = self.found.unknown_absent.saturating_sub(1);
                self.found.unknown_applied = self.found.unknown_applied.saturating_add(1);
            }
        }
        for n in self.matches(&mut open, posted) {
            if self.seen_of(n) == WHOLE {
                self.found
                    .single
                    .broken(|| format!("request {n} was carried out under another name too"));
            } else {
                self.found
                    .as_asked
                    .broken(|| format!("request {n} was told another transfer's name"));
            }
        }
        for n in self.matches(&mut open, refused) {
            self.found.refused.broken(|| format!("request {n} was refused and carried out"));
        }
        for (wanted, count) in open {
            for _ in 0..count {
                self.found.explained.broken(|| format!("nobody asked for {wanted:?}"));
            }
        }
    }

    /// Takes out of `open` what requests of a kind asked for, and names these requests.
    fn matches(&self, open: &mut HashMap<Wanted, u64>, kind: fn(&Ending) -> bool) -> Vec<u64> {
        let mut requests = Vec::new();
        for n in 0..self.requests.count() {
            if open.is_empty() {
                break;
            }
            if !kind(&self.requests.ending(n)) {
                continue;
            }
            let wanted = self.requests.wanted(n);
            let Some(count) = open.get_mut(&wanted) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&wanted);
            }
            requests.push(n);
        }
        requests
    }
}

const fn side(line: &Line) -> u8 {
    if line.is_debit { DEBIT } else { CREDIT }
}

const fn missing(seen: u8) -> &'static str {
    match seen {
        0 => "and is not in the ledger",
        DEBIT => "its debit is in the ledger, its credit is not",
        CREDIT => "its credit is in the ledger, its debit is not",
        _ => "and is in the ledger",
    }
}

impl Found {
    /// Adds what was found to a verdict. When not every statement was read, a line that was not found may stand on one
    /// of the others: nothing is known to be lost then, and nothing is known not to be.
    pub(crate) fn report(self, was_all_read: bool, verdict: &mut Verdict) {
        if was_all_read {
            verdict.add(self.present, |verdict| &mut verdict.lost);
        } else {
            verdict.add(self.present, |verdict| &mut verdict.undecided);
        }
        verdict.add(self.single, |verdict| &mut verdict.doubled);
        verdict.add(self.as_asked, |verdict| &mut verdict.wrong);
        verdict.add(self.refused, |verdict| &mut verdict.refused_applied);
        verdict.add(self.explained, |verdict| &mut verdict.unexplained);
    }
}

#[cfg(test)]
mod tests;
