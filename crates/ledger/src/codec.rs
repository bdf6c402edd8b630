//! How everything stored or replicated is written: one codec, two densities.
//!
//! Hot records (requests on their way, the log) use integers of fixed size: cheap to write, cheap to peek into. Cold
//! records (volumes, checkpoints) use variable-size integers: they are written once and kept for years. A version
//! byte stands in front of every whole that is stored by itself; [`FORMAT`] is the newest.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian, Varint};
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// The version byte of this release. A reader refuses what is newer than itself.
pub const FORMAT: u8 = 1;

/// The most one hot record may claim in memory: sixteen times what a record of 4 kB can fill, so that no length in
/// strange bytes makes a reader set aside much more than it was sent.
const HOT_BYTES_MAX: usize = 64 << 10;

/// The most one cold record may claim in memory: a page of 128 accounts fits sixty times.
const COLD_BYTES_MAX: usize = 1 << 20;

type Hot = Configuration<LittleEndian, Fixint, Limit<HOT_BYTES_MAX>>;
type Cold = Configuration<LittleEndian, Varint, Limit<COLD_BYTES_MAX>>;

const HOT: Hot = bincode::config::standard().with_fixed_int_encoding().with_limit();
const COLD: Cold = bincode::config::standard().with_limit();

/// Appends a record with integers of fixed size.
///
/// # Panics
/// Never for our records: writing to a vector cannot fail, and no record of ours refuses to be written.
pub fn put_hot<T: Encode>(record: &T, to: &mut Vec<u8>) {
    put(record, to, HOT).expect("a record of ours can always be written");
}

/// Reads a record with integers of fixed size, which must fill `bytes` to the end.
///
/// # Errors
/// When the bytes are no such record, or more than one.
pub fn get_hot<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    whole(bincode::decode_from_slice(bytes, HOT)?, bytes)
}

/// Appends a record with integers of variable size.
///
/// # Panics
/// Never, as [`put_hot`].
pub fn put_cold<T: Encode>(record: &T, to: &mut Vec<u8>) {
    put(record, to, COLD).expect("a record of ours can always be written");
}

/// Reads a record with integers of variable size, which must fill `bytes` to the end.
///
/// # Errors
/// When the bytes are no such record, or more than one.
pub fn get_cold<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    whole(bincode::decode_from_slice(bytes, COLD)?, bytes)
}

/// Reads a record of variable size from the front of `bytes`, and says how long it was.
///
/// # Errors
/// When the bytes do not begin with such a record.
pub fn take_cold<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::decode_from_slice(bytes, COLD)
}

fn put<T: Encode, C: bincode::config::Config>(
    record: &T,
    to: &mut Vec<u8>,
    config: C,
) -> Result<(), EncodeError> {
    bincode::encode_into_std_write(record, to, config).map(|_| ())
}

fn whole<T>((record, read): (T, usize), bytes: &[u8]) -> Result<T, DecodeError> {
    if read == bytes.len() {
        return Ok(record);
    }
    Err(DecodeError::Other("bytes left over after the record"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::batch::Leg;

    /// A length is a claim: a reader that believed it would set aside whatever it says.
    #[test]
    fn a_length_that_was_not_sent_sets_nothing_aside() {
        let mut hot = (1_u64 << 20).to_le_bytes().to_vec();
        hot.extend_from_slice(&[0; 64]);
        assert!(matches!(get_hot::<Vec<Leg>>(&hot), Err(DecodeError::LimitExceeded)));
        let mut cold = Vec::new();
        put_cold(&(1_u64 << 40), &mut cold);
        cold.extend_from_slice(&[0; 64]);
        assert!(matches!(get_cold::<Vec<Account>>(&cold), Err(DecodeError::LimitExceeded)));
    }
}
