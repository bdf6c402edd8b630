//! Placing, posting and voiding holds. Expiry is decided on touch, before any of these runs.

use crate::account::AccountKind;
use crate::amount::Amount;
use crate::batch::{Command, HOLD_MS_MAX};
use crate::commands::dispatch::{Away, Dispatch};
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
        if !(1..=self.hold_ms_max()).contains(timeout_ms) || hold.slot() != debit.slot() {
            return Err(Rejection::InvalidCommand);
        }
        if self.any_hold(hold, fetched).is_some() {
            return Err(Rejection::HoldExists);
        }
        let payer = self.owned(debit, tenant)?;
        if payer.currency != *currency {
            return Err(Rejection::CurrencyMismatch);
        }
        if self.is_here(credit) {
            let payee = self.payee(credit)?;
            payee.check_open()?;
            if payee.currency != *currency {
                return Err(Rejection::CurrencyMismatch);
            }
        } else if AccountKind::reserves(*credit) {
            return Err(Rejection::AccountNotFound);
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
    ) -> Result<Option<Dispatch>, Rejection> {
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
        if after.state != HoldState::Active {
            debit = debit.after_release(remaining.saturating_sub(amount.minor()), true);
        }
        let is_here = self.is_here(&hold.credit);
        let leg = if is_here {
            PostedLeg::new(debit, self.payee(&hold.credit)?.after_credit(amount)?, amount)
        } else {
            let due = self.due_to(&hold.credit, hold.currency);
            self.leg_away(debit, &due, amount, hold.credit)?
        };

        let kind = JournalKind::Post;
        self.write(position, &Journal::new(kind, &[leg]));
        if after.state == HoldState::Active {
            self.write_hold(after);
        } else {
            self.end_hold(&hold, after);
        }
        if is_here {
            return Ok(None);
        }
        let Hold { debit, credit, currency, .. } = hold;
        let away = vec![Away { leg: 0, debit, credit, amount }];
        Ok(Some(Dispatch { currency, kind, legs: 1, away, reverses: None }))
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

    /// How long a hold may last at the most, by the level in the state.
    fn hold_ms_max(&self) -> u64 {
        #[cfg(next_level)]
        if self.directory.level() >= super::LEVEL_EXTEND {
            return super::HOLD_MS_AT_ONCE_MAX;
        }
        HOLD_MS_MAX
    }

    pub(super) fn active_hold(
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
