//! A sink that is a ledger in memory, and answers as well as it is told to.

#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows has failed")]

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ledger::{
    AccountId, AccountKind, Answer, Batch, Books, Command, Currency, Ledger, Request, Shards,
    TenantId, Time,
};

use crate::import::sink::{Order, PaymentSink, Unheard, Verdict, What};

/// How one call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Done and answered.
    Answers,
    /// Not done, and says so.
    Refuses,
    /// Done, but the answer is lost.
    Loses,
    /// Not done, and nobody can say.
    Forgets,
    /// Done, and then nothing ever comes back: whoever waits has to be killed.
    Hangs,
    /// Not done, and nothing ever comes back.
    Swallows,
    /// Half is done, the other half may be or not.
    Halves,
}

pub(super) struct Bank {
    ledger: RefCell<Ledger>,
    calls: Cell<usize>,
    mood: Box<dyn Fn(usize) -> Mood>,
}

impl Bank {
    pub(super) fn new(mood: impl Fn(usize) -> Mood + 'static) -> Self {
        let books = Books { shard: 0, shards: Shards::new(1).unwrap() };
        Self { ledger: RefCell::new(Ledger::new(books)), calls: Cell::new(0), mood: Box::new(mood) }
    }

    pub(super) fn reliable() -> Self {
        Self::new(|_| Mood::Answers)
    }

    /// The same money under another temper.
    pub(super) fn with_mood(self, mood: impl Fn(usize) -> Mood + 'static) -> Self {
        Self { mood: Box::new(mood), calls: Cell::new(0), ..self }
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.get()
    }

    pub(super) fn posted(&self, account: AccountId) -> Option<i128> {
        self.ledger.borrow().account(&account).map(|account| account.posted)
    }

    /// Every line of an account: how much, and whether it was paid.
    pub(super) fn lines(&self, account: AccountId) -> Vec<(u64, bool)> {
        let ledger = self.ledger.borrow();
        let postings = ledger.postings(&account, None, usize::MAX);
        postings.iter().map(|posting| (posting.amount, posting.key.is_credit())).collect()
    }

    pub(super) fn accounts(&self) -> usize {
        // Without the shard's own opening account.
        self.ledger.borrow().accounts_len().saturating_sub(1)
    }

    pub(super) fn owed(&self, currency: Currency) -> i128 {
        let ledger = self.ledger.borrow();
        ledger.audit().unwrap();
        ledger.totals().get(&(currency, AccountKind::Wallet)).copied().unwrap_or(0)
    }

    fn apply(&self, orders: &[Order]) -> Vec<Verdict> {
        let requests = orders.iter().map(request).collect();
        let mut ledger = self.ledger.borrow_mut();
        let (index, fetched) = (ledger.index() + 1, ledger.begin_fetch());
        let batch = Batch::new(Time(1_771_257_600_000 + index), requests).unwrap();
        let answers = ledger.apply(index, &batch, &fetched).answers;
        answers.iter().filter_map(ledger::Said::now).map(verdict).collect()
    }
}

impl PaymentSink for Bank {
    async fn submit(&self, orders: &[Order], _wait: Duration) -> Vec<Verdict> {
        let call = self.calls.replace(self.calls.get() + 1);
        tokio::task::yield_now().await;
        let unheard = |maybe_done| {
            let code = if maybe_done { "OUTCOME_UNKNOWN" } else { "NO_LEADER" };
            Verdict::Unheard(Unheard {
                code: code.to_owned(),
                message: "as the test wants it".to_owned(),
                maybe_done,
                retryable: true,
            })
        };
        let all = |verdict: Verdict| vec![verdict; orders.len()];
        match (self.mood)(call) {
            Mood::Answers => self.apply(orders),
            Mood::Refuses => all(unheard(false)),
            Mood::Loses => {
                self.apply(orders);
                all(unheard(true))
            }
            Mood::Forgets => all(unheard(true)),
            Mood::Hangs => {
                self.apply(orders);
                std::future::pending().await
            }
            Mood::Swallows => std::future::pending().await,
            Mood::Halves => {
                let (first, rest) = orders.split_at(orders.len() / 2);
                let mut verdicts = self.apply(first);
                verdicts.extend(rest.iter().map(|_| unheard(true)));
                verdicts
            }
        }
    }
}

fn request(order: &Order) -> Request {
    let command = match order.what {
        What::Open { account, currency, opening } => {
            Command::Open { account, currency, kind: AccountKind::Wallet, opening }
        }
        What::Pay { debit, credit, amount, currency, .. } => {
            Command::Transfer { debit, credit, amount, currency }
        }
    };
    // As a gateway reads it.
    Request { key: wire::convert::key(&order.key).unwrap(), tenant: TenantId(0), command }
}

fn verdict(answer: Answer) -> Verdict {
    match answer.outcome {
        Ok(_) => Verdict::Posted { replayed: answer.replayed },
        Err(rejection) => {
            Verdict::Rejected { code: rejection.code().to_owned(), message: rejection.to_string() }
        }
    }
}
