//! Transfers: of one leg, and of many.

use crate::account::Account;
use crate::amount::Currency;
use crate::batch::{LEGS_MAX, Leg};
use crate::id::{AccountId, TenantId};
use crate::journal::{Journal, JournalKind, PostedLeg};
use crate::ledger::Ledger;
use crate::rejection::Rejection;

impl Ledger {
    /// Checks everything, then changes everything: below the blank line nothing can fail.
    pub(crate) fn transfer(
        &mut self,
        position: u16,
        tenant: TenantId,
        currency: Currency,
        leg: Leg,
    ) -> Result<(), Rejection> {
        let Leg { debit, credit, amount } = leg;
        if debit == credit {
            return Err(Rejection::SameAccount);
        }
        let payer = self.owned(&debit, tenant)?;
        let payee = self.payee(&credit)?;
        if payer.currency != currency || payee.currency != currency {
            return Err(Rejection::CurrencyMismatch);
        }
        let debit = payer.after_debit(amount)?;
        let credit = payee.after_credit(amount)?;

        let legs = [PostedLeg { debit, credit, amount }];
        self.write(position, &Journal::new(JournalKind::Transfer, &legs));
        Ok(())
    }

    /// Moves money by several legs, in order, all or nothing: a later leg may pay with what an earlier one brought.
    pub(crate) fn multi_transfer(
        &mut self,
        position: u16,
        tenant: TenantId,
        (initiator, currency): (AccountId, Currency),
        legs: &[Leg],
    ) -> Result<(), Rejection> {
        if legs.is_empty() || !legs.iter().any(|leg| leg.debit == initiator) {
            return Err(Rejection::InvalidCommand);
        }
        let same_slot = legs.iter().all(|leg| leg.debit.slot() == initiator.slot());
        if legs.len() > LEGS_MAX || !same_slot {
            return Err(Rejection::LegsTooFar);
        }
        let mut draft = Draft { ledger: self, accounts: Vec::new() };
        let mut posted = Vec::with_capacity(legs.len());
        for Leg { debit, credit, amount } in legs {
            if debit == credit {
                return Err(Rejection::SameAccount);
            }
            draft.ledger.owned(debit, tenant)?;
            let payer = draft.account(debit)?;
            let payee = draft.account(credit)?;
            if payer.currency != currency || payee.currency != currency {
                return Err(Rejection::CurrencyMismatch);
            }
            let debit = draft.put(payer.after_debit(*amount)?);
            let credit = draft.put(payee.after_credit(*amount)?);
            posted.push(PostedLeg { debit, credit, amount: *amount });
        }

        self.write(position, &Journal::new(JournalKind::Transfer, &posted));
        Ok(())
    }
}

/// Accounts as they will be after the legs so far.
pub(crate) struct Draft<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) accounts: Vec<Account>,
}

impl Draft<'_> {
    pub(crate) fn account(&self, id: &AccountId) -> Result<Account, Rejection> {
        let drafted = self.accounts.iter().find(|account| account.id == *id);
        drafted.map_or_else(|| self.ledger.payee(id), |account| Ok(*account))
    }

    pub(crate) fn put(&mut self, after: Account) -> Account {
        match self.accounts.iter_mut().find(|account| account.id == after.id) {
            Some(account) => *account = after,
            None => self.accounts.push(after),
        }
        after
    }
}
