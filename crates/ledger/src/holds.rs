//! The active holds, and what falls due: by account for touch, by deadline for the timer. In log time.

use std::collections::BTreeSet;

use crate::hold::{Hold, HoldState};
use crate::id::{AccountId, HoldId, Time};
use crate::table::{Page, Table};

/// The active holds. Both orders are derived from the table and always agree with it.
#[derive(Debug)]
pub(crate) struct Holds {
    active: Table<HoldId, Hold>,
    by_account: BTreeSet<(AccountId, Time, HoldId)>,
    by_deadline: BTreeSet<(Time, HoldId)>,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self { active: Table::new(), by_account: BTreeSet::new(), by_deadline: BTreeSet::new() }
    }

    pub(crate) fn get(&self, id: &HoldId) -> Option<&Hold> {
        self.active.get(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.active.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Hold> {
        self.active.values()
    }

    pub(crate) fn image(&self) -> Vec<std::sync::Arc<Page<Hold>>> {
        self.active.image()
    }

    /// Writes an active hold.
    ///
    /// # Panics
    /// When it is not active: what has ended is history.
    pub(crate) fn put(&mut self, hold: Hold) {
        assert!(hold.state == HoldState::Active, "{} has ended", hold.id);
        self.by_account.insert((hold.debit, hold.expires_at, hold.id));
        self.by_deadline.insert((hold.expires_at, hold.id));
        self.active.put(hold.id, hold);
    }

    /// Takes a hold out of both orders, before it is written with another deadline.
    #[cfg(next_level)]
    pub(crate) fn take_from_orders(&mut self, hold: &Hold) {
        self.by_account.remove(&(hold.debit, hold.expires_at, hold.id));
        self.by_deadline.remove(&(hold.expires_at, hold.id));
    }

    /// Takes out a hold that ends.
    pub(crate) fn remove(&mut self, hold: &Hold) {
        self.by_account.remove(&(hold.debit, hold.expires_at, hold.id));
        self.by_deadline.remove(&(hold.expires_at, hold.id));
        self.active.remove(&hold.id);
    }

    /// The account's holds whose deadline has come.
    pub(crate) fn due_of(&self, account: AccountId, now: Time) -> impl Iterator<Item = &Hold> {
        let from = (account, Time(0), HoldId::from_u128(0));
        let to = (account, now, HoldId::from_u128(u128::MAX));
        self.by_account.range(from..=to).filter_map(|(_, _, id)| self.active.get(id))
    }

    /// Any hold whose deadline has come, the oldest first.
    pub(crate) fn first_due(&self, now: Time) -> Option<&Hold> {
        let (deadline, id) = self.by_deadline.first()?;
        (*deadline <= now).then(|| self.active.get(id))?
    }

    /// Whether both orders have as many holds as there are.
    pub(crate) fn is_in_order(&self) -> bool {
        let lens = [self.by_account.len(), self.by_deadline.len()];
        lens.iter().all(|len| *len == self.active.len())
    }

    /// When the next hold falls due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }
}
