//! What must always hold. Tests and the simulator check it after every batch, a node whenever it loads a generation.

use std::collections::BTreeMap;

use crate::account::{AccountKind, BALANCE_MAX, Side};
use crate::amount::Currency;
use crate::hash;
use crate::hold::HoldState;
use crate::id::AccountId;
use crate::ledger::Ledger;

/// An invariant that does not hold. The node that finds it stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// I2: the shard's debits and credits differ.
    #[error("I2: the trial balance in {currency} is off by {by} minor units")]
    TrialBalance {
        /// In which currency.
        currency: Currency,
        /// Debit balances less credit balances.
        by: i128,
    },
    /// The running totals differ from the accounts.
    #[error("the running total of {kind:?} in {currency} is {total}, its accounts have {sum}")]
    Total {
        /// In which currency.
        currency: Currency,
        /// Of which kind.
        kind: AccountKind,
        /// What the running total says.
        total: i128,
        /// What the accounts say.
        sum: i128,
    },
    /// I4: an account has less than nothing, more than it may, or a closed one has anything.
    #[error("I4: {account} has {posted}, {held} of it held")]
    Bound {
        /// Which account.
        account: AccountId,
        /// Its balance.
        posted: i128,
        /// What is held of it.
        held: u64,
    },
    /// I4: an account and its holds differ.
    #[error("I4: {account} holds {held} in {holds} holds, its holds say otherwise")]
    Held {
        /// Which account.
        account: AccountId,
        /// What the account says is held.
        held: u64,
        /// In how many holds.
        holds: u32,
    },
    /// A hold's parts do not add up, or it should not be among the active ones.
    #[error("a hold of {account} does not add up")]
    Hold {
        /// Whose hold.
        account: AccountId,
    },
    /// Active holds are not in the order in which they fall due.
    #[error("the holds' deadlines are not those of the holds")]
    Deadlines,
    /// A channel's cursors, its payments and the requests that wait for them do not agree.
    #[error("channels and pending requests do not agree")]
    Channels,
    /// The directory's index and its records do not agree.
    #[error("the directory does not agree with itself")]
    Directory,
    /// I15: the digest kept along the way differs from the records.
    #[error("I15: the digest does not match the records")]
    Digest,
}

impl Ledger {
    /// Checks the books against themselves: every account, every hold, the totals, the digest. Takes time in
    /// proportion to their number.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn audit(&self) -> Result<(), Violation> {
        self.audit_accounts()?;
        self.audit_holds()?;
        self.audit_channels()?;
        self.audit_directory()?;
        self.audit_digest()
    }

    /// Checks that debits equal credits in every currency, by the running totals. Takes no time to speak of.
    ///
    /// # Errors
    /// [`Violation::TrialBalance`].
    pub fn trial_balance(&self) -> Result<(), Violation> {
        match self.imbalances().into_iter().find(|(_, by)| *by != 0) {
            Some((currency, by)) => Err(Violation::TrialBalance { currency, by }),
            None => Ok(()),
        }
    }

    /// Debit balances less credit balances of every currency, by the running totals: zero, each of them (I2).
    #[must_use]
    pub fn imbalances(&self) -> BTreeMap<Currency, i128> {
        let mut balances: BTreeMap<Currency, i128> = BTreeMap::new();
        for ((currency, kind), total) in &self.totals {
            let balance = balances.entry(*currency).or_default();
            *balance = match kind.side() {
                Side::Debit => balance.saturating_add(*total),
                Side::Credit => balance.saturating_sub(*total),
            };
        }
        balances
    }

    fn audit_accounts(&self) -> Result<(), Violation> {
        let mut sums: BTreeMap<(Currency, AccountKind), i128> = BTreeMap::new();
        for stored in self.accounts.values() {
            let account = &stored.account;
            let sum = sums.entry((account.currency, account.kind)).or_default();
            *sum = sum.saturating_add(account.posted);
            let covered = i128::from(account.held) <= account.posted;
            let within = covered && account.posted <= BALANCE_MAX;
            let empty = account.posted == 0 && account.held == 0 && account.holds == 0;
            if account.kind.is_bounded() && !within || account.closed && !empty {
                let (posted, held) = (account.posted, account.held);
                return Err(Violation::Bound { account: account.id, posted, held });
            }
        }
        for ((currency, kind), sum) in &sums {
            let total = self.totals.get(&(*currency, *kind)).copied().unwrap_or_default();
            if total != *sum {
                return Err(Violation::Total {
                    currency: *currency,
                    kind: *kind,
                    total,
                    sum: *sum,
                });
            }
        }
        self.trial_balance()
    }

    fn audit_holds(&self) -> Result<(), Violation> {
        if !self.holds.is_in_order() {
            return Err(Violation::Deadlines);
        }
        let mut of: BTreeMap<AccountId, (u64, u32)> = BTreeMap::new();
        for hold in self.holds.values() {
            let used = hold.posted.saturating_add(hold.remaining);
            if used != hold.amount.minor() || hold.state != HoldState::Active || hold.remaining == 0
            {
                return Err(Violation::Hold { account: hold.debit });
            }
            let (held, holds) = of.entry(hold.debit).or_default();
            *held = held.saturating_add(hold.remaining);
            *holds = holds.saturating_add(1);
        }
        for stored in self.accounts.values() {
            let account = &stored.account;
            let said = of.get(&account.id).copied().unwrap_or_default();
            if said != (account.held, account.holds) {
                let (held, holds) = (account.held, account.holds);
                return Err(Violation::Held { account: account.id, held, holds });
            }
        }
        Ok(())
    }

    fn audit_channels(&self) -> Result<(), Violation> {
        if self.channels.are_sound() { Ok(()) } else { Err(Violation::Channels) }
    }

    fn audit_directory(&self) -> Result<(), Violation> {
        if self.directory.is_sound() { Ok(()) } else { Err(Violation::Directory) }
    }

    fn audit_digest(&self) -> Result<(), Violation> {
        let accounts = self.accounts.values().map(|stored| hash::part(&stored.account));
        let holds = self.holds.values().map(hash::part);
        let records = accounts.chain(holds).fold(0_u128, u128::wrapping_add);
        if records.wrapping_add(self.rest_digest()) == self.digest() {
            Ok(())
        } else {
            Err(Violation::Digest)
        }
    }
}
