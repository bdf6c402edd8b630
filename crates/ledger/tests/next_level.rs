//! What the next feature level brings, in a build that knows it: `make upgrade` runs this.
#![cfg(next_level)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

use ledger::batch::put_record;
use ledger::directory::{Name, Record};
use ledger::{
    AccountId, AccountKind, Amount, Batch, Books, Command, Currency, HOLD_MS_AT_ONCE_MAX, HoldId,
    HoldState, Key, LEVEL_EXTEND, LEVEL_MAX, Ledger, Message, Outcome, Rejection, Request, Restore,
    Shards, Slot, TenantId, Time,
};

const DAY_MS: u64 = 86_400_000;
const TENANT: TenantId = TenantId(0);
const PAYER: AccountId = AccountId::from_u128(1 << 20);
const PAYEE: AccountId = AccountId::from_u128(2 << 20);

fn hold(number: u128) -> HoldId {
    HoldId::in_slot(number << 12, Slot::of(0))
}

fn amount(minor: u64) -> Amount {
    Amount::from_minor(minor).unwrap()
}

/// A shard's ledger, and where its log is.
struct Shard {
    ledger: Ledger,
    at: Time,
    key: u128,
    told: u64,
}

impl Shard {
    fn new() -> Self {
        let books = Books { shard: 0, shards: Shards::new(1).unwrap() };
        let mut shard =
            Self { ledger: Ledger::new(books), at: Time(1_767_225_600_000), key: 0, told: 0 };
        let (currency, kind) = (Currency::CNY, AccountKind::Wallet);
        for (account, opening) in [(PAYER, Some(amount(10_000))), (PAYEE, None)] {
            shard.ask(Command::Open { account, currency, kind, opening }).unwrap();
        }
        shard
    }

    fn apply(&mut self, key: u128, command: Command) -> Outcome {
        self.at = self.at.plus_ms(1);
        let request = Request { key: Key::from_u128(key), tenant: TENANT, command };
        let batch = Batch::new(self.at, vec![request]).unwrap();
        let fetched = self.ledger.begin_fetch();
        let decided = self.ledger.apply(self.ledger.index() + 1, &batch, &fetched);
        self.ledger.audit().unwrap();
        decided.answers[0].now().unwrap().outcome
    }

    fn ask(&mut self, command: Command) -> Outcome {
        self.key += 1;
        self.apply(self.key, command)
    }

    fn hold(&mut self, number: u128, timeout_ms: u64) -> Outcome {
        let (debit, credit, currency) = (PAYER, PAYEE, Currency::CNY);
        let amount = amount(100);
        self.ask(Command::Hold { debit, hold: hold(number), credit, amount, currency, timeout_ms })
    }

    fn extend(&mut self, number: u128, timeout_ms: u64) -> Outcome {
        self.ask(Command::Extend { hold: hold(number), timeout_ms })
    }

    /// The meta group tells the shard of the next level.
    fn raise(&mut self) {
        self.told += 1;
        let (name, record) = (Name::Level, Record::Level(LEVEL_EXTEND));
        let message = Message::Record { name, version: 1, record };
        let books = AccountId::from_u128(0);
        let message = Some((self.told, message));
        let deliver = Command::Deliver { books, from: 1, acked: 0, message };
        self.apply(0, deliver).unwrap();
        assert_eq!(self.ledger.directory().level(), LEVEL_EXTEND);
    }
}

#[test]
fn below_its_level_nothing_has_changed() {
    assert_eq!(LEVEL_MAX, LEVEL_EXTEND);
    let mut shard = Shard::new();
    shard.hold(1, 60 * DAY_MS).unwrap();
    let too_early = Rejection::LevelNotReady { level: LEVEL_EXTEND.into(), node: 0 };
    assert_eq!(shard.extend(1, DAY_MS), Err(too_early));
    let extend = Command::Extend { hold: hold(1), timeout_ms: DAY_MS };
    assert_eq!(extend.level(), LEVEL_EXTEND);
}

#[test]
fn from_its_level_on_holds_are_extended_and_last_less_long_at_once() {
    let mut shard = Shard::new();
    shard.hold(1, 60 * DAY_MS).unwrap();
    shard.raise();
    assert_eq!(shard.hold(2, HOLD_MS_AT_ONCE_MAX + 1), Err(Rejection::InvalidCommand));
    shard.hold(2, HOLD_MS_AT_ONCE_MAX).unwrap();
    for wrong in [0, HOLD_MS_AT_ONCE_MAX + 1] {
        assert_eq!(shard.extend(1, wrong), Err(Rejection::InvalidCommand));
    }
    assert_eq!(shard.extend(3, DAY_MS), Err(Rejection::HoldNotFound));
    shard.extend(1, DAY_MS).unwrap();
    let extended = shard.ledger.hold(&hold(1)).unwrap();
    assert_eq!(extended.expires_at, shard.at.plus_ms(DAY_MS));
    assert_eq!(shard.ledger.next_timer(), Some(extended.expires_at), "and not the old deadline");
    // It ends by its new deadline, and what it held is there again.
    shard.extend(2, 2 * DAY_MS).unwrap();
    shard.at = shard.at.plus_ms(DAY_MS);
    shard.ask(Command::Close { account: PAYEE }).unwrap();
    let state = |shard: &Shard, number| shard.ledger.hold(&hold(number)).unwrap().state;
    assert_eq!((state(&shard, 1), state(&shard, 2)), (HoldState::Expired, HoldState::Active));
    assert_eq!(shard.ledger.account(&PAYER).unwrap().held, 100);
    assert_eq!(shard.extend(1, DAY_MS), Err(Rejection::HoldEnded));
}

#[test]
fn an_image_says_the_same() {
    let mut shard = Shard::new();
    shard.raise();
    shard.hold(1, DAY_MS).unwrap();
    shard.extend(1, 2 * DAY_MS).unwrap();
    let image = shard.ledger.freeze();
    let mut restore = Restore::new(shard.ledger.books());
    for (name, value) in image.pages() {
        restore.page(&name, &value).unwrap();
    }
    let restored = restore.finish().unwrap();
    assert_eq!(restored.digest(), shard.ledger.digest());
    assert_eq!(restored.hold(&hold(1)), shard.ledger.hold(&hold(1)));
}

/// A command's number is its place: it comes after every other one.
#[test]
fn its_bytes_are_these() {
    let command = Command::Extend { hold: hold(1), timeout_ms: 0x0102_0304 };
    let request = Request { key: Key::from_u128(7), tenant: TENANT, command };
    let mut record = Vec::new();
    put_record(&request, &mut record).unwrap();
    let number = u32::from_le_bytes(record[22..26].try_into().unwrap());
    let last = Command::WholeCut { books: PAYER, cut: 1 };
    let mut before = Vec::new();
    put_record(&Request { command: last, ..request }, &mut before).unwrap();
    let before = u32::from_le_bytes(before[22..26].try_into().unwrap());
    assert!(number > before, "{number} after {before}");
    assert_eq!(record.len(), 2 + 16 + 4 + 4 + 16 + 8);
    assert_eq!(record[42..], 0x0102_0304_u64.to_le_bytes());
}
