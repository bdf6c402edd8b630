//! The desk's shell: an actix actor that hears of frames, landings, leadership and time, and does what the desk says.
//!
//! All actors of a node's shards run on one thread, beside the node's gRPC server: a frame crosses no thread between the
//! socket and the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message,
    ResponseFuture, WrapFuture,
};
use bytes::Bytes;
use consensus::failpoint::{Moment, Traffic};
use consensus::{Applied, Leadership, Mail, ProposeError, Refused, Replica};
use futures::FutureExt;
use hashbrown::HashMap;
use ledger::batch::Batch;
use ledger::{Decided, Ledger, Shards, Time};
use tokio::sync::{mpsc, oneshot};
use wire::Failure;
use wire::proto::cluster::{Frame, FrameAnswer, Leader};

use crate::account::{AccountActor, Admit, Enqueue, Room};
use crate::desk::{Desk, Effect, FrameIn, SessionId, refuse};
use crate::letter::{self, Letter, LetterAnswer};
use crate::mail::Carrier;
use crate::meter::{Meter, Passage};
use crate::proposer::Entry;
use crate::run::LetterNo;
use crate::tally::Tally;
use crate::trace::Traces;

/// How often deadlines and timers are looked at. A late look delays a notice, never a decision.
const TICK: Duration = Duration::from_millis(20);

/// Messages that may wait for the shard: frames of all its gateways' streams, each of which has a bound of its own.
const MAILBOX_MAX: usize = 16_384;

/// Letters that may be read at once: one from each peer, and some from leaders that are none any more.
const LETTERS_MAX: usize = 256;

/// Where the other nodes' doors are, as the cluster changes.
pub type Addresses = consensus::AddressBook;

/// What the shards of a node share.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the other nodes' doors are.
    pub addresses: Addresses,
    /// Where letters to other shards go.
    pub mail: Mail,
    /// The node's shards.
    pub shards: crate::service::Shards,
}

/// One shard on this node.
pub struct Shard {
    replica: Arc<Replica>,
    place: (Shards, u16),
    addresses: Addresses,
    carrier: Carrier,
    started: Instant,
    leadership: Leadership,
    reigns: u64,
    desk: Option<Desk>,
    sessions: HashMap<SessionId, mpsc::Sender<FrameAnswer>>,
    accounts: HashMap<u128, Addr<AccountActor>>,
    /// Letters that are being read: from which shard, and who wants to know.
    letters: HashMap<LetterNo, (u16, oneshot::Sender<LetterAnswer>)>,
    letters_read: u64,
    ticking: bool,
    draining: bool,
    meter: Meter,
    traces: Traces,
    /// The entry that is landing, while its answers are handed out.
    passage: Option<Passage>,
}

impl Shard {
    /// Starts a shard's actor on the current arbiter.
    ///
    /// # Panics
    /// Outside an actix system.
    #[must_use]
    pub fn start(
        replica: Arc<Replica>,
        place: (Shards, u16),
        around: &Surroundings,
        meter: Meter,
    ) -> Addr<Self> {
        let leadership = *replica.leadership().borrow();
        let shard = Self {
            replica,
            place,
            addresses: around.addresses.clone(),
            carrier: Carrier::new(around.mail.clone(), around.shards.clone()),
            started: Instant::now(),
            leadership,
            reigns: 0,
            desk: None,
            sessions: HashMap::new(),
            accounts: HashMap::new(),
            letters: HashMap::new(),
            letters_read: 0,
            ticking: false,
            draining: false,
            meter,
            traces: Traces::default(),
            passage: None,
        };
        Actor::start(shard)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn log_now(&self) -> Time {
        self.replica.clock().now()
    }

    /// A reign begins or ends.
    fn led_by(&mut self, leadership: Leadership, context: &mut Context<Self>) {
        let same_reign = leadership.leads && self.leadership.term == leadership.term;
        self.leadership = leadership;
        if self.desk.is_some() && !same_reign {
            self.end_reign(Failure::NoLeader, context);
        }
        if self.leadership.leads && self.desk.is_none() {
            self.reigns = self.reigns.saturating_add(1);
            let mut desk = Desk::open(self.reigns, self.place.0, self.place.1);
            let effects = desk.begin(self.replica.with_ledger(Ledger::unread));
            self.desk = Some(desk);
            tracing::info!(shard = self.place.1, term = self.leadership.term, "leads the shard");
            self.perform(effects, context);
        }
    }

    fn end_reign(&mut self, never_proposed: Failure, context: &mut Context<Self>) {
        self.accounts.clear();
        // Whoever wrote them hears that they have to be written again.
        self.letters.clear();
        if let Some(mut desk) = self.desk.take() {
            let effects = desk.close(never_proposed);
            self.meter.take(&desk.tally());
            self.perform(effects, context);
        }
        self.meter.depth().wait(0);
    }

    /// Hands on what the desk has counted.
    fn count(&mut self) {
        let Some(desk) = self.desk.as_mut() else { return };
        self.meter.take(&desk.tally());
        self.meter.depth().wait(desk.waiting());
    }

    fn perform(&mut self, effects: Vec<Effect>, context: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Answer { session, id, replies, names_leader } => {
                    self.answer((session, id), replies, names_leader);
                }
                Effect::Propose(entry) => self.propose(entry, context),
                Effect::Wait { account, orders } => {
                    let reign = self.reigns;
                    let shard = context.address();
                    let actor = self
                        .accounts
                        .entry(account)
                        .or_insert_with(|| AccountActor::new(account, shard, reign).start());
                    actor.do_send(Enqueue(orders));
                }
                Effect::Room { account, orders, last } => {
                    if let Some(actor) = self.accounts.get(&account) {
                        actor.do_send(Room { orders, last });
                    }
                    if last {
                        self.accounts.remove(&account);
                    }
                }
                Effect::Carry { peer, after } => self.carry((peer, after), context),
                Effect::Delivered { letter, result } => self.delivered(letter, result),
            }
        }
    }

    fn answer(&mut self, (session, id): (SessionId, u64), replies: Vec<u8>, names_leader: bool) {
        if !self.traces.is_empty() {
            let passage =
                self.passage.map(|passage| Passage { replied: Instant::now(), ..passage });
            self.traces.end((session, id), self.place.1, passage.as_ref());
        }
        let leader = names_leader.then(|| self.leader()).flatten();
        let answer = FrameAnswer { id, answers: Bytes::from(replies), leader };
        // A stream takes no more frames than its channel has room for answers, so only a stream that has ended refuses.
        let ended = self.sessions.get(&session).is_none_or(|out| out.try_send(answer).is_err());
        if ended {
            self.sessions.remove(&session);
        }
    }

    fn leader(&self) -> Option<Leader> {
        let node_id = self.leadership.leader?;
        let address = self.addresses.get(node_id)?;
        Some(Leader { node_id, address })
    }

    fn propose(&mut self, entry: Entry, context: &mut Context<Self>) {
        let sealed = Instant::now();
        self.meter.proposed(entry.count);
        let replica = Arc::clone(&self.replica);
        let bytes = entry.bytes.clone();
        let proposal = async move { replica.propose(bytes).await };
        let landing = proposal.into_actor(self).map(move |result, shard, context| {
            if result.is_ok() {
                Traffic::of_batch(&entry.bytes).reaches(Moment::Applied);
            }
            let arrived = entry.arrived.unwrap_or(sealed);
            let kinds = entry.kinds();
            let result = result.map_err(|error| failure(&error));
            shard.passage = result.as_ref().ok().map(|applied: &Applied| Passage {
                arrived,
                sealed,
                stages: applied.stages,
                replied: Instant::now(),
            });
            let decided = result.as_ref().map(|applied| &applied.decided);
            shard.landed(entry, decided.map_err(|failure| *failure), context);
            shard.count();
            if let Some(passage) = shard.passage.take() {
                shard.meter.passed(&Passage { replied: Instant::now(), ..passage }, &kinds);
            }
        });
        context.spawn(landing);
    }

    /// Writes to a peer what it has not applied, and sends the letter on its way.
    fn carry(&mut self, (peer, after): (u16, u64), context: &mut Context<Self>) {
        let letter = self.replica.with_ledger(|ledger| letter::write(ledger, peer, after));
        let Some(letter) = letter else {
            if let Some(desk) = self.desk.as_mut() {
                desk.wrote_nothing(peer);
            }
            return;
        };
        let traffic = letter::traffic(&letter);
        traffic.reaches(Moment::Written);
        let (carrier, reign) = (self.carrier.clone(), self.reigns);
        let trip = async move { carrier.carry(peer, letter).await };
        let arrival = trip.into_actor(self).map(move |applied, shard, context| {
            if applied.is_some() {
                traffic.reaches(Moment::Heard);
            }
            shard.carried((peer, applied), reign, context);
        });
        context.spawn(arrival);
    }

    fn carried(
        &mut self,
        (peer, applied): (u16, Option<u64>),
        reign: u64,
        context: &mut Context<Self>,
    ) {
        let now_ms = self.now_ms();
        let Some(desk) = self.desk.as_mut().filter(|desk| desk.reign() == reign) else { return };
        let effects = match applied {
            Some(applied) => desk.carried(peer, applied),
            None => {
                desk.not_carried(peer, now_ms);
                return;
            }
        };
        self.perform(effects, context);
    }

    /// Tells a letter's writer what became of it.
    fn delivered(&mut self, letter: LetterNo, result: Result<(), Failure>) {
        let Some((from, writer)) = self.letters.remove(&letter) else { return };
        let answer = match result {
            Ok(()) => LetterAnswer::Read(self.replica.with_ledger(|ledger| ledger.inbox(from))),
            Err(Failure::NoLeader) => LetterAnswer::NotLeader(self.leadership.leader),
            Err(_) => LetterAnswer::Again,
        };
        // A writer that is gone asks again.
        let _gone = writer.send(answer);
    }

    fn landed(
        &mut self,
        entry: Entry,
        result: Result<&Decided, Failure>,
        context: &mut Context<Self>,
    ) {
        let now = self.log_now();
        let Some(desk) = self.desk.as_mut().filter(|desk| desk.reign() == entry.reign) else {
            // Another reign's: whoever waited has been told that the outcome is unknown.
            return;
        };
        let effects = desk.landed(entry, result, now);
        self.perform(effects, context);
    }

    fn refuse(&mut self, frame: &FrameIn, failure: Failure) -> Effect {
        let count = usize::try_from(frame.count).unwrap_or(usize::MAX);
        let mut tally = Tally::default();
        tally.count_failed(failure, count.min(wire::limits::FRAME_REQUESTS_MAX));
        self.meter.take(&tally);
        refuse(frame, failure)
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let (now_ms, now) = (self.now_ms(), self.log_now());
        let Some(desk) = self.desk.as_mut() else { return };
        let effects = desk.tick(now_ms, now);
        let idle = desk.is_idle();
        self.count();
        self.perform(effects, context);
        if idle && !self.ticking && !self.draining {
            self.let_time_pass(now, context);
        }
    }

    /// Proposes an empty batch when something has fallen due and no request carries the time into the log.
    fn let_time_pass(&mut self, now: Time, context: &mut Context<Self>) {
        let is_due =
            self.replica.with_ledger(|ledger| ledger.next_timer()).is_some_and(|due| due <= now);
        if !is_due {
            return;
        }
        self.ticking = true;
        let replica = Arc::clone(&self.replica);
        let empty = Bytes::copy_from_slice(&Batch::head(now, 0));
        let proposal = async move { replica.propose(empty).await };
        let landing = proposal.into_actor(self).map(|result, shard, _| {
            shard.ticking = false;
            if let Err(error) = result {
                tracing::debug!(%error, "a timer's batch was not applied; the next tick tries again");
            }
        });
        context.spawn(landing);
    }
}

/// Why a proposal brought no outcome, in the words of the wire.
fn failure(error: &ProposeError) -> Failure {
    match error {
        ProposeError::NotProposed { why, .. } => match why {
            Refused::NotLeader | Refused::LeaderChanging => Failure::NoLeader,
            Refused::DiskFull => Failure::DiskFull,
            Refused::Diverged => Failure::Diverged,
            Refused::TooLarge => Failure::InvalidRecord,
        },
        ProposeError::Unknown => Failure::OutcomeUnknown,
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MAX);
        let mut leadership = self.replica.leadership();
        let address = context.address();
        actix::spawn(async move {
            loop {
                let now = *leadership.borrow_and_update();
                if address.send(Led(now)).await.is_err() {
                    break;
                }
                if leadership.changed().await.is_err() {
                    // The replica has ended: with its node, or because the node keeps it no more.
                    address.do_send(Ended);
                    break;
                }
            }
        });
        context.run_interval(TICK, Self::tick);
    }
}

/// The leadership has changed.
#[derive(Message)]
#[rtype(result = "()")]
struct Led(Leadership);

impl Handler<Led> for Shard {
    type Result = ();

    fn handle(&mut self, Led(leadership): Led, context: &mut Self::Context) {
        self.led_by(leadership, context);
    }
}

/// There is no replica any more.
#[derive(Message)]
#[rtype(result = "()")]
struct Ended;

impl Handler<Ended> for Shard {
    type Result = ();

    fn handle(&mut self, _: Ended, context: &mut Self::Context) {
        self.end_reign(Failure::NoLeader, context);
        context.stop();
    }
}

/// A gateway's stream has begun; answers go to `out`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Begin {
    pub(crate) session: SessionId,
    pub(crate) out: mpsc::Sender<FrameAnswer>,
}

impl Handler<Begin> for Shard {
    type Result = ();

    fn handle(&mut self, Begin { session, out }: Begin, _: &mut Self::Context) {
        self.sessions.insert(session, out);
    }
}

/// A gateway's stream has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct End(pub(crate) SessionId);

impl Handler<End> for Shard {
    type Result = ();

    fn handle(&mut self, End(session): End, _: &mut Self::Context) {
        self.sessions.remove(&session);
    }
}

/// A frame has come: one message, however many requests.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Execute {
    pub(crate) session: SessionId,
    pub(crate) frame: Frame,
}

impl Handler<Execute> for Shard {
    type Result = ();

    fn handle(&mut self, Execute { session, frame }: Execute, context: &mut Self::Context) {
        self.meter.depth().leave();
        if !frame.traceparents.is_empty() {
            self.traces.begin((session, frame.id), frame.count, frame.traceparents);
        }
        let (now_ms, now) = (self.now_ms(), self.log_now());
        let frame = FrameIn {
            session,
            id: frame.id,
            count: frame.count,
            records: frame.records,
            deadline_ms: now_ms.saturating_add(u64::from(frame.timeout_ms)),
            arrived: Instant::now(),
        };
        let effects = match self.desk.as_mut() {
            _ if self.draining => vec![self.refuse(&frame, Failure::Draining)],
            Some(desk) => {
                Traffic::of(&frame.records).reaches(Moment::Taken);
                self.replica.with_ledger(|ledger| desk.take(&frame, now, ledger))
            }
            None => vec![self.refuse(&frame, Failure::NoLeader)],
        };
        self.count();
        self.perform(effects, context);
    }
}

/// A letter has come from another shard.
#[derive(Message)]
#[rtype(result = "LetterAnswer")]
pub(crate) struct Deliver(pub(crate) Bytes);

impl Handler<Deliver> for Shard {
    type Result = ResponseFuture<LetterAnswer>;

    fn handle(&mut self, Deliver(bytes): Deliver, context: &mut Self::Context) -> Self::Result {
        let now = self.log_now();
        let leader = self.leadership.leader;
        let Some(desk) = self.desk.as_mut() else {
            return Box::pin(std::future::ready(LetterAnswer::NotLeader(leader)));
        };
        let letter = Letter::read(&bytes, self.place);
        let Some(letter) = letter.filter(|_| self.letters.len() < LETTERS_MAX) else {
            tracing::warn!(shard = self.place.1, "a letter that cannot be read, or one too many");
            return Box::pin(std::future::ready(LetterAnswer::Again));
        };
        let traffic = Traffic::of(&letter.records);
        traffic.reaches(Moment::Taken);
        self.letters_read = self.letters_read.wrapping_add(1);
        let number = LetterNo(self.letters_read);
        let (writer, answer) = oneshot::channel();
        self.letters.insert(number, (letter.from, writer));
        let effects = desk.deliver(number, letter, now);
        self.perform(effects, context);
        Box::pin(answer.map(move |answer| {
            if answer.is_ok() {
                traffic.reaches(Moment::Told);
            }
            answer.unwrap_or(LetterAnswer::NotLeader(None))
        }))
    }
}

impl Handler<Admit> for Shard {
    type Result = ();

    fn handle(&mut self, Admit { reign, orders }: Admit, context: &mut Self::Context) {
        let now = self.log_now();
        let Some(desk) = self.desk.as_mut().filter(|desk| desk.reign() == reign) else { return };
        let effects = desk.admit(orders, now);
        self.count();
        self.perform(effects, context);
    }
}

/// The node is being shut down: nothing new is taken.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

impl Handler<Drain> for Shard {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}
