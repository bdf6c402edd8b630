//! A client's way to the shards: frames to whoever it believes to lead, and the same again until there is an outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use consensus::simulated::{self, Weather};
use futures::future::join_all;
use ledger::batch::put_record;
use ledger::{Outcome, Request, Slot};
use shard::SessionId;
use tokio::sync::mpsc;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::{Frame, FrameAnswer, Leader, ReadReply, ReadRequest};
use wire::{Failure, Reply};

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::driver::Ask;
use crate::invariants::is_ahead;
use crate::oracle::Oracle;

/// How long a client waits for an answer before it asks again.
const PATIENCE_MS: u32 = 2_500;

/// As a node, for the weather: clients are nobody's peer.
const NOBODY: u64 = 0;

/// How often a read is tried before it is given up: it promises nothing.
const READS_MAX: u32 = 8;

/// A client's way in. Clones are different streams of one client.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) cluster: Cluster,
    pub(crate) oracle: Oracle,
    pub(crate) chance: Chance,
    /// Numbers that no other stream of the run has.
    streams: Arc<AtomicU64>,
    /// Whom it last heard from, or of, for each shard.
    believes: BTreeMap<u16, u64>,
}

/// What came of a frame: a reply to each record, and who leads if not the one who was asked.
type Heard = (Vec<Reply>, Option<Leader>);

impl Session {
    /// A client with a number of its own. All clients of a run share `streams`.
    pub(crate) fn new(
        seed: u64,
        number: u64,
        (cluster, oracle): (Cluster, Oracle),
        streams: Arc<AtomicU64>,
    ) -> Self {
        let chance = Chance::of(seed, &format!("client {number}"));
        Self { number, cluster, oracle, chance, streams, believes: BTreeMap::new() }
    }

    /// Asks until there is an outcome.
    pub(crate) async fn ask(&mut self, request: Request) -> Outcome {
        let outcomes = self.ask_all(vec![request]).await;
        outcomes.into_iter().next().expect("an outcome for each request")
    }

    /// Asks until there is an outcome of each: those of one shard in one frame.
    pub(crate) async fn ask_all(&mut self, requests: Vec<Request>) -> Vec<Outcome> {
        requests.iter().for_each(|request| self.oracle.asks(request));
        let mut outcomes: Vec<Option<Outcome>> = vec![None; requests.len()];
        loop {
            let mut frames: BTreeMap<u16, Vec<(usize, &Request)>> = BTreeMap::new();
            let missing = requests.iter().enumerate().zip(&outcomes);
            for (asked, _) in missing.filter(|(_, outcome)| outcome.is_none()) {
                frames.entry(self.shard_of(asked.1)).or_default().push(asked);
            }
            if frames.is_empty() {
                return outcomes.into_iter().flatten().collect();
            }
            let attempts = frames.iter().map(|(shard, asked)| {
                let records = asked.iter().map(|(_, request)| *request);
                self.attempt(*shard, self.believed(*shard), records.collect())
            });
            let heard = join_all(attempts).await;
            for ((shard, asked), heard) in frames.iter().zip(heard) {
                for (place, outcome) in self.hear(*shard, asked, heard) {
                    if let Some(known) = outcomes.get_mut(place) {
                        *known = Some(outcome);
                    }
                }
            }
            if outcomes.iter().any(Option::is_none) {
                let pause = self.chance.time(10, 200);
                simulated::sleep(pause).await;
            }
        }
    }

    fn shard_of(&self, request: &Request) -> u16 {
        self.cluster.plan.shards.shard(Slot::of(request.command.subject()))
    }

    fn believed(&self, shard: u16) -> u64 {
        self.believes.get(&shard).copied().unwrap_or(1)
    }

    /// Takes in what was said to a frame: the outcomes, by their places.
    fn hear(
        &mut self,
        shard: u16,
        asked: &[(usize, &Request)],
        heard: Option<Heard>,
    ) -> Vec<(usize, Outcome)> {
        let Some((replies, leader)) = heard else {
            self.doubt(shard, None);
            return Vec::new();
        };
        let mut known = Vec::new();
        let mut is_led = true;
        for ((place, request), reply) in asked.iter().zip(replies) {
            match reply {
                Reply::Answer(answer) => {
                    self.oracle.heard(request, answer.outcome, answer.replayed);
                    if let Ok(posted) = answer.outcome
                        && is_ahead(&self.cluster, posted.at)
                    {
                        self.oracle.accuses(format!("A7: {posted:?}, and no clock is there yet"));
                    }
                    let outcome = if answer.outcome.is_ok() { "posted" } else { "rejected" };
                    let (key, replayed) = (request.key.to_u128(), answer.replayed);
                    let (trace, number) = (&self.cluster.plan.trace, self.number);
                    trace.note(format_args!(
                        "client {number}: {key:032x} {outcome} (replayed: {replayed})"
                    ));
                    known.push((*place, answer.outcome));
                }
                Reply::Failure(failure) => is_led &= self.takes_patience(failure),
            }
        }
        if !is_led {
            self.doubt(shard, leader);
        }
        known
    }

    /// What a failure means: nobody knows, or it was not proposed; in any case it is to be asked again. Says whether the
    /// same node may be asked.
    fn takes_patience(&self, failure: Failure) -> bool {
        match failure {
            Failure::NoLeader | Failure::Draining => false,
            Failure::DiskFull => {
                self.oracle.heard_full();
                true
            }
            Failure::Overloaded
            | Failure::DeadlinePassed
            | Failure::OutcomeUnknown
            | Failure::PeerBehind => true,
            Failure::KeyFromFuture
            | Failure::Diverged
            | Failure::InvalidRecord
            | Failure::RateLimited
            | Failure::TablesStale
            | Failure::LevelTooLow => {
                self.oracle.accuses(format!("a client was told {failure:?}"));
                true
            }
        }
    }

    /// Somebody else leads: whoever was named, or anybody.
    fn doubt(&mut self, shard: u16, named: Option<Leader>) {
        let anybody = self.chance.pick(&self.cluster.ids()).unwrap_or(1);
        self.believes.insert(shard, named.map_or(anybody, |leader| leader.node_id));
    }

    /// Sends a frame. `None`: no answer came.
    async fn attempt(&self, shard: u16, node: u64, requests: Vec<&Request>) -> Option<Heard> {
        let mut records = Vec::new();
        for request in &requests {
            put_record(request, &mut records).expect("a client's records are short");
        }
        let frame = Frame {
            id: 1,
            shard: shard.into(),
            timeout_ms: PATIENCE_MS,
            count: u32::try_from(requests.len()).unwrap_or(u32::MAX),
            records: Bytes::from(records),
            traceparents: Vec::new(),
        };
        let answer = self.exchange(frame, (node, shard)).await?;
        let replies = wire::reply::decode(&answer.answers, requests.len()).ok()?;
        Some((replies.collect::<Result<_, _>>().ok()?, answer.leader))
    }

    async fn exchange(&self, frame: Frame, (node, shard): (u64, u16)) -> Option<FrameAnswer> {
        let stream = SessionId(self.streams.fetch_add(1, Ordering::Relaxed));
        let door = self.cluster.door(node, shard)?;
        let (out, mut answers) = mpsc::channel(1);
        let (there, back) = self.ways(node);
        let asking = async {
            simulated::sleep(there?).await;
            door.send(Ask::Begin(stream, out)).await.ok()?;
            door.send(Ask::Frame(stream, frame)).await.ok()?;
            let answer = answers.recv().await?;
            simulated::sleep(back?).await;
            Some(answer)
        };
        let answer = simulated::timeout(Duration::from_millis(PATIENCE_MS.into()), asking).await;
        // A door that is gone has no streams any more.
        let _gone = door.try_send(Ask::End(stream));
        answer.flatten()
    }

    /// How long a question takes to a node, and its answer back.
    fn ways(&self, node: u64) -> (Option<Duration>, Option<Duration>) {
        let sky = &self.cluster.sky;
        let there = sky.passage(NOBODY, node).copies.first().copied();
        (there, sky.passage(node, NOBODY).copies.first().copied())
    }

    /// Reads from whoever leads, as far as it can find out. `None`: nobody answered for the ledger.
    pub(crate) async fn read(&mut self, shard: u16, question: Question) -> Option<ReadReply> {
        for _ in 0..READS_MAX {
            let node = self.believed(shard);
            if let Some(reply) = self.read_once((node, shard), question.clone()).await {
                return Some(reply);
            }
            self.doubt(shard, None);
            let pause = self.chance.time(10, 200);
            simulated::sleep(pause).await;
        }
        None
    }

    async fn read_once(&self, (node, shard): (u64, u16), question: Question) -> Option<ReadReply> {
        let host = self.cluster.host(node)?;
        let replica = host.node.replica(shard)?;
        let (there, back) = self.ways(node);
        let request = ReadRequest {
            shard: shard.into(),
            stale_ok: false,
            timeout_ms: PATIENCE_MS,
            question: Some(question),
        };
        let reading = host.life.live(async move {
            simulated::sleep(there?).await;
            let reply = shard::answer_read((node, None), &replica, request).await.ok()?;
            simulated::sleep(back?).await;
            Some(reply)
        });
        let patience = Duration::from_millis(PATIENCE_MS.into());
        simulated::timeout(patience, reading).await.flatten()
    }
}
