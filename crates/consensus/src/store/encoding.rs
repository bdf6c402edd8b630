//! Bytes of our own: sealed values, variable-length numbers, and the sum that proves a set of records.
//!
//! A sealed value carries a magic word, a version byte, its length and a checksum, so that a torn,
//! foreign or rotted one is refused before it is read.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::StoreError;

/// Seven letters in front of a sealed value, the version byte behind them.
pub(crate) type Magic = [u8; 7];

/// The version of every sealed value and of the volume's body.
pub(super) const VERSION: u8 = 1;

/// Longest sealed value: two checkpoints that name a hundred thousand volumes each.
const SEALED_LEN_MAX: usize = 64 << 20;

const HEAD_LEN: usize = 12;
const SUM_LEN: usize = 8;

/// Encodes a value between a head {magic, version, length} and a checksum over all before it.
pub(crate) fn seal<T: Serialize>(magic: Magic, value: &T) -> Vec<u8> {
    let body = bincode::serde::encode_to_vec(value, config())
        .expect("plain structs of numbers and bytes always encode");
    let mut sealed = magic.to_vec();
    sealed.push(VERSION);
    let len = u32::try_from(body.len()).expect("sealed values are bounded far below 4 GiB");
    sealed.extend_from_slice(&len.to_le_bytes());
    sealed.extend_from_slice(&body);
    let sum = xxh3_64(&sealed);
    sealed.extend_from_slice(&sum.to_le_bytes());
    sealed
}

/// Decodes what [`seal`] made, and nothing else: not a byte may differ, lack or be left over.
pub(crate) fn unseal<T: DeserializeOwned>(
    magic: Magic,
    sealed: &[u8],
    path: &Path,
) -> Result<T, StoreError> {
    let corrupt = |what| StoreError::Corrupt { path: path.to_path_buf(), offset: 0, what };
    let (covered, sum) = sealed
        .split_last_chunk::<SUM_LEN>()
        .filter(|(covered, _)| covered.len() >= HEAD_LEN)
        .ok_or_else(|| corrupt("too short"))?;
    if xxh3_64(covered) != u64::from_le_bytes(*sum) {
        return Err(corrupt("checksum differs"));
    }
    let rest = covered.strip_prefix(&magic).ok_or_else(|| corrupt("another kind of file"))?;
    match rest.split_first() {
        Some((&VERSION, rest)) => {
            let body = rest.get(4..).unwrap_or_default();
            bincode::serde::decode_from_slice(body, config())
                .ok()
                .filter(|(_, read)| *read == body.len())
                .map(|(value, _)| value)
                .ok_or_else(|| corrupt("the body does not decode"))
        }
        Some((&version, _)) => Err(StoreError::Version { path: path.to_path_buf(), version }),
        None => Err(corrupt("too short")),
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<SEALED_LEN_MAX>()
}

/// What one record adds to the sum of a set. The sum wraps and knows no order, so the sums of two sets
/// add up to that of their union.
pub(super) fn record_sum(key: &[u8], value: &[u8]) -> u128 {
    xxh3_128_with_seed(value, xxh3_64(key))
}

/// Appends a number, seven bits to a byte, the low ones first.
pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a number from the front. `None`: the bytes end within it, or it is longer than a `usize`.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return usize::try_from(number).ok();
        }
    }
    None
}

/// Takes `len` bytes from the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// How many leading bytes two keys share.
pub(super) fn shared_len(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
