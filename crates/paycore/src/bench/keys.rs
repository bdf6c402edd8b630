//! Idempotency keys: request `n` has the same one however often it is sent.
//!
//! An ordered key is a UUIDv7 of the time at which the request was first sent. That time is no function of `n`, so it
//! is noted, but only when it has moved: one entry for each hundredth of a second.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::args::KeyOrder;
use super::intents::Intents;

/// How finely a key's time is told, in milliseconds.
const TICK_MS: u64 = 10;

/// A key's text: a hyphenated UUID, or a free-form text of the same length.
pub(super) const KEY_BYTES: usize = 36;

const TIME_SHIFT: u32 = 80;
const VERSION_7: u128 = 7 << 76;
const SEED_SHIFT: u32 = 64;
const VARIANT: u128 = 0b10 << 62;
const N_SHIFT: u32 = 22;
const MARK_BITS: u128 = (1 << N_SHIFT) - 1;

/// The keys of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Keys {
    order: KeyOrder,
    intents: Intents,
    /// From which request on which time, in milliseconds since 1970.
    ticks: Vec<(u64, u64)>,
}

impl Keys {
    /// Keys for these requests.
    pub(super) fn new(order: KeyOrder, intents: Intents) -> Self {
        Self { order, intents, ticks: vec![(0, intents.began_ms)] }
    }

    /// Notes that request `n` and those after it are sent at this time. Requests are noted in their order.
    pub(super) fn sent(&mut self, n: u64, now_ms: u64) {
        let moved = self.ticks.last().is_none_or(|(_, ms)| now_ms >= ms.saturating_add(TICK_MS));
        if moved && self.order == KeyOrder::Ordered {
            self.ticks.push((n, now_ms));
        }
    }

    /// A request's key.
    pub(super) fn of(&self, n: u64) -> [u8; KEY_BYTES] {
        let mut text = [0; KEY_BYTES];
        match self.order {
            KeyOrder::Ordered => {
                Uuid::from_u128(self.uuid(n)).hyphenated().encode_lower(&mut text);
            }
            KeyOrder::Random => self.put_random(n, &mut text),
        }
        text
    }

    /// In the order of `n`: the time never goes back, and after it and what is the run's own comes `n` itself.
    fn uuid(&self, n: u64) -> u128 {
        let place = self.ticks.partition_point(|(first, _)| *first <= n);
        let tick = place.checked_sub(1).and_then(|place| self.ticks.get(place));
        let time = tick.map_or(self.intents.began_ms, |(_, ms)| *ms);
        let own = u128::from(self.intents.seed & 0xfff);
        u128::from(time) << TIME_SHIFT
            | VERSION_7
            | own << SEED_SHIFT
            | VARIANT
            | u128::from(n & 0xff_ffff_ffff) << N_SHIFT
            | u128::from(self.intents.mark(n)) & MARK_BITS
    }

    /// A text that is no UUID.
    fn put_random(&self, n: u64, text: &mut [u8; KEY_BYTES]) {
        let bits = u128::from(self.intents.mark(n)) << 64 | u128::from(n);
        let (prefix, digits) = text.split_at_mut(KEY_BYTES.saturating_sub(32));
        prefix.copy_from_slice(b"key-");
        Uuid::from_u128(bits).simple().encode_lower(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(order: KeyOrder) -> Keys {
        let intents = Intents {
            seed: 0x1234,
            accounts: 10,
            began_ms: 1_760_000_000_000,
            ..Intents::default()
        };
        let mut keys = Keys::new(order, intents);
        for (n, now_ms) in [
            (0, 1_760_000_000_003),
            (100, 1_760_000_000_012),
            (200, 1_760_000_000_015),
            (300, 1_760_000_000_040),
        ] {
            keys.sent(n, now_ms);
        }
        keys
    }

    #[test]
    fn ordered_keys_are_uuids_in_rising_order_with_their_own_time() {
        let keys = keys(KeyOrder::Ordered);
        let mut last = String::new();
        for n in 0..1_000 {
            let text = String::from_utf8(keys.of(n).to_vec()).unwrap();
            assert!(text > last, "{n}: {text} after {last}");
            let key = wire::convert::key(&text).unwrap();
            let ms = key.time().expect("a UUIDv7 has a time").0 - 1_760_000_000_000;
            assert_eq!(
                ms,
                if n < 100 {
                    0
                } else if n < 300 {
                    12
                } else {
                    40
                },
                "{n}"
            );
            last = text;
        }
    }

    #[test]
    fn random_keys_have_no_time_and_differ() {
        let keys = keys(KeyOrder::Random);
        let all: std::collections::HashSet<_> = (0..1_000).map(|n| keys.of(n)).collect();
        assert_eq!(all.len(), 1_000);
        let text = String::from_utf8(keys.of(5).to_vec()).unwrap();
        assert_eq!(wire::convert::key(&text).unwrap().time(), None);
        assert_eq!(keys.of(5), keys.clone().of(5));
    }
}
