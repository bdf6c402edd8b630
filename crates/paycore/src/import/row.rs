//! One row → one payment, or why not.

use csv::ByteRecord;
use ledger::{AccountId, Amount, Currency};
use rust_decimal::Decimal;

use super::error::BadRow;
use super::map::{Column, Opening, Shape};
use super::template::{Template, account_id};

/// Characters of a wrong value that a message shows at the most.
const SHOWN_MAX: usize = 40;

/// Digits before the point at the most: more than any amount has, and few enough to never overflow a decimal.
const WHOLE_DIGITS_MAX: usize = 16;

/// A map that knows where its columns are.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) namespace: String,
    pub(super) currency: Currency,
    pub(super) decimals: usize,
    pub(super) opening: Opening,
    pub(super) amount: Column,
    pub(super) identity: Option<Template>,
    pub(super) payer: Template,
    pub(super) payer_owner: Template,
    pub(super) payee: Template,
    pub(super) payee_owner: Template,
}

/// What one row says: who pays whom how much. Paid once in each period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) payer: AccountId,
    pub(super) payee: AccountId,
    pub(super) amount: Amount,
    /// What makes the row itself, where the map says so; else it is its place in the file.
    pub(super) identity: Option<String>,
}

impl Reading {
    /// Reads a row.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(super) fn row(&self, fields: Fields<'_>) -> Result<Row, BadRow> {
        let account = |account: &Template, owner: &Template| {
            let (account, owner) = (account.fill(fields)?, owner.fill(fields)?);
            Ok(account_id(&self.namespace, &account, &owner))
        };
        let payer = account(&self.payer, &self.payer_owner)?;
        let payee = account(&self.payee, &self.payee_owner)?;
        let amount = self.amount(fields)?;
        let identity = self.identity.as_ref().map(|identity| identity.fill(fields)).transpose()?;
        if payer == payee {
            return Err(BadRow::SameAccount);
        }
        Ok(Row { payer, payee, amount, identity })
    }

    fn amount(&self, fields: Fields<'_>) -> Result<Amount, BadRow> {
        let column = &self.amount;
        let name = || column.name.clone();
        let text = fields.text(column)?;
        if text.is_empty() {
            return Err(BadRow::Empty(name()));
        }
        let no_amount = || BadRow::NoAmount { column: name(), found: shown(text) };
        let is_negative = text.starts_with('-');
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, decimals) = match digits.split_once('.') {
            Some((_, "")) => return Err(no_amount()),
            Some(parts) => parts,
            None => (digits, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(decimals) || (whole.is_empty() && decimals.is_empty())
        {
            return Err(no_amount());
        }
        if is_negative {
            return Err(BadRow::Negative(name()));
        }
        if decimals.len() > self.decimals {
            let (found, allowed) = (decimals.len(), self.decimals);
            return Err(BadRow::Decimals { column: name(), found, allowed });
        }
        let whole = whole.trim_start_matches('0');
        if whole.is_empty() && decimals.bytes().all(|b| b == b'0') {
            return Err(BadRow::Zero(name()));
        }
        if whole.len() > WHOLE_DIGITS_MAX {
            return Err(BadRow::TooLarge(name()));
        }
        let written =
            Decimal::from_str_exact(&format!("0{whole}.{decimals}0")).map_err(|_| no_amount())?;
        Amount::from_decimal(written, self.currency).map_err(|_| BadRow::TooLarge(name()))
    }
}

/// The fields of one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    record: &'a ByteRecord,
}

impl<'a> Fields<'a> {
    pub(super) const fn of(record: &'a ByteRecord) -> Self {
        Self { record }
    }

    /// A field as text.
    pub(super) fn text(self, column: &Column) -> Result<&'a str, BadRow> {
        let bytes = self.record.get(column.index()).ok_or_else(|| BadRow::Missing {
            column: column.name.clone(),
            found: self.record.len(),
        })?;
        str::from_utf8(bytes).map_err(|_| BadRow::NotUtf8(column.name.clone()))
    }

    /// A field that names an account: it is there, and has the shape that the map asks for.
    pub(super) fn shaped(self, column: &Column) -> Result<&'a str, BadRow> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Err(BadRow::Empty(column.name.clone()));
        }
        let shape: Shape = column.shape;
        if !shape.fits(text) {
            let (column, found) = (column.name.clone(), shown(text));
            return Err(BadRow::Shape { column, found, wanted: shape.wanted() });
        }
        Ok(text)
    }
}

/// A value as a message shows it: not too long, and on one line.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}
