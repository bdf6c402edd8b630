//! What the network does to messages: how long they take, which are lost, doubled or overtaken, and who is cut off.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consensus::simulated::{Passage, Weather};

use crate::chance::Chance;
use crate::trace::Trace;

/// How bad the weather is. Shares are of a thousand messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Season {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) overtaking: u64,
    /// The longest delay of most messages, in milliseconds.
    pub(crate) late_ms: u64,
}

/// What the weather has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bites {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) overtaken: u64,
    pub(crate) cut: u64,
}

/// The weather of one run. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Sky(Arc<Mutex<State>>, Trace);

struct State {
    chance: Chance,
    season: Season,
    /// Ways that carry nothing: from whom to whom.
    cut: BTreeSet<(u64, u64)>,
    bites: Bites,
}

impl Sky {
    /// Good weather.
    pub(crate) fn new(chance: Chance, trace: Trace) -> Self {
        let (season, cut, bites) = (Season::default(), BTreeSet::new(), Bites::default());
        Self(Arc::new(Mutex::new(State { chance, season, cut, bites })), trace)
    }

    /// From now on.
    pub(crate) fn set(&self, season: Season) {
        self.lock().season = season;
    }

    /// Nothing goes from one node to another any more.
    pub(crate) fn cut(&self, from: u64, to: u64) {
        self.lock().cut.insert((from, to));
    }

    /// Everything goes again, and the weather is good.
    pub(crate) fn clear_up(&self) {
        let mut state = self.lock();
        (state.season, state.cut) = (Season::default(), BTreeSet::new());
    }

    /// What it has done.
    pub(crate) fn bites(&self) -> Bites {
        self.lock().bites
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn passage(&mut self, from: u64, to: u64) -> Passage {
        self.bites.sent = self.bites.sent.saturating_add(1);
        if self.cut.contains(&(from, to)) {
            self.bites.cut = self.bites.cut.saturating_add(1);
            return Passage::default();
        }
        let Season { lost, doubled, overtaking, late_ms } = self.season;
        if self.chance.happens(lost) {
            self.bites.lost = self.bites.lost.saturating_add(1);
            return Passage::default();
        }
        let mut copies = vec![self.delay(late_ms)];
        if self.chance.happens(doubled) {
            self.bites.doubled = self.bites.doubled.saturating_add(1);
            copies.push(self.delay(late_ms));
        }
        let overtakes = self.chance.happens(overtaking);
        self.bites.overtaken = self.bites.overtaken.saturating_add(u64::from(overtakes));
        Passage { copies, overtakes }
    }

    /// A fifth of a millisecond at the least; most take little more, some as long as it gets.
    fn delay(&mut self, late_ms: u64) -> Duration {
        let usual = Duration::from_micros(self.chance.between(200, 1_200));
        usual.saturating_add(self.chance.time(0, late_ms))
    }
}

impl Weather for Sky {
    fn is_open(&self, from: u64, to: u64) -> bool {
        !self.lock().cut.contains(&(from, to))
    }

    fn passage(&self, from: u64, to: u64) -> Passage {
        let passage = self.lock().passage(from, to);
        self.1.message(from, to, passage.copies.len());
        passage
    }
}
