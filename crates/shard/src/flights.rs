//! Requests in flight, so that a copy of one joins it instead of being proposed again.
//!
//! The ledger would answer a second proposal rightly; joining only saves the log a storm of retries.

use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use ledger::ScopedKey;

use crate::frames::Waiter;

/// One request in flight.
#[derive(Debug)]
struct Flight {
    owner: Waiter,
    record: Bytes,
    joined: Vec<Waiter>,
}

/// What became of a request that wanted to fly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boarding {
    /// It is the first, or says something else under the same key: propose it.
    Fly,
    /// A copy of it is in flight: wait for that one's outcome.
    Joined,
}

/// The requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_key: HashMap<ScopedKey, Flight>,
}

impl Flights {
    /// Registers a request, or joins the copy that is in flight.
    pub(crate) fn board(&mut self, key: ScopedKey, record: &Bytes, waiter: Waiter) -> Boarding {
        match self.by_key.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Flight { owner: waiter, record: record.clone(), joined: Vec::new() });
                Boarding::Fly
            }
            Entry::Occupied(mut place) if place.get().record == *record => {
                place.get_mut().joined.push(waiter);
                Boarding::Joined
            }
            // The ledger knows what to say to another request under the same key.
            Entry::Occupied(_) => Boarding::Fly,
        }
    }

    /// Whether a request is in flight under a key.
    pub(crate) fn has(&self, key: &ScopedKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Ends the flight that `owner` registered, and says who joined it.
    pub(crate) fn land(&mut self, key: &ScopedKey, owner: Waiter) -> Vec<Waiter> {
        match self.by_key.get(key) {
            Some(flight) if flight.owner == owner => {
                self.by_key.remove(key).map(|flight| flight.joined).unwrap_or_default()
            }
            Some(_) | None => Vec::new(),
        }
    }
}
