//! The accounts of a run: as many on each shard, in pairs that share a slot, each opened with the same sum.

use ledger::{
    AccountId, AccountKind, Amount, Command, Currency, HoldId, Leg, Shards, Slot, TransferId,
};

/// What each account is opened with, in fen.
pub(crate) const OPENING: u64 = 100_000;

/// Accounts of each shard, and how many of them share a slot: only those can pay in one request.
const PER_SHARD: u16 = 6;
const PER_SLOT: u16 = 3;

/// What makes an id a UUIDv7.
const UNIQUE: u128 = 0x0192_0000_0000_7000_8000_0000_0000_0000;

/// All of them.
pub(crate) fn all(shards: Shards) -> Vec<AccountId> {
    let numbers = (0..shards.count()).flat_map(|shard| (0..PER_SHARD).map(move |n| (shard, n)));
    numbers
        .map(|(shard, n)| {
            let slot = shards.first_slot(shard).number().saturating_add(n / PER_SLOT);
            let slot = Slot::new(slot).expect("a shard has more slots than that");
            AccountId::in_slot(UNIQUE | u128::from(n) << 20 | u128::from(shard) << 40, slot)
        })
        .collect()
}

/// An account that nobody ever opens.
pub(crate) fn nobody(slot: Slot) -> AccountId {
    AccountId::in_slot(UNIQUE | 0xdead_u128 << 20, slot)
}

/// How one comes into being.
pub(crate) fn open(account: AccountId) -> Command {
    let (currency, kind) = (Currency::CNY, AccountKind::Wallet);
    Command::Open { account, currency, kind, opening: Amount::from_minor(OPENING).ok() }
}

/// Money from one to another.
pub(crate) fn transfer(leg: Leg) -> Command {
    let Leg { debit, credit, amount } = leg;
    Command::Transfer { debit, credit, amount, currency: Currency::CNY }
}

/// Money by several legs, which all pay from the slot of the first.
pub(crate) fn multi(legs: Vec<Leg>) -> Command {
    let initiator = legs.first().map_or(AccountId::from_u128(0), |leg| leg.debit);
    Command::MultiTransfer { initiator, currency: Currency::CNY, legs }
}

/// Money set aside, under a number that no other hold of the run has.
pub(crate) fn hold(leg: Leg, number: u64, timeout_ms: u64) -> Command {
    let Leg { debit, credit, amount } = leg;
    let hold = HoldId::in_slot(UNIQUE | u128::from(number) << 14, debit.slot());
    Command::Hold { debit, hold, credit, amount, currency: Currency::CNY, timeout_ms }
}

/// A transfer undone, on the shard of whom it paid.
pub(crate) const fn reverse(credit: AccountId, transfer: TransferId) -> Command {
    Command::Reverse { credit, transfer }
}
