//! The relay: when this shard's messages go to its peers.
//!
//! Each peer has one letter on its way at a time; what is written meanwhile goes with the next one, so that letters grow
//! with the load and an idle channel waits for nothing. The relay keeps no state that matters: what a peer has applied
//! it is told again by whoever takes the next letter, and a message that went twice is applied once.
//!
//! Invariants:
//! - A peer with messages that it has not confirmed is carried to, or rests after a failure for a bounded time.
//! - Nothing is dropped from a channel on the relay's word: only the ledger's own entries do that.

use std::collections::BTreeMap;

use ledger::{PeerSet, Plant};

/// The pause after a letter that was not answered, doubled with each more, up to the last: a new leader is there within
/// two seconds, and should not have to wait long for us then.
const PAUSE_MIN_MS: u64 = 10;
const PAUSE_MAX_MS: u64 = 320;

/// One peer's lane.
#[derive(Debug, Default)]
struct Lane {
    /// The last message that the peer said it has applied.
    known: u64,
    state: State,
    failures: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing to carry.
    #[default]
    Idle,
    /// A letter is on its way.
    Carrying,
    /// The last letter was not answered.
    Resting { until_ms: u64 },
}

/// Where the next letter to a peer begins: after which of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trip {
    pub(crate) peer: u16,
    pub(crate) after: u64,
}

/// The lanes of one reign.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    lanes: BTreeMap<u16, Lane>,
}

impl Relay {
    /// Messages have joined the channels to these peers.
    pub(crate) fn written(&mut self, peers: PeerSet) -> Vec<Trip> {
        let mut trips = Vec::new();
        for peer in peers.iter() {
            let lane = self.lanes.entry(peer).or_default();
            if lane.state == State::Idle {
                trips.push(lane.begin(peer));
            }
        }
        trips
    }

    /// A letter was answered: the peer has applied everything up to a message. Whatever came meanwhile goes next.
    pub(crate) fn answered(&mut self, peer: u16, applied: u64) -> Option<Trip> {
        let lane = self.lanes.get_mut(&peer)?;
        lane.known = lane.known.max(applied);
        lane.failures = 0;
        Some(lane.begin(peer))
    }

    /// There was nothing to carry.
    pub(crate) fn found_nothing(&mut self, peer: u16) {
        if let Some(lane) = self.lanes.get_mut(&peer) {
            lane.state = State::Idle;
        }
    }

    /// A letter was not answered, or not taken.
    pub(crate) fn failed(&mut self, peer: u16, now_ms: u64) {
        if let Some(lane) = self.lanes.get_mut(&peer) {
            let pause = PAUSE_MIN_MS.checked_shl(lane.failures).unwrap_or(PAUSE_MAX_MS);
            lane.known = lane.known.saturating_add(u64::from(Plant::SkipGap.is_on()));
            lane.failures = lane.failures.saturating_add(1).min(u64::BITS);
            lane.state =
                State::Resting { until_ms: now_ms.saturating_add(pause.min(PAUSE_MAX_MS)) };
        }
    }

    /// Time has passed: whoever has rested long enough is carried to again.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Vec<Trip> {
        let rested =
            |lane: &Lane| matches!(lane.state, State::Resting { until_ms } if until_ms <= now_ms);
        let due = self.lanes.iter_mut().filter(|(_, lane)| rested(lane));
        due.map(|(peer, lane)| lane.begin(*peer)).collect()
    }
}

impl Lane {
    fn begin(&mut self, peer: u16) -> Trip {
        self.state = State::Carrying;
        Trip { peer, after: self.known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(numbers: &[u16]) -> PeerSet {
        let mut peers = PeerSet::default();
        numbers.iter().for_each(|peer| peers.insert(*peer));
        peers
    }

    #[test]
    fn one_letter_at_a_time_and_the_rest_with_the_next() {
        let mut relay = Relay::default();
        let trips = relay.written(peers(&[1, 5]));
        assert_eq!(trips, [Trip { peer: 1, after: 0 }, Trip { peer: 5, after: 0 }]);
        assert_eq!(relay.written(peers(&[1])), [], "a letter is on its way");
        assert_eq!(relay.answered(1, 7), Some(Trip { peer: 1, after: 7 }));
        relay.found_nothing(1);
        assert_eq!(relay.written(peers(&[1])), [Trip { peer: 1, after: 7 }]);
        assert_eq!(relay.answered(1, 3), Some(Trip { peer: 1, after: 7 }), "old news");
    }

    #[test]
    fn a_letter_without_an_answer_is_written_again_after_a_pause() {
        let mut relay = Relay::default();
        assert_eq!(relay.written(peers(&[2])).len(), 1);
        let mut now_ms = 1_000;
        for pause in [10, 20, 40, 80, 160, 320, 320, 320] {
            relay.failed(2, now_ms);
            assert_eq!(relay.written(peers(&[2])), [], "it rests");
            assert_eq!(relay.tick(now_ms + pause - 1), []);
            assert_eq!(relay.tick(now_ms + pause), [Trip { peer: 2, after: 0 }]);
            assert_eq!(relay.tick(now_ms + pause), [], "it is on its way");
            now_ms += pause;
        }
        assert!(relay.answered(2, 1).is_some());
        relay.failed(2, now_ms);
        assert_eq!(relay.tick(now_ms + 10).len(), 1, "an answer ends the long pauses");
    }
}
