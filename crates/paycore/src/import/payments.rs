//! The later readings: row after row, period after period, in batches.

use super::keys::Keys;
use super::row::{Fields, Reading};
use super::sink::{Order, What};
use super::source::{Pass, Source};
use crate::exit::Failure;

/// Everything that is to be paid, in batches.
#[derive(Debug)]
pub(super) struct Payments<'a> {
    source: &'a mut Source,
    reading: &'a Reading,
    keys: &'a Keys,
    periods: u32,
    period: u32,
    pass: Option<Pass>,
}

impl<'a> Payments<'a> {
    /// Payments of every row for `periods` periods, the first period first.
    pub(super) const fn of(
        source: &'a mut Source,
        reading: &'a Reading,
        keys: &'a Keys,
        periods: u32,
    ) -> Self {
        Self { source, reading, keys, periods, period: 0, pass: None }
    }

    /// The next payments, `len` at the most; none when all are out.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what it was when it was read first: its keys would name other rows.
    pub(super) fn batch(&mut self, len: usize) -> Result<Vec<Order>, Failure> {
        let mut batch = Vec::with_capacity(len);
        while batch.len() < len {
            let Some(pass) = &mut self.pass else {
                if self.period == self.periods {
                    break;
                }
                self.period = self.period.saturating_add(1);
                self.pass = Some(self.source.pass()?);
                continue;
            };
            let Some((line, fields)) = pass.next()? else {
                self.end_pass()?;
                continue;
            };
            // Bad rows were reported at the first reading.
            let Ok(row) = fields.and_then(|record| self.reading.row(Fields::of(record))) else {
                continue;
            };
            batch.push(Order {
                key: self.keys.payment(line, row.identity.as_deref(), self.period),
                what: What::Pay {
                    debit: row.payer,
                    credit: row.payee,
                    amount: row.amount,
                    currency: self.reading.currency,
                    line,
                    period: self.period,
                },
            });
        }
        Ok(batch)
    }

    fn end_pass(&mut self) -> Result<(), Failure> {
        let Some(pass) = self.pass.take() else { return Ok(()) };
        if pass.digest()? == self.keys.digest {
            return Ok(());
        }
        Err(Failure::coded("INVALID_FIELD", "the file was changed while it was imported")
            .with_hint("some of what was paid may be of neither the old nor the new file: compare before going on"))
    }
}
