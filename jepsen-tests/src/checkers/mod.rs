//! The judges. Each reads a history and says what is wrong with it; none knows how the cluster works.
//!
//! Before any of them judges a run, all are shown histories with planted mistakes ([`planted`]), and a mistake that is
//! not found is the end of it.

mod alive;
mod conservation;
mod holds;
mod linear;
mod once;
mod planted;
mod snapshots;
mod statements;

use serde::{Deserialize, Serialize};

use crate::history::History;

pub(crate) use alive::DIED;
pub(crate) use planted::self_test;

/// Findings that are written down of one checker; a broken cluster breaks the same thing often.
const FINDINGS_MAX: usize = 50;

/// What a checker says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Which checker.
    pub(crate) checker: String,
    /// What it promises.
    pub(crate) promise: String,
    /// How many things it looked at.
    pub(crate) checked: u64,
    /// What is wrong: what must never happen.
    pub(crate) findings: Vec<String>,
    /// How many findings there were.
    pub(crate) found: u64,
    /// What it could not decide.
    pub(crate) undecided: Vec<String>,
}

impl Verdict {
    fn new(checker: &str, promise: &str) -> Self {
        let (checker, promise) = (checker.to_owned(), promise.to_owned());
        Self { checker, promise, ..Self::default() }
    }

    /// Something was looked at.
    fn checked(&mut self) {
        self.checked = self.checked.saturating_add(1);
    }

    /// Something is wrong.
    fn found(&mut self, what: String) {
        self.found = self.found.saturating_add(1);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }

    /// Something is wrong unless this holds.
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checked();
        if !holds {
            self.found(what());
        }
    }
}

/// A judge.
type Checker = fn(&History) -> Verdict;

/// All of them.
const ALL: &[Checker] = &[
    once::check,
    conservation::check,
    linear::check,
    holds::check,
    statements::check,
    snapshots::check,
    alive::check,
];

/// What all of them say.
pub(crate) fn judge(history: &History) -> Vec<Verdict> {
    ALL.iter().map(|check| check(history)).collect()
}
