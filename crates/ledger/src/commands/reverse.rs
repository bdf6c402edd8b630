//! Undoing a transfer: whole, once, whatever the key.

use crate::account::{AccountKind, Side};
use crate::batch::Leg;
use crate::cold::{ColdName, ColdValue, Incoming};
use crate::commands::dispatch::{Away, Dispatch};
use crate::commands::transfer::Draft;
use crate::fetched::Fetched;
use crate::id::{AccountId, TenantId, Time, TransferId};
use crate::journal::{Journal, JournalKind, PostedLeg, Row};
use crate::ledger::{Ledger, single_credit};
use crate::rejection::Rejection;
use crate::retention::RETENTION_MS;

/// A transfer that is to be undone.
struct Undo {
    legs: Vec<Leg>,
    at: Time,
    kind: JournalKind,
}

impl Ledger {
    /// Runs on the shard of an account that the transfer credited. Payees pay back, in reverse order; a payer frozen
    /// for credits gets the money all the same, and it stays frozen with the rest.
    pub(crate) fn reverse(
        &mut self,
        position: u16,
        tenant: TenantId,
        (credit, transfer): (AccountId, TransferId),
        fetched: &Fetched,
    ) -> Result<Option<Dispatch>, Rejection> {
        self.owned(&credit, tenant)?;
        if transfer.shard != self.books.shard {
            return self.reverse_incoming(position, (credit, transfer), fetched).map(Some);
        }
        if self.retention.forgets_index(transfer.index) {
            return Err(Rejection::TransferTooOld);
        }
        let undo = self.undo(credit, transfer, fetched).ok_or(Rejection::TransferNotFound)?;
        if !undo.legs.iter().any(|leg| leg.credit == credit) {
            return Err(Rejection::TransferNotFound);
        }
        if !undo.kind.is_reversible() {
            return Err(Rejection::NotReversible);
        }
        // What another shard has a part in is known by its name there, or has legs that are not here.
        if undo.legs.iter().any(|leg| !self.is_here(&leg.debit) || AccountKind::reserves(leg.debit))
        {
            return Err(Rejection::TransferNotFound);
        }
        if undo.legs.iter().any(|leg| AccountKind::reserves(leg.credit)) {
            return Err(Rejection::LegsTooFar);
        }
        if self.recent.reversal(&transfer).is_some() || fetched.has_reversal(&transfer) {
            return Err(Rejection::AlreadyReversed);
        }
        if undo.at.plus_ms(RETENTION_MS) <= self.now {
            return Err(Rejection::TransferTooOld);
        }
        for leg in &undo.legs {
            self.touch_account(leg.credit);
        }
        let posted = self.undoing(tenant, &undo.legs)?;

        let mut journal = Journal::new(JournalKind::Reversal, &posted);
        journal.reverses = Some(transfer);
        self.write(position, &journal);
        self.recent.keep_reversal(self.now, transfer, self.transfer_at(position));
        Ok(None)
    }

    /// Undoes a transfer of one leg whose payer is on another shard: the payee pays back, and the key waits until the
    /// payer's shard has credited him.
    fn reverse_incoming(
        &mut self,
        position: u16,
        (credit, transfer): (AccountId, TransferId),
        fetched: &Fetched,
    ) -> Result<Dispatch, Rejection> {
        let incoming = self.recent.incoming(&transfer).or_else(|| fetched.incoming(&transfer));
        // A volume may have dropped what is forgotten, or not yet: both say the same.
        let is_known = |incoming: &&Incoming| {
            incoming.credit == credit && !self.retention.forgets(incoming.at)
        };
        let incoming = *incoming.filter(is_known).ok_or(Rejection::TransferNotFound)?;
        let is_reversed = self.recent.reversal(&transfer).is_some()
            || fetched.has_reversal(&transfer)
            || self.channels.is_undoing(&transfer);
        if is_reversed {
            return Err(Rejection::AlreadyReversed);
        }
        let Incoming { debit: payer, amount, at, .. } = incoming;
        if at.plus_ms(RETENTION_MS) <= self.now {
            return Err(Rejection::TransferTooOld);
        }
        let payee = self.payee(&credit)?;
        let currency = payee.currency;
        let debited = payee.after_debit(amount)?;
        let leg = self.leg_away(debited, &self.due_to(&payer, currency), amount, payer)?;

        let (kind, legs, reverses) = (JournalKind::Reversal, [leg], Some(transfer));
        self.write(position, &Journal { kind, legs: &legs, reverses });
        let away = vec![Away { leg: 0, debit: credit, credit: payer, amount }];
        Ok(Dispatch { currency, kind, legs: 1, away, reverses })
    }

    fn undoing(&self, tenant: TenantId, legs: &[Leg]) -> Result<Vec<PostedLeg>, Rejection> {
        let mut draft = Draft { ledger: self, accounts: Vec::new() };
        let mut posted = Vec::with_capacity(legs.len());
        for leg in legs.iter().rev() {
            self.owned(&leg.credit, tenant)?;
            let payee = draft.account(&leg.credit)?.after_debit(leg.amount)?;
            let debit = draft.put(payee);
            let payer = draft.account(&leg.debit)?;
            payer.check_open()?;
            let credit = draft.put(payer.moved(Side::Credit, leg.amount)?);
            posted.push(PostedLeg::new(debit, credit, leg.amount));
        }
        Ok(posted)
    }

    fn undo(&self, credit: AccountId, transfer: TransferId, fetched: &Fetched) -> Option<Undo> {
        let rows = self.recent.legs(&transfer);
        if let Some(first) = rows.first() {
            let (at, kind) = (first.at, first.kind);
            return Some(Undo { legs: rows.iter().map(leg_of).collect(), at, kind });
        }
        if let Some(ColdValue::Legs(legs, at, kind)) = fetched.get(&ColdName::Legs(transfer)) {
            return Some(Undo { legs: legs.clone(), at: *at, kind: *kind });
        }
        match fetched.get(&ColdName::Posting(single_credit(credit, transfer)))? {
            ColdValue::Posting(posting) => {
                let amount = crate::amount::Amount::from_minor(posting.amount).ok()?;
                let leg = Leg { debit: posting.counter, credit, amount };
                Some(Undo { legs: vec![leg], at: posting.at, kind: posting.kind })
            }
            ColdValue::Outcome(_)
            | ColdValue::Hold(_)
            | ColdValue::Reversal(_)
            | ColdValue::Incoming(_)
            | ColdValue::Legs(..) => None,
        }
    }
}

const fn leg_of(row: &Row) -> Leg {
    Leg { debit: row.debit, credit: row.credit, amount: row.amount }
}
