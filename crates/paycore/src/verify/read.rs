//! What reads in between saw. These checks ask for sums and for names, not for real-time order between clients.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::facts::{Ending, Requests};
use super::history::Transfers;
use super::verdict::{Check, Verdict};

/// The reads of a history.
#[derive(Debug)]
pub(super) struct Reads {
    singles: Vec<i128>,
    wholes: Vec<HashMap<String, i128>>,
    statements: Vec<Vec<String>>,
    unreadable: u64,
}

impl Reads {
    pub(super) const fn new() -> Self {
        Self { singles: Vec::new(), wholes: Vec::new(), statements: Vec::new(), unreadable: 0 }
    }

    /// Takes the answer to one read.
    pub(super) fn take(&mut self, f: &str, _asked: &Value, answer: Value) {
        let taken = match f {
            "read" => number(&answer).map(|available| self.singles.push(available)),
            "read-all" => {
                serde_json::from_value::<HashMap<String, i64>>(answer).ok().map(|whole| {
                    let whole = whole.into_iter().map(|(key, has)| (key, i128::from(has)));
                    self.wholes.push(whole.collect());
                })
            }
            _ => ids(&answer).map(|ids| self.statements.push(ids)),
        };
        if taken.is_none() {
            self.unreadable = self.unreadable.saturating_add(1);
        }
    }

    /// Adds what the reads saw to a verdict. `total` is what all accounts began with.
    pub(super) fn report(
        &self,
        transfers: &Transfers,
        total: i128,
        overdraft: bool,
        verdict: &mut Verdict,
    ) {
        self.report_singles(overdraft, verdict);
        self.report_wholes(total, overdraft, verdict);
        self.report_statements(transfers, verdict);
        if self.unreadable > 0 {
            let mut check = Check::of("every read's answer can be understood");
            check.looked_at(self.unreadable);
            check.violations = self.unreadable;
            verdict.add(check, |verdict| &mut verdict.undecided);
        }
    }

    fn report_singles(&self, overdraft: bool, verdict: &mut Verdict) {
        if self.singles.is_empty() || overdraft {
            return;
        }
        let mut check = Check::of("no read shows less than nothing");
        for available in &self.singles {
            check.looked_at(1);
            if *available < 0 {
                check.broken(|| format!("{available} available"));
            }
        }
        verdict.add(check, |verdict| &mut verdict.negative);
    }

    fn report_wholes(&self, total: i128, overdraft: bool, verdict: &mut Verdict) {
        if self.wholes.is_empty() {
            return;
        }
        let mut sums = Check::of("every whole read adds up to what there was at the beginning");
        let mut signs = Check::of("no whole read shows less than nothing");
        for whole in &self.wholes {
            sums.looked_at(1);
            let sum = whole.values().fold(0_i128, |sum, has| sum.saturating_add(*has));
            if sum != total {
                sums.broken(|| format!("{sum} instead of {total}"));
            }
            signs.looked_at(u64::try_from(whole.len()).unwrap_or(u64::MAX));
            for (key, has) in whole.iter().filter(|(_, has)| **has < 0 && !overdraft) {
                signs.broken(|| format!("{key} has {has}"));
            }
        }
        verdict.add(sums, |verdict| &mut verdict.imbalance);
        verdict.add(signs, |verdict| &mut verdict.negative);
    }

    fn report_statements(&self, transfers: &Transfers, verdict: &mut Verdict) {
        if self.statements.is_empty() {
            return;
        }
        let mut single = Check::of("no statement names a transfer twice");
        let mut asked = Check::of("every transfer on a statement was asked for and not refused");
        for statement in &self.statements {
            let mut named = HashSet::new();
            for id in statement {
                single.looked_at(1);
                asked.looked_at(1);
                if !named.insert(id) {
                    single.broken(|| format!("{id} twice"));
                }
                let refused = transfers.number(id).is_none_or(|n| {
                    matches!(transfers.ending(n), Ending::Rejected(_) | Ending::NotDone(_))
                });
                if refused {
                    asked.broken(|| id.clone());
                }
            }
        }
        verdict.add(single, |verdict| &mut verdict.doubled);
        verdict.add(asked, |verdict| &mut verdict.unexplained);
    }
}

/// A bare number, or the one in `available`.
fn number(answer: &Value) -> Option<i128> {
    let bare = answer.as_i64().or_else(|| answer.get("available")?.as_i64());
    bare.map(i128::from)
}

/// A bare list, or the one in `ids`.
fn ids(answer: &Value) -> Option<Vec<String>> {
    let list = answer.get("ids").unwrap_or(answer);
    Vec::deserialize(list).ok()
}
