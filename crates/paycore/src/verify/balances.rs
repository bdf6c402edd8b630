//! Every balance is what the record makes of it, none is negative, and their sum is what there was.

use super::facts::Line;
use super::verdict::{Check, Verdict};

/// Compares balances with the lines that led to them.
#[derive(Debug)]
pub(crate) struct Balances {
    /// What each account should have, from its opening balance and its lines.
    expected: Vec<i64>,
    may_be_negative: bool,
    follows: Check,
    positive: Check,
    total: i128,
    total_expected: i128,
    stood: u64,
}

impl Balances {
    /// Accounts with their opening balances.
    pub(crate) fn new(openings: Vec<i64>, may_be_negative: bool) -> Self {
        let total_expected = openings.iter().copied().map(i128::from).sum();
        Self {
            expected: openings,
            may_be_negative,
            follows: Check::of("every balance is what its statement adds up to"),
            positive: Check::of("no balance is below zero"),
            total: 0,
            total_expected,
            stood: 0,
        }
    }

    /// Takes a line.
    pub(crate) fn moved(&mut self, line: &Line) {
        let Some(balance) =
            usize::try_from(line.account).ok().and_then(|a| self.expected.get_mut(a))
        else {
            self.follows.broken(|| format!("account {} is not one of the run's", line.account));
            return;
        };
        // A sum outside 64 bits is no balance an account can have; the comparison will say so.
        let change = i64::try_from(line.change()).unwrap_or(i64::MIN);
        *balance = balance.saturating_add(change);
    }

    /// Takes an account's balance at the end.
    pub(crate) fn stands(&mut self, account: u32, balance: i128) {
        self.follows.looked_at(1);
        self.positive.looked_at(1);
        self.stood = self.stood.saturating_add(1);
        self.total = self.total.saturating_add(balance);
        let expected = usize::try_from(account).ok().and_then(|a| self.expected.get(a)).copied();
        if expected.map(i128::from) != Some(balance) {
            self.follows
                .broken(|| format!("account {account} has {balance}, its lines make {expected:?}"));
        }
        if balance < 0 && !self.may_be_negative {
            self.positive.broken(|| format!("account {account} has {balance}"));
        }
    }

    /// Accounts whose balance was not taken.
    pub(crate) fn unread(&self) -> u64 {
        u64::try_from(self.expected.len()).unwrap_or(u64::MAX).saturating_sub(self.stood)
    }

    /// Adds what was found to a verdict. A sum is only compared when every balance was taken.
    pub(crate) fn report(self, verdict: &mut Verdict) {
        let mut read = Check::of("every account could be read");
        read.looked_at(u64::try_from(self.expected.len()).unwrap_or(u64::MAX));
        read.violations = self.unread();
        verdict.add(read, |verdict| &mut verdict.undecided);
        let off = self.total.abs_diff(self.total_expected);
        if self.unread() == 0 {
            let mut sum = Check::of("the sum of all balances is what there was at the beginning");
            sum.looked_at(self.stood);
            if off > 0 {
                let (total, expected) = (self.total, self.total_expected);
                sum.broken(|| format!("the sum is {total}, and was {expected}"));
            }
            // The number is by how much, not how often.
            verdict.imbalance =
                verdict.imbalance.saturating_add(u64::try_from(off).unwrap_or(u64::MAX));
            verdict.checks.push(sum);
        }
        verdict.add(self.follows, |verdict| &mut verdict.broken_books);
        verdict.add(self.positive, |verdict| &mut verdict.negative);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(openings: &[i64], lines: &[Line], stands: &[i128]) -> Verdict {
        let mut balances = Balances::new(openings.to_vec(), false);
        for line in lines {
            balances.moved(line);
        }
        for (account, balance) in (0..).zip(stands) {
            balances.stands(account, *balance);
        }
        let mut verdict = Verdict::default();
        balances.report(&mut verdict);
        verdict.closed()
    }

    fn paid(amount: u64) -> [Line; 2] {
        [
            Line { account: 0, counter: 1, amount, is_debit: true },
            Line { account: 1, counter: 0, amount, is_debit: false },
        ]
    }

    #[test]
    fn balances_follow_from_the_record() {
        assert!(verdict(&[100, 0], &paid(30), &[70, 30]).ok);
        let off = verdict(&[100, 0], &paid(30), &[71, 30]);
        assert_eq!((off.imbalance, off.broken_books), (1, 1));
        let swapped = verdict(&[100, 0], &paid(30), &[69, 31]);
        assert_eq!((swapped.imbalance, swapped.broken_books), (0, 2));
    }

    #[test]
    fn money_may_not_be_made_even_if_the_record_says_so() {
        let made = Line { account: 1, counter: 0, amount: 5, is_debit: false };
        let verdict = verdict(&[100, 0], &[made], &[100, 5]);
        assert_eq!((verdict.imbalance, verdict.broken_books, verdict.ok), (5, 0, false));
    }

    #[test]
    fn nobody_is_below_zero() {
        let verdict = verdict(&[100, 0], &paid(101), &[-1, 101]);
        assert_eq!((verdict.negative, verdict.imbalance, verdict.ok), (1, 0, false));
    }
}
