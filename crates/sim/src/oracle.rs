//! What clients were promised: every request, the one outcome that anybody heard of it, and what every read showed.
//!
//! Requests are kept by their key. Of several that share one, only one may ever have an effect; the others are told that
//! the key was used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::{AccountId, Command, Outcome, Rejection, Request, ScopedKey, Time};

/// What is wrong is said so many times at the most: the first few are what one reads.
const BROKEN_MAX: usize = 64;

/// A request, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) request: Request,
    /// Its outcome, once somebody was told.
    pub(crate) outcome: Option<Outcome>,
    /// Its client was told each time that it was certainly not done, and asks no more.
    pub(crate) is_given_up: bool,
}

impl Promise {
    /// Whether its client still waits for an outcome.
    pub(crate) fn is_open(&self) -> bool {
        self.outcome.is_none() && !self.is_given_up
    }

    /// Whether it was told that its key belongs to another request.
    pub(crate) fn is_refused_its_key(&self) -> bool {
        self.outcome == Some(Err(Rejection::KeyReused))
    }
}

/// What a read showed of an account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) account: AccountId,
    /// The last entry that the ledger had applied.
    pub(crate) index: u64,
    /// What the account had.
    pub(crate) posted: i128,
}

/// What must show in a shard from now on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    /// An entry of which somebody was told.
    pub(crate) index: u64,
    /// The log time of one.
    pub(crate) time: Time,
}

/// The clients' memory of a run. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Oracle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    promises: BTreeMap<ScopedKey, Vec<Promise>>,
    floors: BTreeMap<u16, Floor>,
    sights: Vec<Sight>,
    broken: Vec<String>,
    replayed: u64,
    full: u64,
}

impl Oracle {
    /// A client will ask for this.
    pub(crate) fn asks(&self, request: &Request) {
        let mut state = self.lock();
        let promises = state.promises.entry(request.scoped_key()).or_default();
        if promises.iter().all(|promise| promise.request != *request) {
            let (request, outcome) = (request.clone(), None);
            promises.push(Promise { request, outcome, is_given_up: false });
        }
    }

    /// An attempt brought an outcome.
    pub(crate) fn heard(&self, request: &Request, outcome: Outcome, replayed: bool) {
        let mut state = self.lock();
        state.replayed = state.replayed.saturating_add(u64::from(replayed));
        if let Ok(posted) = outcome {
            let floor = state.floors.entry(posted.transfer.shard).or_default();
            floor.index = floor.index.max(posted.transfer.index);
            floor.time = floor.time.max(posted.at);
        }
        let key = request.scoped_key();
        let mut promises = state.promises.get_mut(&key).into_iter().flatten();
        let Some(promise) = promises.find(|promise| promise.request == *request) else { return };
        let first = *promise.outcome.get_or_insert(outcome);
        if promise.is_given_up {
            let what = format!("A4: {key:?} was certainly not done, and then {outcome:?}");
            state.broken.push(what);
        }
        if first != outcome {
            state.broken.push(format!("A4: {key:?} was {first:?}, and then {outcome:?}"));
        }
    }

    /// Each attempt was answered with a failure that says: certainly not done. That is a promise too.
    pub(crate) fn gives_up(&self, request: &Request) {
        let mut state = self.lock();
        let promises = state.promises.get_mut(&request.scoped_key()).into_iter().flatten();
        for promise in promises.filter(|promise| promise.request == *request) {
            promise.is_given_up = true;
        }
    }

    /// What has to show in a shard.
    pub(crate) fn floor(&self, shard: u16) -> Floor {
        self.lock().floors.get(&shard).copied().unwrap_or_default()
    }

    /// A read that began above a floor showed this much.
    pub(crate) fn saw(&self, shard: u16, before: Floor, after: Floor) {
        let mut state = self.lock();
        if after.index < before.index || after.time < before.time {
            state.broken.push(format!("read: shard {shard} showed {after:?} after {before:?}"));
        }
        let floor = state.floors.entry(shard).or_default();
        floor.index = floor.index.max(after.index);
        floor.time = floor.time.max(after.time);
    }

    /// A read showed an account.
    pub(crate) fn saw_account(&self, sight: Sight) {
        self.lock().sights.push(sight);
    }

    /// All that reads showed.
    pub(crate) fn sights(&self) -> Vec<Sight> {
        self.lock().sights.clone()
    }

    /// Somebody was told that a disk is full.
    pub(crate) fn heard_full(&self) {
        let mut state = self.lock();
        state.full = state.full.saturating_add(1);
    }

    /// How often that was.
    pub(crate) fn full(&self) -> u64 {
        self.lock().full
    }

    /// Something that must never happen did.
    pub(crate) fn accuses(&self, what: String) {
        let mut state = self.lock();
        if state.broken.len() < BROKEN_MAX {
            state.broken.push(what);
        }
    }

    /// What must never have happened, and did.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.lock().broken.clone()
    }

    /// All requests, by their keys.
    pub(crate) fn promises(&self) -> Vec<Vec<Promise>> {
        self.lock().promises.values().cloned().collect()
    }

    /// Posted transfers that a reversal may undo: some of the latest.
    pub(crate) fn posted(&self, most: usize) -> Vec<(Command, ledger::Posted)> {
        let state = self.lock();
        let promises = state.promises.values().rev().flatten();
        let posted = promises.filter_map(|promise| {
            let Promise { request: Request { command, .. }, outcome, .. } = promise;
            let is_transfer =
                matches!(command, Command::Transfer { .. } | Command::MultiTransfer { .. });
            Some((command.clone(), (*outcome)?.ok()?)).filter(|_| is_transfer)
        });
        posted.take(most).collect()
    }

    /// Some request that has an outcome of its own.
    pub(crate) fn known(&self, draw: u64) -> Option<(Request, Outcome)> {
        let state = self.lock();
        let promises = state.promises.values().flatten();
        let known: Vec<&Promise> = promises
            .filter(|promise| promise.outcome.is_some() && !promise.is_refused_its_key())
            .collect();
        let count = u64::try_from(known.len()).unwrap_or(u64::MAX);
        let at = usize::try_from(draw.checked_rem(count)?).ok()?;
        let promise = known.get(at)?;
        Some((promise.request.clone(), promise.outcome?))
    }

    /// Requests that have an outcome.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.count(|promise| promise.outcome.is_some())
    }

    /// Requests that were given up.
    pub(crate) fn given_up(&self) -> u64 {
        self.count(|promise| promise.is_given_up)
    }

    /// Answers that repeated an outcome.
    pub(crate) fn replayed(&self) -> u64 {
        self.lock().replayed
    }

    fn count(&self, which: impl Fn(&Promise) -> bool) -> u64 {
        let state = self.lock();
        let found = state.promises.values().flatten().filter(|promise| which(promise));
        u64::try_from(found.count()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
