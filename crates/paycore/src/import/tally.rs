//! What an import adds up to, and how it ended.

use std::time::Duration;

use ledger::Currency;
use serde::Serialize;

use super::plan::Plan;
use super::run::OnError;
use super::sink::{Order, Verdict, What};
use crate::exit::{self, Failure};
use crate::output::{Paint, Show, money};

/// Counts, so far or in the end. A payment is a row in a period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Rows of the file, good and bad.
    pub(super) rows: u64,
    /// Rows that are no payments; nothing was sent for them.
    pub(super) bad_rows: u64,
    /// Accounts that this run opened.
    pub(super) accounts_opened: u64,
    /// Accounts that were there before.
    pub(super) accounts_there: u64,
    /// Accounts that the ledger refused to open.
    pub(super) accounts_refused: u64,
    /// Accounts of which it is not known whether they were opened, or that were not.
    pub(super) accounts_failed: u64,
    /// Payments that the file asks for.
    pub(super) payments: u64,
    /// Payments that this run made.
    pub(super) posted: u64,
    /// Payments that an earlier run had made.
    pub(super) replayed: u64,
    /// Payments that the ledger refused, now or in an earlier run.
    pub(super) rejected: u64,
    /// Payments that nobody answered for and that were certainly not made.
    pub(super) not_made: u64,
    /// Payments that nobody answered for and that may have been made.
    pub(super) unknown: u64,
    /// What `posted` and `replayed` add up to, in minor units.
    pub(super) paid_minor: u128,
    /// What `posted` adds up to, in minor units.
    pub(super) paid_now_minor: u128,
}

impl Tally {
    pub(super) fn of(plan: &Plan) -> Self {
        Self { rows: plan.rows, bad_rows: plan.bad, payments: plan.payments(), ..Self::default() }
    }

    /// Counts one verdict.
    pub(super) fn count(&mut self, order: &Order, verdict: &Verdict) {
        match order.what {
            What::Open { .. } => self.count_account(verdict),
            What::Pay { amount, .. } => self.count_payment(u128::from(amount.minor()), verdict),
        }
    }

    fn count_account(&mut self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Posted { replayed: false } => &mut self.accounts_opened,
            Verdict::Posted { replayed: true } => &mut self.accounts_there,
            Verdict::Rejected { code, .. } if is_there(code) => &mut self.accounts_there,
            Verdict::Rejected { .. } => &mut self.accounts_refused,
            Verdict::Unheard(_) => &mut self.accounts_failed,
        };
        *counter = counter.saturating_add(1);
    }

    fn count_payment(&mut self, minor: u128, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Posted { replayed } => {
                self.paid_minor = self.paid_minor.saturating_add(minor);
                if *replayed {
                    &mut self.replayed
                } else {
                    self.paid_now_minor = self.paid_now_minor.saturating_add(minor);
                    &mut self.posted
                }
            }
            Verdict::Rejected { .. } => &mut self.rejected,
            Verdict::Unheard(unheard) if unheard.maybe_done => &mut self.unknown,
            Verdict::Unheard(_) => &mut self.not_made,
        };
        *counter = counter.saturating_add(1);
    }

    /// Payments whose verdict is in.
    pub(super) fn settled(&self) -> u64 {
        [self.posted, self.replayed, self.rejected, self.not_made, self.unknown]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Payments that were not even begun.
    pub(super) fn left(&self) -> u64 {
        self.payments.saturating_sub(self.settled())
    }

    /// Whether the ledger said no to anything that matters.
    pub(super) const fn is_refused(&self) -> bool {
        self.rejected > 0 || self.accounts_refused > 0
    }

    /// Whether every row was a payment, and every payment was made.
    pub(super) fn is_whole(&self) -> bool {
        self.bad_rows == 0 && self.posted.checked_add(self.replayed) == Some(self.payments)
    }
}

/// Whether opening an account was refused because it is open: under this very key with another opening balance, as
/// another file or number of periods would have it, or under another key. Its payments are tried all the same.
pub(super) fn is_there(code: &str) -> bool {
    matches!(code, "KEY_REUSED" | "ACCOUNT_EXISTS")
}

/// The end of an import, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// The currency of all payments.
    pub(super) currency: &'static str,
    /// Whether nothing was sent, because only a rehearsal was asked for.
    pub(super) dry_run: bool,
    /// All counts.
    #[serde(flatten)]
    pub(super) tally: Tally,
    /// What the file's good rows add up to in all periods, in minor units.
    pub(super) wanted_minor: u128,
    /// How long it took, in milliseconds.
    pub(super) elapsed_ms: u64,
    #[serde(skip)]
    pub(super) on_error: OnError,
    #[serde(skip)]
    pub(super) money: Currency,
    #[serde(skip)]
    pub(super) accounts: usize,
}

impl Summary {
    /// Success only when every row was a payment, and every payment was made. Else the gravest thing that happened
    /// decides: unknown before unfinished, unfinished before refused, refused before unreadable; but where a refusal
    /// was to stop the rest, it is the refusal.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let tally = &self.tally;
        let again = "give the same command again: nothing is paid twice";
        let left = if self.dry_run { 0 } else { tally.left() };
        let unfinished = tally.not_made.saturating_add(left);
        if tally.unknown > 0 {
            let what =
                format!("of {} payments it is not known whether they were made", tally.unknown);
            return Err(Failure::new(exit::UNKNOWN, what).with_hint(again));
        }
        let stopped = self.on_error == OnError::Stop && tally.is_refused();
        if unfinished > 0 && !stopped {
            let what = format!("{unfinished} payments were not made");
            return Err(Failure::new(exit::TEMPORARY, what).with_hint(again));
        }
        if tally.is_refused() {
            let what = format!(
                "the ledger refused {} payments and {} accounts; {unfinished} payments were not made",
                tally.rejected, tally.accounts_refused
            );
            return Err(Failure::new(exit::REJECTED, what).with_hint(
                "a refusal is final under its key: such a payment has to be made in another file, or by hand",
            ));
        }
        if tally.bad_rows > 0 {
            return Err(Failure::new(
                exit::BAD_FIELD,
                format!("{} rows are no payments", tally.bad_rows),
            ));
        }
        Ok(())
    }
}

impl Show for Summary {
    fn text(&self, paint: Paint) -> String {
        let Tally { rows, bad_rows, payments, .. } = self.tally;
        let amount = |minor: u128| money(i128::try_from(minor).unwrap_or(i128::MAX), self.money);
        let mut lines = vec![
            format!("rows       {rows} ({bad_rows} bad)"),
            format!("payments   {payments}, {} in all", amount(self.wanted_minor)),
        ];
        if self.dry_run {
            lines.push(format!("accounts   {} named", self.accounts));
            lines.push(paint.bold("nothing was sent: this was a dry run"));
            return lines.join("\n");
        }
        let tally = &self.tally;
        lines.push(format!(
            "accounts   {} opened, {} there before, {} refused, {} failed",
            tally.accounts_opened,
            tally.accounts_there,
            tally.accounts_refused,
            tally.accounts_failed
        ));
        lines.push(format!("posted     {}, {}", tally.posted, amount(tally.paid_now_minor)));
        lines.push(format!("replayed   {}", tally.replayed));
        lines.push(format!("rejected   {}", tally.rejected));
        let open = tally.not_made.saturating_add(tally.left());
        if open > 0 || tally.unknown > 0 {
            lines.push(format!("open       {open} not made, {} unknown", tally.unknown));
        }
        let paid = format!("paid       {}", amount(tally.paid_minor));
        lines.push(if tally.is_whole() { paint.good(&paid) } else { paint.bold(&paid) });
        lines.push(format!("elapsed    {}", seconds(Duration::from_millis(self.elapsed_ms))));
        lines.join("\n")
    }
}

/// A duration in seconds, to the tenth.
pub(super) fn seconds(elapsed: Duration) -> String {
    format!("{}.{} s", elapsed.as_secs(), elapsed.subsec_millis() / 100)
}
