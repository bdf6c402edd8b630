//! What a whole cut keeps of a shard beside the totals: every account and every active hold, as the cut found them.
//!
//! The pages are the ledger's own, which copies one before it writes it. So keeping an image stops nobody: it is a copy of
//! the pages' handles, and then one copy of each page that is written while it is kept. Records are read in the order of
//! their ids, which is the same on every replica: a reader may go on at another one. That order is made by the first
//! reader, on its own thread, and not by `apply`.
//!
//! Invariants:
//! - An image is memory, not state. Nothing that is decided looks at it; it is in no digest and in no checkpoint. A replica
//!   that met the cut's marker has it, one that was restored behind the marker does not.
//! - A shard keeps one image at a time, the latest cut's, for [`CUT_IMAGE_MS_MAX`] at the most.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::account::{Account, AccountKind};
use crate::amount::Currency;
use crate::cuts::{Cut, Discrepancy};
use crate::hold::Hold;
use crate::id::{AccountId, HoldId, Time};
use crate::ledger::Stored;
use crate::table::{Page, in_row, rows};

/// How long an image is kept, in log time: as long as a call that reads it may take. Its cut may go before: who reads an
/// image has the sums by then.
pub const CUT_IMAGE_MS_MAX: u64 = 60_000;

/// One shard's accounts and active holds as a whole cut found them.
#[derive(Debug)]
pub struct CutImage {
    number: u64,
    at: Time,
    accounts: Vec<Arc<Page<Stored>>>,
    holds: Vec<Arc<Page<Hold>>>,
    order: OnceLock<Order>,
}

/// The rows of an image in the order of their ids: four bytes for each, and some thirty while they are sorted.
#[derive(Debug)]
struct Order {
    accounts: Vec<u32>,
    holds: Vec<u32>,
    /// What holds say that had expired when the cut was made, and that nobody had touched: it is not held any more.
    expired: BTreeMap<AccountId, Vec<u64>>,
}

impl CutImage {
    pub(crate) const fn new(
        (number, at): (u64, Time),
        accounts: Vec<Arc<Page<Stored>>>,
        holds: Vec<Arc<Page<Hold>>>,
    ) -> Self {
        Self { number, at, accounts, holds, order: OnceLock::new() }
    }

    /// The cut's number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.at.plus_ms(CUT_IMAGE_MS_MAX) <= now
    }

    /// The accounts after an id, the shard's own included, in the order of their ids; fewer than `limit` are the last.
    /// An account is shown as of the cut: what had expired by then is not held.
    ///
    /// The first call of this or of [`Self::holds_after`] sorts, in proportion to the number of records.
    #[must_use]
    pub fn accounts_after(&self, after: Option<AccountId>, limit: usize) -> Vec<Account> {
        let Order { accounts, expired, .. } = self.order();
        let read = |row: &u32| in_row(&self.accounts, *row).map(|stored| stored.account);
        let begin = accounts.partition_point(|row| read(row).map(|account| account.id) <= after);
        let page = accounts.iter().skip(begin).take(limit).filter_map(read);
        page.map(|account| {
            let released = expired.get(&account.id).map_or(&[][..], Vec::as_slice);
            released.iter().fold(account, |account, minor| account.after_release(*minor, true))
        })
        .collect()
    }

    /// The active holds after an id, in the order of their ids; fewer than `limit` are the last.
    #[must_use]
    pub fn holds_after(&self, after: Option<HoldId>, limit: usize) -> Vec<Hold> {
        let Order { holds, .. } = self.order();
        let read = |row: &u32| in_row(&self.holds, *row).copied();
        let begin = holds.partition_point(|row| read(row).map(|hold| hold.id) <= after);
        holds.iter().skip(begin).take(limit).filter_map(read).collect()
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| {
            let mut expired: BTreeMap<AccountId, Vec<u64>> = BTreeMap::new();
            let is_active = |hold: &Hold| hold.expires_at > self.at;
            for (_, hold) in rows(&self.holds).filter(|(_, hold)| !is_active(hold)) {
                expired.entry(hold.debit).or_default().push(hold.remaining);
            }
            let accounts = rows(&self.accounts).map(|(row, stored)| (stored.account.id, row));
            let holds = rows(&self.holds).filter(|(_, hold)| is_active(hold));
            let holds = holds.map(|(row, hold)| (hold.id, row));
            Order { accounts: sorted(accounts), holds: sorted(holds), expired }
        })
    }
}

fn sorted<K: Ord>(rows: impl Iterator<Item = (K, u32)>) -> Vec<u32> {
    let mut named: Vec<(K, u32)> = rows.collect();
    named.sort_unstable();
    // Not collected in place: that would keep the memory of the names.
    let mut order = Vec::with_capacity(named.len());
    order.extend(named.iter().map(|(_, row)| *row));
    order
}

/// What the records of one shard's image add up to, for whoever reads them all: it must be what the cut says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    totals: BTreeMap<(Currency, AccountKind), i128>,
    held: BTreeMap<Currency, Held>,
}

/// What accounts hold in a currency, and what their holds say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    accounts: i128,
    holds: i128,
}

impl Recount {
    /// Counts an account.
    pub fn account(&mut self, account: &Account) {
        let total = self.totals.entry((account.currency, account.kind)).or_default();
        *total = total.saturating_add(account.posted);
        let held = self.held.entry(account.currency).or_default();
        held.accounts = held.accounts.saturating_add(account.held.into());
    }

    /// Counts a hold.
    pub fn hold(&mut self, hold: &Hold) {
        let held = self.held.entry(hold.currency).or_default();
        held.holds = held.holds.saturating_add(hold.remaining.into());
    }

    /// Compares with the part of the cut that the shard wrote down: what differs.
    #[must_use]
    pub fn compare(&self, shard: u16, part: &Cut) -> Vec<Discrepancy> {
        let mut keys: Vec<_> = self.totals.keys().chain(part.totals.keys()).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let sum = |of: &BTreeMap<_, i128>, key| of.get(&key).copied().unwrap_or(0);
        let totals = keys.into_iter().filter_map(|(currency, kind)| {
            let accounts = sum(&self.totals, (currency, kind));
            let total = sum(&part.totals, (currency, kind));
            let found = Discrepancy::Total { shard, currency, kind, accounts, total };
            (accounts != total).then_some(found)
        });
        let held = self.held.iter().filter_map(|(currency, Held { accounts, holds })| {
            let (accounts, holds) = (*accounts, *holds);
            let found = Discrepancy::Held { shard, currency: *currency, accounts, holds };
            (accounts != holds).then_some(found)
        });
        totals.chain(held).collect()
    }
}
