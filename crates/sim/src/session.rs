//! A client's way to the shards, and the same again until there is an outcome: calls to gateways, or frames straight to
//! whoever it believes to lead.
//!
//! A call to a gateway has a deadline of its own, and the next may go to another gateway with the same keys, while the first
//! still has them on their way. Of what was certainly not done each time, a client may let go for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use consensus::simulated::Weather;
use futures::future::join_all;
use ledger::batch::put_record;
use ledger::{Outcome, Request, Slot};
use runtime::simulated;
use shard::SessionId;
use tokio::sync::mpsc;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::{Frame, FrameAnswer, Leader, ReadReply, ReadRequest};
use wire::{Failure, Reply};

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::driver::Ask;
use crate::gateways::Gateways;
use crate::invariants::is_ahead;
use crate::oracle::Oracle;

/// How long a client waits for an answer before it asks again.
const PATIENCE_MS: u32 = 2_500;

/// The least time that a client gives a gateway, in milliseconds; the most is its patience.
const WITHIN_MS_MIN: u64 = 60;

/// How long after a gateway's deadline its answer may still come.
const GRACE: Duration = Duration::from_millis(100);

/// Of a thousand clients of a run with gateways, so many go to the nodes themselves.
const DIRECT: u64 = 250;

/// Of a thousand requests that were certainly not done, so many are given up.
const GIVES_UP: u64 = 300;

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
    gateways: Gateways,
    /// The gateways that it goes through; with none it goes to the nodes itself.
    through: Vec<u64>,
    /// Whether it ever lets go of what was certainly not done.
    gives_up: bool,
    /// Numbers that no other stream of the run has.
    streams: Arc<AtomicU64>,
    /// Whom it last heard from, or of, for each shard.
    believes: BTreeMap<u16, u64>,
}

/// What came of a frame: a reply to each record, and who leads if not the one who was asked.
type Heard = (Vec<Reply>, Option<Leader>);

/// What an attempt has said of a request.
enum Word {
    /// Its outcome.
    Outcome(Outcome),
    /// It was certainly not done.
    NotDone,
    /// It may have been done.
    Perhaps,
}

/// A request, and what is known of it.
struct Asked {
    request: Request,
    outcome: Option<Outcome>,
    /// Some attempt may have done it.
    perhaps: bool,
    is_given_up: bool,
}

impl Asked {
    const fn is_open(&self) -> bool {
        self.outcome.is_none() && !self.is_given_up
    }
}

impl Session {
    /// A client with a number of its own, in a run with these gateways. All clients of a run share `streams`.
    pub(crate) fn new(
        (seed, number): (u64, u64),
        (cluster, gateways, oracle): (Cluster, Gateways, Oracle),
        streams: Arc<AtomicU64>,
        through: &[u64],
    ) -> Self {
        let chance = Chance::of(seed, &format!("client {number}"));
        let is_direct = Chance::of(seed, &format!("way of client {number}")).happens(DIRECT);
        let gives_up = !through.is_empty();
        let through = if is_direct { Vec::new() } else { through.to_vec() };
        let believes = BTreeMap::new();
        Self { number, cluster, oracle, chance, gateways, through, gives_up, streams, believes }
    }

    /// Asks until there is an outcome.
    pub(crate) async fn ask(&mut self, request: Request) -> Outcome {
        let outcomes = self.ask_all(vec![request]).await;
        outcomes.into_iter().next().expect("an outcome for each request")
    }

    /// Asks until there is an outcome of each.
    pub(crate) async fn ask_all(&mut self, requests: Vec<Request>) -> Vec<Outcome> {
        let asked = self.ask_until_heard(requests, false).await;
        asked.into_iter().filter_map(|asked| asked.outcome).collect()
    }

    /// Asks until there is an outcome of each, or it is given up: nobody else may ask for it.
    pub(crate) async fn ask_or_give_up(&mut self, requests: Vec<Request>) {
        let gives_up = self.gives_up;
        let _remembered = self.ask_until_heard(requests, gives_up).await;
    }

    async fn ask_until_heard(&mut self, requests: Vec<Request>, may_give_up: bool) -> Vec<Asked> {
        requests.iter().for_each(|request| self.oracle.asks(request));
        let begin = |request| Asked { request, outcome: None, perhaps: false, is_given_up: false };
        let mut asked: Vec<Asked> = requests.into_iter().map(begin).collect();
        loop {
            let places = asked.iter().enumerate().filter(|(_, asked)| asked.is_open());
            let open: Vec<(usize, &Request)> =
                places.map(|(place, asked)| (place, &asked.request)).collect();
            if open.is_empty() {
                return asked;
            }
            let words = if self.through.is_empty() {
                self.ask_nodes(&open).await
            } else {
                self.ask_gateway(&open).await
            };
            for (place, word) in words {
                let Some(asked) = asked.get_mut(place) else { continue };
                match word {
                    Word::Outcome(outcome) => asked.outcome = Some(outcome),
                    Word::Perhaps => asked.perhaps = true,
                    Word::NotDone if may_give_up && !asked.perhaps => {
                        asked.is_given_up = self.chance.happens(GIVES_UP);
                    }
                    Word::NotDone => {}
                }
                if asked.is_given_up {
                    self.oracle.gives_up(&asked.request);
                }
            }
            if asked.iter().any(Asked::is_open) {
                let pause = self.chance.time(10, 200);
                simulated::sleep(pause).await;
            }
        }
    }

    /// Hands everything to one of its gateways, and waits for as long as it likes.
    async fn ask_gateway(&mut self, open: &[(usize, &Request)]) -> Vec<(usize, Word)> {
        let id = self.chance.pick(&self.through).unwrap_or(0);
        let within = self.chance.time(WITHIN_MS_MIN, PATIENCE_MS.into());
        let (there, back) = self.ways(id);
        let requests = open.iter().map(|(_, request)| (*request).clone()).collect();
        let gateways = &self.gateways;
        let asking = async {
            simulated::sleep(there?).await;
            let replies = gateways.send(id, requests, within).await?;
            simulated::sleep(back?).await;
            Some(replies)
        };
        let replies = simulated::timeout(within.saturating_add(GRACE), asking).await.flatten();
        let mut replies = replies.into_iter().flatten();
        let word = |(place, request): &(usize, &Request)| {
            let word = replies.next().map_or(Word::Perhaps, |reply| self.hear(request, reply));
            (*place, word)
        };
        open.iter().map(word).collect()
    }

    /// Sends the requests of each shard in one frame to the node that it believes to lead.
    async fn ask_nodes(&mut self, open: &[(usize, &Request)]) -> Vec<(usize, Word)> {
        let mut frames: BTreeMap<u16, Vec<(usize, &Request)>> = BTreeMap::new();
        for asked in open {
            frames.entry(self.shard_of(asked.1)).or_default().push(*asked);
        }
        let attempts = frames.iter().map(|(shard, asked)| {
            let records = asked.iter().map(|(_, request)| *request);
            self.attempt(*shard, self.believed(*shard), records.collect())
        });
        let heard = join_all(attempts).await;
        let mut words = Vec::new();
        for ((shard, asked), heard) in frames.iter().zip(heard) {
            words.extend(self.hear_all(*shard, asked, heard));
        }
        words
    }

    fn shard_of(&self, request: &Request) -> u16 {
        self.cluster.plan.shards.shard(Slot::of(request.command.subject()))
    }

    fn believed(&self, shard: u16) -> u64 {
        self.believes.get(&shard).copied().unwrap_or(1)
    }

    /// Takes in what was said to a frame, by the requests' places.
    fn hear_all(
        &mut self,
        shard: u16,
        asked: &[(usize, &Request)],
        heard: Option<Heard>,
    ) -> Vec<(usize, Word)> {
        let Some((replies, leader)) = heard else {
            self.doubt(shard, None);
            return asked.iter().map(|(place, _)| (*place, Word::Perhaps)).collect();
        };
        let is_elsewhere =
            |reply: &Reply| matches!(reply, Reply::Failure(Failure::NoLeader | Failure::Draining));
        let is_led = !replies.iter().any(is_elsewhere);
        let words = asked.iter().zip(replies);
        let words =
            words.map(|((place, request), reply)| (*place, self.hear(request, reply))).collect();
        if !is_led {
            self.doubt(shard, leader);
        }
        words
    }

    /// Takes in what was said of a request.
    fn hear(&self, request: &Request, reply: Reply) -> Word {
        let (key, number) = (request.key.to_u128(), self.number);
        let trace = &self.cluster.plan.trace;
        let answer = match reply {
            Reply::Answer(answer) => answer,
            Reply::Failure(failure) => {
                if !self.through.is_empty() {
                    trace.note(format_args!("client {number}: {key:032x} {}", failure.code()));
                }
                self.take(failure);
                return if failure.is_unknown() { Word::Perhaps } else { Word::NotDone };
            }
        };
        self.oracle.heard(request, answer.outcome, answer.replayed);
        if let Ok(posted) = answer.outcome
            && is_ahead(&self.cluster, posted.at)
        {
            self.oracle.accuses(format!("A7: {posted:?}, and no clock is there yet"));
        }
        let (outcome, replayed) =
            (if answer.outcome.is_ok() { "posted" } else { "rejected" }, answer.replayed);
        trace.note(format_args!("client {number}: {key:032x} {outcome} (replayed: {replayed})"));
        Word::Outcome(answer.outcome)
    }

    /// A failure is to be borne, unless nothing that was done to the cluster explains it.
    fn take(&self, failure: Failure) {
        match failure {
            Failure::DiskFull => self.oracle.heard_full(),
            Failure::NoLeader
            | Failure::Draining
            | Failure::Overloaded
            | Failure::DeadlinePassed
            | Failure::OutcomeUnknown
            | Failure::PeerBehind => {}
            Failure::KeyFromFuture
            | Failure::Diverged
            | Failure::InvalidRecord
            | Failure::RateLimited
            | Failure::TablesStale
            | Failure::LevelTooLow => {
                self.oracle.accuses(format!("a client was told {failure:?}"));
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

    /// How long a question takes to a node or a gateway, and its answer back.
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
