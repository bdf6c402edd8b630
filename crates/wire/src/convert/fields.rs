//! Reading a message field by field, keeping note of everything that is wrong with it.

use std::borrow::Cow;

use ledger::{AccountId, Amount, Authority, Currency, FreezeScope, HoldId, TransferId};

use super::behalf::{Behalf, read_alias};
use super::names;
use super::refusal::{FieldViolation, Refusal};
use crate::proto::v1;

const AMOUNT: &str = "1 to 10^15 minor units";
const CURRENCY: &str = "a code of ISO 4217 that has a minor unit, such as CNY";

/// Collects what is wrong, so that the caller learns all of it at once.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    behalf: Behalf<'a>,
    violations: Vec<FieldViolation>,
    /// The first name of an account that stands for none.
    unknown: Option<String>,
}

impl<'a> Fields<'a> {
    /// Nothing is wrong so far.
    pub(super) fn of(behalf: impl Into<Behalf<'a>>) -> Self {
        Self { behalf: behalf.into(), violations: Vec::new(), unknown: None }
    }

    /// Notes a field that is wrong.
    pub(super) fn wrong(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) {
        self.violations
            .push(FieldViolation { field: field.into(), description: description.into() });
    }

    /// What was read, if all of it was right.
    pub(super) fn done<T>(self, read: Option<T>) -> Result<T, Refusal> {
        match read {
            Some(read) if self.violations.is_empty() && self.unknown.is_none() => Ok(read),
            Some(_) | None if self.violations.is_empty() && self.unknown.is_some() => {
                Err(Refusal::AliasNotFound(self.unknown.unwrap_or_default()))
            }
            Some(_) | None => Err(Refusal::InvalidField(self.violations)),
        }
    }

    pub(super) fn account(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        text: &str,
    ) -> Option<AccountId> {
        let read = self.behalf.account(text);
        if read.is_err() && read_alias(text).is_some() {
            self.unknown.get_or_insert_with(|| text.to_owned());
            return None;
        }
        self.id(field, read)
    }

    pub(super) fn hold(&mut self, field: &'static str, text: &str) -> Option<HoldId> {
        self.id(field, names::read_hold(text))
    }

    pub(super) fn transfer(&mut self, field: &'static str, text: &str) -> Option<TransferId> {
        self.id(field, names::read_transfer(text))
    }

    fn id<T>(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        read: Result<T, ledger::IdError>,
    ) -> Option<T> {
        read.map_err(|error| self.wrong(field, error.to_string())).ok()
    }

    pub(super) fn currency(&mut self, field: &'static str, code: &str) -> Option<Currency> {
        read_currency(code).or_else(|| {
            self.wrong(field, CURRENCY);
            None
        })
    }

    pub(super) fn amount(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        units_minor: i64,
    ) -> Option<Amount> {
        let minor = u64::try_from(units_minor).ok();
        minor.and_then(|minor| Amount::from_minor(minor).ok()).or_else(|| {
            self.wrong(field, AMOUNT);
            None
        })
    }

    /// An amount with its currency, in the field `amount`.
    pub(super) fn money(&mut self, money: Option<&v1::Money>) -> Option<(Amount, Currency)> {
        let Some(v1::Money { currency_code, units_minor }) = money else {
            self.wrong("amount", "an amount with its currency");
            return None;
        };
        let currency = self.currency("amount.currency_code", currency_code);
        let amount = self.amount("amount.units_minor", *units_minor);
        amount.zip(currency)
    }

    pub(super) fn scope(&mut self, scope: i32) -> Option<FreezeScope> {
        match v1::FreezeScope::try_from(scope) {
            Ok(v1::FreezeScope::Debit) => Some(FreezeScope::Debit),
            Ok(v1::FreezeScope::All) => Some(FreezeScope::All),
            Ok(v1::FreezeScope::Unspecified) | Err(_) => {
                self.wrong("scope", "FREEZE_SCOPE_DEBIT or FREEZE_SCOPE_ALL");
                None
            }
        }
    }

    pub(super) fn authority(&mut self, authority: i32) -> Option<Authority> {
        match v1::Authority::try_from(authority) {
            Ok(v1::Authority::User) => Some(Authority::User),
            Ok(v1::Authority::Risk) => Some(Authority::Risk),
            Ok(v1::Authority::Judicial) => Some(Authority::Judicial),
            Ok(v1::Authority::Unspecified) | Err(_) => {
                self.wrong("authority", "AUTHORITY_USER, AUTHORITY_RISK or AUTHORITY_JUDICIAL");
                None
            }
        }
    }
}

/// Reads a currency; the one that nearly every request names costs no look-up.
fn read_currency(code: &str) -> Option<Currency> {
    if code == "CNY" {
        return Some(Currency::CNY);
    }
    Currency::from_code(code).ok()
}
