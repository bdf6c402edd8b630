//! Opening the accounts of a run, before its clock starts.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use futures::stream;
use prost::Message;
use wire::limits::BATCH_REQUESTS_MAX;
use wire::proto::v1;

use super::answers::{BatchAnswer, Heard};
use super::args::KeyOrder;
use super::grpc::{MethodHead, encoded};
use super::intents::{Intents, OPENING};
use super::keys::Keys;
use super::lane::{Lane, RECONNECT_AFTER};
use super::load::LIVENESS;
use super::template::CURRENCY;

/// The door for many requests at once.
pub(super) const BATCH_PATH: &str = "/paycore.v1.Payments/SubmitBatch";

/// Batches that are open at a time: one is made while others are carried out.
const CONCURRENT: usize = 4;

/// Opens every account with the same balance.
///
/// # Errors
/// When one cannot be opened: the run would not mean anything.
pub(super) async fn open(lane: &Lane, intents: Intents) -> anyhow::Result<()> {
    let opener = Opener {
        lane,
        method: lane.method(BATCH_PATH)?,
        intents,
        keys: Keys::new(KeyOrder::Ordered, intents),
    };
    let step = BATCH_REQUESTS_MAX;
    let starts = (0..intents.accounts).step_by(step);
    let batches = starts.map(|first| {
        let end = first.saturating_add(u32::try_from(step).expect("a small number"));
        opener.open((first..end.min(intents.accounts)).collect())
    });
    let mut opening = stream::iter(batches).buffer_unordered(CONCURRENT);
    while let Some(opened) = opening.next().await {
        opened?;
    }
    Ok(())
}

struct Opener<'a> {
    lane: &'a Lane,
    method: MethodHead,
    intents: Intents,
    keys: Keys,
}

impl Opener<'_> {
    /// Opens these accounts, however often it takes.
    async fn open(&self, mut accounts: Vec<u32>) -> anyhow::Result<()> {
        let mut progress = Instant::now();
        while !accounts.is_empty() {
            let before = accounts.len();
            accounts = self.attempt(accounts).await?;
            if accounts.len() < before {
                progress = Instant::now();
                continue;
            }
            ensure!(progress.elapsed() < LIVENESS, "no account can be opened: nobody answers");
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
        Ok(())
    }

    /// Tries once; gives those that have to be tried again.
    async fn attempt(&self, accounts: Vec<u32>) -> anyhow::Result<Vec<u32>> {
        let requests = accounts.iter().map(|account| self.request(*account)).collect();
        let batch = v1::SubmitBatchRequest { requests };
        let Ok(answer) = self.lane.call(&self.method, encoded(&batch)).await else {
            return Ok(accounts);
        };
        let answer = BatchAnswer::decode(answer).context("the answer to a batch")?;
        ensure!(answer.outcomes.len() == accounts.len(), "not one outcome for each request");
        let mut again = Vec::new();
        for (account, outcome) in accounts.into_iter().zip(answer.outcomes) {
            match Heard::from(outcome) {
                Heard::Posted { .. } => {}
                Heard::Failed { retryable: true, .. } => again.push(account),
                Heard::Rejected { code, .. } | Heard::Failed { code, .. } => {
                    bail!("account {account} cannot be opened: {code}")
                }
            }
        }
        Ok(again)
    }

    fn request(&self, account: u32) -> v1::Request {
        let key = self.keys.of(u64::from(account));
        let units_minor = i64::try_from(OPENING).expect("below 10^15");
        let open = v1::OpenAccountRequest {
            idempotency_key: String::from_utf8_lossy(&key).into_owned(),
            account: self.intents.account(account).to_string(),
            owner: String::new(),
            currency_code: CURRENCY.to_owned(),
            kind: v1::AccountKind::Wallet.into(),
            opening_balance: Some(v1::Money { currency_code: CURRENCY.to_owned(), units_minor }),
        };
        v1::Request { command: Some(v1::request::Command::OpenAccount(open)) }
    }
}
