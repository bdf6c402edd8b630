//! Idempotency keys: the client's name for a request, for ever.
//!
//! A key is either a UUIDv7 as the client gave it, whose time lets a look-up skip what is older than the key, or the
//! hash of a free-form text, which never gets a time. Both are 16 bytes; the UUID version digit tells them apart.
//!
//! A key's scope is (tenant, operation, subject): the same text for another account, or for another operation, is
//! another key. Within its scope the ledger keeps key → (fingerprint of the business fields, outcome).

use bincode::{Decode, Encode};

use crate::id::{TenantId, Time};
use crate::plant::Plant;

/// How far the clock of whoever made a UUIDv7 may be ahead of log time, and how far its time is believed: 10 minutes.
/// A key further ahead is not proposed; a look-up skips only periods that ended this long before the key's time.
pub const KEY_SKEW_MS: u64 = 10 * 60 * 1_000;

const VERSION_SHIFT: u32 = 76;
const VERSION_MASK: u128 = 0xf << VERSION_SHIFT;
const VARIANT_SHIFT: u32 = 62;
const VARIANT_MASK: u128 = 0b11 << VARIANT_SHIFT;
const VARIANT: u128 = 0b10 << VARIANT_SHIFT;
const TIME_SHIFT: u32 = 80;

/// An idempotency key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Key(u128);

impl Key {
    /// A UUIDv7's 128 bits; `None` when they are no UUIDv7.
    #[must_use]
    pub fn from_uuid_v7(bits: u128) -> Option<Self> {
        let is_v7 = bits & VERSION_MASK == 7 << VERSION_SHIFT && bits & VARIANT_MASK == VARIANT;
        is_v7.then_some(Self(bits))
    }

    /// The first 16 bytes of a cryptographic hash of a free-form key. The version digit becomes 8 ("custom"), so that
    /// no hash is ever taken for a UUIDv7.
    #[must_use]
    pub fn from_digest(digest: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(digest) & !VERSION_MASK & !VARIANT_MASK;
        Self(bits | 8 << VERSION_SHIFT | VARIANT)
    }

    /// When the key was made, if it says so.
    #[must_use]
    pub fn time(self) -> Option<Time> {
        let is_v7 = self.0 & VERSION_MASK == 7 << VERSION_SHIFT;
        is_v7.then(|| Time(u64::try_from(self.0 >> TIME_SHIFT).expect("48 bits fit")))
    }

    /// The earliest execution time at which this key can have been used, or `None` when any time is possible.
    #[must_use]
    pub fn not_before(self) -> Option<Time> {
        let ahead = if Plant::SkewedKeys.is_on() { 0 } else { KEY_SKEW_MS };
        self.time().map(|made| made.minus_ms(ahead))
    }

    /// The 16 bytes as a number.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        self.0
    }

    /// Takes 16 bytes as they are stored, where they were a key before.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a request wants done, as far as keys are concerned: the same key may name a transfer and a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Operation {
    /// Opening an account.
    Open,
    /// Freezing an account.
    Freeze,
    /// Lifting a freeze.
    Unfreeze,
    /// Closing an account.
    Close,
    /// Moving money, by one leg or many.
    Transfer,
    /// Placing a hold.
    Hold,
    /// Posting a hold.
    Post,
    /// Voiding a hold.
    Void,
    /// Reversing a transfer.
    Reverse,
    /// Moving the cut-off before which keys are forgotten.
    ForgetKeys,
    /// Carrying a message from another shard. It has no key.
    Deliver,
    /// Beginning a cut for the live audit.
    Cut,
    /// Writing into the directory.
    Direct,
    /// Reporting to the directory. It has no key.
    Report,
    /// Giving a hold another deadline.
    #[cfg(next_level)]
    Extend,
}

/// A key within its scope: what the ledger looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ScopedKey {
    /// The client's key.
    pub key: Key,
    /// The account (or hold) that the request is about, as its 16 bytes.
    pub subject: u128,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it does.
    pub operation: Operation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_v7_has_a_time() {
        let v7 = 0x0192_3456_789a_7bcd_8123_4567_89ab_cdef;
        let key = Key::from_uuid_v7(v7).unwrap();
        assert_eq!(key.time(), Some(Time(0x0192_3456_789a)));
        assert_eq!(key.not_before(), Some(Time(0x0192_3456_789a - 600_000)));
        assert_eq!(Key::from_uuid_v7(v7 ^ (1 << VERSION_SHIFT)), None, "version 6");
        assert_eq!(Key::from_uuid_v7(v7 & !VARIANT_MASK), None, "another variant");
        // A hash that happens to look like a UUIDv7 still gets no time.
        let hashed = Key::from_digest(v7.to_be_bytes());
        assert_eq!(hashed.time(), None);
        assert_ne!(hashed, key);
    }
}
