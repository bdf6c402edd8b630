//! The first reading: what the file is, what is wrong with it, and what its payers need.

use std::collections::BTreeMap;

use ledger::{AMOUNT_MAX, AccountId, Amount, Currency};

use super::error::BadRow;
use super::map::Opening;
use super::row::{Fields, Reading};
use super::source::Source;
use crate::exit::Failure;

/// Accounts of one import at the most: what they need is the one thing that is kept in memory for a whole file.
const ACCOUNTS_MAX: usize = 5_000_000;

/// What the first reading found.
#[derive(Debug)]
pub(super) struct Plan {
    /// What the whole file hashes to.
    pub(super) digest: [u8; 32],
    /// Rows, good and bad.
    pub(super) rows: u64,
    /// Rows that are no payments.
    pub(super) bad: u64,
    /// Every account that is named, and what it begins with.
    pub(super) accounts: BTreeMap<AccountId, Option<Amount>>,
    /// Accounts whose need is more than one account may begin with: they begin with the most there is.
    pub(super) too_needy: usize,
    /// What all good rows pay in all periods, in minor units.
    pub(super) sum: u128,
    /// How often every good row is paid.
    pub(super) periods: u32,
}

impl Plan {
    /// Reads the file once. `see` hears of every bad row.
    ///
    /// # Errors
    /// When the file cannot be read, names too many accounts, or `see` has had enough.
    pub(super) fn make(
        source: &mut Source,
        reading: &Reading,
        periods: u32,
        mut see: impl FnMut(u64, &BadRow) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let mut pass = source.pass()?;
        let mut needs: BTreeMap<AccountId, u128> = BTreeMap::new();
        let (mut rows, mut bad, mut sum) = (0_u64, 0_u64, 0_u128);
        while let Some((line, fields)) = pass.next()? {
            rows = rows.saturating_add(1);
            match fields.and_then(|record| reading.row(Fields::of(record))) {
                Ok(row) => {
                    let need = u128::from(row.amount.minor()).saturating_mul(u128::from(periods));
                    sum = sum.saturating_add(need);
                    let before = needs.entry(row.payer).or_default();
                    *before = before.saturating_add(need);
                    needs.entry(row.payee).or_default();
                }
                Err(why) => {
                    bad = bad.saturating_add(1);
                    see(line, &why)?;
                }
            }
            if needs.len() > ACCOUNTS_MAX {
                return Err(Failure::coded(
                    "INVALID_FIELD",
                    format!("more than {ACCOUNTS_MAX} accounts"),
                )
                .with_hint("split the file"));
            }
        }
        let digest = pass.digest()?;
        let too_needy = match reading.opening {
            Opening::CoversAll => {
                needs.values().filter(|need| **need > u128::from(AMOUNT_MAX)).count()
            }
            Opening::Fixed(_) | Opening::Nothing => 0,
        };
        let accounts = needs
            .into_iter()
            .map(|(account, need)| (account, opening(reading.opening, need, reading.currency)))
            .collect();
        Ok(Self { digest, rows, bad, accounts, too_needy, sum, periods })
    }

    /// Payments to be made.
    pub(super) const fn payments(&self) -> u64 {
        self.rows.saturating_sub(self.bad).saturating_mul(self.periods as u64)
    }
}

/// What an account begins with that needs so much. Payees need nothing, and get nothing.
fn opening(rule: Opening, need: u128, currency: Currency) -> Option<Amount> {
    match rule {
        Opening::Nothing => None,
        Opening::Fixed(amount) => (need > 0).then_some(amount),
        Opening::CoversAll => {
            let unit = u128::from(currency.minor_units());
            let rounded = need.checked_next_multiple_of(unit).unwrap_or(u128::MAX);
            let most = rounded.min(u128::from(AMOUNT_MAX));
            u64::try_from(most).ok().and_then(|minor| Amount::from_minor(minor).ok())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_covers_what_is_needed_and_is_whole() {
        let opening = |need| opening(Opening::CoversAll, need, Currency::CNY).map(Amount::minor);
        assert_eq!(opening(0), None);
        assert_eq!(opening(1), Some(100));
        assert_eq!(opening(100), Some(100));
        assert_eq!(opening(101), Some(200));
        assert_eq!(opening(u128::from(AMOUNT_MAX)), Some(AMOUNT_MAX));
        assert_eq!(opening(u128::MAX), Some(AMOUNT_MAX), "the most there is");
    }

    #[test]
    fn a_fixed_opening_is_for_payers() {
        let fixed = Amount::from_minor(500).unwrap();
        assert_eq!(opening(Opening::Fixed(fixed), 7, Currency::CNY), Some(fixed));
        assert_eq!(opening(Opening::Fixed(fixed), 0, Currency::CNY), None);
        assert_eq!(opening(Opening::Nothing, 7, Currency::CNY), None);
    }
}
