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
use group_commit::{Driver, GroupCommit, Refused, Ticket, Weight};
use ledger::batch::{get_record, records};
use ledger::directory::TABLES_AGE_MS_MAX;
use ledger::{
    Answer, Decided, KEY_SKEW_MS, Operation, Outcome, PeerSet, Request, Said, ScopedKey, Shards,
    Slot, Time,
};
use wire::{Failure, Reply};

use crate::flights::{Boarding, Flights};
use crate::frames::{Answered, FrameNo, Frames, Waiter};
use crate::letter::Letter;
use crate::outgoing::{self, Away, Books, Outgoing};
use crate::pending::Pending;
use crate::places::{Admission, Order, Places};
use crate::proposer::{CLIENTS_WAITING_MAX, Entry, LIMITS};
use crate::relay::{Relay, Trip};
use crate::run::{Gathering, LetterNo, Load, Requests, Run};
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
    /// Write to a peer what it has not applied after one of its messages, and tell the desk what became of the letter.
    Carry {
        /// Which shard.
        peer: u16,
        /// After which message.
        after: u64,
    },
    /// A letter was read, or why not.
    Delivered {
        /// Which one.
        letter: LetterNo,
        /// Whether it was.
        result: Result<(), Failure>,
    },
}

/// The shard's logic during one reign.
pub struct Desk {
    reign: u64,
    place: (Shards, u16),
    /// The latest time by which a key was judged. Look-ups pass over what ended ten minutes before a key's time, so what was
    /// let in by a clock must not be executed before that clock, even when it is set back meanwhile.
    judged_at: Time,
    group: GroupCommit<Run>,
    frames: Frames,
    flights: Flights,
    pending: Pending,
    places: Places,
    outgoing: Outgoing,
    relay: Relay,
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
            judged_at: Time(0),
            group: GroupCommit::new(LIMITS),
            frames: Frames::default(),
            flights: Flights::default(),
            pending: Pending::default(),
            places: Places::default(),
            outgoing: Outgoing::default(),
            relay: Relay::default(),
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

    /// Begins the reign: these peers have not read everything that was written to them in earlier ones.
    pub fn begin(&mut self, unread: PeerSet) -> Vec<Effect> {
        self.write_to(unread);
        std::mem::take(&mut self.effects)
    }

    /// Takes a frame in. `now` is the cluster's clock, by which keys from the future are told.
    pub fn take(&mut self, frame: &FrameIn, now: Time, books: &impl Books) -> Vec<Effect> {
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
        self.judged_at = self.judged_at.max(now);
        let number = self.frames.begin(frame, count);
        let orders = self.sort((number, count), frame, now, books);
        self.propose(orders, now);
        std::mem::take(&mut self.effects)
    }

    /// Orders of a contended account that may go now. Those whose frame has stopped waiting do not.
    pub fn admit(&mut self, orders: Vec<Order>, now: Time) -> Vec<Effect> {
        let (live, gone): (Vec<_>, Vec<_>) =
            orders.into_iter().partition(|order| self.frames.is_waiting(order.waiter.frame));
        for order in gone {
            self.outgoing.end(&order.away);
            self.land(&order.key, order.waiter, Reply::Failure(Failure::DeadlinePassed));
        }
        self.propose(live, now);
        std::mem::take(&mut self.effects)
    }

    /// Takes in a letter from another shard.
    pub fn deliver(&mut self, number: LetterNo, letter: Letter, now: Time) -> Vec<Effect> {
        let Letter { count, records, .. } = letter;
        self.join(Run { load: Load::Letter(number), count, records }, now);
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
            match (&mut answers, run.load) {
                (Ok(answers), Load::Requests(requests)) => self.requests_landed(requests, answers),
                (Ok(answers), Load::Letter(letter)) => {
                    self.letter_landed(answers.by_ref().take(run.count));
                    self.effects.push(Effect::Delivered { letter, result: Ok(()) });
                }
                (Err(failure), load) => self.fail_load(load, *failure),
            }
        }
        if let Ok(decided) = result {
            self.follow(decided);
        }
        let driver = entry.sealed.flight.land();
        self.drive(driver, now);
        std::mem::take(&mut self.effects)
    }

    /// An empty batch was applied, which carried the time into the log: what fell due may have brought outcomes, and
    /// messages for other shards.
    pub fn time_passed(&mut self, decided: &Decided) -> Vec<Effect> {
        self.follow(decided);
        std::mem::take(&mut self.effects)
    }

    /// Does what a batch brought beside its answers.
    fn follow(&mut self, decided: &Decided) {
        for (key, outcome) in &decided.finals {
            self.became_final(key, *outcome);
        }
        self.write_to(decided.sent_to);
    }

    fn requests_landed<'a>(
        &mut self,
        requests: Requests,
        answers: &mut impl Iterator<Item = &'a Said>,
    ) {
        self.outgoing.end(&requests.away);
        for (key, waiter) in requests.keys.iter().zip(requests.waiters) {
            match answers.next().expect("one answer for each request") {
                Said::Now(answer) => self.land(key, waiter, Reply::Answer(*answer)),
                Said::Later { replayed } => self.wait(key, (waiter, *replayed)),
            }
        }
    }

    fn letter_landed<'a>(&mut self, answers: impl Iterator<Item = &'a Said>) {
        for answer in answers.filter_map(Said::now) {
            // A message that came twice is no client's repetition.
            let answer = Answer { replayed: false, ..answer };
            self.tally.count(Some(Operation::Deliver), &Reply::Answer(answer));
        }
    }

    /// A letter to a peer was answered: it has applied everything up to a message.
    pub fn carried(&mut self, peer: u16, applied: u64) -> Vec<Effect> {
        let trip = self.relay.answered(peer, applied);
        self.carry(trip);
        std::mem::take(&mut self.effects)
    }

    /// There was nothing to write to a peer.
    pub fn wrote_nothing(&mut self, peer: u16) {
        self.relay.found_nothing(peer);
    }

    /// A letter to a peer was not answered, or not taken.
    pub fn not_carried(&mut self, peer: u16, now_ms: u64) {
        self.relay.failed(peer, now_ms);
    }

    /// Time has passed: whoever waits too long is answered.
    pub fn tick(&mut self, now_ms: u64, now: Time) -> Vec<Effect> {
        while let Some((frame, tickets)) = self.frames.overdue(now_ms) {
            for ticket in tickets {
                if let Some(run) = self.group.cancel(ticket) {
                    self.fail_load(run.load, Failure::DeadlinePassed);
                }
            }
            self.give_up(frame);
        }
        self.pending.forget_gone(|frame| self.frames.is_waiting(frame));
        let trips = self.relay.tick(now_ms);
        self.carry(trips);
        let driver = self.group.drive();
        self.drive(driver, now);
        std::mem::take(&mut self.effects)
    }

    /// The reign is over. What was never proposed may be sent again at once; of what was, the outcome is unknown.
    #[must_use]
    pub fn close(&mut self, never_proposed: Failure) -> Vec<Effect> {
        for run in self.group.close() {
            self.fail_load(run.load, never_proposed);
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
    fn sort(
        &mut self,
        (number, count): (FrameNo, usize),
        frame: &FrameIn,
        now: Time,
        books: &impl Books,
    ) -> Vec<Order> {
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
            let away = match self.check(&request, now, books) {
                Ok(away) => away,
                Err(failure) => {
                    self.reply(waiter, Some(request.scoped_key().operation), failure);
                    continue;
                }
            };
            let record = frame.records.slice(start..offset);
            let order = Order { waiter, key: request.scoped_key(), record, away };
            match self.board(&order) {
                None => {}
                Some(Admission::Go) => {
                    self.outgoing.begin(&order.away);
                    go.push(order);
                }
                Some(Admission::Full) => self.fail(&order.key, waiter, Failure::Overloaded),
                Some(Admission::Wait) => {
                    self.outgoing.begin(&order.away);
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

    /// Whether a request may be proposed; then, what it pays to other shards.
    fn check(&self, request: &Request, now: Time, books: &impl Books) -> Result<Away, Failure> {
        let (shards, shard) = self.place;
        let command = &request.command;
        let is_for_meta = command.is_for_meta();
        let is_here = || shards.shard(Slot::of(command.subject())) == shard;
        if is_for_meta != (shard == shards.meta()) || !(is_for_meta || is_here()) {
            return Err(Failure::InvalidRecord);
        }
        if command.level() > books.level() {
            return Err(Failure::LevelTooLow);
        }
        if command.asks_tables() && books.told().plus_ms(TABLES_AGE_MS_MAX) < now {
            return Err(Failure::TablesStale);
        }
        // What the cluster asks of itself never comes in a frame, whoever sent it.
        if request.command.is_internal() {
            return Err(Failure::InvalidRecord);
        }
        if request.key.time().is_some_and(|made| made > now.plus_ms(KEY_SKEW_MS)) {
            return Err(Failure::KeyFromFuture);
        }
        let away = outgoing::away(&request.command, self.place, books);
        if self.outgoing.has_room(&away, books) { Ok(away) } else { Err(Failure::PeerBehind) }
    }

    /// Puts orders into the group commit, neighbours of one frame as one run.
    fn propose(&mut self, orders: Vec<Order>, now: Time) {
        let mut orders = orders.into_iter().peekable();
        while let Some(first) = orders.next() {
            let frame = first.waiter.frame;
            let mut run = Gathering::default();
            run.push(first);
            while let Some(next) =
                orders.next_if(|next| next.waiter.frame == frame && run.has_room(next))
            {
                run.push(next);
            }
            let run = run.finish(self.frames.arrived(frame));
            let waiting = self.group.waiting().items;
            if waiting.saturating_add(run.count) > CLIENTS_WAITING_MAX {
                self.fail_load(run.load, Failure::Overloaded);
            } else if let Some(ticket) = self.join(run, now) {
                self.frames.hold_ticket(frame, ticket);
            }
        }
    }

    fn join(&mut self, run: Run, now: Time) -> Option<Ticket> {
        let weight = Weight { items: run.count, bytes: run.records.len() };
        match self.group.join(run, weight) {
            Ok(joined) => {
                self.drive(joined.driver, now);
                return Some(joined.ticket);
            }
            Err(Refused::Full(run)) => self.fail_load(run.load, Failure::Overloaded),
            Err(Refused::Closed(run) | Refused::TooLarge(run)) => {
                self.fail_load(run.load, Failure::InvalidRecord);
            }
        }
        None
    }

    fn drive(&mut self, driver: Option<Driver<Run>>, now: Time) {
        let Some(mut driver) = driver else { return };
        let at = now.max(self.judged_at);
        while let Some(batch) = driver.seal() {
            self.effects.push(Effect::Propose(Entry::new(self.reign, at, batch)));
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

    /// A request that flew waits for another shard, and so does everybody who joined it. It may be a repetition itself,
    /// of one that another leader proposed, or whose caller has stopped waiting.
    fn wait(&mut self, key: &ScopedKey, (waiter, replayed): (Waiter, bool)) {
        let joined = self.flights.land(key, waiter);
        let joined = joined.into_iter().map(|other| (other, true));
        let waiters = std::iter::once((waiter, replayed)).chain(joined);
        if let Some(outcome) = self.pending.wait(*key, waiters) {
            self.became_final(key, outcome);
        }
        self.make_room(key);
    }

    /// What a request waited for has come: whoever waits is told, and whether it is a repetition for him.
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

    fn fail_load(&mut self, load: Load, failure: Failure) {
        match load {
            Load::Requests(Requests { keys, waiters, away, .. }) => {
                self.outgoing.end(&away);
                for (key, waiter) in keys.iter().zip(waiters) {
                    self.land(key, waiter, Reply::Failure(failure));
                }
            }
            Load::Letter(letter) => {
                self.effects.push(Effect::Delivered { letter, result: Err(failure) });
            }
        }
    }

    fn write_to(&mut self, peers: PeerSet) {
        if !peers.is_empty() {
            let trips = self.relay.written(peers);
            self.carry(trips);
        }
    }

    fn carry(&mut self, trips: impl IntoIterator<Item = Trip>) {
        let carry = |Trip { peer, after }| Effect::Carry { peer, after };
        self.effects.extend(trips.into_iter().map(carry));
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
