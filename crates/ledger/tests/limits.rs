//! The bounds: each is reached, and the next step is refused. Too long for a script, too rare for the model.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has said what it had to say"
)]

mod world;

use ledger::batch::{BATCH_REQUESTS_MAX, LEGS_MAX};
use ledger::{
    AMOUNT_MAX, AccountId, AccountKind, Amount, Answer, BALANCE_MAX, Batch, BatchError, Command,
    Currency, HOLDS_PER_ACCOUNT_MAX, HoldId, Leg, Rejection, Slot, TIMERS_PER_BATCH_MAX,
};
use world::{World, account, request};

fn minor(amount: u64) -> Amount {
    Amount::from_minor(amount).unwrap()
}

fn open(account: AccountId, opening: Option<u64>) -> Command {
    let (currency, kind) = (Currency::CNY, AccountKind::Wallet);
    Command::Open { account, currency, kind, opening: opening.map(minor) }
}

fn transfer(debit: AccountId, credit: AccountId, amount: u64) -> Command {
    Command::Transfer { debit, credit, amount: minor(amount), currency: Currency::CNY }
}

/// Asks for many things, in as few batches as they fit.
struct Asker {
    world: World,
    key: u64,
}

impl Asker {
    fn new() -> Self {
        Self { world: World::new(), key: 0 }
    }

    fn ask(&mut self, commands: impl IntoIterator<Item = Command>) -> Vec<Answer> {
        let mut requests = Vec::new();
        for command in commands {
            self.key += 1;
            requests.push(request(self.key, command));
        }
        let batches = requests.chunks(BATCH_REQUESTS_MAX);
        batches.flat_map(|batch| self.world.apply(batch.to_vec())).collect()
    }

    fn posts(&mut self, commands: impl IntoIterator<Item = Command>) {
        assert!(self.ask(commands).iter().all(|answer| answer.outcome.is_ok()));
    }

    fn rejects(&mut self, command: Command, rejection: Rejection) {
        let [answer] = self.ask([command]).try_into().unwrap();
        assert_eq!(answer, Answer { outcome: Err(rejection), replayed: false });
    }
}

#[test]
fn an_account_holds_ten_to_the_eighteen_and_no_more() {
    let mut asker = Asker::new();
    let rich = account(0);
    let payers = u128::try_from(BALANCE_MAX).unwrap() / u128::from(AMOUNT_MAX);
    asker.posts([open(rich, None)]);
    asker.posts((1..=payers).map(|number| open(account(number), Some(AMOUNT_MAX))));
    asker.posts((1..=payers).map(|number| transfer(account(number), rich, AMOUNT_MAX)));
    assert_eq!(asker.world.ledger.account(&rich).unwrap().posted, BALANCE_MAX);
    let last = account(payers + 1);
    asker.posts([open(last, Some(AMOUNT_MAX))]);
    asker.rejects(transfer(last, rich, 1), Rejection::BalanceLimit);
    let legs = vec![Leg { debit: last, credit: rich, amount: minor(1) }];
    let currency = Currency::CNY;
    asker.rejects(
        Command::MultiTransfer { initiator: last, currency, legs },
        Rejection::BalanceLimit,
    );
    // A hold is a promise; what it promises may not fit when it is posted.
    let (hold, timeout_ms) = (HoldId::in_slot(1 << 12, Slot::of(0)), 1_000);
    let amount = minor(1);
    asker.posts([Command::Hold { debit: last, hold, credit: rich, amount, currency, timeout_ms }]);
    let post = Command::Post { hold, amount: None, release_rest: false };
    asker.rejects(post.clone(), Rejection::BalanceLimit);
    asker.posts([transfer(rich, last, 2), post]);
    assert_eq!(asker.world.ledger.account(&rich).unwrap().posted, BALANCE_MAX - 1);
    assert_eq!(asker.world.ledger.account(&rich).unwrap().available(), 999_999_999_999_999_999);
    asker.world.checkpoint();
}

#[test]
fn an_account_has_so_many_holds_and_a_batch_expires_so_many() {
    let mut asker = Asker::new();
    let (debit, credit, currency) = (account(1), account(2), Currency::CNY);
    asker.posts([open(debit, Some(100_000)), open(credit, None)]);
    let hold = |number: u32| Command::Hold {
        debit,
        hold: HoldId::in_slot(u128::from(number) << 12, Slot::of(0)),
        credit,
        amount: minor(1),
        currency,
        timeout_ms: 1_000,
    };
    asker.posts((0..HOLDS_PER_ACCOUNT_MAX).map(hold));
    asker.rejects(hold(HOLDS_PER_ACCOUNT_MAX), Rejection::TooManyHolds);
    let first = Command::Void { hold: HoldId::in_slot(0, Slot::of(0)) };
    asker.posts([first, hold(HOLDS_PER_ACCOUNT_MAX + 1)]);

    // Nobody asks: each batch expires some, and whoever reads meanwhile sees them all released.
    asker.world.at = asker.world.at.plus_ms(1_000);
    let mut batches = 0;
    while asker.world.ledger.next_timer().is_some() {
        asker.world.apply(Vec::new());
        batches += 1;
        assert_eq!(asker.world.ledger.account(&debit).unwrap().held, 0);
    }
    assert_eq!(batches, HOLDS_PER_ACCOUNT_MAX as usize / TIMERS_PER_BATCH_MAX);

    // Somebody asks: all that stand in the way are gone at once.
    asker.posts((10_000..10_000 + HOLDS_PER_ACCOUNT_MAX).map(hold));
    asker.world.at = asker.world.at.plus_ms(1_000);
    asker.posts([transfer(debit, credit, 100_000)]);
    assert_eq!(asker.world.ledger.next_timer(), None);
}

#[test]
fn a_batch_and_a_transfer_have_so_many_parts() {
    let mut asker = Asker::new();
    asker.posts([open(account(1), Some(100_000)), open(account(2), None)]);
    let (debit, credit, currency) = (account(1), account(2), Currency::CNY);
    let multi = |legs| Command::MultiTransfer {
        initiator: debit,
        currency,
        legs: vec![Leg { debit, credit, amount: minor(1) }; legs],
    };
    asker.rejects(multi(LEGS_MAX + 1), Rejection::LegsTooFar);
    let posted = asker.ask([multi(LEGS_MAX)]).remove(0).outcome.unwrap();
    asker.world.checkpoint();
    asker.posts([Command::Reverse { credit, transfer: posted.transfer }]);
    assert_eq!(asker.world.statement(credit).len(), 2 * LEGS_MAX);

    let full = (0..BATCH_REQUESTS_MAX).map(|_| transfer(debit, credit, 1));
    let last = *asker.ask(full).last().unwrap();
    assert_eq!(usize::from(last.outcome.unwrap().transfer.position), BATCH_REQUESTS_MAX - 1);
    let one = request(0, transfer(debit, credit, 1));
    let at = asker.world.at;
    assert_eq!(Batch::new(at, vec![one; BATCH_REQUESTS_MAX + 1]), Err(BatchError::TooLarge));
    // More legs than a record may carry are no request at all.
    assert_eq!(Batch::new(at, vec![request(0, multi(200))]), Err(BatchError::TooLarge));
}

/// One batch may name the same thing several times: each sees what the one before it did.
#[test]
fn a_batch_is_decided_in_order() {
    let mut asker = Asker::new();
    let (debit, credit, currency, timeout_ms) = (account(1), account(2), Currency::CNY, 1_000);
    asker.posts([open(debit, Some(100)), open(credit, None)]);
    let hold = HoldId::in_slot(1 << 12, Slot::of(0));
    let place = Command::Hold { debit, hold, credit, amount: minor(60), currency, timeout_ms };
    let post = Command::Post { hold, amount: None, release_rest: false };
    let next = asker.world.ledger.index() + 1;
    let transfer_id = |position| ledger::TransferId { shard: 0, index: next, position };
    let requests = vec![
        request(10, place.clone()),
        request(10, place.clone()),
        request(11, place.clone()),
        request(12, post.clone()),
        request(13, post),
        request(14, place),
        request(15, Command::Reverse { credit, transfer: transfer_id(3) }),
        request(16, Command::Reverse { credit, transfer: transfer_id(3) }),
        request(17, Command::Reverse { credit, transfer: transfer_id(8) }),
        request(18, transfer(debit, credit, 100)),
    ];
    let answers = asker.world.apply(requests);
    let said: Vec<&str> = answers
        .iter()
        .map(|answer| match answer.outcome {
            Ok(_) if answer.replayed => "replayed",
            Ok(_) => "posted",
            Err(rejection) => rejection.code(),
        })
        .collect();
    assert_eq!(
        said,
        [
            "posted",
            "replayed",
            "HOLD_EXISTS",
            "posted",
            "HOLD_ENDED",
            "HOLD_EXISTS",
            "posted",
            "ALREADY_REVERSED",
            "TRANSFER_NOT_FOUND",
            "posted",
        ]
    );
}
