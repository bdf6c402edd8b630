//! Placing, posting and voiding holds. Expiry is decided on touch, before any of these runs.

use crate::amount::Amount;
use crate::batch::{Command, HOLD_MS_MAX};
use crate::fetched::Fetched;
use crate::hold::{Hold, HoldState};
use crate::id::{HoldId, TenantId};
use crate::journal::{Journal, JournalKind, PostedLeg};
use crate::ledger::Ledger;
use crate::rejection::Rejection;

impl Ledger {
    pub(crate) fn place_hold(
        &mut self,
        tenant: TenantId,
        command: &Command,
        fetched: &Fetched,
    ) -> Result<(), Rejection> {
        let Command::Hold { debit, hold, credit, amount, currency, timeout_ms } = command else {
            unreachable!("called with a hold only");
        };
        if debit == credit {
            return Err(Rejection::SameAccount);
        }
        if !(1..=HOLD_MS_MAX).contains(timeout_ms) || hold.slot() != debit.slot() {
            return Err(Rejection::InvalidCommand);
        }
        if self.any_hold(hold, fetched).is_some() {
            return Err(Rejection::HoldExists);
        }
        let payer = self.owned(debit, tenant)?;
        let payee = self.payee(credit)?;
        payee.check_open()?;
        if payer.currency != *currency || payee.currency != *currency {
            return Err(Rejection::CurrencyMismatch);
        }
        let payer = payer.after_hold(*amount)?;

        self.write_account(payer, None);
        self.write_hold(Hold {
            id: *hold,
            debit: *debit,
            credit: *credit,
            amount: *amount,
            posted: 0,
            remaining: amount.minor(),
            expires_at: self.now.plus_ms(*timeout_ms),
            tenant,
            currency: *currency,
            state: HoldState::Active,
            ended_at: None,
        });
        Ok(())
    }

    pub(crate) fn post_hold(
        &mut self,
        position: u16,
        tenant: TenantId,
        command: &Command,
        fetched: &Fetched,
    ) -> Result<(), Rejection> {
        let Command::Post { hold, amount, release_rest } = command else {
            unreachable!("called with a post only");
        };
        let hold = self.active_hold(tenant, hold, fetched)?;
        let remaining = hold.remaining;
        let amount = amount.map_or_else(|| Amount::from_minor(remaining), Ok)?;
        if amount.minor() > remaining {
            return Err(Rejection::HoldExceeded { remaining, requested: amount.minor() });
        }
        let after = hold.after_post(amount.minor(), *release_rest, self.now);
        let mut debit = self.payee(&hold.debit)?.after_post(amount)?;
        let credit = self.payee(&hold.credit)?.after_credit(amount)?;
        if after.state != HoldState::Active {
            debit = debit.after_release(remaining.saturating_sub(amount.minor()), true);
        }

        let legs = [PostedLeg { debit, credit, amount }];
        self.write(position, &Journal::new(JournalKind::Post, &legs));
        if after.state == HoldState::Active {
            self.write_hold(after);
        } else {
            self.end_hold(&hold, after);
        }
        Ok(())
    }

    pub(crate) fn void_hold(
        &mut self,
        tenant: TenantId,
        id: HoldId,
        fetched: &Fetched,
    ) -> Result<(), Rejection> {
        let hold = self.active_hold(tenant, &id, fetched)?;
        let account = self.payee(&hold.debit)?;

        self.write_account(account.after_release(hold.remaining, true), None);
        self.end_hold(&hold, hold.ended(HoldState::Voided, self.now));
        Ok(())
    }

    fn active_hold(
        &self,
        tenant: TenantId,
        id: &HoldId,
        fetched: &Fetched,
    ) -> Result<Hold, Rejection> {
        let hold = self
            .any_hold(id, fetched)
            .filter(|hold| hold.tenant == tenant)
            .ok_or(Rejection::HoldNotFound)?;
        match hold.state {
            HoldState::Active => Ok(hold),
            HoldState::Posted | HoldState::Voided | HoldState::Expired => Err(Rejection::HoldEnded),
        }
    }

    /// The hold, wherever it lies, unless it has been forgotten.
    fn any_hold(&self, id: &HoldId, fetched: &Fetched) -> Option<Hold> {
        let ended = || {
            let is_known =
                |hold: &&Hold| hold.ended_at.is_some_and(|at| !self.retention.forgets(at));
            fetched.hold(id).filter(is_known).copied()
        };
        self.hold(id).or_else(ended)
    }
}
