//! What whole cuts keep, looked at again and again while the ledgers go on.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "a test that panics has said what it had to say"
)]

use std::collections::{BTreeMap, BTreeSet};

use ledger::{
    Account, AccountId, AccountKind, Currency, Cut, CutImage, Hold, HoldState, Recount, Side,
};

use crate::world::World;

/// Smaller than what there is, so that there are pages.
const PAGE: usize = 3;

/// Everything that an image has, read page by page.
#[derive(Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) accounts: Vec<Account>,
    pub(crate) holds: Vec<Hold>,
}

impl Kept {
    pub(crate) fn read(image: &CutImage) -> Self {
        let accounts = pages(|last: Option<&Account>| {
            image.accounts_after(last.map(|account| account.id), PAGE)
        });
        let holds = pages(|last: Option<&Hold>| image.holds_after(last.map(|hold| hold.id), PAGE));
        assert!(accounts.is_sorted_by(|a, b| a.id < b.id), "in order, and each once");
        assert!(holds.is_sorted_by(|a, b| a.id < b.id), "in order, and each once");
        Self { accounts, holds }
    }
}

fn pages<T>(read: impl Fn(Option<&T>) -> Vec<T>) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        let page = read(all.last());
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

/// The whole cuts of a run.
#[derive(Default)]
pub(crate) struct Wholes {
    begun: Vec<u64>,
    /// What a shard's image of a cut had when it was first looked at.
    seen: BTreeMap<(u64, u16), Kept>,
    added_up: BTreeSet<u64>,
    /// What whole cuts met that added up.
    pub(crate) met: BTreeSet<&'static str>,
}

impl Wholes {
    /// A cut was begun, alone in its batch: the ledger still is what the cut found.
    pub(crate) fn begun(&mut self, cut: u64, world: &World) {
        self.begun.push(cut);
        let image = world.ledger.cut_image(cut).expect("it is the latest");
        let kept = Kept::read(&image);
        assert_eq!(kept.accounts.len(), world.ledger.accounts_len());
        for account in &kept.accounts {
            assert_eq!(Some(*account), world.ledger.account(&account.id));
        }
        for hold in &kept.holds {
            assert_eq!(Some(*hold), world.ledger.hold(&hold.id));
            assert_eq!(hold.state, HoldState::Active);
        }
        self.seen.insert((cut, world.ledger.books().shard), kept);
    }

    /// Looks at every image that there is: it has what it had, whatever was written since.
    pub(crate) fn look(&mut self, shards: &[World]) {
        for world in shards {
            let shard = world.ledger.books().shard;
            for cut in &self.begun {
                let Some(image) = world.ledger.cut_image(*cut) else { continue };
                let now = Kept::read(&image);
                let seen = self.seen.entry((*cut, shard)).or_insert_with(|| Kept::read(&image));
                assert_eq!(*seen, now, "cut {cut} on shard {shard}");
            }
        }
    }

    /// All parts of a cut are finished: what the shards keep, and what was in the channels, is all the money there is.
    pub(crate) fn add_up(&mut self, cut: u64, parts: &BTreeMap<u16, Cut>, opened: i128) {
        let kept = parts
            .iter()
            .filter_map(|(shard, part)| Some((*shard, part, self.seen.get(&(cut, *shard))?)));
        let kept: Vec<_> = kept.collect();
        if kept.len() < parts.len() {
            // Not a whole cut; or a later one was quicker somewhere.
            return;
        }
        let mut money = 0;
        for (shard, part, Kept { accounts, holds }) in kept {
            let mut recount = Recount::default();
            accounts.iter().for_each(|account| recount.account(account));
            holds.iter().for_each(|hold| recount.hold(hold));
            assert_eq!(recount.compare(shard, part), [], "cut {cut}");
            money += accounts.iter().map(customers).sum::<i128>();
            money += part.arriving.values().chain(part.returning.values()).sum::<i128>();
            check_holds(accounts, holds);
            self.met.extend((!part.arriving.is_empty()).then_some("money that had not arrived"));
            self.met.extend((!part.returning.is_empty()).then_some("money on its way back"));
            self.met.extend((!holds.is_empty()).then_some("a hold"));
        }
        assert_eq!(money, opened, "cut {cut}");
        self.added_up.insert(cut);
    }

    /// In the end the latest was read whole, unless so many ordinary ones came after it that its sums were let go; and a
    /// replica that never restarted, asked for the first time now, still has what all others had.
    pub(crate) fn check(&self, plain: &[World], kept: &[u64]) {
        let Some(latest) = self.begun.last() else { return };
        assert!(!kept.contains(latest) || self.added_up.contains(latest), "cut {latest}");
        for world in plain {
            let image = world.ledger.cut_image(*latest).expect("there is no later one");
            let seen = self.seen.get(&(*latest, world.ledger.books().shard));
            assert_eq!(Some(&Kept::read(&image)), seen);
        }
    }
}

/// Customers' money, and what waits for them.
fn customers(account: &Account) -> i128 {
    match account.kind {
        AccountKind::Wallet | AccountKind::Suspense => account.posted,
        AccountKind::Opening | AccountKind::DueTo(_) | AccountKind::DueFrom(_) => 0,
    }
}

/// I2 and I4, account by account.
fn check_holds(accounts: &[Account], holds: &[Hold]) {
    let mut held: BTreeMap<AccountId, (u64, u32)> = BTreeMap::new();
    for hold in holds {
        let (minor, count) = held.entry(hold.debit).or_default();
        (*minor, *count) = (*minor + hold.remaining, *count + 1);
    }
    let mut books: BTreeMap<Currency, i128> = BTreeMap::new();
    for account in accounts {
        let says = held.remove(&account.id).unwrap_or_default();
        assert_eq!((account.held, account.holds), says, "{}", account.id);
        assert!(!account.kind.is_bounded() || account.posted >= i128::from(account.held));
        let signed = match account.kind.side() {
            Side::Debit => account.posted,
            Side::Credit => -account.posted,
        };
        *books.entry(account.currency).or_default() += signed;
    }
    assert!(held.is_empty(), "holds of nobody: {held:?}");
    assert!(books.values().all(|balance| *balance == 0), "{books:?}");
}
