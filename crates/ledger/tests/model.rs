//! Random batches against a naive ledger that is written in the most obvious way, and replicas of one log against each
//! other.
//!
//! What agrees after every batch: every answer, every balance, what is held, every hold, every statement, the totals. Two
//! replicas that take checkpoints at different moments, restart at different moments and drop forgotten records at
//! different moments give the same answers, and have the same digest.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has said what it had to say"
)]

#[path = "model/naive.rs"]
mod naive;
#[path = "model/steps.rs"]
mod steps;
mod world;

use std::collections::BTreeMap;

use ledger::{
    AccountId, AccountKind, Answer, ColdName, ColdValue, Currency, HoldState, JournalKind,
    KEY_SKEW_MS, Request, Time, TransferId,
};
use naive::{Journal, Naive, State};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use steps::{ACCOUNTS, Context, Draft, Step, account, hold};
use world::{BOOKS, World};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model.regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_ledger_does_what_a_naive_one_does(steps in steps::steps()) {
        check(&steps);
    }
}

/// A model test is worth what its draws reach: every outcome that so small a world can have. (It never has 1,024 holds
/// on an account or 10^18 on one; `limits.rs` has.)
#[test]
fn the_draws_reach_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut met: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..256 {
        let steps = steps::steps().new_tree(&mut runner).unwrap().current();
        for answer in check(&steps) {
            let outcome = answer.outcome.map_or_else(|rejection| rejection.code(), |_| "POSTED");
            *met.entry(if answer.replayed { "REPLAYED" } else { outcome }).or_default() += 1;
        }
    }
    for code in REACHED {
        assert!(met.contains_key(code), "no draw meets {code}: {met:#?}");
    }
}

const REACHED: [&str; 23] = [
    "POSTED",
    "REPLAYED",
    "ACCOUNT_CLOSED",
    "ACCOUNT_EXISTS",
    "ACCOUNT_FROZEN",
    "ACCOUNT_NOT_FOUND",
    "ALREADY_REVERSED",
    "CLOSE_BLOCKED",
    "CURRENCY_MISMATCH",
    "HOLD_ENDED",
    "HOLD_EXCEEDED",
    "HOLD_EXISTS",
    "HOLD_NOT_FOUND",
    "INSUFFICIENT",
    "INVALID_COMMAND",
    "KEY_REUSED",
    "KEY_TOO_OLD",
    "LEGS_TOO_FAR",
    "NOT_FROZEN",
    "NOT_REVERSIBLE",
    "SAME_ACCOUNT",
    "TRANSFER_NOT_FOUND",
    "TRANSFER_TOO_OLD",
];

/// The ledger that is tested, one of the same log that never takes a checkpoint, and the naive one.
struct Run {
    world: World,
    plain: World,
    naive: Naive,
    asked: Vec<Request>,
    transfers: Vec<(TransferId, AccountId)>,
    answers: Vec<Answer>,
}

fn check(steps: &[Step]) -> Vec<Answer> {
    let mut run = Run {
        world: World::new(),
        plain: World::new(),
        naive: Naive::new(BOOKS()),
        asked: Vec::new(),
        transfers: Vec::new(),
        answers: Vec::new(),
    };
    for step in steps {
        run.step(step);
    }
    run.world.restart(0);
    run.compare();
    run.plain.checkpoint();
    assert_eq!(run.plain.ledger.digest(), run.world.ledger.digest());
    run.answers
}

impl Run {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Batch(ms, drafts) => self.batch(*ms, drafts),
            Step::Freeze => self.world.freeze(),
            Step::Seal => self.world.seal(),
            Step::Abandon => self.world.abandon(),
            Step::Checkpoint => {
                self.world.freeze();
                self.world.seal();
            }
            Step::Restart(older) => self.world.restart(usize::from(*older)),
            Step::Drop(seed) => {
                let mut bits = *seed;
                self.world.drop_forgotten(|| {
                    bits = bits.rotate_left(1);
                    bits % 2 == 1
                });
            }
        }
    }

    fn batch(&mut self, ms: i64, drafts: &[Draft]) {
        let at = Time(self.world.at.0.saturating_add_signed(ms));
        (self.world.at, self.plain.at) = (at, at);
        let requests: Vec<Request> =
            drafts.iter().filter_map(|draft| self.request(at, draft)).collect();
        let expected = self.naive.apply(at, &requests);
        let answers = self.world.apply(requests.clone());
        for (position, request) in requests.iter().enumerate() {
            assert_eq!(answers[position], expected[position], "request {position}: {request:?}");
        }
        assert_eq!(self.plain.apply(requests.clone()), answers, "without checkpoints");
        assert_eq!(self.plain.ledger.digest(), self.world.ledger.digest());
        self.asked.extend(requests);
        self.note_transfers(&answers);
        self.answers.extend(answers);
        self.compare();
    }

    fn request(&self, at: Time, draft: &Draft) -> Option<Request> {
        let state = &self.naive.state;
        let context = Context {
            now: state.now.max(at),
            asked: &self.asked,
            transfers: &self.transfers,
            available: &|account| state.available(account),
            owner: &|command| state.owner(command),
        };
        // The leader proposes no key that is further ahead than this.
        let latest = state.now.max(at).plus_ms(KEY_SKEW_MS);
        let request = context.request(draft)?;
        request.key.time().is_none_or(|made| made <= latest).then_some(request)
    }

    fn note_transfers(&mut self, answers: &[Answer]) {
        for posted in answers.iter().filter(|answer| !answer.replayed).flat_map(|a| a.outcome) {
            // Of opening balances, which cannot be undone, some are enough.
            let is_wanted = |journal: &&Journal| {
                journal.kind != JournalKind::Opening || posted.transfer.position == 0
            };
            if let Some(journal) = self.naive.state.journals.get(&posted.transfer).filter(is_wanted)
            {
                let credited = journal.legs.last().unwrap().credit;
                self.transfers.push((posted.transfer, credited));
            }
        }
    }

    fn compare(&mut self) {
        let state = &self.naive.state;
        let ledger = &self.world.ledger;
        assert_eq!(ledger.now(), state.now);
        assert_eq!(ledger.cut_off(), state.cut_off);
        assert_eq!(ledger.accounts_len(), state.accounts.len());
        let mut totals: BTreeMap<(Currency, AccountKind), i128> = BTreeMap::new();
        for (id, naive) in &state.accounts {
            let account = ledger.account(id).expect("the naive ledger has it");
            let own = AccountKind::reserves(*id);
            let (kind, posted) = if own {
                (AccountKind::Opening, -naive.posted)
            } else {
                (AccountKind::Wallet, naive.posted)
            };
            *totals.entry((naive.currency, kind)).or_default() += posted;
            assert_eq!(account.posted, posted, "{id}");
            assert_eq!(account.held, state.held(id), "{id}");
            assert_eq!(account.holds as usize, state.active_holds(id), "{id}");
            assert!(own || account.available() == state.available(id), "{id}");
            assert_eq!((account.tenant, account.currency), (naive.tenant, naive.currency));
            assert_eq!((account.kind, account.closed), (kind, naive.closed));
            assert_eq!(account.freezes.stops_debit(), !naive.freezes.is_empty());
            compare_statement(&self.world, state, id);
        }
        totals.retain(|_, sum| *sum != 0);
        let mut kept = ledger.totals().clone();
        kept.retain(|_, sum| *sum != 0);
        assert_eq!(kept, totals);
        for number in 0..6 {
            compare_hold(&self.world, state, number);
        }
        assert!((0..ACCOUNTS).all(|number| {
            let id = account(number);
            ledger.account(&id).is_some() == state.accounts.contains_key(&id)
        }));
    }
}

fn compare_statement(world: &World, state: &State, id: &AccountId) {
    let lines: Vec<_> = world
        .statement(*id)
        .iter()
        .map(|line| (line.amount, line.balance, line.kind, line.key.is_credit(), line.reverses))
        .collect();
    assert_eq!(lines, state.statement(id), "{id}");
}

fn compare_hold(world: &World, state: &State, number: u8) {
    let id = hold(number);
    let found = world.ledger.hold(&id).or_else(|| match world.cold(&ColdName::Hold(id))? {
        ColdValue::Hold(hold) => Some(hold),
        ColdValue::Outcome(_)
        | ColdValue::Reversal(_)
        | ColdValue::Legs(..)
        | ColdValue::Incoming(_)
        | ColdValue::Posting(_) => unreachable!("a hold's name"),
    });
    let known = state.holds.get(&id).filter(|hold| {
        hold.state == HoldState::Active || hold.ended_at.is_some_and(|at| at >= state.cut_off)
    });
    match (found, known) {
        (Some(found), Some(naive)) => {
            assert_eq!((found.state, found.posted), (naive.state, naive.posted), "{id}");
            assert_eq!(
                (found.remaining, found.ended_at),
                (naive.remaining, naive.ended_at),
                "{id}"
            );
            assert_eq!((found.debit, found.tenant), (naive.debit, naive.tenant), "{id}");
        }
        (None, Some(_)) => panic!("{id} is lost"),
        // Forgotten, and a volume may still have it.
        (Some(found), None) => assert!(found.ended_at.is_some_and(|at| at < state.cut_off), "{id}"),
        (None, None) => {}
    }
}
