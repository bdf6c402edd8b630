//! A desk in front of a real ledger: frames in, replies out.

#![allow(clippy::arithmetic_side_effects, reason = "small numbers of a test's own")]

use std::collections::BTreeMap;

use ledger::batch::put_record;
use ledger::directory::{Name, Record};
use ledger::{
    AccountId, AccountKind, Amount, Batch, Books, Command, Currency, Key, Ledger, TenantId,
};
use wire::reply;

use super::{Books as Standing, *};

const NOW: Time = Time(1_767_225_600_000);

/// A desk, the ledger behind it, and what has come out so far.
struct Counter {
    desk: Desk,
    ledger: Ledger,
    under_way: Vec<Entry>,
    waiting: BTreeMap<u128, Vec<Order>>,
    answers: BTreeMap<u64, Vec<Reply>>,
    trips: Vec<(u16, u64)>,
    delivered: Vec<(LetterNo, Result<(), Failure>)>,
}

impl Counter {
    fn new() -> Self {
        Self::of(Books { shard: 0, shards: Shards::new(1).unwrap() })
    }

    fn of(books: Books) -> Self {
        Self {
            desk: Desk::open(1, books.shards, books.shard),
            ledger: Ledger::new(books),
            under_way: Vec::new(),
            waiting: BTreeMap::new(),
            answers: BTreeMap::new(),
            trips: Vec::new(),
            delivered: Vec::new(),
        }
    }

    fn take(&mut self, id: u64, requests: &[Request]) {
        let mut records = Vec::new();
        for request in requests {
            put_record(request, &mut records).unwrap();
        }
        let count = u32::try_from(requests.len()).unwrap();
        self.take_bytes(id, count, records);
    }

    fn take_bytes(&mut self, id: u64, count: u32, records: Vec<u8>) {
        let effects = self.desk.take(&frame(id, count, records.into()), NOW, &self.ledger);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Answer { id, replies, .. } => {
                    let count = replies.len() / reply::REPLY_BYTES;
                    let replies =
                        reply::decode(&replies, count).unwrap().map(Result::unwrap).collect();
                    assert!(
                        self.answers.insert(id, replies).is_none(),
                        "frame {id} is answered once"
                    );
                }
                Effect::Propose(entry) => self.under_way.push(entry),
                Effect::Wait { account, orders } => {
                    self.waiting.entry(account).or_default().extend(orders);
                }
                Effect::Room { account, orders, last } => {
                    let queue = self.waiting.get_mut(&account).unwrap();
                    let rest = queue.split_off(usize::try_from(orders).unwrap());
                    let go = std::mem::replace(queue, rest);
                    assert_eq!(queue.is_empty(), last);
                    let effects = self.desk.admit(go, NOW);
                    self.perform(effects);
                }
                Effect::Carry { peer, after } => self.trips.push((peer, after)),
                Effect::Delivered { letter, result } => self.delivered.push((letter, result)),
            }
        }
    }

    /// Applies the oldest entry under way.
    fn land(&mut self) {
        self.land_at(NOW);
    }

    fn land_at(&mut self, now: Time) {
        let entry = self.under_way.remove(0);
        let batch = Batch::decode(&entry.bytes).unwrap();
        let fetched = self.ledger.begin_fetch();
        let answers = self.ledger.apply(self.ledger.index() + 1, &batch, &fetched);
        let effects = self.desk.landed(entry, Ok(&answers), now);
        self.perform(effects);
    }

    fn land_all(&mut self) {
        while !self.under_way.is_empty() {
            self.land();
        }
    }

    fn open(&mut self, count: u128) {
        let opens: Vec<Request> = (0..count).map(|n| request(1_000_000 + n, open(n))).collect();
        self.take(9_999_999, &opens);
        self.land_all();
        assert!(self.answers.remove(&9_999_999).unwrap().iter().all(is_posted));
    }
}

fn frame(id: u64, count: u32, records: Bytes) -> FrameIn {
    let (session, arrived) = (SessionId(1), Instant::now());
    FrameIn { session, id, count, records, deadline_ms: 1_000, arrived }
}

fn account(number: u128) -> AccountId {
    AccountId::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 | number << 12)
}

fn request(key: u128, command: Command) -> Request {
    Request { key: Key::from_digest(key.to_be_bytes()), tenant: TenantId(0), command }
}

fn open(number: u128) -> Command {
    Command::Open {
        account: account(number),
        currency: Currency::CNY,
        kind: AccountKind::Wallet,
        opening: Some(Amount::from_minor(1_000_000).unwrap()),
    }
}

fn transfer(debit: u128, credit: u128, minor: u64) -> Command {
    Command::Transfer {
        debit: account(debit),
        credit: account(credit),
        amount: Amount::from_minor(minor).unwrap(),
        currency: Currency::CNY,
    }
}

fn is_posted(reply: &Reply) -> bool {
    matches!(reply, Reply::Answer(Answer { outcome: Ok(_), replayed: false }))
}

fn is_replayed(reply: &Reply) -> bool {
    matches!(reply, Reply::Answer(Answer { outcome: Ok(_), replayed: true }))
}

#[test]
fn an_idle_desk_proposes_at_once_and_a_busy_one_gathers() {
    let mut counter = Counter::new();
    counter.open(2);
    for frame in 0..10 {
        counter.take(frame, &[request(u128::from(frame), transfer(0, 1, 1))]);
    }
    assert_eq!(counter.under_way.len(), 4, "four entries of one request, then the rest gathers");
    counter.land();
    assert_eq!(counter.under_way.len(), 4);
    let gathered = Batch::decode(&counter.under_way[3].bytes).unwrap();
    assert_eq!(gathered.requests().len(), 6);
    counter.land_all();
    assert_eq!(counter.answers.len(), 10);
    assert!(counter.answers.values().flatten().all(is_posted));
    assert!(counter.desk.is_idle());
}

#[test]
fn a_copy_of_a_request_in_flight_joins_it() {
    let mut counter = Counter::new();
    counter.open(2);
    let one = request(7, transfer(0, 1, 100));
    counter.take(1, &[one.clone(), one.clone()]);
    counter.take(2, std::slice::from_ref(&one));
    counter.take(3, &[request(7, transfer(0, 1, 101))]);
    assert_eq!(
        counter.under_way.len(),
        2,
        "one for the request, one for the other one under its key"
    );
    counter.land_all();
    assert!(is_posted(&counter.answers[&1][0]));
    assert!(is_replayed(&counter.answers[&1][1]));
    assert!(is_replayed(&counter.answers[&2][0]));
    let reused =
        Reply::Answer(Answer { outcome: Err(ledger::Rejection::KeyReused), replayed: false });
    assert_eq!(counter.answers[&3], vec![reused]);
    assert_eq!(counter.ledger.account(&account(1)).unwrap().posted, 1_000_100);
}

#[test]
fn a_frame_is_cut_into_entries_and_answered_whole_and_in_order() {
    let mut counter = Counter::new();
    counter.open(100);
    let requests: Vec<Request> = (0..8_192_u128)
        .map(|n| {
            let amount = if n % 10 == 9 { 9_000_000 } else { 1 };
            request(n, transfer(n % 100, (n + 1) % 100, amount))
        })
        .collect();
    counter.take(1, &requests);
    assert_eq!(counter.under_way.len(), 4);
    assert!(counter.answers.is_empty());
    counter.land_all();
    let replies = &counter.answers[&1];
    assert_eq!(replies.len(), 8_192);
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(is_posted(reply), n % 10 != 9, "record {n}");
    }
}

#[test]
fn a_hot_account_waits_in_a_queue_of_its_own_and_keeps_its_order() {
    let mut counter = Counter::new();
    counter.open(3);
    let hot = |n: u128| request(n, transfer(0, 1, 1));
    let full = 2_048 + 8_192;
    for frame in 0..5 {
        let requests: Vec<Request> =
            (0..2_048).map(|n| hot(u128::from(frame) * 2_048 + n)).collect();
        counter.take(frame, &requests);
    }
    assert_eq!(counter.waiting.values().map(Vec::len).sum::<usize>(), 8_192);
    // Its queue is full; another account's is not.
    counter.take(10, &[hot(full), request(900_000, transfer(2, 1, 1))]);
    assert_eq!(counter.under_way.len(), 2);
    counter.land_all();
    let refused = Reply::Failure(Failure::Overloaded);
    assert_eq!(counter.answers[&10][0], refused);
    assert!(is_posted(&counter.answers[&10][1]));
    let places: Vec<_> = (0..5)
        .flat_map(|frame| &counter.answers[&frame])
        .map(|reply| match reply {
            Reply::Answer(Answer { outcome: Ok(posted), .. }) => posted.transfer,
            Reply::Answer(_) | Reply::Failure(_) => panic!("{reply:?}"),
        })
        .collect();
    assert!(places.is_sorted(), "first in, first out");
    assert_eq!(places.len(), 10_240);
    assert!(counter.waiting[&account(0).to_u128()].is_empty());
    counter.take(11, &[hot(full)]);
    counter.land_all();
    assert!(is_posted(&counter.answers[&11][0]), "the place is free again");
}

#[test]
fn who_was_never_proposed_hears_so_and_who_was_hears_that_it_is_unknown() {
    let mut counter = Counter::new();
    counter.open(2);
    for frame in 0..6 {
        counter.take(frame, &[request(u128::from(frame), transfer(0, 1, 1))]);
    }
    let effects = counter.desk.tick(999, NOW);
    counter.perform(effects);
    assert!(counter.answers.is_empty());
    let effects = counter.desk.tick(1_000, NOW);
    counter.perform(effects);
    for frame in 0..4 {
        assert_eq!(counter.answers[&frame], vec![Reply::Failure(Failure::OutcomeUnknown)]);
    }
    for frame in 4..6 {
        assert_eq!(counter.answers[&frame], vec![Reply::Failure(Failure::DeadlinePassed)]);
    }
    // What lands later is nobody's, and a retry hears the one outcome.
    counter.land_all();
    counter.take(10, &[request(0, transfer(0, 1, 1)), request(4, transfer(0, 1, 1))]);
    counter.land_all();
    assert!(is_replayed(&counter.answers[&10][0]));
    assert!(is_posted(&counter.answers[&10][1]), "it was never proposed");
}

#[test]
fn a_reign_ends_and_everybody_is_answered() {
    let mut counter = Counter::new();
    counter.open(2);
    for frame in 0..6 {
        counter.take(frame, &[request(u128::from(frame), transfer(0, 1, 1))]);
    }
    let shards = Shards::new(1).unwrap();
    let mut ended = std::mem::replace(&mut counter.desk, Desk::open(2, shards, 0));
    let effects = ended.close(Failure::NoLeader);
    counter.perform(effects);
    let unknown = (0..4).all(|n| counter.answers[&n] == [Reply::Failure(Failure::OutcomeUnknown)]);
    let refused = (4..6).all(|n| counter.answers[&n] == [Reply::Failure(Failure::NoLeader)]);
    assert!(unknown && refused, "{:?}", counter.answers);
}

#[test]
#[should_panic(expected = "another reign")]
fn an_entry_of_another_reign_is_not_this_ones() {
    let mut counter = Counter::new();
    counter.take(1, &[request(1, open(1))]);
    counter.desk = Desk::open(2, Shards::new(1).unwrap(), 0);
    counter.land();
}

#[test]
fn bad_frames_are_refused_and_their_good_neighbours_are_not() {
    let mut counter = Counter::new();
    counter.open(2);
    let invalid = Reply::Failure(Failure::InvalidRecord);
    let mut records = Vec::new();
    put_record(&request(1, transfer(0, 1, 1)), &mut records).unwrap();
    let good = records.clone();
    records.extend_from_slice(&[3, 0, 1, 2, 3]);
    records.extend_from_slice(&good);
    counter.take_bytes(1, 3, records.clone());
    // Says more than it has; says less; ends in the middle; says nothing.
    counter.take_bytes(2, 3, good.clone());
    counter.take_bytes(3, 2, records);
    counter.take_bytes(4, 2, [good.clone(), vec![200, 0, 1]].concat());
    counter.take_bytes(5, 0, good.clone());
    counter.take_bytes(6, u32::MAX, good);
    counter.land_all();
    assert!(is_posted(&counter.answers[&1][0]));
    assert_eq!(counter.answers[&1][1], invalid);
    assert!(is_replayed(&counter.answers[&1][2]));
    assert_eq!(counter.answers[&2][1..], [invalid, invalid]);
    assert_eq!(counter.answers[&3].len(), 2);
    assert_eq!(counter.answers[&4][1], invalid);
    assert_eq!(counter.answers[&5], []);
    assert_eq!(counter.answers[&6].len(), wire::limits::FRAME_REQUESTS_MAX);
}

#[test]
fn keys_from_the_future_and_records_of_another_shard_are_not_proposed() {
    let shards = Shards::new(2).unwrap();
    let mut counter = Counter::new();
    counter.desk = Desk::open(1, shards, 1);
    let at = |ms: u64| Key::from_uuid_v7(u128::from(ms) << 80 | 7 << 76 | 0b10 << 62).unwrap();
    let far = AccountId::in_slot(0, Slot::new(4_095).unwrap());
    let open_far = |key| Request {
        key,
        tenant: TenantId(0),
        command: Command::Open {
            account: far,
            currency: Currency::CNY,
            kind: AccountKind::Wallet,
            opening: None,
        },
    };
    let here = open_far(at(NOW.0 + KEY_SKEW_MS));
    let future = open_far(at(NOW.0 + KEY_SKEW_MS + 1));
    counter.take(1, &[future, request(1, open(1)), here]);
    assert_eq!(counter.under_way.len(), 1);
    let effects = counter.desk.close(Failure::NoLeader);
    counter.desk = Desk::open(2, shards, 1);
    counter.perform(effects);
    assert_eq!(
        counter.answers[&1],
        [
            Reply::Failure(Failure::KeyFromFuture),
            Reply::Failure(Failure::InvalidRecord),
            Reply::Failure(Failure::OutcomeUnknown),
        ]
    );
}

/// What a log with other shards' messages in it would say, about every request alike.
fn decided(requests: usize, said: Said, finals: &[(ScopedKey, Outcome)]) -> Decided {
    Decided { answers: vec![said; requests], finals: finals.to_vec(), ..Decided::default() }
}

const WAITS: Said = Said::Later { replayed: false };
const STILL_WAITS: Said = Said::Later { replayed: true };

#[test]
fn whoever_waits_for_another_shard_is_told_when_it_has_answered() {
    for early in [false, true] {
        let mut counter = Counter::new();
        let one = request(7, transfer(0, 1, 100));
        counter.take(1, &[one.clone(), one.clone()]);
        counter.take(2, &[request(8, transfer(0, 1, 1))]);
        let outcome = Err(ledger::Rejection::AccountClosed);
        let (waits, carries) = (counter.under_way.remove(0), counter.under_way.remove(0));
        let finals = [(one.scoped_key(), outcome)];
        let answer = Answer { outcome: Err(ledger::Rejection::AccountFrozen), replayed: false };
        let mut landings =
            [(waits, decided(1, WAITS, &[])), (carries, decided(1, Said::Now(answer), &finals))];
        if early {
            landings.reverse();
        }
        for (entry, decided) in landings {
            assert!(!counter.answers.contains_key(&1), "nobody has answered yet");
            let effects = counter.desk.landed(entry, Ok(&decided), NOW);
            counter.perform(effects);
        }
        let said = |replayed| Reply::Answer(Answer { outcome, replayed });
        assert_eq!(counter.answers[&1], vec![said(false), said(true)]);
        assert_eq!(counter.answers[&2], vec![Reply::Answer(answer)]);
    }
}

#[test]
fn a_copy_of_what_waits_waits_too_and_a_deadline_ends_it() {
    let mut counter = Counter::new();
    let one = request(7, transfer(0, 1, 100));
    for (frame, said) in [(1, WAITS), (2, STILL_WAITS)] {
        counter.take(frame, std::slice::from_ref(&one));
        let entry = counter.under_way.remove(0);
        let effects = counter.desk.landed(entry, Ok(&decided(1, said, &[])), NOW);
        counter.perform(effects);
    }
    assert!(counter.answers.is_empty() && counter.desk.is_idle());
    let effects = counter.desk.tick(1_000, NOW);
    counter.perform(effects);
    let unknown = vec![Reply::Failure(Failure::OutcomeUnknown)];
    assert_eq!((&counter.answers[&1], &counter.answers[&2]), (&unknown, &unknown));

    // The outcome comes, and nobody is left to hear it.
    counter.take(3, &[request(8, transfer(0, 1, 1))]);
    let entry = counter.under_way.remove(0);
    let finals = [(one.scoped_key(), Err(ledger::Rejection::AccountClosed))];
    let effects = counter.desk.landed(entry, Ok(&decided(1, WAITS, &finals)), NOW);
    assert!(effects.is_empty());
}

#[test]
fn who_repeats_what_waits_is_told_so_even_when_the_first_who_asked_has_gone() {
    let mut counter = Counter::new();
    let one = request(7, transfer(0, 1, 100));
    counter.take(1, std::slice::from_ref(&one));
    let entry = counter.under_way.remove(0);
    let effects = counter.desk.landed(entry, Ok(&decided(1, WAITS, &[])), NOW);
    counter.perform(effects);
    let effects = counter.desk.tick(1_000, NOW);
    counter.perform(effects);
    assert_eq!(counter.answers[&1], [Reply::Failure(Failure::OutcomeUnknown)]);

    counter.take(2, std::slice::from_ref(&one));
    let entry = counter.under_way.remove(0);
    let outcome = Err(ledger::Rejection::AccountClosed);
    let finals = [(one.scoped_key(), outcome)];
    let effects = counter.desk.landed(entry, Ok(&decided(1, STILL_WAITS, &finals)), NOW);
    counter.perform(effects);
    let replayed = Reply::Answer(Answer { outcome, replayed: true });
    assert_eq!(counter.answers[&2], [replayed], "it had no effect of its own");
}

/// Two shards, each with a desk and a ledger, and a wire between them that the test holds.
struct Pair([Counter; 2]);

/// An account of one of two shards.
fn of_shard(shard: u16, number: u128) -> AccountId {
    AccountId::in_slot(number << 20, Shards::new(2).unwrap().first_slot(shard))
}

fn pays_across(key: u128, minor: u64) -> Request {
    let (debit, credit) = (of_shard(0, 1), of_shard(1, 1));
    let amount = Amount::from_minor(minor).unwrap();
    request(key, Command::Transfer { debit, credit, amount, currency: Currency::CNY })
}

impl Pair {
    /// Both have an account each.
    fn new() -> Self {
        let shards = Shards::new(2).unwrap();
        let mut pair = Self([0, 1].map(|shard| Counter::of(Books { shard, shards })));
        for (shard, counter) in (0..).zip(&mut pair.0) {
            let open = Command::Open {
                account: of_shard(shard, 1),
                currency: Currency::CNY,
                kind: AccountKind::Wallet,
                opening: Some(Amount::from_minor(1_000_000).unwrap()),
            };
            counter.take(0, &[request(1, open)]);
            counter.land_all();
            assert!(counter.answers.remove(&0).unwrap().iter().all(is_posted));
        }
        pair
    }

    /// Writes the letter that a shard's desk wants carried, if there is anything to write.
    fn letter(&mut self, from: usize) -> Option<Letter> {
        let (peer, after) = self.0[from].trips.pop()?;
        let Some(bytes) = crate::letter::write(&self.0[from].ledger, peer, after) else {
            self.0[from].desk.wrote_nothing(peer);
            return None;
        };
        Letter::read(&bytes, (Shards::new(2).unwrap(), peer))
    }

    /// Carries a letter to the other shard, and its answer back.
    fn carry(&mut self, from: usize, letter: Letter) {
        let to = &mut self.0[1 - from];
        let effects = to.desk.deliver(LetterNo(7), letter, NOW);
        to.perform(effects);
        to.land_all();
        assert_eq!(to.delivered.pop(), Some((LetterNo(7), Ok(()))));
        let applied = to.ledger.inbox(u16::try_from(from).unwrap());
        let effects = self.0[from].desk.carried(u16::try_from(1 - from).unwrap(), applied);
        self.0[from].perform(effects);
    }

    fn carry_all(&mut self) {
        while !(self.0[0].trips.is_empty() && self.0[1].trips.is_empty()) {
            for from in [0, 1] {
                if let Some(letter) = self.letter(from) {
                    self.carry(from, letter);
                }
            }
        }
    }
}

#[test]
fn money_for_another_shard_is_carried_and_its_payer_is_told() {
    let mut pair = Pair::new();
    pair.0[0].take(1, &[pays_across(7, 100), pays_across(8, 200)]);
    pair.0[0].land_all();
    assert!(pair.0[0].answers.is_empty(), "the payee's shard has not answered yet");
    assert_eq!(pair.0[0].trips, [(1, 0)]);
    pair.0[0].take(2, &[pays_across(9, 300)]);
    pair.0[0].land_all();
    assert_eq!(pair.0[0].trips.len(), 1, "one letter at a time");
    pair.carry_all();
    assert!(pair.0[0].answers.remove(&1).unwrap().iter().all(is_posted));
    assert!(pair.0[0].answers.remove(&2).unwrap().iter().all(is_posted));
    let payee = pair.0[1].ledger.account(&of_shard(1, 1)).unwrap();
    assert_eq!(payee.posted, 1_000_600);
    assert!(pair.0[0].ledger.unread().is_empty());
}

#[test]
fn a_letter_that_is_lost_or_doubled_moves_its_money_once() {
    let mut pair = Pair::new();
    pair.0[0].take(1, &[pays_across(7, 100)]);
    pair.0[0].land_all();
    let letter = pair.letter(0).unwrap();
    let now_ms = 1;
    pair.0[0].desk.not_carried(1, now_ms);
    // It arrived all the same, twice.
    for _ in 0..2 {
        let to = &mut pair.0[1];
        let effects = to.desk.deliver(LetterNo(1), letter.clone(), NOW);
        to.perform(effects);
        assert!(to.under_way[0].arrived.is_none(), "no client waits for a letter");
        assert_eq!(to.under_way[0].kinds(), [Operation::Deliver]);
        to.land_all();
    }
    let tally = pair.0[1].desk.tally();
    let cells = tally.cells().iter().map(|cell| (cell.kind, cell.outcome, cell.requests));
    let open = (Some(Operation::Open), "posted", 1);
    assert_eq!(cells.collect::<Vec<_>>(), [open, (Some(Operation::Deliver), "posted", 2)]);
    assert_eq!(tally.hits(), 0, "no client has repeated anything");
    assert_eq!(pair.0[0].ledger.unread_len(), 1, "nobody has told the writer");
    let effects = pair.0[0].desk.tick(1_000, NOW);
    pair.0[0].answers.clear();
    pair.0[0].perform(effects);
    assert_eq!(pair.0[0].trips, [(1, 0)], "written again after the pause");
    pair.carry_all();
    assert_eq!(pair.0[1].ledger.account(&of_shard(1, 1)).unwrap().posted, 1_000_100);
    assert_eq!(pair.0[0].ledger.unsettled(1), 0);
    assert_eq!(pair.0[0].ledger.unread_len(), 0);
    // Whoever asks again hears the one outcome.
    pair.0[0].take(2, &[pays_across(7, 100)]);
    pair.0[0].land_all();
    assert!(is_replayed(&pair.0[0].answers[&2][0]));
}

#[test]
fn a_new_leader_carries_what_an_earlier_one_left() {
    let mut pair = Pair::new();
    pair.0[0].take(1, &[pays_across(7, 100)]);
    pair.0[0].land_all();
    pair.0[0].trips.clear();
    let shards = Shards::new(2).unwrap();
    pair.0[0].desk = Desk::open(2, shards, 0);
    let unread = pair.0[0].ledger.unread();
    let effects = pair.0[0].desk.begin(unread);
    pair.0[0].perform(effects);
    pair.0[0].take(2, &[pays_across(7, 100)]);
    pair.0[0].land_all();
    assert!(pair.0[0].answers.is_empty(), "the retry waits for the same outcome");
    pair.carry_all();
    assert!(is_replayed(&pair.0[0].answers[&2][0]), "it was begun before");
}

/// A ledger whose channels are as full as the test says.
struct Full(u64);

impl Standing for Full {
    fn unsettled(&self, _: u16) -> u64 {
        self.0
    }

    fn payee_of(&self, _: ledger::HoldId) -> Option<AccountId> {
        Some(of_shard(1, 1))
    }

    fn told(&self) -> Time {
        NOW
    }

    fn level(&self) -> u32 {
        ledger::directory::LEVEL_FIRST
    }
}

#[test]
fn a_full_channel_takes_no_more_payments_and_settling_goes_on() {
    let max = ledger::UNSETTLED_MAX as u64;
    let mut pair = Pair::new();
    let counter = &mut pair.0[0];
    let hold = ledger::HoldId::in_slot(5 << 20, Shards::new(2).unwrap().first_slot(0));
    let post = Command::Post { hold, amount: None, release_rest: true };
    let (debit, currency) = (of_shard(0, 1), Currency::CNY);
    let amount = Amount::from_minor(1).unwrap();
    let legs = vec![ledger::Leg { debit, credit: of_shard(1, 1), amount }; 2];
    let two = Command::MultiTransfer { initiator: debit, currency, legs };
    let mut take = |id: u64, left: u64, requests: &[Request]| {
        let mut records = Vec::new();
        requests.iter().for_each(|request| put_record(request, &mut records).unwrap());
        let count = u32::try_from(requests.len()).unwrap();
        let records = Bytes::from(records);
        let effects = counter.desk.take(&frame(id, count, records), NOW, &Full(max - left));
        counter.perform(effects);
        counter.under_way.len()
    };
    let behind = vec![Reply::Failure(Failure::PeerBehind)];
    assert_eq!(take(1, 0, &[pays_across(1, 1)]), 0);
    assert_eq!(take(2, 0, &[request(2, post)]), 0, "a hold pays when it is posted");
    assert_eq!(take(3, 1, &[request(3, two.clone())]), 0, "two payments, and room for one");
    assert_eq!(take(4, 2, &[request(4, two)]), 1);
    assert_eq!(take(5, 2, &[pays_across(5, 1)]), 1, "the two on their way have taken the room");
    assert_eq!(take(6, 3, &[pays_across(6, 1)]), 2);
    for refused in [1, 2, 3, 5] {
        assert_eq!(counter.answers[&refused], behind, "{refused}");
    }
    counter.land_all();
    let mut records = Vec::new();
    put_record(&pays_across(7, 1), &mut records).unwrap();
    let effects = counter.desk.take(&frame(7, 1, records.into()), NOW, &Full(max - 1));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Propose(_))), "room again");
}

/// A ledger of a cluster whose level nobody has raised to the first.
struct Young;

impl Standing for Young {
    fn unsettled(&self, _: u16) -> u64 {
        0
    }

    fn payee_of(&self, _: ledger::HoldId) -> Option<AccountId> {
        None
    }

    fn told(&self) -> Time {
        NOW
    }

    fn level(&self) -> u32 {
        ledger::directory::LEVEL_FIRST - 1
    }
}

#[test]
fn what_the_level_does_not_have_yet_is_not_proposed() {
    let mut counter = Counter::of(Books { shard: 0, shards: Shards::new(2).unwrap() });
    let mut records = Vec::new();
    put_record(&request(1, open(1)), &mut records).unwrap();
    let effects = counter.desk.take(&frame(1, 1, records.into()), NOW, &Young);
    counter.perform(effects);
    assert!(counter.under_way.is_empty());
    assert_eq!(counter.answers[&1], [Reply::Failure(Failure::LevelTooLow)]);
}

#[test]
fn what_is_no_clients_to_ask_for_is_not_proposed() {
    let mut counter = Counter::of(Books { shard: 0, shards: Shards::new(2).unwrap() });
    let books = account(0);
    let deliver = Command::Deliver { books, from: 1, acked: 0, message: None };
    let forget = Command::ForgetKeys { books, before: Time(0) };
    counter.take(1, &[request(1, deliver), request(2, forget)]);
    assert!(counter.under_way.is_empty());
    assert_eq!(counter.answers[&1], [Reply::Failure(Failure::InvalidRecord); 2]);
}

#[test]
fn the_meta_group_takes_what_is_its_own_and_shards_take_the_rest() {
    let shards = Shards::new(2).unwrap();
    let books = AccountId::from_u128(0);
    let (name, record) = (Name::Tenant(TenantId(7)), Record::Gone);
    let direct = Command::Direct { books, name, record };
    let money = open(1);
    for (shard, taken, refused) in [(0, &money, &direct), (2, &direct, &money)] {
        let mut counter = Counter::of(Books { shard, shards });
        counter.take(1, &[request(1, refused.clone())]);
        assert_eq!(counter.answers[&1], [Reply::Failure(Failure::InvalidRecord)], "group {shard}");
        counter.take(2, &[request(2, taken.clone())]);
        assert_eq!(counter.under_way.len(), 1, "group {shard}");
    }
    // A node's report comes in a letter, never in a frame.
    let mut meta = Counter::of(Books { shard: 2, shards });
    let (name, record) = (Name::Node(1), Record::Gone);
    meta.take(1, &[request(1, Command::Report { books, name, record })]);
    assert_eq!(meta.answers[&1], [Reply::Failure(Failure::InvalidRecord)]);
}

#[test]
fn what_a_timer_wrote_to_another_shard_is_carried() {
    let mut counter = Counter::of(Books { shard: 2, shards: Shards::new(2).unwrap() });
    let batch = Batch::new(NOW, Vec::new()).unwrap();
    let fetched = counter.ledger.begin_fetch();
    let decided = counter.ledger.apply(1, &batch, &fetched);
    let effects = counter.desk.time_passed(&decided);
    counter.perform(effects);
    assert_eq!(counter.trips, [(0, 0), (1, 0)], "the meta group has told the time");
}

/// A key may be ten minutes ahead of the clock that judges it, and is looked for no further back than that.
#[test]
fn what_was_let_in_by_a_clock_is_not_executed_before_it() {
    let mut counter = Counter::new();
    counter.open(2);
    for id in 0..4 {
        counter.take(id, &[request(id.into(), transfer(0, 1, 1))]);
    }
    counter.take(4, &[request(4, transfer(0, 1, 1))]);
    assert_eq!(counter.under_way.len(), 4, "the fifth waits for a place");
    // An operator has accepted that the cluster's clock was an hour ahead.
    counter.land_at(Time(NOW.0 - 3_600_000));
    let batch = Batch::decode(&counter.under_way.last().unwrap().bytes).unwrap();
    assert_eq!((batch.at(), batch.requests().len()), (NOW, 1));
}
