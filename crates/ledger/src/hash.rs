//! Hashing that is the same on every replica: the tables' hasher, fingerprints, and the digest of records.
//!
//! None of it defends against somebody who constructs collisions: tables compare whole keys, fingerprints are compared
//! only with the same client's own, and digests find accidents, not attacks.

use std::hash::{BuildHasher, Hash, Hasher};

/// Builds [`FixedHasher`]s: no seed, so that nothing differs between two runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fixed;

impl BuildHasher for Fixed {
    type Hasher = FixedHasher;

    fn build_hasher(&self) -> FixedHasher {
        FixedHasher(0x9e37_79b9_7f4a_7c15)
    }
}

/// Folds each word into the state by one wide multiplication.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedHasher(u64);

impl FixedHasher {
    fn fold(&mut self, word: u64) {
        let wide =
            u128::from(self.0 ^ word).wrapping_mul(0xa076_1d64_78bd_642f_e703_7ed1_a0b4_28db);
        self.0 = low(wide) ^ low(wide >> 64);
    }
}

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.fold(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.fold(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.fold(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    fn write_u128(&mut self, number: u128) {
        self.fold(low(number));
        self.fold(low(number >> 64));
    }

    fn write_isize(&mut self, number: isize) {
        self.fold(number.cast_unsigned() as u64);
    }
}

fn low(wide: u128) -> u64 {
    u64::try_from(wide & u128::from(u64::MAX)).expect("masked")
}

/// The fingerprint of a request: what its command says, without the key.
pub(crate) fn fingerprint(command: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(command)
}

/// One record's part in the digest. The digest of a set is the wrapping sum of its records' parts, so it does not
/// depend on where a record lies or in which order records came.
pub(crate) fn part<T: Hash>(record: &T) -> u128 {
    u128::from(Fixed.hash_one(record))
}

/// The item by which a filter knows a cold record.
pub(crate) fn filter_item(name: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(name, 1)
}
