//! The shard's logic as a plain value: it is told what happened, and says what to do.
//!
//! A desk stands for one reign of this node over the shard. It is opened when the node leads, and closed when it no
//! longer does; then everybody who waits is answered, and whatever comes back from the log later is nobody's.
//!
//! Invariants:
//! - Every record of every frame is answered exactly once: by an outcome, or by a failure that says truly whether a log
//!   may hold it.
//! - A failure other than OUTCOME_UNKNOWN is given only to what was never proposed.
//! - Every queue has a bound (A11); what does not fit is refused as OVERLOADED.

use std::time::Instant;

use bytes::Bytes;
use group_commit::{Driver, GroupCommit, Refused, Weight};
use ledger::batch::{BATCH_REQUESTS_MAX, get_record, records};
use ledger::{
    AccountId, Answer, Command, Decided, KEY_SKEW_MS, Operation, Outcome, Request, ScopedKey,
    Shards, Slot, Time,
};
use wire::{Failure, Reply};

use crate::flights::{Boarding, Flights};
use crate::frames::{Answered, FrameNo, Frames, Waiter};
use crate::pending::Pending;
use crate::places::{Admission, Order, Places};
use crate::proposer::{ENTRY_BYTES_MAX, Entry, LIMITS};
use crate::tally::Tally;

#[cfg(test)]
mod tests;

/// Frames that may wait at once, over all sessions: with frames of one request each, what the queue holds.
const FRAMES_MAX: usize = 65_536;

/// Bytes in front of a record that say how long it is.
const LENGTH_BYTES: usize = 2;

/// One gateway's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A frame as it came in.
#[derive(Clone, Debug)]
pub struct FrameIn {
    /// On which stream.
    pub session: SessionId,
    /// Its id there.
    pub id: u64,
    /// How many records it says it has.
    pub count: u32,
    /// The records.
    pub records: Bytes,
    /// When its gateway stops waiting, on the desk's own clock.
    pub deadline_ms: u64,
    /// When it arrived.
    pub arrived: Instant,
}

/// Records of one frame that are proposed together.
#[derive(Debug)]
pub struct Run {
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) keys: Vec<ScopedKey>,
    pub(crate) records: Bytes,
    /// When their frame arrived, if it still waits.
    pub(crate) arrived: Option<Instant>,
}

/// What the desk wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send a frame's replies.
    Answer {
        /// On which stream.
        session: SessionId,
        /// To which frame.
        id: u64,
        /// The replies, 24 bytes each.
        replies: Vec<u8>,
        /// Whether to name the leader beside them.
        names_leader: bool,
    },
    /// Propose an entry, and tell the desk what became of it.
    Propose(Entry),
    /// Let orders of a contended account wait.
    Wait {
        /// Which account.
        account: u128,
        /// What waits.
        orders: Vec<Order>,
    },
    /// Let some of them go on.
    Room {
        /// Which account.
        account: u128,
        /// How many.
        orders: u32,
        /// Whether nothing waits behind them.
        last: bool,
    },
}

/// The shard's logic during one reign.
pub struct Desk {
    reign: u64,
    place: (Shards, u16),
    group: GroupCommit<Run>,
    frames: Frames,
    flights: Flights,
    pending: Pending,
    places: Places,
    effects: Vec<Effect>,
    tally: Tally,
}

impl Desk {
    /// Opens a desk.
    #[must_use]
    pub fn open(reign: u64, shards: Shards, shard: u16) -> Self {
        Self {
            reign,
            place: (shards, shard),
            group: GroupCommit::new(LIMITS),
            frames: Frames::default(),
            flights: Flights::default(),
            pending: Pending::default(),
            places: Places::default(),
            effects: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// What requests came to since this was last asked.
    pub fn tally(&mut self) -> Tally {
        self.tally.take()
    }

    /// Requests that wait to be proposed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.group.waiting().items
    }

    /// Which reign it stands for.
    #[must_use]
    pub const fn reign(&self) -> u64 {
        self.reign
    }

    /// Whether nothing waits and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.group.in_flight() == 0 && self.group.waiting().items == 0
    }

    /// Takes a frame in. `now` is the cluster's clock, by which keys from the future are told.
    pub fn take(&mut self, frame: &FrameIn, now: Time) -> Vec<Effect> {
        let count = usize::try_from(frame.count).unwrap_or(usize::MAX);
        if count == 0 || count > wire::limits::FRAME_REQUESTS_MAX || self.frames.len() >= FRAMES_MAX
        {
            let failure = if count == 0 || count > wire::limits::FRAME_REQUESTS_MAX {
                Failure::InvalidRecord
            } else {
                Failure::Overloaded
            };
            self.tally.count_failed(failure, count.min(wire::limits::FRAME_REQUESTS_MAX));
            return vec![refuse(frame, failure)];
        }
        let number = self.frames.begin(frame, count);
        let orders = self.sort(number, frame, count, now);
        self.propose(orders, now);
        std::mem::take(&mut self.effects)
    }

    /// Orders of a contended account that may go now. Those whose frame has stopped waiting do not.
    pub fn admit(&mut self, orders: Vec<Order>, now: Time) -> Vec<Effect> {
        let (live, gone): (Vec<_>, Vec<_>) =
            orders.into_iter().partition(|order| self.frames.is_waiting(order.waiter.frame));
        for order in gone {
            self.land(&order.key, order.waiter, Reply::Failure(Failure::DeadlinePassed));
        }
        self.propose(live, now);
        std::mem::take(&mut self.effects)
    }

    /// An entry was applied, or its proposal failed.
    pub fn landed(
        &mut self,
        entry: Entry,
        result: Result<&Decided, Failure>,
        now: Time,
    ) -> Vec<Effect> {
        assert_eq!(entry.reign, self.reign, "an entry of another reign is nobody's");
        let mut answers = result.map(|decided| decided.answers.iter());
        for run in entry.sealed.items {
            for (key, waiter) in run.keys.iter().zip(run.waiters) {
                let reply = match &mut answers {
                    Ok(answers) => match answers.next().expect("one answer for each request") {
                        Some(answer) => Reply::Answer(*answer),
                        None => {
                            self.wait(key, waiter);
                            continue;
                        }
                    },
                    Err(failure) => Reply::Failure(*failure),
                };
                self.land(key, waiter, reply);
            }
        }
        for (key, outcome) in result.map_or(&[][..], |decided| &decided.finals) {
            self.became_final(key, *outcome);
        }
        let driver = entry.sealed.flight.land();
        self.drive(driver, now);
        std::mem::take(&mut self.effects)
    }

    /// Time has passed: whoever waits too long is answered.
    pub fn tick(&mut self, now_ms: u64, now: Time) -> Vec<Effect> {
        while let Some((frame, tickets)) = self.frames.overdue(now_ms) {
            for ticket in tickets {
                if let Some(run) = self.group.cancel(ticket) {
                    self.fail_run(run, Failure::DeadlinePassed);
                }
            }
            self.give_up(frame);
        }
        self.pending.forget_gone(|frame| self.frames.is_waiting(frame));
        let driver = self.group.drive();
        self.drive(driver, now);
        std::mem::take(&mut self.effects)
    }

    /// The reign is over. What was never proposed may be sent again at once; of what was, the outcome is unknown.
    #[must_use]
    pub fn close(&mut self, never_proposed: Failure) -> Vec<Effect> {
        for run in self.group.close() {
            self.fail_run(run, never_proposed);
        }
        while let Some(frame) = self.frames.any() {
            self.give_up(frame);
        }
        std::mem::take(&mut self.effects)
    }

    /// Says of a frame's records that are not answered that nobody knows.
    fn give_up(&mut self, frame: FrameNo) {
        self.tally.count_failed(Failure::OutcomeUnknown, self.frames.missing(frame));
        let answered = self.frames.answer_rest(frame, &Reply::Failure(Failure::OutcomeUnknown));
        self.send(answered);
    }

    /// Decides for every record of a frame: refused, joined, waiting, or to be proposed now.
    fn sort(&mut self, number: FrameNo, frame: &FrameIn, count: usize, now: Time) -> Vec<Order> {
        let mut go = Vec::with_capacity(count);
        let mut wait: Vec<(u128, Vec<Order>)> = Vec::new();
        let (mut read, mut offset) = (0_u32, 0_usize);
        for record in records(&frame.records).take(count) {
            let Ok(record) = record else { break };
            let waiter = Waiter { frame: number, position: read };
            read = read.saturating_add(1);
            let start = offset;
            offset = offset.saturating_add(LENGTH_BYTES).saturating_add(record.len());
            let Ok(request) = get_record(record, 0) else {
                self.reply(waiter, None, Failure::InvalidRecord);
                continue;
            };
            if let Err(failure) = self.check(&request, now) {
                self.reply(waiter, Some(request.scoped_key().operation), failure);
                continue;
            }
            let record = frame.records.slice(start..offset);
            let order = Order { waiter, key: request.scoped_key(), record };
            match self.board(&order) {
                None => {}
                Some(Admission::Go) => go.push(order),
                Some(Admission::Full) => self.fail(&order.key, waiter, Failure::Overloaded),
                Some(Admission::Wait) => {
                    match wait.iter_mut().find(|(id, _)| *id == order.key.subject) {
                        Some((_, orders)) => orders.push(order),
                        None => wait.push((order.key.subject, vec![order])),
                    }
                }
            }
        }
        for (account, orders) in wait {
            self.effects.push(Effect::Wait { account, orders });
        }
        // Fewer records than the frame says: its gateway and this node do not speak the same language.
        let answered = self.answer_unread(number, read, frame.count);
        self.send(answered);
        go
    }

    fn board(&mut self, order: &Order) -> Option<Admission> {
        match self.flights.board(order.key, &order.record, order.waiter) {
            Boarding::Joined => None,
            Boarding::Fly => Some(self.places.ask(order.key.subject)),
        }
    }

    fn check(&self, request: &Request, now: Time) -> Result<(), Failure> {
        let (shards, shard) = self.place;
        if shards.shard(Slot::of(request.command.subject())) != shard {
            return Err(Failure::InvalidRecord);
        }
        // No client carries messages between shards.
        if matches!(request.command, Command::Deliver { .. }) {
            return Err(Failure::InvalidRecord);
        }
        if pays_away(&request.command, |id| shards.shard(id.slot()) != shard) {
            return Err(Failure::PeerBehind);
        }
        let from_future = request.key.time().is_some_and(|made| made > now.plus_ms(KEY_SKEW_MS));
        if from_future { Err(Failure::KeyFromFuture) } else { Ok(()) }
    }

    /// Puts orders into the group commit, neighbours of one frame as one run.
    fn propose(&mut self, orders: Vec<Order>, now: Time) {
        let mut orders = orders.into_iter().peekable();
        while let Some(first) = orders.next() {
            let frame = first.waiter.frame;
            let mut run = Gathering::new(first);
            while let Some(next) =
                orders.next_if(|next| next.waiter.frame == frame && run.has_room(next))
            {
                run.push(next);
            }
            let arrived = self.frames.arrived(frame);
            self.join(frame, run.finish(arrived), now);
        }
    }

    fn join(&mut self, frame: FrameNo, run: Run, now: Time) {
        let weight = Weight { items: run.keys.len(), bytes: run.records.len() };
        match self.group.join(run, weight) {
            Ok(joined) => {
                self.frames.hold_ticket(frame, joined.ticket);
                self.drive(joined.driver, now);
            }
            Err(Refused::Full(run)) => self.fail_run(run, Failure::Overloaded),
            Err(Refused::Closed(run) | Refused::TooLarge(run)) => {
                self.fail_run(run, Failure::InvalidRecord);
            }
        }
    }

    fn drive(&mut self, driver: Option<Driver<Run>>, now: Time) {
        let Some(mut driver) = driver else { return };
        while let Some(batch) = driver.seal() {
            self.effects.push(Effect::Propose(Entry::new(self.reign, now, batch)));
        }
    }

    /// A request that flew is answered, and so is everybody who joined it.
    fn land(&mut self, key: &ScopedKey, waiter: Waiter, reply: Reply) {
        let joined = self.flights.land(key, waiter);
        self.pending.needs_not(key);
        self.answer(waiter, key.operation, &reply);
        for other in joined {
            self.answer(other, key.operation, &repeated(reply));
        }
        self.make_room(key);
    }

    /// A request that flew waits for another shard, and so does everybody who joined it.
    fn wait(&mut self, key: &ScopedKey, waiter: Waiter) {
        let joined = self.flights.land(key, waiter);
        let waiters = std::iter::once(waiter).chain(joined);
        if let Some(outcome) = self.pending.wait(*key, waiters) {
            self.became_final(key, outcome);
        }
        self.make_room(key);
    }

    /// What a request waited for has come: the first who asked is told, and the others that it is a repetition.
    fn became_final(&mut self, key: &ScopedKey, outcome: Outcome) {
        let waiters = self.pending.became_final(key, outcome, self.flights.has(key));
        for (waiter, replayed) in waiters {
            self.answer(waiter, key.operation, &Reply::Answer(Answer { outcome, replayed }));
        }
    }

    fn make_room(&mut self, key: &ScopedKey) {
        let room = self.places.landed(key.subject);
        if room > 0 {
            let last = !self.places.is_contended(key.subject);
            self.effects.push(Effect::Room { account: key.subject, orders: room, last });
        }
    }

    fn fail_run(&mut self, run: Run, failure: Failure) {
        for (key, waiter) in run.keys.iter().zip(run.waiters) {
            self.land(key, waiter, Reply::Failure(failure));
        }
    }

    /// A request that was given a flight, but never a place.
    fn fail(&mut self, key: &ScopedKey, waiter: Waiter, failure: Failure) {
        let joined = self.flights.land(key, waiter);
        self.reply(waiter, Some(key.operation), failure);
        for other in joined {
            self.reply(other, Some(key.operation), failure);
        }
    }

    fn reply(&mut self, waiter: Waiter, kind: Option<Operation>, failure: Failure) {
        let reply = Reply::Failure(failure);
        self.tally.count(kind, &reply);
        let answered = self.frames.answer(waiter, &reply);
        self.send(answered);
    }

    fn answer(&mut self, waiter: Waiter, kind: Operation, reply: &Reply) {
        self.tally.count(Some(kind), reply);
        let answered = self.frames.answer(waiter, reply);
        self.send(answered);
    }

    /// Answers the records that could not be told from one another; those before them have their own way.
    fn answer_unread(&mut self, frame: FrameNo, read: u32, count: u32) -> Option<Answered> {
        let reply = Reply::Failure(Failure::InvalidRecord);
        let unread = usize::try_from(count.saturating_sub(read)).unwrap_or(usize::MAX);
        self.tally.count_failed(Failure::InvalidRecord, unread);
        (read..count).fold(None, |ended, position| {
            self.frames.answer(Waiter { frame, position }, &reply).or(ended)
        })
    }

    fn send(&mut self, answered: Option<Answered>) {
        if let Some(Answered { session, id, replies, names_leader }) = answered {
            self.effects.push(Effect::Answer { session, id, replies, names_leader });
        }
    }
}

/// Whether a command pays an account elsewhere. Nobody carries messages between shards yet, so that every channel is as
/// behind as it can be.
fn pays_away(command: &Command, is_away: impl Fn(&AccountId) -> bool) -> bool {
    match command {
        Command::Transfer { credit, .. } | Command::Hold { credit, .. } => is_away(credit),
        Command::MultiTransfer { legs, .. } => legs.iter().any(|leg| is_away(&leg.credit)),
        Command::Open { .. }
        | Command::Freeze { .. }
        | Command::Unfreeze { .. }
        | Command::Close { .. }
        | Command::Post { .. }
        | Command::Void { .. }
        | Command::Reverse { .. }
        | Command::ForgetKeys { .. }
        | Command::Deliver { .. } => false,
    }
}

/// What to say to a copy of a request: the same, and that it was one.
fn repeated(reply: Reply) -> Reply {
    match reply {
        Reply::Answer(answer) => Reply::Answer(Answer { replayed: true, ..answer }),
        Reply::Failure(_) => reply,
    }
}

/// Refuses a whole frame.
pub(crate) fn refuse(frame: &FrameIn, failure: Failure) -> Effect {
    let count = usize::try_from(frame.count).unwrap_or(0).min(wire::limits::FRAME_REQUESTS_MAX);
    let replies = wire::reply::encode(std::iter::repeat_n(&Reply::Failure(failure), count));
    let names_leader = failure == Failure::NoLeader;
    Effect::Answer { session: frame.session, id: frame.id, replies, names_leader }
}

/// A run that is being gathered out of one frame's orders.
struct Gathering {
    waiters: Vec<Waiter>,
    keys: Vec<ScopedKey>,
    parts: Vec<Bytes>,
    bytes: usize,
}

impl Gathering {
    fn new(first: Order) -> Self {
        let mut run = Self { waiters: Vec::new(), keys: Vec::new(), parts: Vec::new(), bytes: 0 };
        run.push(first);
        run
    }

    fn has_room(&self, order: &Order) -> bool {
        self.keys.len() < BATCH_REQUESTS_MAX
            && self.bytes.saturating_add(order.record.len()) <= ENTRY_BYTES_MAX
    }

    fn push(&mut self, order: Order) {
        self.bytes = self.bytes.saturating_add(order.record.len());
        self.waiters.push(order.waiter);
        self.keys.push(order.key);
        self.parts.push(order.record);
    }

    fn finish(self, arrived: Option<Instant>) -> Run {
        let mut records = bytes::BytesMut::with_capacity(self.bytes);
        for part in &self.parts {
            records.extend_from_slice(part);
        }
        Run { waiters: self.waiters, keys: self.keys, records: records.freeze(), arrived }
    }
}
