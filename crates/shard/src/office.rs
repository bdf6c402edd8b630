//! A shard on its node, as a plain value: it opens a desk for each reign, and says what its shell is to do.
//!
//! The office is told of frames, letters, landings, leadership and time. What takes time it hands out as *work*, a future
//! whose end it wants to hear ([`Office::done`]); what waits for a contended account it hands out to be kept. In production
//! the shell is an actix actor (`actor.rs`), in simulations a loop.
//!
//! Invariants:
//! - Nothing here holds truth (A3): an office may be dropped at any moment.
//! - Time is the replica's: nothing here decides by another clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use consensus::failpoint::{Moment, Traffic};
use consensus::{Applied, Leadership, ProposeError, Refused, Replica};
use futures::FutureExt;
use futures::future::BoxFuture;
use ledger::batch::Batch;
use ledger::{Decided, Ledger, PeerSet, Plant, Shards, Time};
use tokio::sync::{mpsc, oneshot};
use wire::Failure;
use wire::proto::cluster::{Frame, FrameAnswer, Leader};

use crate::desk::{Desk, Effect, FrameIn, SessionId, refuse};
use crate::letter::{self, Letter, LetterAnswer};
use crate::mail::Carrier;
use crate::meter::{Meter, Passage};
use crate::places::Order;
use crate::proposer::Entry;
use crate::run::LetterNo;
use crate::tally::Tally;
use crate::trace::Traces;

/// Letters that may be read at once: one from each peer, and some from leaders that are none any more.
const LETTERS_MAX: usize = 256;

/// What the office wants done.
pub enum Deed {
    /// Work on this, and tell the office how it ended ([`Office::done`]). Works begin in the order of these deeds.
    Work(BoxFuture<'static, Done>),
    /// Keep orders of a contended account.
    Wait {
        /// Which account.
        account: u128,
        /// What waits.
        orders: Vec<Order>,
        /// In which reign.
        reign: u64,
    },
    /// Hand in some of the account's orders ([`Office::admit`]), the oldest.
    Room {
        /// Which account.
        account: u128,
        /// How many.
        orders: u32,
        /// Whether nothing waits behind them.
        last: bool,
    },
    /// Let go of all that waits.
    Forget,
}

impl std::fmt::Debug for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Work(_) => "Work",
            Self::Wait { .. } => "Wait",
            Self::Room { .. } => "Room",
            Self::Forget => "Forget",
        })
    }
}

/// How a work ended.
#[derive(Debug)]
pub struct Done(End);

#[derive(Debug)]
enum End {
    Landed { entry: Box<Entry>, sealed: Instant, result: Result<Applied, ProposeError> },
    Carried { peer: u16, applied: Option<u64>, reign: u64 },
    TimePassed { reign: u64, result: Result<Applied, ProposeError> },
}

/// A node's ways out: how leaders are called, and how letters go.
#[derive(Clone, Debug)]
pub struct Ways {
    /// Where the other nodes' doors are.
    pub addresses: consensus::AddressBook,
    /// How letters to other shards go.
    pub carrier: Carrier,
}

/// One shard on this node.
pub struct Office {
    replica: Arc<Replica>,
    place: (Shards, u16),
    ways: Ways,
    leadership: Leadership,
    reigns: u64,
    desk: Option<Desk>,
    /// In an order: when the office ends, whoever waits on one of them hears it in that order.
    sessions: BTreeMap<SessionId, mpsc::Sender<FrameAnswer>>,
    /// Letters that are being read: from which shard, and who wants to know.
    letters: BTreeMap<LetterNo, (u16, oneshot::Sender<LetterAnswer>)>,
    letters_read: u64,
    ticking: bool,
    draining: bool,
    meter: Meter,
    traces: Traces,
    /// The entry that is landing, while its answers are handed out.
    passage: Option<Passage>,
    deeds: Vec<Deed>,
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office").field("shard", &self.place.1).finish_non_exhaustive()
    }
}

impl Office {
    /// An office for a replica, which has not been told who leads.
    #[must_use]
    pub fn new(replica: Arc<Replica>, place: (Shards, u16), ways: Ways, meter: Meter) -> Self {
        Self {
            replica,
            place,
            ways,
            leadership: Leadership::default(),
            reigns: 0,
            desk: None,
            sessions: BTreeMap::new(),
            letters: BTreeMap::new(),
            letters_read: 0,
            ticking: false,
            draining: false,
            meter,
            traces: Traces::default(),
            passage: None,
            deeds: Vec::new(),
        }
    }

    /// A reign begins or ends.
    pub fn led_by(&mut self, leadership: Leadership) -> Vec<Deed> {
        let same_reign = leadership.leads && self.leadership.term == leadership.term;
        self.leadership = leadership;
        if self.desk.is_some() && !same_reign {
            self.end_reign();
        }
        if self.leadership.leads && self.desk.is_none() {
            self.reigns = self.reigns.saturating_add(1);
            let mut desk = Desk::open(self.reigns, self.place.0, self.place.1);
            let effects = desk.begin(self.unread());
            self.desk = Some(desk);
            tracing::info!(shard = self.place.1, term = self.leadership.term, "leads the shard");
            self.perform(effects);
        }
        self.take_deeds()
    }

    /// The peers that have not read everything that was written to them.
    fn unread(&self) -> PeerSet {
        if Plant::ForgetUnread.is_on() {
            return PeerSet::default();
        }
        self.replica.with_ledger(Ledger::unread)
    }

    /// There is no replica any more.
    pub fn end(&mut self) -> Vec<Deed> {
        self.end_reign();
        self.take_deeds()
    }

    /// Takes nothing new any more.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// A gateway's stream has begun; answers go to `out`, which must have room for as many as it has frames under way.
    pub fn begin_session(&mut self, session: SessionId, out: mpsc::Sender<FrameAnswer>) {
        self.sessions.insert(session, out);
    }

    /// A gateway's stream has ended.
    pub fn end_session(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// A frame has come.
    pub fn execute(&mut self, session: SessionId, frame: Frame) -> Vec<Deed> {
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
        self.perform(effects);
        self.take_deeds()
    }

    /// A letter has come from another shard. The answer is as it travels.
    pub fn deliver(&mut self, bytes: &Bytes) -> (Vec<Deed>, BoxFuture<'static, Bytes>) {
        let now = self.log_now();
        let leader = self.leadership.leader;
        let at_once = |answer: LetterAnswer| std::future::ready(answer.write()).boxed();
        let Some(desk) = self.desk.as_mut() else {
            return (Vec::new(), at_once(LetterAnswer::NotLeader(leader)));
        };
        let letter = Letter::read(bytes, self.place);
        let Some(letter) = letter.filter(|_| self.letters.len() < LETTERS_MAX) else {
            tracing::warn!(shard = self.place.1, "a letter that cannot be read, or one too many");
            return (Vec::new(), at_once(LetterAnswer::Again));
        };
        let traffic = Traffic::of(&letter.records);
        traffic.reaches(Moment::Taken);
        self.letters_read = self.letters_read.wrapping_add(1);
        let number = LetterNo(self.letters_read);
        let (writer, answer) = oneshot::channel();
        self.letters.insert(number, (letter.from, writer));
        let effects = desk.deliver(number, letter, now);
        self.perform(effects);
        let answer = answer.map(move |answer| {
            if answer.is_ok() {
                traffic.reaches(Moment::Told);
            }
            answer.unwrap_or(LetterAnswer::NotLeader(None)).write()
        });
        (self.take_deeds(), answer.boxed())
    }

    /// Orders that have waited, in the reign in which they began to.
    pub fn admit(&mut self, reign: u64, orders: Vec<Order>) -> Vec<Deed> {
        let now = self.log_now();
        if let Some(desk) = self.desk.as_mut().filter(|desk| desk.reign() == reign) {
            let effects = desk.admit(orders, now);
            self.count();
            self.perform(effects);
        }
        self.take_deeds()
    }

    /// Time has passed. To be told some fifty times a second: a late look delays a notice, never a decision.
    pub fn tick(&mut self) -> Vec<Deed> {
        let (now_ms, now) = (self.now_ms(), self.log_now());
        let Some(desk) = self.desk.as_mut() else { return Vec::new() };
        let effects = desk.tick(now_ms, now);
        let idle = desk.is_idle();
        self.count();
        self.perform(effects);
        if idle && !self.ticking && !self.draining {
            self.let_time_pass(now);
        }
        self.take_deeds()
    }

    /// A work has ended.
    pub fn done(&mut self, done: Done) -> Vec<Deed> {
        match done.0 {
            End::Landed { entry, sealed, result } => self.landed(*entry, sealed, result),
            End::Carried { peer, applied, reign } => self.carried((peer, applied), reign),
            End::TimePassed { reign, result } => self.time_passed(reign, result),
        }
        self.take_deeds()
    }

    fn take_deeds(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
    }

    fn work(&mut self, work: impl Future<Output = End> + Send + 'static) {
        self.deeds.push(Deed::Work(work.map(Done).boxed()));
    }

    fn now_ms(&self) -> u64 {
        self.replica.clock().reading().uptime_ms
    }

    fn log_now(&self) -> Time {
        self.replica.clock().now()
    }

    fn end_reign(&mut self) {
        self.deeds.push(Deed::Forget);
        // Whoever wrote them hears that they have to be written again.
        self.letters.clear();
        if let Some(mut desk) = self.desk.take() {
            let effects = desk.close(Failure::NoLeader);
            self.meter.take(&desk.tally());
            self.perform(effects);
        }
        self.meter.depth().wait(0);
    }

    /// Hands on what the desk has counted.
    fn count(&mut self) {
        let Some(desk) = self.desk.as_mut() else { return };
        self.meter.take(&desk.tally());
        self.meter.depth().wait(desk.waiting());
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Answer { session, id, replies, names_leader } => {
                    self.answer((session, id), replies, names_leader);
                }
                Effect::Propose(entry) => self.propose(entry),
                Effect::Wait { account, orders } => {
                    self.deeds.push(Deed::Wait { account, orders, reign: self.reigns });
                }
                Effect::Room { account, orders, last } => {
                    self.deeds.push(Deed::Room { account, orders, last });
                }
                Effect::Carry { peer, after } => self.carry((peer, after)),
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
        let address = self.ways.addresses.get(node_id)?;
        Some(Leader { node_id, address })
    }

    fn propose(&mut self, entry: Entry) {
        let sealed = Instant::now();
        self.meter.proposed(entry.count);
        let replica = Arc::clone(&self.replica);
        let bytes = entry.bytes.clone();
        let entry = Box::new(entry);
        self.work(async move {
            let result = replica.propose(bytes).await;
            if result.is_ok() {
                Traffic::of_batch(&entry.bytes).reaches(Moment::Applied);
            }
            End::Landed { entry, sealed, result }
        });
    }

    fn landed(&mut self, entry: Entry, sealed: Instant, result: Result<Applied, ProposeError>) {
        let arrived = entry.arrived.unwrap_or(sealed);
        let kinds = entry.kinds();
        let result = result.map_err(|error| failure(&error));
        self.passage = result.as_ref().ok().map(|applied: &Applied| Passage {
            arrived,
            sealed,
            stages: applied.stages,
            replied: Instant::now(),
        });
        let decided = result.as_ref().map(|applied| &applied.decided);
        self.hand_out(entry, decided.map_err(|failure| *failure));
        self.count();
        if let Some(passage) = self.passage.take() {
            self.meter.passed(&Passage { replied: Instant::now(), ..passage }, &kinds);
        }
    }

    fn hand_out(&mut self, entry: Entry, result: Result<&Decided, Failure>) {
        let now = self.log_now();
        let Some(desk) = self.desk.as_mut().filter(|desk| desk.reign() == entry.reign) else {
            // Another reign's: whoever waited has been told that the outcome is unknown.
            return;
        };
        let effects = desk.landed(entry, result, now);
        self.perform(effects);
    }

    /// Writes to a peer what it has not applied, and sends the letter on its way.
    fn carry(&mut self, (peer, after): (u16, u64)) {
        let letter = self.replica.with_ledger(|ledger| letter::write(ledger, peer, after));
        let Some(letter) = letter else {
            if let Some(desk) = self.desk.as_mut() {
                desk.wrote_nothing(peer);
            }
            return;
        };
        let traffic = letter::traffic(&letter);
        traffic.reaches(Moment::Written);
        let (carrier, reign) = (self.ways.carrier.clone(), self.reigns);
        self.work(async move {
            let applied = carrier.carry(peer, letter).await;
            if applied.is_some() {
                traffic.reaches(Moment::Heard);
            }
            End::Carried { peer, applied, reign }
        });
    }

    fn carried(&mut self, (peer, applied): (u16, Option<u64>), reign: u64) {
        let now_ms = self.now_ms();
        let Some(desk) = self.desk.as_mut().filter(|desk| desk.reign() == reign) else { return };
        match applied {
            Some(applied) => {
                let effects = desk.carried(peer, applied);
                self.perform(effects);
            }
            None => desk.not_carried(peer, now_ms),
        }
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

    fn refuse(&mut self, frame: &FrameIn, failure: Failure) -> Effect {
        let count = usize::try_from(frame.count).unwrap_or(usize::MAX);
        let mut tally = Tally::default();
        tally.count_failed(failure, count.min(wire::limits::FRAME_REQUESTS_MAX));
        self.meter.take(&tally);
        refuse(frame, failure)
    }

    /// Proposes an empty batch when something has fallen due and no request carries the time into the log.
    fn let_time_pass(&mut self, now: Time) {
        let is_due =
            self.replica.with_ledger(|ledger| ledger.next_timer()).is_some_and(|due| due <= now);
        if !is_due {
            return;
        }
        self.ticking = true;
        let replica = Arc::clone(&self.replica);
        let empty = Bytes::copy_from_slice(&Batch::head(now, 0));
        let reign = self.reigns;
        self.work(async move {
            let result = replica.propose(empty).await;
            End::TimePassed { reign, result }
        });
    }

    fn time_passed(&mut self, reign: u64, result: Result<Applied, ProposeError>) {
        self.ticking = false;
        match result {
            Ok(applied) => {
                // A later reign has begun with all that was written before it.
                let Some(desk) = self.desk.as_mut().filter(|desk| desk.reign() == reign) else {
                    return;
                };
                let effects = desk.time_passed(&applied.decided);
                self.perform(effects);
            }
            Err(error) => {
                tracing::debug!(%error, "a timer's batch was not applied; the next tick tries again");
            }
        }
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
