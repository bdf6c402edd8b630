//! Journals: balanced sets of postings, and the only way to write accounts.
//!
//! A journal is a list of legs, each one debit and one credit of the same amount, so it cannot be unbalanced (I1). Its
//! legs carry the accounts as they will be: whoever builds a journal has checked everything, and writing it cannot
//! fail.

use std::hash::{Hash, Hasher};

use bincode::{Decode, Encode};

use crate::account::{Account, AccountKind};
use crate::amount::Amount;
use crate::id::{AccountId, Time, TransferId};

/// Why money moved. Encoded: kinds are only ever added at the end (A10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum JournalKind {
    /// An opening balance.
    Opening,
    /// A transfer, of one leg or many.
    Transfer,
    /// Held money that was posted.
    Post,
    /// The undoing of a transfer.
    Reversal,
    /// Money that another shard refused, back from it.
    Return,
}

impl JournalKind {
    /// Whether a reversal may undo it.
    pub(crate) const fn is_reversible(self) -> bool {
        match self {
            Self::Transfer | Self::Post => true,
            Self::Opening | Self::Reversal | Self::Return => false,
        }
    }
}

/// One leg: both accounts as they are after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PostedLeg {
    pub(crate) debit: Account,
    pub(crate) credit: Account,
    pub(crate) amount: Amount,
    /// What a due account stands for here.
    pub(crate) remote: Option<Remote>,
}

/// What stands on another shard: a due account is there for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    /// The account.
    pub(crate) account: AccountId,
    /// The transfer, where it does not have its name from this journal.
    pub(crate) transfer: Option<TransferId>,
}

impl PostedLeg {
    pub(crate) const fn new(debit: Account, credit: Account, amount: Amount) -> Self {
        Self { debit, credit, amount, remote: None }
    }
}

/// What a row of history knows of elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Links {
    /// The transfer that it undoes.
    pub(crate) reverses: Option<TransferId>,
    /// What a due account stands for.
    pub(crate) remote: Option<Remote>,
}

impl Links {
    /// Who is on the other side of a line: not the due account, but whom it stands for.
    fn counter(&self, side: AccountId) -> AccountId {
        let remote = self.remote.map(|remote| remote.account);
        remote.filter(|_| AccountKind::reserves(side)).unwrap_or(side)
    }

    fn part_of(&self) -> Option<TransferId> {
        self.remote.and_then(|remote| remote.transfer)
    }
}

/// A balanced set of postings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journal<'a> {
    pub(crate) kind: JournalKind,
    pub(crate) legs: &'a [PostedLeg],
    pub(crate) reverses: Option<TransferId>,
}

impl<'a> Journal<'a> {
    pub(crate) const fn new(kind: JournalKind, legs: &'a [PostedLeg]) -> Self {
        Self { kind, legs, reverses: None }
    }
}

/// A leg as history keeps it in memory: both its postings in one row.
///
/// `debit_before` and `credit_before` are the places of the same accounts' previous lines, so that a statement walks
/// one account's lines without an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) debit: AccountId,
    pub(crate) credit: AccountId,
    pub(crate) debit_balance: i128,
    pub(crate) credit_balance: i128,
    pub(crate) amount: Amount,
    pub(crate) at: Time,
    pub(crate) index: u64,
    pub(crate) debit_before: LinePlace,
    pub(crate) credit_before: LinePlace,
    pub(crate) position: u16,
    pub(crate) leg: u8,
    pub(crate) kind: JournalKind,
}

impl Row {
    /// Whether a due account is on one of its sides, so that it may stand for an account on another shard.
    pub(crate) fn may_be_remote(&self) -> bool {
        self.kind != JournalKind::Opening
            && (AccountKind::reserves(self.debit) || AccountKind::reserves(self.credit))
    }

    pub(crate) const fn transfer(&self, shard: u16) -> TransferId {
        TransferId { shard, index: self.index, position: self.position }
    }

    pub(crate) fn debit_posting(&self, links: Links) -> Posting {
        Posting {
            key: PostingKey {
                account: self.debit,
                index: self.index,
                position: self.position,
                line: self.leg.wrapping_mul(2),
            },
            counter: links.counter(self.credit),
            amount: self.amount.minor(),
            balance: self.debit_balance,
            at: self.at,
            kind: self.kind,
            reverses: links.reverses,
            part_of: links.part_of(),
        }
    }

    pub(crate) fn credit_posting(&self, links: Links) -> Posting {
        Posting {
            key: PostingKey {
                account: self.credit,
                index: self.index,
                position: self.position,
                line: self.leg.wrapping_mul(2).wrapping_add(1),
            },
            counter: links.counter(self.debit),
            amount: self.amount.minor(),
            balance: self.credit_balance,
            at: self.at,
            kind: self.kind,
            reverses: links.reverses,
            part_of: links.part_of(),
        }
    }
}

/// Where a line lies in the rows in memory: the row's number and the side. Zero is nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinePlace(u64);

impl LinePlace {
    pub(crate) const NOWHERE: Self = Self(0);

    pub(crate) const fn debit(row: u64) -> Self {
        Self(row.wrapping_add(1).wrapping_mul(2))
    }

    pub(crate) const fn credit(row: u64) -> Self {
        Self(row.wrapping_add(1).wrapping_mul(2).wrapping_add(1))
    }

    /// The row's number, and whether it is the row's credit.
    pub(crate) const fn row(self) -> Option<(u64, bool)> {
        match (self.0 / 2).checked_sub(1) {
            Some(row) => Some((row, self.0 % 2 == 1)),
            None => None,
        }
    }
}

/// Where a posting stands: its account, and its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PostingKey {
    /// The account.
    pub account: AccountId,
    /// The log index of the batch.
    pub index: u64,
    /// The request's place in the batch.
    pub position: u16,
    /// The line in the journal: twice the leg, plus one for a credit.
    pub line: u8,
}

impl PostingKey {
    /// Whether it is a credit.
    #[must_use]
    pub const fn is_credit(&self) -> bool {
        self.line % 2 == 1
    }
}

/// One debit or credit line on one account, with the balance after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Where it stands.
    pub key: PostingKey,
    /// The account on the other side.
    pub counter: AccountId,
    /// How much, in minor units.
    pub amount: u64,
    /// The account's balance after it, in minor units on its normal side.
    pub balance: i128,
    /// When, in log time.
    pub at: Time,
    /// Why.
    pub kind: JournalKind,
    /// The transfer that it undoes, if it does.
    pub reverses: Option<TransferId>,
    /// The transfer that it is part of, where that does not have its name from this journal: money from another shard,
    /// or back from it.
    pub part_of: Option<TransferId>,
}

impl Hash for Posting {
    /// A posting that is part of its own journal hashes as it did before there were others.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { key, counter, amount, balance, at, kind, reverses, part_of } = self;
        (key, counter, amount, balance, at, kind, reverses).hash(state);
        if let Some(part_of) = part_of {
            part_of.hash(state);
        }
    }
}

impl Posting {
    /// The transfer that it is part of, of a posting in this shard's books: both sides of a transfer call it the same.
    #[must_use]
    pub fn transfer(&self, shard: u16) -> TransferId {
        let PostingKey { index, position, .. } = self.key;
        self.part_of.unwrap_or(TransferId { shard, index, position })
    }
}
