//! Money as a caller writes it.

use std::fmt;

use ledger::{Amount, Currency, Rejection};
use rust_decimal::Decimal;
use wire::proto::v1;

/// An amount of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    /// How much.
    pub amount: Amount,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// So many minor units: fen, cents, yen.
    ///
    /// # Errors
    /// [`Rejection::InvalidAmount`] outside 1 … 10^15.
    pub fn minor(units: u64, currency: Currency) -> Result<Self, Rejection> {
        Ok(Self { amount: Amount::from_minor(units)?, currency })
    }

    /// Reads an amount that a person wrote, such as `8.88`. Too many digits is a refusal, never a rounding.
    ///
    /// # Errors
    /// [`Rejection::InvalidAmount`] when it is no number, not positive, too large, or finer than the currency's minor
    /// unit.
    pub fn parse(written: &str, currency: Currency) -> Result<Self, Rejection> {
        let decimal = Decimal::from_str_exact(written).map_err(|_| Rejection::InvalidAmount)?;
        Ok(Self { amount: Amount::from_decimal(decimal, currency)?, currency })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minor = i128::from(self.amount.minor());
        write!(f, "{} {}", self.currency.display(minor), self.currency)
    }
}

impl From<Money> for v1::Money {
    fn from(money: Money) -> Self {
        let currency_code = money.currency.code().to_owned();
        Self { currency_code, units_minor: units(money.amount) }
    }
}

/// An amount as the wire writes it.
pub(crate) fn units(amount: Amount) -> i64 {
    i64::try_from(amount.minor()).expect("an amount is at most 10^15")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_as_it_is_written_or_refused() {
        let money = Money::parse("8.88", Currency::CNY).unwrap();
        assert_eq!((money.amount.minor(), money.to_string()), (888, "8.88 CNY".to_owned()));
        for bad in
            ["", "8.888", "-1", "0", "1e3", "8,88", "１", "0.1111111111111111111111111111119"]
        {
            assert_eq!(Money::parse(bad, Currency::CNY), Err(Rejection::InvalidAmount), "{bad}");
        }
    }
}
