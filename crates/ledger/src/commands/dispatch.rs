//! Money that leaves the shard: the payer has paid, and the key waits for the payee's shard.

use crate::account::{Account, AccountKind, Side};
use crate::amount::{Amount, Currency};
use crate::channels::{Payment, Pending};
use crate::id::{AccountId, TransferId};
use crate::journal::{JournalKind, PostedLeg, Remote};
use crate::key::ScopedKey;
use crate::ledger::Ledger;
use crate::rejection::Rejection;

/// Payments of one request to other shards, each with the leg that it is. Their money has left its payers when this is
/// made, for the due accounts.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) currency: Currency,
    pub(crate) kind: JournalKind,
    /// How many legs the request has, those on this shard included.
    pub(crate) legs: usize,
    pub(crate) away: Vec<Away>,
    /// The transfer that they undo, by its name on the payees' shard.
    pub(crate) reverses: Option<TransferId>,
}

/// One leg whose payee is on another shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Away {
    pub(crate) leg: u8,
    pub(crate) debit: AccountId,
    pub(crate) credit: AccountId,
    pub(crate) amount: Amount,
}

impl Ledger {
    /// The shard on which an account is.
    pub(crate) fn shard_of(&self, id: &AccountId) -> u16 {
        self.books.shards.shard(id.slot())
    }

    /// A leg to an account of another shard: the due account is credited in its place.
    pub(crate) fn leg_away(
        &self,
        debit: Account,
        due: &Account,
        amount: Amount,
        credit: AccountId,
    ) -> Result<PostedLeg, Rejection> {
        // An id of the shape of a shard's own accounts is nobody's, wherever it says it is.
        if AccountKind::reserves(credit) {
            return Err(Rejection::AccountNotFound);
        }
        let due = due.moved(Side::Credit, amount)?;
        let remote = Some(Remote { account: credit, transfer: None });
        Ok(PostedLeg { debit, credit: due, amount, remote })
    }

    /// What this shard owes the one of an account.
    pub(crate) fn due_to(&self, credit: &AccountId, currency: Currency) -> Account {
        self.system_account(AccountKind::DueTo(self.shard_of(credit)), currency)
    }

    /// Sends the payments on their way; the key waits for what becomes of them.
    pub(crate) fn dispatch(
        &mut self,
        position: u16,
        (scoped, fingerprint): (ScopedKey, u128),
        dispatch: Dispatch,
    ) {
        let transfer = self.transfer_at(position);
        let Dispatch { currency, kind, legs, away, reverses } = dispatch;
        let mut open = 0_u64;
        for Away { leg, debit, credit, amount } in away {
            open |= 1_u64.checked_shl(u32::from(leg)).unwrap_or(0);
            let is_whole = legs == 1;
            let payment = Payment {
                transfer,
                debit,
                credit,
                amount,
                currency,
                kind,
                leg,
                is_whole,
                reverses,
            };
            let peer = self.shard_of(&credit);
            self.channels.pay(peer, payment);
        }
        let pending = Pending { scoped, fingerprint, open, returned: 0, why: None, reverses };
        self.channels.wait(transfer, pending);
    }
}
