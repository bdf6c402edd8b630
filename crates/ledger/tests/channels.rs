//! Money between shards, carried by somebody who loses, doubles, reorders and forgets: three shards, random requests,
//! checkpoints and restarts; in the end everything is delivered, and the books must say what the outcomes say. Cuts are
//! made all the while: their parts add up, and what a whole one keeps has the money that there was from the beginning.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that panics has said what it had to say"
)]

#[path = "channels/wholes.rs"]
mod wholes;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use ledger::{
    AccountId, AccountKind, Amount, Answer, Authority, Books, CUTS_MAX, Command, Currency, Cut,
    Discrepancy, FreezeScope, HoldId, Leg, Message, Outcome, Rejection, Request, Said, ScopedKey,
    Shards, Slot, TransferId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use wholes::Wholes;
use world::{World, request};

const SHARDS: u16 = 3;

/// Accounts of each shard. The last two are never opened.
const ACCOUNTS: u8 = 6;
const OPENED: u8 = 4;
const OPENING: u64 = 100;

/// What all accounts of all shards begin with.
const OPENED_IN_ALL: i128 = SHARDS as i128 * OPENED as i128 * OPENING as i128;

#[derive(Clone, Debug)]
enum Step {
    Ask(Vec<What>),
    /// A request that was made before, once more.
    Again(usize),
    /// Somebody carries messages from one shard to another: from which on, how many, how often, and whether in order.
    Carry {
        from: u16,
        to: u16,
        skip: u64,
        count: usize,
        twice: bool,
        backwards: bool,
        acks: bool,
    },
    /// A cut of all shards begins at one of them, an ordinary or a whole one.
    Cut(u16, bool),
    Checkpoint(u16),
    Restart(u16, bool),
}

/// An account in small numbers: its shard, and which one.
type Who = (u16, u8);

#[derive(Clone, Debug)]
enum What {
    Transfer(Who, Who, u64),
    Multi(u16, Vec<(u8, Who, u64)>),
    HoldAndPost(Who, Who, u64),
    /// A hold that stays, or expires after so many milliseconds.
    Hold(Who, Who, u64, u64),
    Freeze(Who, bool),
    Unfreeze(Who),
    /// Somebody pays a neighbour all he has, and closes.
    Leave(Who),
    Reverse(usize),
}

fn who() -> impl Strategy<Value = Who> {
    (0..SHARDS, prop_oneof![6 => 0..OPENED, 1 => 0..ACCOUNTS])
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        8 => (who(), who(), 1..60_u64).prop_map(|(a, b, m)| What::Transfer(a, b, m)),
        3 => (0..SHARDS, vec((0..OPENED, who(), 1..30_u64), 1..5)).prop_map(|(s, l)| What::Multi(s, l)),
        2 => (who(), who(), 1..40_u64).prop_map(|(a, b, m)| What::HoldAndPost(a, b, m)),
        2 => (who(), who(), 1..20_u64, 1..60_u64).prop_map(|(a, b, m, t)| What::Hold(a, b, m, t)),
        1 => (who(), any::<bool>()).prop_map(|(a, all)| What::Freeze(a, all)),
        1 => who().prop_map(What::Unfreeze),
        2 => who().prop_map(What::Leave),
        6 => any::<usize>().prop_map(What::Reverse),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let carry = (
        (0..SHARDS, 0..SHARDS),
        (prop_oneof![4 => Just(0_u64), 1 => 0..4_u64], 1..6_usize),
        (prop::bool::weighted(0.2), prop::bool::weighted(0.2), any::<bool>()),
    );
    let carry = carry.prop_map(|((from, to), (skip, count), (twice, backwards, acks))| {
        Step::Carry { from, to, skip, count, twice, backwards, acks }
    });
    prop_oneof![
        6 => vec(what(), 1..4).prop_map(Step::Ask),
        2 => any::<usize>().prop_map(Step::Again),
        10 => carry,
        3 => (0..SHARDS, any::<bool>()).prop_map(|(shard, whole)| Step::Cut(shard, whole)),
        1 => (0..SHARDS).prop_map(Step::Checkpoint),
        1 => (0..SHARDS, any::<bool>()).prop_map(|(shard, older)| Step::Restart(shard, older)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/channels.regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whoever_carries_it_money_arrives_once_or_comes_back(steps in vec(step(), 1..60)) {
        play(&steps);
    }
}

fn play(steps: &[Step]) -> Run {
    let mut run = Run::new();
    for step in steps {
        run.step(step);
    }
    run.drain();
    run.check();
    run
}

/// A whole cut whose sums are let go, because a shard keeps only so many cuts, still has its image.
#[test]
fn cuts_that_come_after_a_whole_one_let_its_sums_go_and_not_its_image() {
    let mut steps = vec![Step::Cut(0, true)];
    steps.extend((0..CUTS_MAX).map(|_| Step::Cut(0, false)));
    let run = play(&steps);
    assert!(run.plain.iter().all(|world| world.ledger.cut_image(1).is_some()));
    assert!(parts_of(&run.shards, 1).is_none());
}

/// A model test is worth what its draws reach.
#[test]
fn the_draws_reach_every_end_of_a_payment() {
    let mut runner = TestRunner::deterministic();
    let mut met: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..512 {
        let steps = vec(step(), 1..60).new_tree(&mut runner).unwrap().current();
        let run = play(&steps);
        for what in &run.wholes.met {
            *met.entry(format!("whole cut of {what}")).or_default() += 1;
        }
        for (scoped, outcome) in &run.finals {
            let operation = scoped.operation;
            let end = match outcome {
                Ok(_) => "posted".to_owned(),
                Err(Rejection::Returned { why, legs }) => {
                    let many = if legs.count_ones() > 1 { " twice" } else { "" };
                    format!("{why:?}{many}")
                }
                Err(other) => other.code().to_owned(),
            };
            *met.entry(format!("{operation:?} {end}")).or_default() += 1;
        }
    }
    for end in REACHED {
        assert!(met.contains_key(end), "no draw meets {end}: {met:#?}");
    }
}

const REACHED: [&str; 13] = [
    "Post AccountFrozen",
    "Post AccountNotFound",
    "Post posted",
    "Reverse AccountClosed",
    "Reverse posted",
    "Transfer AccountClosed",
    "Transfer AccountFrozen",
    "Transfer AccountNotFound",
    "Transfer AccountNotFound twice",
    "Transfer posted",
    "whole cut of a hold",
    "whole cut of money on its way back",
    "whole cut of money that had not arrived",
];

/// Cursors are state: an acknowledgement alone changes the digest, and what is acknowledged is not carried again.
#[test]
fn an_acknowledgement_is_remembered() {
    let mut run = Run::new();
    for amount in 1..=3 {
        run.what(&What::Transfer((0, 0), (1, 0), amount));
    }
    run.carry((0, 1), (0, 2), (false, false));
    let numbers = |run: &Run| -> Vec<u64> {
        run.shard(0).ledger.outbox(1, 0).map(|numbered| numbered.number).collect()
    };
    assert_eq!((numbers(&run), run.shard(0).ledger.unsettled(1)), (vec![1, 2, 3], 3));
    let before = run.shard(0).ledger.digest();
    let now = run.shard(0).ledger.now();
    // Nothing but the acknowledgement: log time stands still.
    let books = AccountId::in_slot(0, Slot::new(0).unwrap());
    let acked = request(0, Command::Deliver { books, from: 1, acked: 2, message: None });
    run.shards[0].at = now;
    run.shards[0].decide(vec![acked]);
    assert_ne!(run.shard(0).ledger.digest(), before);
    assert_eq!((numbers(&run), run.shard(0).ledger.unsettled(1)), (vec![3], 3));
    run.shards[0].checkpoint();
    assert_eq!((numbers(&run), run.shard(0).ledger.unsettled(1)), (vec![3], 3));
}

struct Run {
    /// Each shard, and the same log applied without any checkpoint.
    shards: Vec<World>,
    plain: Vec<World>,
    asked: Vec<(u16, Request)>,
    outcomes: BTreeMap<ScopedKey, Outcome>,
    /// Those that waited for another shard.
    finals: Vec<(ScopedKey, Outcome)>,
    /// Posted transfers of one leg across shards, to be undone.
    crossed: Vec<(TransferId, AccountId)>,
    /// Cuts that were begun, and how many of them were seen to add up.
    cuts: Vec<u64>,
    added_up: BTreeSet<u64>,
    wholes: Wholes,
    keys: u64,
}

impl Run {
    fn new() -> Self {
        let books = |shard| Books { shard, shards: Shards::new(SHARDS).unwrap() };
        let worlds = || (0..SHARDS).map(|shard| World::of(books(shard))).collect();
        let mut run = Self {
            shards: worlds(),
            plain: worlds(),
            asked: Vec::new(),
            outcomes: BTreeMap::new(),
            finals: Vec::new(),
            crossed: Vec::new(),
            cuts: Vec::new(),
            added_up: BTreeSet::new(),
            wholes: Wholes::default(),
            keys: 0,
        };
        for shard in 0..SHARDS {
            let opened = (0..OPENED).map(|number| Command::Open {
                account: id((shard, number)),
                currency: Currency::CNY,
                kind: AccountKind::Wallet,
                opening: Some(minor(OPENING)),
            });
            let opened = opened.collect();
            run.ask(shard, opened);
        }
        run
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Ask(whats) => {
                for what in whats {
                    self.what(what);
                }
            }
            Step::Again(which) => {
                let (shard, request) = self.asked[which % self.asked.len()].clone();
                let known = self.outcomes.get(&request.scoped_key()).copied();
                let answers = self.decide(shard, vec![request]);
                match (answers[0], known) {
                    (None, None) => {}
                    (Some(answer), Some(known)) => {
                        assert_eq!(answer, Answer { outcome: known, replayed: true });
                    }
                    (said, known) => panic!("{said:?}, and it was {known:?}"),
                }
            }
            Step::Carry { from, to, skip, count, twice, backwards, acks } => {
                let inbox = self.shard(*to).ledger.inbox(*from);
                let after = inbox.saturating_sub(u64::from(*twice)).saturating_add(*skip);
                self.carry((*from, *to), (after, *count), (*backwards, *acks));
            }
            Step::Cut(shard, whole) => {
                let cut = u64::try_from(self.cuts.len()).unwrap() + 1;
                self.cuts.push(cut);
                let books = id((*shard, 0));
                if *whole {
                    self.ask(*shard, vec![Command::WholeCut { books, cut }]);
                    self.wholes.begun(cut, &self.shards[usize::from(*shard)]);
                } else {
                    self.ask(*shard, vec![Command::Cut { books, cut }]);
                }
            }
            Step::Checkpoint(shard) => self.shards[usize::from(*shard)].checkpoint(),
            Step::Restart(shard, older) => {
                self.shards[usize::from(*shard)].restart(usize::from(*older));
            }
        }
        self.check_cuts();
    }

    /// Every cut whose parts are all finished adds up, whatever was under way.
    fn check_cuts(&mut self) {
        self.wholes.look(&self.shards);
        for cut in self.cuts.iter().rev().take(CUTS_MAX) {
            if let Some(parts) = parts_of(&self.shards, *cut) {
                assert_eq!(ledger::compare(&parts), [], "cut {cut}");
                self.added_up.insert(*cut);
                self.wholes.add_up(*cut, &parts, OPENED_IN_ALL);
            }
        }
    }

    fn shard(&self, shard: u16) -> &World {
        &self.shards[usize::from(shard)]
    }

    fn what(&mut self, what: &What) {
        let currency = Currency::CNY;
        match what {
            What::Transfer(debit, credit, amount) => {
                let (from, credit, amount) = (debit.0, id(*credit), minor(*amount));
                self.ask(
                    from,
                    vec![Command::Transfer { debit: id(*debit), credit, amount, currency }],
                );
            }
            What::Multi(shard, legs) => {
                let legs: Vec<Leg> = legs
                    .iter()
                    .map(|(debit, credit, amount)| Leg {
                        debit: id((*shard, *debit)),
                        credit: id(*credit),
                        amount: minor(*amount),
                    })
                    .collect();
                let initiator = legs[0].debit;
                self.ask(*shard, vec![Command::MultiTransfer { initiator, currency, legs }]);
            }
            What::HoldAndPost(debit, credit, amount) => {
                let from = debit.0;
                let (debit, credit, amount) = (id(*debit), id(*credit), minor(*amount));
                self.keys += 1;
                let hold = HoldId::in_slot(u128::from(self.keys) << 12, debit.slot());
                let timeout_ms = 1_000;
                let placed = Command::Hold { debit, hold, credit, amount, currency, timeout_ms };
                self.ask(
                    from,
                    vec![placed, Command::Post { hold, amount: None, release_rest: true }],
                );
            }
            What::Hold(debit, credit, amount, timeout_ms) => {
                let (from, timeout_ms) = (debit.0, *timeout_ms);
                let (debit, credit, amount) = (id(*debit), id(*credit), minor(*amount));
                self.keys += 1;
                let hold = HoldId::in_slot(u128::from(self.keys) << 12, debit.slot());
                let placed = Command::Hold { debit, hold, credit, amount, currency, timeout_ms };
                self.ask(from, vec![placed]);
            }
            What::Freeze(account, all) => {
                let scope = if *all { FreezeScope::All } else { FreezeScope::Debit };
                let (shard, account, authority) = (account.0, id(*account), Authority::User);
                self.ask(shard, vec![Command::Freeze { account, scope, authority }]);
            }
            What::Unfreeze(account) => {
                let (shard, account, authority) = (account.0, id(*account), Authority::User);
                self.ask(shard, vec![Command::Unfreeze { account, authority }]);
            }
            What::Leave(account) => {
                let (debit, credit) = (id(*account), id((account.0, (account.1 + 1) % OPENED)));
                let found = self.shard(account.0).ledger.account(&debit);
                let all = found.and_then(|found| Amount::from_minor(found.available()).ok());
                let pay = all.map(|amount| Command::Transfer { debit, credit, amount, currency });
                let close = Command::Close { account: debit };
                self.ask(account.0, pay.into_iter().chain([close]).collect());
            }
            What::Reverse(which) => {
                let Some((transfer, credit)) =
                    self.crossed.get(which % self.crossed.len().max(1)).copied()
                else {
                    return;
                };
                let shard = Shards::new(SHARDS).unwrap().shard(credit.slot());
                self.ask(shard, vec![Command::Reverse { credit, transfer }]);
            }
        }
    }

    fn ask(&mut self, shard: u16, commands: Vec<Command>) {
        let requests: Vec<Request> = commands
            .into_iter()
            .map(|command| {
                self.keys += 1;
                request(self.keys, command)
            })
            .collect();
        self.asked.extend(requests.iter().map(|request| (shard, request.clone())));
        let answers = self.decide(shard, requests.clone());
        for (request, answer) in requests.iter().zip(answers) {
            if let Some(answer) = answer {
                assert!(!answer.replayed);
                self.note(request.scoped_key(), answer.outcome);
            }
        }
    }

    /// Applies a batch to a shard and to the one without checkpoints; both say the same.
    fn decide(&mut self, shard: u16, requests: Vec<Request>) -> Vec<Option<Answer>> {
        let at = usize::from(shard);
        let now = self.shards[at].at.plus_ms(3);
        (self.shards[at].at, self.plain[at].at) = (now, now);
        let decided = self.shards[at].decide(requests.clone());
        assert_eq!(self.plain[at].decide(requests), decided);
        assert_eq!(self.plain[at].ledger.digest(), self.shards[at].ledger.digest());
        for (scoped, outcome) in decided.finals {
            self.note(scoped, outcome);
            self.finals.push((scoped, outcome));
        }
        decided.answers.iter().map(Said::now).collect()
    }

    fn note(&mut self, scoped: ScopedKey, outcome: Outcome) {
        assert!(self.outcomes.insert(scoped, outcome).is_none(), "an outcome is given once");
        let asked = self.asked.iter().find(|(_, request)| request.scoped_key() == scoped);
        if let (Some((shard, request)), Ok(posted)) = (asked, outcome) {
            assert_eq!(posted.transfer.shard, *shard);
            if let Command::Transfer { debit, credit, .. } = request.command
                && debit.slot() != credit.slot()
            {
                self.crossed.push((posted.transfer, credit));
            }
        }
    }

    /// Carries messages, rightly or wrongly; what it does wrongly changes nothing.
    fn carry(&mut self, (from, to): (u16, u16), (after, count): (u64, usize), how: (bool, bool)) {
        if from == to {
            return;
        }
        let (backwards, acks) = how;
        let mut messages: Vec<(u64, Message)> = self
            .shard(from)
            .ledger
            .outbox(to, after)
            .take(count)
            .map(|numbered| (numbered.number, numbered.message))
            .collect();
        if backwards {
            messages.reverse();
        }
        let acked = if acks { self.shard(from).ledger.inbox(to) } else { 0 };
        let books = AccountId::in_slot(0, Shards::new(SHARDS).unwrap().first_slot(to));
        let deliver = |message| request(0, Command::Deliver { books, from, acked, message });
        let mut requests: Vec<Request> = messages.into_iter().map(Some).map(deliver).collect();
        if requests.is_empty() && acks {
            requests.push(deliver(None));
        }
        if requests.is_empty() {
            return;
        }
        let mut due = self.shard(to).ledger.inbox(from) + 1;
        let expected: Vec<_> = requests
            .iter()
            .map(|request| {
                let Command::Deliver { message, .. } = &request.command else { unreachable!() };
                match message {
                    Some((number, _)) if *number == due => {
                        due += 1;
                        (true, false)
                    }
                    Some((number, _)) if *number < due => (true, true),
                    Some(_) => (false, false),
                    None => (true, false),
                }
            })
            .collect();
        let answers = self.decide(to, requests);
        let said: Vec<_> = answers
            .iter()
            .map(|answer| (answer.unwrap().outcome.is_ok(), answer.unwrap().replayed))
            .collect();
        assert_eq!(said, expected);
        assert_eq!(self.shard(to).ledger.inbox(from), due - 1);
    }

    /// Carries everything until there is nothing left to carry.
    fn drain(&mut self) {
        for _ in 0..8 {
            for (from, to) in pairs() {
                let inbox = self.shard(to).ledger.inbox(from);
                self.carry((from, to), (inbox, usize::MAX), (false, true));
            }
        }
    }

    fn check(&mut self) {
        self.check_cuts();
        let last = self.cuts.len().saturating_sub(CUTS_MAX);
        let all_found = self.cuts[last..].iter().all(|cut| self.added_up.contains(cut));
        assert!(all_found, "every cut is finished when everything is delivered");
        self.wholes.check(&self.plain, &self.cuts[last..]);
        for (from, to) in pairs() {
            let (home, away) = (&self.shard(from).ledger, &self.shard(to).ledger);
            assert_eq!(home.outbox(to, 0).count(), 0, "everything is acknowledged");
            assert_eq!((home.unsettled(to), away.unsettled(from)), (0, 0));
            let total = |ledger: &ledger::Ledger, kind| {
                ledger.totals().get(&(Currency::CNY, kind)).copied().unwrap_or(0)
            };
            let owed = total(home, AccountKind::DueTo(to));
            assert_eq!(owed, total(away, AccountKind::DueFrom(from)), "I3: {from} to {to}");
        }
        let mut expected: BTreeMap<AccountId, i128> = BTreeMap::new();
        for (_, request) in &self.asked {
            let scoped = request.scoped_key();
            let outcome = self.outcomes.get(&scoped).expect("everything has become final");
            self.follow(&mut expected, request, outcome);
        }
        let mut undone: Vec<TransferId> = self
            .asked
            .iter()
            .filter(|(_, request)| self.outcomes[&request.scoped_key()].is_ok())
            .filter_map(|(_, request)| match request.command {
                Command::Reverse { transfer, .. } => Some(transfer),
                _ => None,
            })
            .collect();
        let reversals = undone.len();
        undone.sort_unstable();
        undone.dedup();
        assert_eq!(undone.len(), reversals, "a transfer is undone once, whatever the key");
        let mut suspense = 0;
        for (shard, world) in self.shards.iter().enumerate() {
            for number in 0..OPENED {
                let account = id((u16::try_from(shard).unwrap(), number));
                let found = world.ledger.account(&account).unwrap();
                let wanted = expected.get(&account).copied().unwrap_or(0);
                assert_eq!(found.posted, wanted, "{account}");
                let lines = world.statement(account);
                assert_eq!(lines.first().unwrap().balance, found.posted);
                let is_ours = |line: &ledger::Posting| !AccountKind::reserves(line.counter);
                let opening = lines.len() - 1;
                assert!(lines[..opening].iter().all(is_ours), "people pay people: {lines:?}");
            }
            let key = (Currency::CNY, AccountKind::Suspense);
            suspense += world.ledger.totals().get(&key).copied().unwrap_or(0);
        }
        assert_eq!(suspense, 0, "nobody can close an account whose money is on its way");
        for world in &mut self.shards {
            self.crossed.iter().for_each(|crossed| named_alike(world, crossed));
            world.checkpoint();
            self.crossed.iter().for_each(|crossed| named_alike(world, crossed));
        }
    }

    /// What an outcome means for everybody's balance.
    fn follow(
        &self,
        balances: &mut BTreeMap<AccountId, i128>,
        request: &Request,
        outcome: &Outcome,
    ) {
        let mut pay = |debit: AccountId, credit: AccountId, amount: Amount| {
            *balances.entry(debit).or_default() -= i128::from(amount.minor());
            *balances.entry(credit).or_default() += i128::from(amount.minor());
        };
        let returned = match outcome {
            Ok(_) => 0,
            Err(Rejection::Returned { legs, .. }) => *legs,
            Err(_) => return,
        };
        match &request.command {
            Command::Open { account, opening: Some(amount), .. } => {
                *balances.entry(*account).or_default() += i128::from(amount.minor());
            }
            Command::Transfer { debit, credit, amount, .. } if returned == 0 => {
                pay(*debit, *credit, *amount);
            }
            Command::MultiTransfer { legs, .. } => {
                for (leg, number) in legs.iter().zip(0..) {
                    if returned & 1 << number == 0 {
                        pay(leg.debit, leg.credit, leg.amount);
                    }
                }
            }
            Command::Post { hold, .. } if returned == 0 => {
                let placed = self.asked.iter().find_map(|(_, request)| match &request.command {
                    Command::Hold { hold: placed, debit, credit, amount, .. } if placed == hold => {
                        Some((*debit, *credit, *amount))
                    }
                    _ => None,
                });
                let (debit, credit, amount) = placed.unwrap();
                pay(debit, credit, amount);
            }
            Command::Reverse { transfer, .. } if returned == 0 => {
                let undone = self.asked.iter().find_map(|(_, request)| {
                    let Ok(posted) = self.outcomes.get(&request.scoped_key())?.as_ref() else {
                        return None;
                    };
                    match request.command {
                        Command::Transfer { debit, credit, amount, .. }
                            if posted.transfer == *transfer =>
                        {
                            Some((debit, credit, amount))
                        }
                        _ => None,
                    }
                });
                let (debit, credit, amount) = undone.unwrap();
                pay(credit, debit, amount);
            }
            _ => {}
        }
    }
}

/// Whoever was paid from another shard finds the transfer in his statement once, by the name that its payer heard.
fn named_alike(world: &World, (transfer, payee): &(TransferId, AccountId)) {
    let shard = Shards::new(SHARDS).unwrap().shard(payee.slot());
    if world.ledger.books().shard != shard {
        return;
    }
    let lines = world.statement(*payee);
    let named = lines.iter().filter(|line| {
        line.key.is_credit() && line.reverses.is_none() && line.transfer(shard) == *transfer
    });
    assert_eq!(named.count(), 1, "{transfer} for {payee}: {lines:?}");
}

/// The parts of a cut, if all of them are finished.
fn parts_of(shards: &[World], cut: u64) -> Option<BTreeMap<u16, Cut>> {
    let part = |world: &World| {
        let part = world.ledger.cut_of(cut).filter(|part| part.is_finished())?;
        Some((world.ledger.books().shard, part.clone()))
    };
    shards.iter().map(part).collect()
}

#[test]
fn a_message_that_is_lost_on_the_way_is_found_by_the_next_cut() {
    for lost in [0, 1] {
        let mut run = Run::new();
        run.step(&Step::Ask(vec![What::Transfer((0, 0), (1, 0), 7)]));
        if lost == 1 {
            // Somebody writes something else in the payment's place: the payee's shard has its number, and not its money.
            let books = id((1, 0));
            let message = Some((1, Message::Marker(0)));
            run.decide(1, vec![request(0, Command::Deliver { books, from: 0, acked: 0, message })]);
        }
        run.step(&Step::Ask(vec![What::Transfer((0, 0), (2, 0), 5)]));
        run.ask(0, vec![Command::Cut { books: id((0, 0)), cut: 1 }]);
        run.drain();
        let found = ledger::compare(&parts_of(&run.shards, 1).expect("all parts are finished"));
        let currency = Currency::CNY;
        let gap = Discrepancy::Channel { from: 0, to: 1, currency, owed: 7, under_way: 0 };
        assert_eq!(found, if lost == 1 { vec![gap] } else { Vec::new() });
    }
}

#[test]
fn cuts_are_the_operators_and_their_numbers_grow() {
    let mut run = Run::new();
    let cut = |cut| Command::Cut { books: id((0, 0)), cut };
    run.ask(0, vec![cut(5), cut(5), cut(0), cut(7), cut(6)]);
    let said: Vec<_> = run.shards[0].ledger.cut_of(5).into_iter().map(Cut::is_finished).collect();
    assert_eq!(said, [false], "its peers have not answered");
    assert!(run.shards[0].ledger.cut_of(7).is_some() && run.shards[0].ledger.cut_of(6).is_some());
    let elsewhere = Command::Cut { books: id((1, 0)), cut: 9 };
    let tenants = Request { tenant: ledger::TenantId(1), ..request(90, cut(9)) };
    let refused = run.decide(0, vec![request(91, elsewhere), tenants]);
    let outcomes: Vec<_> = refused.into_iter().map(|answer| answer.unwrap().outcome).collect();
    assert_eq!(outcomes, [Err(Rejection::InvalidCommand); 2]);
    // Time lets go of them, and what was let go does not come back with a late marker.
    for shard in 0..3 {
        run.shards[shard].at = run.shards[shard].at.plus_ms(ledger::CUT_MS_MAX + 1);
        run.plain[shard].at = run.shards[shard].at;
    }
    run.ask(0, vec![cut(8)]);
    assert!(run.shards[0].ledger.cut_of(7).is_none() && run.shards[0].ledger.cut_of(8).is_some());
    let message = Some((1, Message::Marker(7)));
    let books = id((0, 0));
    run.decide(0, vec![request(0, Command::Deliver { books, from: 1, acked: 0, message })]);
    assert!(run.shards[0].ledger.cut_of(7).is_none());
}

fn pairs() -> impl Iterator<Item = (u16, u16)> {
    (0..SHARDS).flat_map(|from| (0..SHARDS).map(move |to| (from, to))).filter(|(a, b)| a != b)
}

fn id((shard, number): Who) -> AccountId {
    let slot = Shards::new(SHARDS).unwrap().first_slot(shard);
    let slot = Slot::new(slot.number() + 1).unwrap();
    AccountId::in_slot(0x0192_0000_0000_7000_8000_0000_0000_0000 | u128::from(number) << 12, slot)
}

fn minor(minor: u64) -> Amount {
    Amount::from_minor(minor).unwrap()
}
