//! The test's side of the counter: it asks as long as there is no final outcome, and reads everything back.

use std::time::{Duration, Instant};

use client::{Account, AccountId, AccountKind, Audit, Client, Currency, Error, Freshness, Money};
use client::{Posted, Posting, Request};
use futures::TryStreamExt as _;
use ledger::Shards;

use crate::support::PATIENCE;

/// How long one call tries: some elections.
const CALL_MAX: Duration = Duration::from_secs(5);

/// More than any account here has lines.
const PAGE: u32 = 100;

/// A client, and the ids that it gives.
pub(crate) struct Bank {
    client: Client,
    runtime: tokio::runtime::Runtime,
    shards: Shards,
    given: u128,
}

impl Bank {
    pub(crate) fn open(endpoint: &str, shards: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = {
            let _inside = runtime.enter();
            Client::connect_lazy(format!("http://{endpoint}")).unwrap().with_timeout(CALL_MAX)
        };
        Self { client, runtime, shards: Shards::new(shards).unwrap(), given: 0 }
    }

    /// An id that nobody has, on a shard.
    pub(crate) fn fresh(&mut self, shard: u16) -> AccountId {
        self.given += 1;
        AccountId::in_slot(self.given << 64, self.shards.first_slot(shard))
    }

    /// Sends a request until it has its final outcome.
    pub(crate) fn ask(&self, request: &Request) -> Result<Posted, Error> {
        self.until_final(|client| async move { client.send(request).await })
    }

    /// Sends a request for as long as one call may take.
    pub(crate) fn ask_once(&self, request: &Request) -> Result<Posted, Error> {
        self.runtime.block_on(self.client.send(request))
    }

    /// Audits the cluster.
    pub(crate) fn audit(&self) -> Audit {
        self.until_final(|client| async move { client.audit().await }).unwrap()
    }

    /// Has something done that nothing speaks against.
    pub(crate) fn done(&self, request: &Request) -> Posted {
        self.ask(request).unwrap()
    }

    /// Opens an account with so much.
    pub(crate) fn opened(&mut self, shard: u16, opening: u64) -> AccountId {
        let account = self.fresh(shard);
        let open = Request::open_account(Currency::CNY).with_account(account);
        let opening = Money::minor(opening, Currency::CNY);
        self.done(&opening.map_or(open.clone(), |opening| open.with_opening(opening.amount)));
        account
    }

    /// An account, if there is one.
    pub(crate) fn account(&self, id: AccountId) -> Option<Account> {
        match self
            .until_final(|client| async move { client.account(id, Freshness::Linearizable).await })
        {
            Ok(account) => Some(account),
            Err(Error::Rejected { code, .. }) if code == "ACCOUNT_NOT_FOUND" => None,
            Err(error) => panic!("{id}: {error:?}"),
        }
    }

    /// An account's lines, the newest first.
    pub(crate) fn statement(&self, id: AccountId) -> Vec<Posting> {
        let read = |client: Client| async move {
            client.postings(id, PAGE, Freshness::Linearizable).try_collect::<Vec<_>>().await
        };
        self.until_final(read).unwrap()
    }

    /// What one of a shard's own accounts has.
    pub(crate) fn own(&self, kind: AccountKind, shard: u16) -> i64 {
        let id = kind.system_id(Currency::CNY, self.shards.first_slot(shard));
        self.account(id).map_or(0, |account| account.posted)
    }

    /// Asks until there is an answer that more asking would not change.
    fn until_final<A, F>(&self, ask: impl Fn(Client) -> F) -> Result<A, Error>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let began = Instant::now();
        loop {
            match self.runtime.block_on(ask(self.client.clone())) {
                Err(error) if error.is_retryable() => {
                    assert!(began.elapsed() < PATIENCE, "no answer: {error:?}");
                }
                answer => return answer,
            }
        }
    }
}
