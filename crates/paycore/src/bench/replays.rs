//! A request sent again is answered as before: asked of some that had their final outcome.
//!
//! It is asked before the ledger's record is read, so that a second effect would be found there.

use std::time::Instant;

use futures::StreamExt;
use futures::stream;
use prost::Message;
use wire::proto::v1;

use super::accounts::BATCH_PATH;
use super::answers::{BatchAnswer, Heard};
use super::codes::Codes;
use super::grpc::{MethodHead, encoded};
use super::lane::{Lane, RECONNECT_AFTER};
use super::load::{LIVENESS, Load};
use super::template::{CURRENCY, Transfer};
use crate::verify::{Check, Ending};

/// Requests that are asked again: enough to find one in a few hundred that would be answered otherwise.
const SAMPLES_MAX: u64 = 1_000;

/// Requests in one batch.
const BATCH: usize = 100;

/// Batches at a time.
const CONCURRENT: usize = 4;

/// What came of asking again.
pub(super) struct Replays {
    /// Whether all were answered as before.
    pub(super) same: Check,
    /// Whether all were answered.
    pub(super) answered: Check,
}

/// Asks a sample again.
pub(super) async fn ask(lane: &Lane, load: &Load) -> anyhow::Result<Replays> {
    let asker = Asker { lane, method: lane.method(BATCH_PATH)?, load };
    let samples = samples(load);
    let mut replays = Replays {
        same: Check::of("a request sent again is answered as before"),
        answered: Check::of("every request sent again is answered"),
    };
    let batches = samples.chunks(BATCH).map(|batch| asker.ask(batch));
    let mut asking = stream::iter(batches).buffer_unordered(CONCURRENT);
    while let Some(heard) = asking.next().await {
        for (n, told, heard) in heard {
            replays.answered.looked_at(1);
            let Some(heard) = heard else {
                replays.answered.broken(|| format!("request {n}"));
                continue;
            };
            replays.same.looked_at(1);
            if !is_same(told, &heard, &load.codes) {
                replays
                    .same
                    .broken(|| format!("request {n} ended as {told:?}, and is now {heard:?}"));
            }
        }
    }
    Ok(replays)
}

/// Requests with a final outcome, spread evenly over the run.
fn samples(load: &Load) -> Vec<(u64, Ending)> {
    let step = load.count().div_ceil(SAMPLES_MAX).max(1);
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    let told = (0_u64..).zip(load.told()).step_by(step);
    let endings = told.map(|(n, bits)| (n, Ending::from_u64(*bits)));
    endings
        .filter(|(_, ending)| matches!(ending, Ending::Posted(_) | Ending::Rejected(_)))
        .collect()
}

fn is_same(told: Ending, heard: &Heard, codes: &Codes) -> bool {
    match (told, heard) {
        (Ending::Posted(before), Heard::Posted { transfer, replayed }) => {
            before == *transfer && *replayed
        }
        (Ending::Rejected(before), Heard::Rejected { code, replayed }) => {
            codes.text(before) == code && *replayed
        }
        (
            Ending::Posted(_) | Ending::Rejected(_) | Ending::NotDone(_) | Ending::Unknown,
            Heard::Posted { .. } | Heard::Rejected { .. } | Heard::Failed { .. },
        ) => false,
    }
}

struct Asker<'a> {
    lane: &'a Lane,
    method: MethodHead,
    load: &'a Load,
}

type Answer = (u64, Ending, Option<Heard>);

impl Asker<'_> {
    /// Asks these again, until all have an answer or nobody gives one.
    async fn ask(&self, batch: &[(u64, Ending)]) -> Vec<Answer> {
        let began = Instant::now();
        let mut answers = Vec::new();
        let mut open = batch.to_vec();
        while !open.is_empty() && began.elapsed() < LIVENESS {
            let Some(heard) = self.attempt(&open).await else {
                tokio::time::sleep(RECONNECT_AFTER).await;
                continue;
            };
            let mut again = Vec::new();
            for ((n, told), heard) in open.into_iter().zip(heard) {
                match heard {
                    Heard::Failed { .. } => again.push((n, told)),
                    Heard::Posted { .. } | Heard::Rejected { .. } => {
                        answers.push((n, told, Some(heard)));
                    }
                }
            }
            open = again;
        }
        answers.extend(open.into_iter().map(|(n, told)| (n, told, None)));
        answers
    }

    async fn attempt(&self, open: &[(u64, Ending)]) -> Option<Vec<Heard>> {
        let requests = open.iter().map(|(n, _)| request(&self.load.transfer(*n))).collect();
        let batch = encoded(&v1::SubmitBatchRequest { requests });
        let answer = self.lane.call(&self.method, batch).await.ok()?;
        let answer = BatchAnswer::decode(answer).ok()?;
        let heard = answer.outcomes.into_iter().map(Heard::from).collect::<Vec<_>>();
        (heard.len() == open.len()).then_some(heard)
    }
}

fn request(transfer: &Transfer) -> v1::Request {
    let Transfer { key, debit, credit, amount } = transfer;
    let units_minor = i64::try_from(*amount).expect("below 10^15");
    let transfer = v1::TransferRequest {
        idempotency_key: String::from_utf8_lossy(key).into_owned(),
        debit_account: debit.to_string(),
        credit_account: credit.to_string(),
        amount: Some(v1::Money { currency_code: CURRENCY.to_owned(), units_minor }),
    };
    v1::Request { command: Some(v1::request::Command::Transfer(transfer)) }
}
