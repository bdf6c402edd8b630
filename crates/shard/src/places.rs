//! How busy each account is, and so what it may do with one more request.
//!
//! Most accounts have one request in flight and need a counter, nothing more. An account with more in flight than
//! [`IN_FLIGHT_MAX`] is *contended*: what comes next for it waits in an actor of its own ([`crate::account`]).

use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use ledger::ScopedKey;

use crate::frames::Waiter;
use crate::outgoing::Away;

/// Requests of one account that may be in flight at once: one full batch, so that an account alone on its shard still
/// fills its batches, and one among many cannot fill the next ones as well.
pub(crate) const IN_FLIGHT_MAX: u32 = 2_048;

/// Requests of one account that may wait at once: four full batches. More is refused as OVERLOADED.
pub(crate) const WAITING_MAX: u32 = 8_192;

/// One request on its way through the desk.
#[derive(Clone, Debug)]
pub struct Order {
    pub(crate) waiter: Waiter,
    pub(crate) key: ScopedKey,
    /// The record with its length in front, as it will lie in the log.
    pub(crate) record: Bytes,
    /// Its payments to other shards.
    pub(crate) away: Away,
}

/// What an account may do with one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Propose it.
    Go,
    /// Let it wait in the account's own queue.
    Wait,
    /// Refuse it: the account's queue is full.
    Full,
}

/// How busy one account is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    in_flight: u32,
    waiting: u32,
}

/// How busy each account is; an account that is not busy has no entry.
#[derive(Debug, Default)]
pub(crate) struct Places {
    busy: HashMap<u128, Place>,
}

impl Places {
    /// Asks for one more request of an account. Who waits is not overtaken by who comes later.
    pub(crate) fn ask(&mut self, account: u128) -> Admission {
        let place = self.busy.entry(account).or_default();
        if place.waiting == 0 && place.in_flight < IN_FLIGHT_MAX {
            place.in_flight = place.in_flight.saturating_add(1);
            return Admission::Go;
        }
        if place.waiting < WAITING_MAX {
            place.waiting = place.waiting.saturating_add(1);
            return Admission::Wait;
        }
        Admission::Full
    }

    /// A request of the account is no longer in flight. Says how many of those that wait may go now: none until half of
    /// the room is free, so that they go in runs and not one by one.
    pub(crate) fn landed(&mut self, account: u128) -> u32 {
        let Entry::Occupied(mut entry) = self.busy.entry(account) else { return 0 };
        let place = entry.get_mut();
        place.in_flight = place.in_flight.saturating_sub(1);
        if place.waiting == 0 {
            if place.in_flight == 0 {
                entry.remove();
            }
            return 0;
        }
        if place.in_flight > IN_FLIGHT_MAX / 2 {
            return 0;
        }
        let room = IN_FLIGHT_MAX.saturating_sub(place.in_flight).min(place.waiting);
        place.waiting = place.waiting.saturating_sub(room);
        place.in_flight = place.in_flight.saturating_add(room);
        room
    }

    /// Whether anything of the account waits.
    pub(crate) fn is_contended(&self, account: u128) -> bool {
        self.busy.get(&account).is_some_and(|place| place.waiting > 0)
    }
}
