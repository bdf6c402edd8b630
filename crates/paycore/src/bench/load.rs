//! Who asks what next, and what became of it: the one book that all connections of a run share.
//!
//! A request is *taken* by a connection, sent, and either *answered* for good, or handed back to be sent again under
//! the same key: by any connection, after a while. It stays open until it has a final outcome. What was once sent and
//! not answered may have been done, so only a final outcome ends it; what is known never to have been proposed may
//! also be given up when the run is over.
//!
//! The clock stops when nothing is open any more. Requests that nobody will answer for [`LIVENESS`] after the last new
//! one are given up, and stay unknown.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::answers::Heard;
use super::codes::Codes;
use super::history::Calls;
use super::intents::Intents;
use super::keys::Keys;
use super::pauses::Pauses;
use super::plan::Until;
use super::tally::Tally;
use super::template::{Template, Transfer};
use crate::verify::{Ending, Wanted};

/// How long after the last new request everything must be answered: as long as the fault suite grants a healed
/// cluster.
pub(super) const LIVENESS: Duration = Duration::from_secs(60);

/// How long a request rests before it is sent again. Elections take a second; more haste would only heat the machine
/// on which they take place.
const RETRY_AFTER_NS: u64 = 100_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// Nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: Instant,
}

impl Clock {
    /// Begins now.
    pub(super) fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// Nanoseconds since the beginning.
    pub(super) fn now(self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the beginning.
    pub(super) fn now_ms(self) -> u64 {
        self.now() / 1_000_000
    }

    /// As [`Self::sleep_until`], but costs nothing when that time has come.
    pub(super) async fn sleep_until_later(self, ns: u64) {
        if ns > self.now() {
            self.sleep_until(ns).await;
        }
    }

    /// Sleeps until so many nanoseconds after the beginning.
    pub(super) async fn sleep_until(self, ns: u64) {
        if let Some(then) = self.began.checked_add(Duration::from_nanos(ns)) {
            tokio::time::sleep_until(then.into()).await;
        }
    }
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    /// Which.
    pub(super) n: u64,
    /// When it should have been sent first: from then on its caller waits.
    pub(super) start: u64,
    /// Whether an earlier attempt may have been carried out.
    pub(super) may_be_done: bool,
    /// The shard at which it begins.
    home: u16,
}

/// What there is to do for a connection that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// What was taken is to be sent.
    Send,
    /// Nothing before this time.
    Wait(u64),
    /// Nothing any more, unless it is handed back.
    Over,
}

/// What decides when requests are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When they end.
    pub(super) until: Until,
    /// How many a second, if on time.
    pub(super) rate: Option<u64>,
}

/// The book.
#[derive(Debug)]
pub(super) struct Load {
    /// What requests ask for.
    pub(super) intents: Intents,
    /// What they are called.
    pub(super) keys: Keys,
    /// What was counted.
    pub(super) tally: Tally,
    /// The codes that were heard.
    pub(super) codes: Codes,
    /// Each request's calls, while there are few enough.
    pub(super) calls: Calls,
    pub(super) clock: Clock,
    pace: Pace,
    pauses: Pauses,
    told: Vec<u64>,
    retries: BinaryHeap<Reverse<(u64, Item)>>,
    open: u64,
    /// When the last final outcome came.
    last_final: u64,
    /// When requests that are still open are given up; known once no new ones are made.
    gives_up: Option<u64>,
}

/// A book that many tasks of one thread write.
pub(super) type SharedLoad = Rc<RefCell<Load>>;

impl Load {
    /// An empty book.
    pub(super) fn new(
        intents: Intents,
        keys: Keys,
        pace: Pace,
        calls: Calls,
        clock: Clock,
    ) -> Self {
        Self {
            intents,
            keys,
            tally: Tally::new(),
            codes: Codes::default(),
            calls,
            clock,
            pace,
            pauses: Pauses::of(intents.shards),
            told: Vec::new(),
            retries: BinaryHeap::new(),
            open: 0,
            last_final: 0,
            gives_up: None,
        }
    }

    /// Takes up to `max` requests that are due.
    pub(super) fn take(&mut self, max: usize, items: &mut Vec<Item>) -> Turn {
        let now = self.clock.now();
        if self.is_given_up(now) {
            return Turn::Over;
        }
        self.take_retries(now, max, items);
        while items.len() < max {
            match self.next_start(now) {
                Turn::Wait(start) if start <= now => items.push(self.begin(start, now)),
                turn if items.is_empty() => return self.or_next_retry(turn),
                Turn::Wait(_) | Turn::Over | Turn::Send => break,
            }
        }
        Turn::Send
    }

    /// Takes one request, even one whose time has not come: whoever takes it waits for it.
    pub(super) fn take_ahead(&mut self) -> Result<Item, Turn> {
        let now = self.clock.now();
        let mut items = Vec::new();
        if self.is_given_up(now) {
            return Err(Turn::Over);
        }
        self.take_retries(now, 1, &mut items);
        if let Some(item) = items.pop() {
            return Ok(item);
        }
        match self.next_start(now) {
            Turn::Wait(start) => Ok(self.begin(start, now)),
            turn @ (Turn::Over | Turn::Send) => Err(self.or_next_retry(turn)),
        }
    }

    fn take_retries(&mut self, now: u64, max: usize, items: &mut Vec<Item>) {
        while items.len() < max && self.retries.peek().is_some_and(|Reverse((due, _))| *due <= now)
        {
            items.extend(self.retries.pop().map(|Reverse((_, item))| item));
            self.tally.retries = self.tally.retries.saturating_add(1);
        }
    }

    /// When the next new request should be made: `Wait`, or `Over` when there is none.
    fn next_start(&mut self, now: u64) -> Turn {
        if self.gives_up.is_some() {
            return Turn::Over;
        }
        let next = self.count();
        let start = self.pace.rate.map_or(now, |rate| {
            let ns =
                u128::from(next).saturating_mul(u128::from(NS_PER_S)).checked_div(u128::from(rate));
            ns.and_then(|ns| u64::try_from(ns).ok()).unwrap_or(u64::MAX)
        });
        let over = match self.pace.until {
            Until::Count(count) => next >= count,
            // What is late at the end is not made any more: the run is that long and no longer.
            Until::Time(length) => {
                let end = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
                now.max(start) >= end
            }
        };
        let liveness = u64::try_from(LIVENESS.as_nanos()).unwrap_or(u64::MAX);
        // Where nobody answers for so long, nobody will: a run of so many requests has to end, too.
        let is_dead = now.saturating_sub(self.last_final) > liveness;
        if !over && !is_dead {
            return Turn::Wait(start);
        }
        self.gives_up = Some(if is_dead { now } else { now.saturating_add(liveness) });
        Turn::Over
    }

    /// Whether nothing is left that could be sent.
    pub(super) fn is_over(&mut self) -> bool {
        let now = self.clock.now();
        let no_more = self.next_start(now) == Turn::Over;
        no_more && (self.open == 0 || self.is_given_up(now))
    }

    /// Retries may be due before anything new is, or after everything new.
    fn or_next_retry(&self, turn: Turn) -> Turn {
        let due = self.retries.peek().map(|Reverse((due, _))| *due);
        match (turn, due) {
            (Turn::Wait(start), Some(due)) => Turn::Wait(start.min(due)),
            (Turn::Over, Some(due)) => Turn::Wait(due),
            (Turn::Send, Some(_)) | (Turn::Wait(_) | Turn::Over | Turn::Send, None) => turn,
        }
    }

    fn begin(&mut self, start: u64, now: u64) -> Item {
        let n = self.count();
        let now_ms = self.intents.began_ms.saturating_add(now / 1_000_000);
        self.keys.sent(n, now_ms);
        self.told.push(Ending::Unknown.to_u64());
        self.calls.begin(n, now);
        let home = self.home(n);
        self.pauses.begun(home, start);
        self.open = self.open.saturating_add(1);
        Item { n, start, may_be_done: false, home }
    }

    /// Takes an answer to a request.
    pub(super) fn answered(&mut self, item: Item, heard: &Heard, now: u64) {
        self.tally.attempts = self.tally.attempts.saturating_add(1);
        match heard {
            Heard::Posted { transfer, .. } => {
                self.tally.posted = self.tally.posted.saturating_add(1);
                self.end(item, Ending::Posted(*transfer), now);
            }
            Heard::Rejected { code, .. } => {
                self.tally.count_rejected(code);
                let code = self.codes.number(code);
                self.end(item, Ending::Rejected(code), now);
            }
            Heard::Failed { code, unknown, retryable } => {
                self.tally.count_failed(code);
                let item = Item { may_be_done: item.may_be_done || *unknown, ..item };
                let code = self.codes.number(code);
                if item.may_be_done || *retryable {
                    self.hand_back(item, code, now);
                } else {
                    self.end(item, Ending::NotDone(code), now);
                }
            }
        }
    }

    /// Takes back a request to be sent again; when the run has been given up, it ends here.
    fn hand_back(&mut self, item: Item, code: u16, now: u64) {
        if !self.is_given_up(now) {
            self.retries.push(Reverse((now.saturating_add(RETRY_AFTER_NS), item)));
            return;
        }
        let ending = if item.may_be_done { Ending::Unknown } else { Ending::NotDone(code) };
        self.end(item, ending, now);
    }

    fn end(&mut self, item: Item, ending: Ending, now: u64) {
        self.open = self.open.saturating_sub(1);
        self.calls.end(item.n, ending, now);
        self.pauses.ended(item.home, now);
        let told = usize::try_from(item.n).ok().and_then(|n| self.told.get_mut(n));
        *told.expect("it was begun") = ending.to_u64();
        match ending {
            Ending::Posted(_) | Ending::Rejected(_) => {
                self.last_final = now;
                self.tally.took(now.saturating_sub(item.start) / 1_000);
            }
            Ending::Unknown => self.tally.unknown = self.tally.unknown.saturating_add(1),
            Ending::NotDone(_) => self.tally.not_done = self.tally.not_done.saturating_add(1),
        }
        if self.open == 0 {
            self.tally.ended_at = now;
        }
    }

    /// Ends what is still to be sent again, once no connection is left to send it.
    pub(super) fn close(&mut self) {
        let now = self.clock.now();
        self.gives_up = Some(0);
        let code = self.codes.number("GIVEN_UP");
        while let Some(Reverse((_, item))) = self.retries.pop() {
            self.hand_back(item, code, now);
        }
        self.tally.pause_max_us = self.pauses.longest() / 1_000;
    }

    /// The shard at which a request begins. Where there is one, nothing has to be worked out.
    fn home(&self, n: u64) -> u16 {
        if self.intents.shards < 2 { 0 } else { self.intents.shard(self.intents.wanted(n).debit) }
    }

    /// How many requests were made.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.told.len()).expect("a count fits 64 bits")
    }

    /// How many have no final outcome yet.
    pub(super) const fn open(&self) -> u64 {
        self.open
    }

    /// When requests that are still open are given up, once that is known.
    pub(super) const fn gives_up(&self) -> Option<u64> {
        self.gives_up
    }

    fn is_given_up(&self, now: u64) -> bool {
        self.gives_up.is_some_and(|then| now >= then)
    }

    /// What every caller was told.
    pub(super) fn told(&self) -> &[u64] {
        &self.told
    }

    /// A request as it is sent.
    pub(super) fn put(&self, n: u64, template: &Template, to: &mut Vec<u8>) {
        template.put(&self.transfer(n), to);
    }

    /// What a request says.
    pub(super) fn transfer(&self, n: u64) -> Transfer {
        let Wanted { debit, credit, amount } = self.intents.wanted(n);
        Transfer {
            key: self.keys.of(n),
            debit: self.intents.account(debit),
            credit: self.intents.account(credit),
            amount,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::KeyOrder;
    use super::*;
    use crate::verify::TransferNumber;

    fn load(until: Until, rate: Option<u64>) -> Load {
        let intents = Intents { seed: 1, accounts: 10, ..Intents::default() };
        let keys = Keys::new(KeyOrder::Ordered, intents);
        Load::new(intents, keys, Pace { until, rate }, Calls::up_to(0), Clock::start())
    }

    fn posted(n: u64) -> Heard {
        Heard::Posted { transfer: TransferNumber::from_u64(n), replayed: false }
    }

    fn failed(unknown: bool) -> Heard {
        Heard::Failed { code: "NO_LEADER".to_owned(), unknown, retryable: true }
    }

    #[test]
    fn a_closed_loop_makes_what_it_may_and_no_more() {
        let mut load = load(Until::Count(5), None);
        let mut items = Vec::new();
        assert_eq!(load.take(3, &mut items), Turn::Send);
        assert_eq!(load.take(8, &mut items), Turn::Send);
        assert_eq!(items.iter().map(|item| item.n).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(load.take(9, &mut Vec::new()), Turn::Over);
        for item in items {
            load.answered(item, &posted(item.n), 7_000);
        }
        assert_eq!((load.open(), load.tally.posted, load.tally.ended_at), (0, 5, 7_000));
    }

    #[test]
    fn an_open_loop_makes_requests_on_time() {
        let mut load = load(Until::Count(2), Some(1));
        assert_eq!(load.take_ahead().unwrap().start, 0);
        assert_eq!(load.take(9, &mut Vec::new()), Turn::Wait(NS_PER_S));
        let second = load.take_ahead().unwrap();
        assert_eq!((second.n, second.start), (1, NS_PER_S));
        assert_eq!(load.take_ahead(), Err(Turn::Over));
    }

    #[test]
    fn what_failed_is_sent_again_and_stays_doubtful() {
        let mut load = load(Until::Count(1), None);
        let mut items = Vec::new();
        load.take(1, &mut items);
        load.answered(items[0], &failed(true), 0);
        assert_eq!((load.open(), load.told()[0]), (1, Ending::Unknown.to_u64()));
        let due = RETRY_AFTER_NS;
        assert_eq!(load.or_next_retry(Turn::Over), Turn::Wait(due));
        items.clear();
        load.take_retries(due, 9, &mut items);
        assert!(items[0].may_be_done);
        // A later "not proposed" does not make the first attempt undone.
        load.answered(items[0], &failed(false), due);
        items.clear();
        load.take_retries(due * 2, 9, &mut items);
        assert!(items[0].may_be_done);
        load.answered(items[0], &posted(3), due * 2);
        assert_eq!((load.open(), load.tally.retries, load.tally.unknown), (0, 2, 0));
        assert_eq!(load.tally.attempts, 3);
    }

    #[test]
    fn a_run_that_nobody_answers_ends() {
        let mut load = load(Until::Count(1), None);
        assert!(!load.is_over());
        let long_after = u64::try_from(LIVENESS.as_nanos()).unwrap() + 1;
        assert_eq!(load.next_start(long_after), Turn::Over);
        assert!(load.is_over());
    }

    #[test]
    fn what_nobody_answers_for_is_given_up_as_what_it_is() {
        let mut load = load(Until::Count(2), None);
        let mut items = Vec::new();
        load.take(2, &mut items);
        load.answered(items[0], &failed(true), 0);
        load.answered(items[1], &failed(false), 0);
        load.close();
        assert_eq!((load.open(), load.tally.unknown, load.tally.not_done), (0, 1, 1));
        assert_eq!(load.told()[0], Ending::Unknown.to_u64());
        assert!(matches!(Ending::from_u64(load.told()[1]), Ending::NotDone(_)));
    }
}
