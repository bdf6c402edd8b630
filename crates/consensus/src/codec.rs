//! openraft's values as bytes, for the log and for the wire.
//!
//! Votes, log ids, memberships and requests go through bincode with a version byte in front. Entries do not: an entry's
//! payload is stored and sent as its proposer wrote it, and says by its first byte what it is.
//!
//! ```text
//! payload   nothing                     a blank entry: the first of a leader's term
//!           255 · version · bincode     a membership
//!           a batch                     begins with the batch format's version, which never reaches 255
//! in a log  term 8 · payload            the index stands beside it
//! ```

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bytes::{BufMut, Bytes, BytesMut};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::raft::{BatchBytes, Entry, LogId, Payload, log_id};

/// The version in front of everything that goes through bincode here.
pub(crate) const FORMAT: u8 = 1;

/// The first byte of a membership's payload.
const MEMBERSHIP: u8 = u8::MAX;

/// The most that one decoded value may claim: a membership of a thousand nodes, a beat of 64 shards.
const VALUE_BYTES_MAX: usize = 1 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<VALUE_BYTES_MAX>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit();

/// Bytes that are not what they should be. In the log this is corruption, from a peer it is a bad peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("format {0}, this release reads up to {FORMAT}")]
    Format(u8),
    #[error("the bytes end too early, or too late")]
    Length,
    #[error(transparent)]
    Value(#[from] bincode::error::DecodeError),
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Encodes a value behind a version byte.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = vec![FORMAT];
    put(value, &mut bytes);
    bytes.into()
}

fn put<T: Serialize>(value: &T, to: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, to, CONFIG)
        .expect("plain structs can always be written to memory");
}

/// Decodes what [`encode`] made, to the last byte.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => {
            let (value, read) = bincode::serde::decode_from_slice(rest, CONFIG)?;
            if read == rest.len() { Ok(value) } else { Err(CodecError::Length) }
        }
        Some((&other, _)) => Err(CodecError::Format(other)),
        None => Err(CodecError::Length),
    }
}

/// An entry's payload as bytes. A batch is not copied.
pub(crate) fn encode_payload(payload: &Payload) -> Bytes {
    match payload {
        EntryPayload::Blank => Bytes::new(),
        EntryPayload::Normal(batch) => batch.0.clone(),
        EntryPayload::Membership(membership) => {
            let mut bytes = vec![MEMBERSHIP, FORMAT];
            put(membership, &mut bytes);
            bytes.into()
        }
    }
}

/// Reads a payload. A batch shares the bytes it is read from.
pub(crate) fn decode_payload(bytes: &Bytes) -> Result<Payload, CodecError> {
    Ok(match bytes.split_first() {
        None => EntryPayload::Blank,
        Some((&MEMBERSHIP, rest)) => EntryPayload::Membership(decode(rest)?),
        Some(_) => EntryPayload::Normal(BatchBytes(bytes.clone())),
    })
}

/// An entry as the log keeps it beside its index.
pub(crate) fn encode_entry(entry: &Entry) -> Bytes {
    let payload = encode_payload(&entry.payload);
    let mut body = BytesMut::with_capacity(payload.len().saturating_add(8));
    body.put_u64_le(term(entry.log_id()));
    body.put(payload);
    body.freeze()
}

/// Reads an entry of the log.
pub(crate) fn decode_entry(index: u64, body: &Bytes) -> Result<Entry, CodecError> {
    let term = body.first_chunk::<8>().ok_or(CodecError::Length)?;
    let payload = decode_payload(&body.slice(8..))?;
    Ok(Entry { log_id: log_id(u64::from_le_bytes(*term), index), payload })
}

/// The term of a log id.
pub(crate) fn term(log_id: LogId) -> u64 {
    log_id.committed_leader_id().term
}

#[cfg(test)]
mod tests;
