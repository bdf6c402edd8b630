//! The accounts of a run: as many on each shard, each opened with the same sum.

use ledger::{AccountId, AccountKind, Amount, Command, Currency, Shards, Slot};

/// What each account is opened with, in fen.
pub(crate) const OPENING: u64 = 100_000;

/// Accounts of each shard.
const PER_SHARD: u16 = 6;

/// All of them.
pub(crate) fn all(shards: Shards) -> Vec<AccountId> {
    let numbers = (0..shards.count()).flat_map(|shard| (0..PER_SHARD).map(move |n| (shard, n)));
    numbers
        .map(|(shard, n)| {
            let slot = shards.first_slot(shard).number().saturating_add(n);
            let slot = Slot::new(slot).expect("a shard has more slots than that");
            let unique = 0x0192_0000_0000_7000_8000_0000_0000_0000;
            AccountId::in_slot(unique | u128::from(n) << 20 | u128::from(shard) << 40, slot)
        })
        .collect()
}

/// How one comes into being.
pub(crate) fn open(account: AccountId) -> Command {
    let (currency, kind) = (Currency::CNY, AccountKind::Wallet);
    Command::Open { account, currency, kind, opening: Amount::from_minor(OPENING).ok() }
}

/// Money from one to another.
pub(crate) fn transfer(debit: AccountId, credit: AccountId, amount: Amount) -> Command {
    Command::Transfer { debit, credit, amount, currency: Currency::CNY }
}
