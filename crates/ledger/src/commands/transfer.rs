//! Transfers: of one leg, and of many.

use crate::account::{Account, AccountKind};
use crate::amount::{Amount, Currency};
use crate::batch::{LEGS_MAX, Leg};
use crate::commands::dispatch::{Away, Dispatch};
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
    ) -> Result<Option<Dispatch>, Rejection> {
        let Leg { debit, credit, amount } = leg;
        if debit == credit {
            return Err(Rejection::SameAccount);
        }
        let payer = self.owned(&debit, tenant)?;
        if !self.is_here(&credit) {
            return self.transfer_away(position, currency, payer, (credit, amount)).map(Some);
        }
        let payee = self.payee(&credit)?;
        if payer.currency != currency || payee.currency != currency {
            return Err(Rejection::CurrencyMismatch);
        }
        let debit = payer.after_debit(amount)?;
        let credit = payee.after_credit(amount)?;

        let legs = [PostedLeg::new(debit, credit, amount)];
        self.write(position, &Journal::new(JournalKind::Transfer, &legs));
        Ok(None)
    }

    /// The payee is on another shard, which will say whether he can be paid.
    fn transfer_away(
        &mut self,
        position: u16,
        currency: Currency,
        payer: Account,
        (credit, amount): (AccountId, Amount),
    ) -> Result<Dispatch, Rejection> {
        if payer.currency != currency {
            return Err(Rejection::CurrencyMismatch);
        }
        let debit = payer.after_debit(amount)?;
        let leg = self.leg_away(debit, &self.due_to(&credit, currency), amount, credit)?;

        let kind = JournalKind::Transfer;
        self.write(position, &Journal::new(kind, &[leg]));
        let away = vec![Away { leg: 0, debit: payer.id, credit, amount }];
        Ok(Dispatch { currency, kind, legs: 1, away, reverses: None })
    }

    /// Moves money by several legs, in order, all or nothing: a later leg may pay with what an earlier one brought.
    pub(crate) fn multi_transfer(
        &mut self,
        position: u16,
        tenant: TenantId,
        (initiator, currency): (AccountId, Currency),
        legs: &[Leg],
    ) -> Result<Option<Dispatch>, Rejection> {
        if legs.is_empty() || !legs.iter().any(|leg| leg.debit == initiator) {
            return Err(Rejection::InvalidCommand);
        }
        let same_slot = legs.iter().all(|leg| leg.debit.slot() == initiator.slot());
        if legs.len() > LEGS_MAX || !same_slot {
            return Err(Rejection::LegsTooFar);
        }
        let mut draft = Draft { ledger: self, accounts: Vec::new() };
        let mut posted = Vec::with_capacity(legs.len());
        let mut away = Vec::new();
        for (Leg { debit, credit, amount }, leg) in legs.iter().zip(0_u8..) {
            if debit == credit {
                return Err(Rejection::SameAccount);
            }
            draft.ledger.owned(debit, tenant)?;
            let payer = draft.account(debit)?;
            if !draft.ledger.is_here(credit) {
                if payer.currency != currency {
                    return Err(Rejection::CurrencyMismatch);
                }
                let debited = draft.put(payer.after_debit(*amount)?);
                let peer = draft.ledger.shard_of(credit);
                let due = draft.system(AccountKind::DueTo(peer), currency);
                let sent = draft.ledger.leg_away(debited, &due, *amount, *credit)?;
                draft.put(sent.credit);
                posted.push(sent);
                away.push(Away { leg, debit: *debit, credit: *credit, amount: *amount });
                continue;
            }
            let payee = draft.account(credit)?;
            if payer.currency != currency || payee.currency != currency {
                return Err(Rejection::CurrencyMismatch);
            }
            let debit = draft.put(payer.after_debit(*amount)?);
            let credit = draft.put(payee.after_credit(*amount)?);
            posted.push(PostedLeg::new(debit, credit, *amount));
        }

        let kind = JournalKind::Transfer;
        self.write(position, &Journal::new(kind, &posted));
        if away.is_empty() {
            return Ok(None);
        }
        Ok(Some(Dispatch { currency, kind, legs: legs.len(), away, reverses: None }))
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

    /// One of the shard's own accounts.
    pub(crate) fn system(&self, kind: AccountKind, currency: Currency) -> Account {
        let account = self.ledger.system_account(kind, currency);
        let drafted = self.accounts.iter().find(|drafted| drafted.id == account.id);
        drafted.copied().unwrap_or(account)
    }

    pub(crate) fn put(&mut self, after: Account) -> Account {
        match self.accounts.iter_mut().find(|account| account.id == after.id) {
            Some(account) => *account = after,
            None => self.accounts.push(after),
        }
        after
    }
}
