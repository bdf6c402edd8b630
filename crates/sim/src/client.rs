//! Workload W1: clients that move money between random accounts, and ask again until they hear.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use consensus::simulated::{self, Weather};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ledger::batch::put_record;
use ledger::{AccountId, Amount, Command, Key, Outcome, Request, TenantId};
use shard::SessionId;
use tokio::sync::mpsc;
use wire::Reply;
use wire::proto::cluster::{Frame, FrameAnswer};

use crate::accounts::{self, OPENING};
use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::driver::Ask;
use crate::oracle::Oracle;

/// How long a client waits for an answer before it asks again.
const PATIENCE_MS: u32 = 2_500;

/// As a node, for the weather: clients are nobody's peer.
const NOBODY: u64 = 0;

/// A client. Clones are different threads of one.
#[derive(Clone)]
pub(crate) struct Client {
    number: u64,
    cluster: Cluster,
    oracle: Oracle,
    sessions: Arc<AtomicU64>,
    chance: Chance,
    /// Whom it last heard from, for each shard.
    believes: Vec<u64>,
}

impl Client {
    /// A client with a number of its own. All clients of a run share `sessions`.
    pub(crate) fn new(
        seed: u64,
        number: u64,
        (cluster, oracle): (Cluster, Oracle),
        sessions: Arc<AtomicU64>,
    ) -> Self {
        let chance = Chance::of(seed, &format!("client {number}"));
        let believes = vec![1; usize::from(cluster.plan.shards.count())];
        Self { number, cluster, oracle, sessions, chance, believes }
    }

    /// Opens accounts.
    pub(crate) async fn open(&mut self, all: &[AccountId]) {
        for (n, account) in (0_u128..).zip(all) {
            let outcome = self.ask(request(u128::MAX ^ n, accounts::open(*account))).await;
            if outcome.is_err() {
                self.oracle.accuses(format!("account {account:?} was not opened: {outcome:?}"));
            }
        }
    }

    /// Moves money until a time has passed, now and then with the same request twice at a time.
    pub(crate) async fn work(&mut self, all: &[AccountId], until: Duration) {
        let mut n = 0_u64;
        while simulated::elapsed() < until {
            n = n.saturating_add(1);
            let key = u128::from(self.number) << 64 | u128::from(n);
            let command = self.transfer(all);
            let request = request(key, command);
            if self.chance.happens(100) {
                let mut twins = [self.clone(), self.clone()];
                let both: FuturesUnordered<_> =
                    twins.iter_mut().map(|twin| twin.ask(request.clone())).collect();
                let _same = both.collect::<Vec<_>>().await;
            } else {
                let _remembered = self.ask(request).await;
            }
            let pause = self.chance.time(0, 300);
            simulated::sleep(pause).await;
        }
    }

    /// Asks once more for everything that is known: the answers must be the same.
    pub(crate) async fn ask_again(&mut self) {
        for promise in self.oracle.promises() {
            let _compared = self.ask(promise.request).await;
        }
    }

    fn transfer(&mut self, all: &[AccountId]) -> Command {
        let debit = self.chance.pick(all).expect("there are accounts");
        let others: Vec<AccountId> = all.iter().copied().filter(|one| *one != debit).collect();
        let credit = self.chance.pick(&others).expect("there are others");
        // One in twenty asks for more than there can be.
        let most = if self.chance.happens(50) { OPENING.saturating_mul(20) } else { OPENING / 10 };
        let amount = Amount::from_minor(self.chance.between(1, most)).expect("at least one");
        accounts::transfer(debit, credit, amount)
    }

    /// Asks until there is an outcome.
    async fn ask(&mut self, request: Request) -> Outcome {
        self.oracle.asks(&request);
        let key = request.scoped_key();
        loop {
            let reply = self.attempt(&request).await;
            match reply {
                Some(Reply::Answer(answer)) => {
                    self.oracle.heard(&key, answer.outcome, answer.replayed);
                    let outcome = if answer.outcome.is_ok() { "posted" } else { "rejected" };
                    self.cluster.plan.trace.note(format_args!(
                        "client {}: {:032x} {outcome} (replayed: {})",
                        self.number,
                        request.key.to_u128(),
                        answer.replayed
                    ));
                    return answer.outcome;
                }
                // Not proposed, or nobody knows: to be asked again in any case.
                Some(Reply::Failure(_)) | None => {}
            }
            let pause = self.chance.time(10, 200);
            simulated::sleep(pause).await;
        }
    }

    /// Asks whoever it believes to lead. `None`: no answer came.
    async fn attempt(&mut self, request: &Request) -> Option<Reply> {
        let shards = self.cluster.plan.shards;
        let shard = shards.shard(ledger::Slot::of(request.command.subject()));
        let node = self.believes.get(usize::from(shard)).copied().unwrap_or(1);
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        let answer = self.exchange(request, (node, shard), session).await;
        let named = answer.as_ref().and_then(|answer| answer.leader.as_ref());
        let replies =
            answer.as_ref().and_then(|answer| wire::reply::decode(&answer.answers, 1).ok());
        let reply = replies.and_then(|mut replies| replies.next()?.ok());
        if !matches!(reply, Some(Reply::Answer(_))) {
            let next = node.checked_rem(self.cluster.plan.nodes).unwrap_or(0).saturating_add(1);
            let next = named.map_or(next, |leader| leader.node_id);
            if let Some(believed) = self.believes.get_mut(usize::from(shard)) {
                *believed = next;
            }
        }
        reply
    }

    async fn exchange(
        &self,
        request: &Request,
        (node, shard): (u64, u16),
        session: SessionId,
    ) -> Option<FrameAnswer> {
        let mut records = Vec::new();
        put_record(request, &mut records).expect("a transfer is a short record");
        let frame = Frame {
            id: 1,
            shard: shard.into(),
            timeout_ms: PATIENCE_MS,
            count: 1,
            records: Bytes::from(records),
            traceparents: Vec::new(),
        };
        let door = self.cluster.door(node, shard)?;
        let (out, mut answers) = mpsc::channel(1);
        let sky = &self.cluster.sky;
        let there = sky.passage(NOBODY, node).copies.first().copied();
        let back = sky.passage(node, NOBODY).copies.first().copied();
        let asking = async {
            simulated::sleep(there?).await;
            door.send(Ask::Begin(session, out)).await.ok()?;
            door.send(Ask::Frame(session, frame)).await.ok()?;
            let answer = answers.recv().await?;
            simulated::sleep(back?).await;
            Some(answer)
        };
        let answer = simulated::timeout(Duration::from_millis(PATIENCE_MS.into()), asking).await;
        // A door that is gone has no streams any more.
        let _gone = door.try_send(Ask::End(session));
        answer.flatten()
    }
}

fn request(key: u128, command: Command) -> Request {
    Request { key: Key::from_digest(key.to_be_bytes()), tenant: TenantId(0), command }
}
