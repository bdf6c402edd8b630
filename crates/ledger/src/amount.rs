//! Amounts and currencies. Decimals stop here.
//!
//! Decimals have many spellings of one value (`1.0`, `1.00`), and replicas compare bytes. So decimals live at the
//! edge, and everything behind it counts whole minor units: fen, cents, yen.

use std::fmt;
use std::num::NonZeroU64;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::rejection::Rejection;

/// The largest amount a request may name, in minor units: ten trillion yuan. It leaves room for nine thousand of them
/// in an `i64`, so that no sum of one batch can overflow.
pub const AMOUNT_MAX: u64 = 1_000_000_000_000_000;

/// A positive amount of money in minor units, 1 … [`AMOUNT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(NonZeroU64);

impl Amount {
    /// Reads whole minor units.
    ///
    /// # Errors
    /// [`Rejection::InvalidAmount`] outside 1 … [`AMOUNT_MAX`].
    pub fn from_minor(minor: u64) -> Result<Self, Rejection> {
        NonZeroU64::new(minor)
            .filter(|minor| minor.get() <= AMOUNT_MAX)
            .map(Self)
            .ok_or(Rejection::InvalidAmount)
    }

    /// Reads an amount a person wrote. Too many digits is a refusal, never a rounding.
    ///
    /// # Errors
    /// [`Rejection::InvalidAmount`] when it is not positive, too large, or finer than the currency's minor unit.
    pub fn from_decimal(written: Decimal, currency: Currency) -> Result<Self, Rejection> {
        let minor = written
            .checked_mul(Decimal::from(currency.minor_units()))
            .filter(Decimal::is_integer)
            .and_then(|minor| minor.to_u64())
            .ok_or(Rejection::InvalidAmount)?;
        Self::from_minor(minor)
    }

    /// The amount in minor units.
    #[must_use]
    pub const fn minor(self) -> u64 {
        self.0.get()
    }
}

impl bincode::Encode for Amount {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.minor().encode(encoder)
    }
}

impl<C> bincode::Decode<C> for Amount {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let minor = u64::decode(decoder)?;
        Self::from_minor(minor).map_err(|_| DecodeError::Other("amount out of range"))
    }
}

bincode::impl_borrow_decode!(Amount);

/// A currency by its ISO 4217 number (CNY is 156). Only numbers the standard knows, with a defined minor unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(u16);

impl Currency {
    /// The renminbi yuan, the currency of the worked examples.
    pub const CNY: Self = Self(156);

    /// Reads a three-letter code such as `CNY`, in capitals.
    ///
    /// # Errors
    /// [`Rejection::UnknownCurrency`] when ISO 4217 has no such code, or it has no minor unit (gold, test codes).
    pub fn from_code(code: &str) -> Result<Self, Rejection> {
        iso_currency::Currency::from_code(code)
            .filter(|known| known.exponent().is_some())
            .map(|known| Self(known.numeric()))
            .ok_or(Rejection::UnknownCurrency)
    }

    /// Reads the ISO 4217 number.
    ///
    /// # Errors
    /// [`Rejection::UnknownCurrency`] as for [`Self::from_code`].
    pub fn from_number(number: u16) -> Result<Self, Rejection> {
        iso_currency::Currency::from_numeric(number)
            .filter(|known| known.exponent().is_some())
            .map(|known| Self(known.numeric()))
            .ok_or(Rejection::UnknownCurrency)
    }

    /// The ISO 4217 number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The three-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.known().code()
    }

    /// Digits after the decimal point: 2 for CNY, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn exponent(self) -> u32 {
        self.known().exponent().map_or(0, u32::from)
    }

    /// Minor units in one major unit: 100 for CNY.
    #[must_use]
    pub fn minor_units(self) -> u64 {
        10_u64.pow(self.exponent())
    }

    /// Writes minor units as a person reads them: `-12.05` for −1,205 fen.
    #[must_use]
    pub fn display(self, minor: i128) -> String {
        let units = u128::from(self.minor_units());
        let whole = minor.unsigned_abs().checked_div(units).expect("a power of ten is not zero");
        let rest = minor.unsigned_abs().checked_rem(units).expect("a power of ten is not zero");
        let sign = if minor < 0 { "-" } else { "" };
        match usize::try_from(self.exponent()) {
            Ok(digits) if digits > 0 => format!("{sign}{whole}.{rest:0digits$}"),
            Ok(_) | Err(_) => format!("{sign}{whole}"),
        }
    }

    fn known(self) -> iso_currency::Currency {
        iso_currency::Currency::from_numeric(self.0).expect("checked when the currency was read")
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl bincode::Encode for Currency {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<C> bincode::Decode<C> for Currency {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let number = u16::decode(decoder)?;
        if number == Self::CNY.0 {
            return Ok(Self::CNY);
        }
        Self::from_number(number).map_err(|_| DecodeError::Other("unknown currency"))
    }
}

bincode::impl_borrow_decode!(Currency);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, currency: &str) -> Result<u64, Rejection> {
        let currency = Currency::from_code(currency)?;
        Amount::from_decimal(text.parse().expect("a decimal"), currency).map(Amount::minor)
    }

    #[test]
    fn decimals_are_read_by_the_currency_or_refused() {
        assert_eq!(written("8.88", "CNY"), Ok(888));
        assert_eq!(written("8.880", "CNY"), Ok(888));
        assert_eq!(written("8.8800000000000000000000000000", "CNY"), Ok(888));
        assert_eq!(written("8", "JPY"), Ok(8));
        assert_eq!(written("1.234", "KWD"), Ok(1234));
        assert_eq!(written("10000000000000.00", "CNY"), Ok(AMOUNT_MAX));
        for (text, currency) in [
            ("8.881", "CNY"),
            ("8.5", "JPY"),
            ("0", "CNY"),
            ("-1", "CNY"),
            ("10000000000000.01", "CNY"),
            ("79228162514264337593543950335", "CNY"),
            // More digits than a product of decimals can keep.
            ("1.0000000000000000000000000001", "CNY"),
            ("0.0000000000000000000000000001", "CNY"),
        ] {
            assert_eq!(written(text, currency), Err(Rejection::InvalidAmount), "{text} {currency}");
        }
        assert_eq!(written("1", "XAU"), Err(Rejection::UnknownCurrency));
        assert_eq!(written("1", "cny"), Err(Rejection::UnknownCurrency));
    }

    #[test]
    fn minor_units_are_shown_with_the_currencys_digits() {
        assert_eq!(Currency::CNY.display(888), "8.88");
        assert_eq!(Currency::CNY.display(-5), "-0.05");
        let yen = Currency::from_code("JPY").unwrap();
        assert_eq!(yen.display(-120), "-120");
    }
}
