//! What a run's checks came to.

use serde::Serialize;

/// Examples that one check keeps: enough to begin looking, not so many that nobody reads them.
const EXAMPLES_MAX: usize = 10;

/// One check: what it looked at, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What holds if it passes.
    pub(crate) claim: &'static str,
    /// How many facts it compared.
    pub(crate) facts: u64,
    /// How many of them break the claim.
    pub(crate) violations: u64,
    /// The first few of those, for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) examples: Vec<String>,
}

impl Check {
    /// A check that has looked at nothing yet.
    pub(crate) fn of(claim: &'static str) -> Self {
        Self { claim, ..Self::default() }
    }

    /// Notes facts that were compared.
    pub(crate) fn looked_at(&mut self, facts: u64) {
        self.facts = self.facts.saturating_add(facts);
    }

    /// Notes a violation; the example is only made while there is room for it.
    pub(crate) fn broken(&mut self, example: impl FnOnce() -> String) {
        self.violations = self.violations.saturating_add(1);
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

/// What all checks of a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// By how many minor units the books are off.
    pub(crate) imbalance: u64,
    /// Acknowledged, and not found whole.
    pub(crate) lost: u64,
    /// Found more than once.
    pub(crate) doubled: u64,
    /// Found otherwise than asked, or answered otherwise when asked again.
    pub(crate) wrong: u64,
    /// Refused, and found all the same.
    pub(crate) refused_applied: u64,
    /// Found, and asked for by nobody.
    pub(crate) unexplained: u64,
    /// Balances below zero.
    pub(crate) negative: u64,
    /// Balances and statements that do not follow from the record.
    pub(crate) broken_books: u64,
    /// Processes that ended without being told to.
    pub(crate) crashed: u64,
    /// What could not be decided: accounts that could not be read, requests that nobody would answer for.
    pub(crate) undecided: u64,
    /// Whether nothing is wrong and everything was decided.
    pub(crate) ok: bool,
    /// Each check, with how much it looked at.
    pub(crate) checks: Vec<Check>,
}

impl Verdict {
    /// Adds a check whose violations count in one of the verdict's numbers.
    pub(crate) fn add(&mut self, check: Check, number: fn(&mut Self) -> &mut u64) {
        let total = number(self);
        *total = total.saturating_add(check.violations);
        self.checks.push(check);
    }

    /// Whether something is wrong, for certain.
    pub(crate) const fn is_violated(&self) -> bool {
        self.imbalance > 0
            || self.lost > 0
            || self.doubled > 0
            || self.wrong > 0
            || self.refused_applied > 0
            || self.unexplained > 0
            || self.negative > 0
            || self.broken_books > 0
            || self.crashed > 0
    }

    /// The verdict, closed.
    pub(crate) fn closed(mut self) -> Self {
        self.ok = !self.is_violated() && self.undecided == 0;
        self
    }

    /// One line for each check, and one for the whole.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for check in &self.checks {
            let Check { claim, facts, violations, examples } = check;
            if *violations == 0 {
                lines.push(format!("PASS  {claim} ({facts} checked)"));
            } else {
                lines.push(format!("FAIL  {claim}: {violations} of {facts} do not"));
                lines.extend(examples.iter().map(|example| format!("      {example}")));
            }
        }
        lines.push(self.conclusion());
        lines
    }

    fn conclusion(&self) -> String {
        let Self { lost, doubled, imbalance, undecided, .. } = self;
        let whole = match (self.is_violated(), *undecided) {
            (true, _) => "VIOLATED",
            (false, 0) => "OK",
            (false, _) => "UNDECIDED",
        };
        format!(
            "{whole}: {lost} lost, {doubled} doubled, imbalance {imbalance}, {undecided} undecided"
        )
    }
}
