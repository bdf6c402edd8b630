//! What a whole cut keeps, how long, and that it is memory and not state.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has said what it had to say"
)]

#[path = "channels/wholes.rs"]
#[allow(dead_code, reason = "this file looks at one shard alone")]
mod wholes;
mod world;

use ledger::{
    AccountKind, Amount, CUT_IMAGE_MS_MAX, CUTS_MAX, Command, Currency, Discrepancy, HoldId,
    Message, Recount, Slot,
};
use wholes::Kept;
use world::{BOOKS, World, account, request};

/// More accounts than two pages have.
const ACCOUNTS: u128 = 300;
const OPENING: u64 = 1_000;

/// A world, and keys that nobody has used.
struct Bank {
    world: World,
    keys: u64,
}

impl Bank {
    fn new() -> Self {
        Self { world: World::new(), keys: 0 }
    }

    /// One with accounts, opened in no order, the first of which has a hold of a minute and one of 5 ms.
    fn opened() -> Self {
        let mut bank = Self::new();
        for number in 0..ACCOUNTS {
            bank.does(Command::Open {
                account: account(number * 7 % ACCOUNTS + 1),
                currency: Currency::CNY,
                kind: AccountKind::Wallet,
                opening: Some(minor(OPENING)),
            });
        }
        for (number, amount, timeout_ms) in [(1, 30, 60_000), (2, 12, 5)] {
            let (debit, credit, amount) = (account(1), account(2), minor(amount));
            let (hold, currency) = (hold(number), Currency::CNY);
            bank.does(Command::Hold { debit, hold, credit, amount, currency, timeout_ms });
        }
        bank
    }

    fn asks(&mut self, command: Command) -> bool {
        self.keys += 1;
        self.world.apply(vec![request(self.keys, command)]).iter().all(|said| said.outcome.is_ok())
    }

    fn does(&mut self, command: Command) {
        let said = format!("{command:?}");
        assert!(self.asks(command), "{said}");
    }

    fn cuts(&mut self, cut: u64) {
        self.does(Command::WholeCut { books: account(0), cut });
    }

    fn pays(&mut self, debit: u128, credit: u128, amount: u64) {
        let (debit, credit, amount) = (account(debit), account(credit), minor(amount));
        self.does(Command::Transfer { debit, credit, amount, currency: Currency::CNY });
    }

    fn kept(&self, cut: u64) -> Option<Kept> {
        self.world.ledger.cut_image(cut).map(|image| Kept::read(&image))
    }
}

#[test]
fn a_whole_cut_shows_accounts_and_holds_as_they_were() {
    let mut bank = Bank::opened();
    // A peer's marker, and money before and behind it in one batch. The second hold's deadline has come, untouched.
    bank.world.at = bank.world.at.plus_ms(5);
    let cut = Command::Deliver {
        books: account(0),
        from: 1,
        acked: 0,
        message: Some((1, Message::WholeMarker(9))),
    };
    let pay = |amount| Command::Transfer {
        debit: account(3),
        credit: account(4),
        amount: minor(amount),
        currency: Currency::CNY,
    };
    let batch = vec![request(901, pay(100)), request(902, cut), request(903, pay(200))];
    assert!(bank.world.apply(batch).iter().all(|said| said.outcome.is_ok()));
    bank.pays(1, 2, 500);
    bank.does(Command::Void { hold: hold(1) });
    bank.does(Command::Open {
        account: account(ACCOUNTS + 50),
        currency: Currency::CNY,
        kind: AccountKind::Wallet,
        opening: None,
    });

    let kept = bank.kept(9).unwrap();
    let wallets: Vec<_> = kept.accounts.iter().filter(|found| !found.kind.is_system()).collect();
    assert_eq!(wallets.len(), usize::try_from(ACCOUNTS).unwrap());
    for (found, number) in wallets.iter().zip(1..) {
        assert_eq!(found.id, account(number));
        let posted = match number {
            3 => 900,
            4 => 1_100,
            _ => 1_000,
        };
        let held = if number == 1 { (30, 1) } else { (0, 0) };
        assert_eq!((found.posted, (found.held, found.holds)), (posted, held), "{number}");
    }
    let [held] = kept.holds[..] else { panic!("one is active: {:?}", kept.holds) };
    assert_eq!((held.id, held.remaining), (hold(1), 30));
}

#[test]
fn a_replica_restored_behind_the_cut_has_no_image_and_one_before_it_has_the_same() {
    let mut bank = Bank::opened();
    bank.world.checkpoint();
    bank.does(Command::Void { hold: hold(1) });
    let (debit, credit, amount) = (account(1), account(2), minor(4));
    let (currency, timeout_ms) = (Currency::CNY, 60_000);
    for number in [4, 3] {
        let hold = hold(number);
        bank.does(Command::Hold { debit, hold, credit, amount, currency, timeout_ms });
    }
    bank.cuts(9);
    let kept = bank.kept(9).unwrap();
    bank.pays(5, 6, 7);
    let digest = bank.world.ledger.digest();
    // Its rows lie otherwise now: pages are read backwards, and freed rows are gone.
    bank.world.restart(0);
    assert_eq!(bank.kept(9).unwrap(), kept);
    assert_eq!(bank.world.ledger.digest(), digest);

    bank.world.checkpoint();
    assert_eq!(bank.kept(9), None, "it was restored from a checkpoint behind the cut");
    assert!(bank.world.ledger.cut_of(9).is_some(), "what is state is there");
    assert_eq!(bank.world.ledger.digest(), digest);
    bank.cuts(10);
    assert!(bank.kept(10).is_some());
}

#[test]
fn one_image_is_kept_the_latest_for_a_minute() {
    let mut bank = Bank::opened();
    bank.cuts(5);
    bank.cuts(7);
    assert!(bank.kept(5).is_none() && bank.kept(7).is_some(), "a later one lets it go");
    bank.cuts(6);
    assert!(bank.kept(6).is_none() && bank.kept(7).is_some(), "an earlier one does not");
    // Ordinary cuts keep none and let none go.
    for cut in 10..11 + u64::try_from(CUTS_MAX).unwrap() {
        bank.does(Command::Cut { books: account(0), cut });
        assert!(bank.kept(cut).is_none());
    }
    assert!(bank.world.ledger.cut_of(7).is_none() && bank.kept(7).is_some());
    assert!(!bank.asks(Command::WholeCut { books: account(0), cut: 7 }), "numbers grow");
    let elsewhere = ledger::AccountId::in_slot(0, BOOKS().shards.first_slot(1));
    assert!(!bank.asks(Command::WholeCut { books: elsewhere, cut: 30 }));

    let begun = bank.world.ledger.now();
    bank.world.at = begun.plus_ms(CUT_IMAGE_MS_MAX - 1);
    bank.pays(5, 6, 7);
    assert!(bank.kept(7).is_some());
    bank.world.at = begun.plus_ms(CUT_IMAGE_MS_MAX);
    bank.pays(5, 6, 7);
    assert!(bank.kept(7).is_none(), "its time is over");
}

#[test]
fn a_recount_finds_what_is_missing() {
    let mut bank = Bank::opened();
    bank.cuts(9);
    let part = bank.world.ledger.cut_of(9).unwrap();
    let Kept { accounts, holds } = bank.kept(9).unwrap();
    let recount = |skip: usize, holds: &[ledger::Hold]| {
        let mut recount = Recount::default();
        accounts.iter().skip(skip).for_each(|account| recount.account(account));
        holds.iter().for_each(|hold| recount.hold(hold));
        recount.compare(0, part)
    };
    assert_eq!(recount(0, &holds), []);
    let currency = Currency::CNY;
    let held = i128::from(accounts.first().unwrap().held);
    let total = i128::from(OPENING) * i128::try_from(ACCOUNTS).unwrap();
    let kind = AccountKind::Wallet;
    let lost = total - i128::from(OPENING);
    assert_eq!(
        recount(1, &holds),
        [
            Discrepancy::Total { shard: 0, currency, kind, accounts: lost, total },
            Discrepancy::Held { shard: 0, currency, accounts: 0, holds: held },
        ]
    );
    assert_eq!(
        recount(0, &[]),
        [Discrepancy::Held { shard: 0, currency, accounts: held, holds: 0 }]
    );
}

fn minor(amount: u64) -> Amount {
    Amount::from_minor(amount).unwrap()
}

fn hold(number: u128) -> HoldId {
    HoldId::in_slot(0x0192_1111_2222_7333_8444_0000_0000_0000 | number << 12, Slot::of(0))
}
